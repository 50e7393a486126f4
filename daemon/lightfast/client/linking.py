"""Links, for both clients: create, get, list, update, bypass, delete, test."""

from __future__ import annotations

import uuid
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api import values
from lightfast.api.v1 import links_pb2, links_pb2_grpc
from lightfast_link.value import Value

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")

MAX_PAGE = 1000


class LinkCalls:
    """The asynchronous methods; the settings are the fields of `Link` in `links.proto`.

    *inputs* is a mapping of names to paths, *curve* a name, or the points it goes through.
    """

    links: links_pb2_grpc.LinkServiceStub

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    async def link(
        self,
        source: str,
        target: str,
        *,
        two_way: bool = False,
        expression: str = "",
        tolerance: float = 0.0,
        **settings: Any,
    ) -> links_pb2.Link:
        """Create a link; with `inputs`, an empty *source* stands for the first of them."""
        link = message(
            source=source, target=target, two_way=two_way, expression=expression, tolerance=tolerance, **settings
        )
        request = links_pb2.CreateLinkRequest(link=link, request_id=uuid.uuid4().hex)
        return (await self.call(self.links.CreateLink, request)).link  # type: ignore[no-any-return]

    async def get_link(self, link_id: str) -> links_pb2.Link:
        """Return one link; `NotFound` where there is none."""
        request = links_pb2.GetLinkRequest(link_id=link_id)
        return (await self.call(self.links.GetLink, request)).link  # type: ignore[no-any-return]

    async def list_links(self, pattern: str = "") -> list[links_pb2.Link]:
        """Return the links that touch a path of *pattern*, or all, ordered by source."""
        request = links_pb2.ListLinksRequest(pattern=pattern, page_size=MAX_PAGE)
        found: list[links_pb2.Link] = []
        while True:
            response = await self.call(self.links.ListLinks, request)
            found.extend(response.links)
            if not response.next_page_token:
                return found
            request.page_token = response.next_page_token

    async def update_link(self, link_id: str, **settings: Any) -> links_pb2.Link:
        """Change these settings of a link and leave the others; `Conflict` where it was changed in between."""
        link = await self.get_link(link_id)
        for name in settings:
            link.ClearField(name)  # type: ignore[arg-type]  # a name that is no field raises ValueError, as it should
        link.MergeFrom(message(**settings))
        request = links_pb2.UpdateLinkRequest(link=link)
        return (await self.call(self.links.UpdateLink, request)).link  # type: ignore[no-any-return]

    async def bypass_link(self, link_id: str, on: bool = True) -> links_pb2.Link:
        """Switch a link out of the way at once, or back; back in, it carries from the next change on."""
        return await self.update_link(link_id, bypass=on)

    async def delete_link(self, link_id: str) -> None:
        """Delete a link; the values stay."""
        await self.call(self.links.DeleteLink, links_pb2.DeleteLinkRequest(link_id=link_id))

    async def test_link(
        self, source: str = "", target: str = "", value: Value | None = None, **settings: Any
    ) -> links_pb2.TestLinkResponse:
        """Return what a link would do with *value*, or with what its source holds; nothing is written.

        A link that exists is given by `link_id`.
        """
        request = links_pb2.TestLinkRequest(link=message(source=source, target=target, **settings))
        if value is not None:
            values.to_message(value, request.value)
        return await self.call(self.links.TestLink, request)  # type: ignore[no-any-return]


class BlockingLinkCalls:
    """The same methods, blocking; see `LinkCalls`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def link(self, source: str, target: str, **settings: Any) -> links_pb2.Link:
        """Create a link."""
        return self._run(self.aio.link(source, target, **settings))

    def get_link(self, link_id: str) -> links_pb2.Link:
        """Return one link."""
        return self._run(self.aio.get_link(link_id))

    def list_links(self, pattern: str = "") -> list[links_pb2.Link]:
        """Return the links."""
        return self._run(self.aio.list_links(pattern))

    def update_link(self, link_id: str, **settings: Any) -> links_pb2.Link:
        """Change these settings of a link and leave the others."""
        return self._run(self.aio.update_link(link_id, **settings))

    def bypass_link(self, link_id: str, on: bool = True) -> links_pb2.Link:
        """Switch a link out of the way at once, or back."""
        return self._run(self.aio.bypass_link(link_id, on))

    def delete_link(self, link_id: str) -> None:
        """Delete a link; the values stay."""
        self._run(self.aio.delete_link(link_id))

    def test_link(
        self, source: str = "", target: str = "", value: Value | None = None, **settings: Any
    ) -> links_pb2.TestLinkResponse:
        """Return what a link would do; nothing is written."""
        return self._run(self.aio.test_link(source, target, value, **settings))


def message(
    *,
    inputs: Mapping[str, str] | None = None,
    curve: str | Sequence[tuple[float, float]] | links_pb2.LinkCurve | None = None,
    **settings: Any,
) -> links_pb2.Link:
    """Return the message of a link with *settings*."""
    link = links_pb2.Link(**settings)
    link.inputs.extend([links_pb2.LinkInput(name=name, path=path) for name, path in (inputs or {}).items()])
    if isinstance(curve, links_pb2.LinkCurve):
        link.curve.CopyFrom(curve)
    elif isinstance(curve, str):
        link.curve.name = curve
    elif curve:
        link.curve.points.extend([links_pb2.LinkPoint(x=x, y=y) for x, y in curve])
    return link
