"""Views for consumers: methods of ContextService."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from lightfast.api.v1 import views_pb2 as pb
from lightfast.api.values import to_message
from lightfast.core.errors import InvalidArgument, Unavailable
from lightfast.security.tokens import Scope
from lightfast.wire.grpc.services import WATCH, Caller, Services

if TYPE_CHECKING:
    from lightfast.context.views.records import Wanted

MAX_PATTERNS = 1000
MAX_SCHEMA = 1 << 20


class ViewMethods:
    """Views for consumers: methods of ContextService."""

    SCOPES: ClassVar[Mapping[str, Scope | None]] = {"Recontextualize": WATCH}
    ONCE: ClassVar[frozenset[str]] = frozenset()
    LOCKED: ClassVar[Mapping[str, str]] = {}

    def __init__(self, services: Services) -> None:
        self._services = services

    async def Recontextualize(self, request: pb.RecontextualizeRequest, caller: Caller) -> pb.RecontextualizeResponse:
        """Build a view."""
        views, store = self._services.views, self._services.store
        if views is None:
            raise Unavailable("this daemon builds no views", reason="NO_VIEWS")
        view = await views().build(_wanted(request))
        response = pb.RecontextualizeResponse(
            text=view.text,
            tokens=view.tokens,
            omitted=view.omitted,
            revision=view.revision,
            store_id=store.store_id,
            counter=view.counter,
        )
        for item in view.items:
            message = response.items.add(
                source=item.source,
                name=item.name,
                unit=item.unit,
                relevance=item.relevance,
                tokens=item.tokens,
                changes=item.changes,
            )
            to_message(item.value, message.value)
        for omission in view.omissions:
            response.omissions.add(source=omission.source, reason=omission.reason, superseded_by=omission.superseded_by)
        return response


def _wanted(request: pb.RecontextualizeRequest) -> Wanted:
    from lightfast.context.views.records import Wanted  # only where a view is asked for

    target = request.WhichOneof("target")
    if target is None:
        raise InvalidArgument("give an application, or a model with a budget of tokens", field="target")
    if len(request.patterns) + len(request.exclude) > MAX_PATTERNS:
        raise InvalidArgument(f"more than {MAX_PATTERNS} patterns", field="patterns")
    if len(request.schema) > MAX_SCHEMA:
        raise InvalidArgument(f"the schema is longer than {MAX_SCHEMA} characters", field="schema")
    mount = request.app.mount.strip("/")
    if target == "app" and not mount:
        raise InvalidArgument("name the application's mount, such as touchdesigner", field="app.mount")
    return Wanted(
        tuple(request.patterns),
        tuple(request.exclude),
        f"/{mount}" if mount else "",
        request.model.model,
        request.model.budget_tokens,
        request.purpose,
        request.include_memory,
        request.recent_changes,
        request.at_revision if request.HasField("at_revision") else None,
        request.schema,
    )
