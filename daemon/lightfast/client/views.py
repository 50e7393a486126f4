"""Views of the context for one consumer, for both clients."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api.v1 import views_pb2 as pb

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")


class Views:
    """Methods of `AsyncClient`; *context* is the stub."""

    context: Any

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    async def view_for_app(
        self,
        mount: str,
        patterns: Sequence[str] = (),
        *,
        exclude: Sequence[str] = (),
        at_revision: int | None = None,
        schema: str = "",
    ) -> pb.RecontextualizeResponse:
        """Return what *patterns* hold in the names, units and axes of the application at *mount*."""
        request = pb.RecontextualizeRequest(
            patterns=patterns,
            exclude=exclude,
            app=pb.AppTarget(mount=mount),
            at_revision=at_revision,
            schema=schema,
        )
        return await self.call(self.context.Recontextualize, request)  # type: ignore[no-any-return]

    async def view_for_model(
        self,
        budget_tokens: int,
        patterns: Sequence[str] = (),
        *,
        model: str = "",
        purpose: str = "",
        exclude: Sequence[str] = (),
        memory: bool = False,
        recent_changes: int = 0,
        at_revision: int | None = None,
        schema: str = "",
    ) -> pb.RecontextualizeResponse:
        """Return what *patterns* hold as a text of at most *budget_tokens*, what matters for *purpose* first."""
        request = pb.RecontextualizeRequest(
            patterns=patterns,
            exclude=exclude,
            model=pb.ModelTarget(model=model, budget_tokens=budget_tokens),
            purpose=purpose,
            include_memory=memory,
            recent_changes=recent_changes,
            at_revision=at_revision,
            schema=schema,
        )
        return await self.call(self.context.Recontextualize, request)  # type: ignore[no-any-return]


class BlockingViews:
    """The same methods, blocking; see `Views`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def view_for_app(self, mount: str, patterns: Sequence[str] = (), **options: Any) -> pb.RecontextualizeResponse:
        """Return what *patterns* hold in the names, units and axes of the application at *mount*."""
        return self._run(self.aio.view_for_app(mount, patterns, **options))

    def view_for_model(
        self, budget_tokens: int, patterns: Sequence[str] = (), **options: Any
    ) -> pb.RecontextualizeResponse:
        """Return what *patterns* hold as a text of at most *budget_tokens*."""
        return self._run(self.aio.view_for_model(budget_tokens, patterns, **options))
