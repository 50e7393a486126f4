"""LinkService: makes, shows and removes links."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from google.protobuf.descriptor import ServiceDescriptor

from lightfast.api.v1 import links_pb2 as pb
from lightfast.api.values import to_message
from lightfast.core.errors import Conflict
from lightfast.engine.links.link import SETTINGS, Link
from lightfast.engine.links.rehearsal import Moved
from lightfast.security.tokens import Scope
from lightfast.wire.grpc import convert
from lightfast.wire.grpc.link_messages import get_link, put_link
from lightfast.wire.grpc.pages import Pages
from lightfast.wire.grpc.services import OPERATE, WATCH, Caller, Services

_SWITCHES = frozenset({"disabled", "bypass"})


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
    LOCKED: ClassVar[Mapping[str, str]] = {"CreateLink": "a link edit", "DeleteLink": "a link edit"}

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._links = services.links
        self._guard = services.show.guard
        self._pages = Pages()
        self._changing = asyncio.Lock()  # so that an etag still holds when the change is made

    async def CreateLink(self, request: pb.CreateLinkRequest, caller: Caller) -> pb.CreateLinkResponse:
        """Create a link."""
        link = await self._links.create(get_link(request.link), validate_only=request.validate_only)
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
        """Change a link; its switches may be thrown in a locked show, too."""
        async with self._changing:
            self._check_etag(request.link.link_id, request.link.etag)
            wanted = get_link(request.link)
            if not _only_switched(self._links.get(wanted.link_id), wanted):
                self._guard.check("a link edit")
            link = await self._links.update(wanted)
        return pb.UpdateLinkResponse(link=_message(link), revision=self._store.revision, store_id=self._store.store_id)

    async def DeleteLink(self, request: pb.DeleteLinkRequest, caller: Caller) -> pb.DeleteLinkResponse:
        """Delete a link."""
        async with self._changing:
            self._check_etag(request.link_id, request.etag)
            await self._links.delete(request.link_id)
        return pb.DeleteLinkResponse(revision=self._store.revision, store_id=self._store.store_id)

    async def TestLink(self, request: pb.TestLinkRequest, caller: Caller) -> pb.TestLinkResponse:
        """Say what a value would become, and what would move in turn."""
        value = convert.get_value(request.value, "value") if request.HasField("value") else None
        dry = await self._links.rehearse(get_link(request.link), value)
        response = pb.TestLinkResponse(revision=self._store.revision, store_id=self._store.store_id)
        to_message(dry.converted, response.converted)
        if dry.returned is not None:
            to_message(dry.returned, response.returned)
        for move in dry.moves:
            _put_move(move, response.moves.add())
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


def _put_move(move: Moved, message: pb.LinkMove) -> None:
    message.link_id, message.source, message.target = move.link_id, move.source, move.target
    message.refusal = move.refusal
    if move.before is not None:
        to_message(move.before, message.before)
    if move.after is not None:
        to_message(move.after, message.after)


def _only_switched(before: Link, after: Link) -> bool:
    """Say whether an update of a link throws only its switches; an end that is left out stays as it is."""
    after = replace(after, source=after.source or before.source, target=after.target or before.target)
    return all(getattr(before, name) == getattr(after, name) for name in SETTINGS if name not in _SWITCHES)


def _etag(link: Link) -> str:
    """Return what changes with the settings of *link* alone."""
    settings = (link.link_id, *(getattr(link, name) for name in SETTINGS))
    return hashlib.blake2b(repr(settings).encode(), digest_size=8).hexdigest()


def _message(link: Link) -> pb.Link:
    return put_link(link, _etag(link))
