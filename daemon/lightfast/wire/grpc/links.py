"""LinkService: makes, shows and removes links."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import ClassVar

from google.protobuf.descriptor import ServiceDescriptor

from lightfast.api.v1 import links_pb2 as pb
from lightfast.api.values import to_message
from lightfast.core.errors import Conflict
from lightfast.engine.links.links import Link
from lightfast.security.tokens import Scope
from lightfast.wire.grpc import convert
from lightfast.wire.grpc.pages import Pages
from lightfast.wire.grpc.services import OPERATE, WATCH, Caller, Services


class LinkService:
    """The methods of `lightfast.api.v1.LinkService`."""

    DESCRIPTOR: ClassVar[ServiceDescriptor] = pb.DESCRIPTOR.services_by_name["LinkService"]
    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "CreateLink": OPERATE,
        "GetLink": WATCH,
        "ListLinks": WATCH,
        "UpdateLink": OPERATE,
        "DeleteLink": OPERATE,
        "TestLink": WATCH,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset({"CreateLink"})

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._links = services.links
        self._pages = Pages()
        self._changing = asyncio.Lock()  # so that an etag still holds when the change is made

    async def CreateLink(self, request: pb.CreateLinkRequest, caller: Caller) -> pb.CreateLinkResponse:
        """Create a link."""
        link = await self._links.create(_link(request.link), validate_only=request.validate_only)
        return pb.CreateLinkResponse(link=_message(link), revision=self._store.revision, store_id=self._store.store_id)

    async def GetLink(self, request: pb.GetLinkRequest, caller: Caller) -> pb.GetLinkResponse:
        """Show one link."""
        link = self._links.get(request.link_id)
        return pb.GetLinkResponse(link=_message(link), revision=self._store.revision, store_id=self._store.store_id)

    async def ListLinks(self, request: pb.ListLinksRequest, caller: Caller) -> pb.ListLinksResponse:
        """List the links."""
        query = ("ListLinks", request.pattern)
        if request.page_token:
            page = self._pages.later(request.page_token, request.page_size, query=query)
        else:
            links = self._links.list(request.pattern)
            page = self._pages.first(links, self._store.revision, request.page_size, query=query)
        return pb.ListLinksResponse(
            links=[_message(link) for link in page.items],
            next_page_token=page.token,
            revision=page.revision,
            store_id=self._store.store_id,
        )

    async def UpdateLink(self, request: pb.UpdateLinkRequest, caller: Caller) -> pb.UpdateLinkResponse:
        """Change a link."""
        async with self._changing:
            self._check_etag(request.link.link_id, request.link.etag)
            link = await self._links.update(_link(request.link))
        return pb.UpdateLinkResponse(link=_message(link), revision=self._store.revision, store_id=self._store.store_id)

    async def DeleteLink(self, request: pb.DeleteLinkRequest, caller: Caller) -> pb.DeleteLinkResponse:
        """Delete a link."""
        async with self._changing:
            self._check_etag(request.link_id, request.etag)
            await self._links.delete(request.link_id)
        return pb.DeleteLinkResponse(revision=self._store.revision, store_id=self._store.store_id)

    async def TestLink(self, request: pb.TestLinkRequest, caller: Caller) -> pb.TestLinkResponse:
        """Say what a value would become."""
        value = convert.get_value(request.value, "value") if request.HasField("value") else None
        converted, returned = self._links.test(_link(request.link), value)
        response = pb.TestLinkResponse(revision=self._store.revision, store_id=self._store.store_id)
        to_message(converted, response.converted)
        if returned is not None:
            to_message(returned, response.returned)
        return response

    def _check_etag(self, link_id: str, etag: str) -> None:
        now = _etag(self._links.get(link_id))
        if etag and etag != now:
            raise Conflict(
                f"the link {link_id} was changed since its etag {etag!r:.40} was read: get it again and decide anew",
                reason="ETAG_MISMATCH",
                metadata={"link_id": link_id, "etag": now},
                field="etag",
            )


def _etag(link: Link) -> str:
    """Return what changes with the settings of *link* alone."""
    settings = (
        link.link_id,
        link.source,
        link.target,
        link.two_way,
        link.expression,
        link.tolerance,
        link.disabled,
        link.max_rate_hz,
        link.raw_units,
    )
    return hashlib.blake2b(repr(settings).encode(), digest_size=8).hexdigest()


def _link(message: pb.Link) -> Link:
    return Link(
        link_id=message.link_id,
        source=message.source,
        target=message.target,
        two_way=message.two_way,
        expression=message.expression,
        tolerance=message.tolerance,
        disabled=message.disabled,
        max_rate_hz=message.max_rate_hz,
        raw_units=message.raw_units,
    )


def _message(link: Link) -> pb.Link:
    return pb.Link(
        link_id=link.link_id,
        source=link.source,
        target=link.target,
        two_way=link.two_way,
        expression=link.expression,
        tolerance=link.tolerance,
        disabled=link.disabled,
        carried=link.carried,
        last_error=link.last_error,
        max_rate_hz=link.max_rate_hz,
        raw_units=link.raw_units,
        etag=_etag(link),
    )
