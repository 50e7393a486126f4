"""The room of prompts: templates, counting and windows behind one object. Implements `ports.Prompts` and `Windows`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import structlog

from lightfast.core.clock import Clock
from lightfast.core.errors import InvalidArgument, LightfastError
from lightfast.core.tasks import TaskGroup
from lightfast.core.tokens import Estimate, TokenCounter
from lightfast.gateway.calls import GenerateCall, ModelRecord
from lightfast.gateway.catalog import Catalog
from lightfast.gateway.operations import Rows
from lightfast.gateway.ports import Attempt, Fitted, Sessions
from lightfast.gateway.prompts.compaction import compact_counted
from lightfast.gateway.prompts.counting import Counters, key_of
from lightfast.gateway.prompts.renderer import Parts, Renderer
from lightfast.gateway.prompts.templates import Template, Templates
from lightfast.gateway.prompts.windows import Packed, count, fit
from lightfast.gateway.within import within
from lightfast.sdk import GenerationRequest, Session
from lightfast_link.value import Value

if TYPE_CHECKING:
    from lightfast.context.views.views import Views

log = structlog.get_logger("lightfast.gateway")

COUNT_S = 10.0
"""How long a service may take to count."""
MOST_PURPOSE = 2000
"""So much of a prompt says what the context is for."""
PROMPT = "prompt"
"""The argument of a template that the prompt of a call is."""


@dataclass(frozen=True, slots=True)
class Counted:
    """How many tokens a request takes, and who counted: the name of a provider, or `estimate`."""

    tokens: int
    counter: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A template as it was rendered; *tokens* of both texts, and how many compaction saved."""

    text: str
    system: str
    tokens: int
    tokens_saved: int


class PromptRoom:
    """Templates, counting of tokens, and windows; *views* returns what builds views of the context, when asked."""

    def __init__(
        self,
        db: Rows,
        clock: Clock,
        tasks: TaskGroup,
        catalog: Catalog,
        *,
        views: Callable[[], Views] | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        self._tasks = tasks
        self.renderer = Renderer(tasks)
        self.templates = Templates(db, clock, self.renderer)
        self.counters = Counters()
        self.views = views
        self.sessions = sessions
        self._catalog = catalog

    async def close(self) -> None:
        """End the process of templates."""
        await self.renderer.close()

    # ---- templates
    async def prepare(self, call: GenerateCall) -> GenerateCall:
        """Return *call* with its template rendered into `prompt` and `system`; one without a template as it is.

        The system text of the template stands before that of the call. The model that the template was written for is
        taken where the call names none. Raises `NotFound`, `InvalidArgument` (TEMPLATE_…: an argument that is missing
        or unknown, or what is wrong in which line).
        """
        if not call.template:
            return call
        template = await self.templates.get(call.template)
        parts = await self._rendered(template, call.arguments, call.prompt)
        system = "\n\n".join(text for text in (parts.system, call.system) if text)
        model = call.model or template.model
        return replace(call, template="", arguments={}, prompt=parts.text, system=system, model=model)

    async def show(self, template: Template, arguments: Mapping[str, Value], *, compact: bool) -> Shown:
        """Render a template to be looked at; *compact* leaves out what does not change its meaning."""
        parts = await self._rendered(template, arguments, str(arguments.get(PROMPT, "")))
        counter = self.counter(template.model)
        text, system, saved = parts.text, parts.system, 0
        if compact:
            short = [compact_counted(each, counter) for each in (text, system)]
            text, system = (each.text for each in short)
            saved = sum(each.tokens_saved for each in short)
        return Shown(text, system, counter.count(text) + counter.count(system), saved)

    async def _rendered(self, template: Template, arguments: Mapping[str, Any], prompt: str) -> Parts:
        given = dict(arguments)
        if prompt:
            given[PROMPT] = prompt
        missing = [name for name in template.arguments if name not in given]
        if missing:
            optional = await self.renderer.optional(template.text, template.system)
            missing = [name for name in missing if name not in optional]
        if PROMPT in missing:
            given[PROMPT] = ""
            missing.remove(PROMPT)
        _check_arguments(template, given, missing)
        return await self.renderer.render(template.text, template.system, given)

    # ---- tokens
    def counter(self, model: str) -> TokenCounter:
        """Return who counts for `provider/model` offline; it leans high."""
        return self.counters.counter(model)

    def attempted(self, attempt: Attempt) -> None:
        """Take in an attempt that is over: its service has counted."""
        self.counters.learn(attempt)

    async def count(self, call: GenerateCall, record: ModelRecord | None) -> Counted:
        """Count a call: by the model's service where it offers that and answers, else by the estimate.

        Without a model it is the plain estimate.
        """
        if record is None:
            return Counted(count(call, Estimate()), Estimate.name)
        exact = await self._exact(call, record)
        if exact is not None:
            return Counted(exact, record.provider)
        counter = self.counter(record.name)
        return Counted(count(call, counter), counter.name)

    async def _exact(self, call: GenerateCall, record: ModelRecord) -> int | None:
        """Return the count of the model's service; `None` where it offers none or fails."""
        if "count_tokens" not in record.model.capabilities or not self._catalog.has(record.provider):
            return None
        request = GenerationRequest(
            record.model.name,
            call.output or record.model.outputs[0],
            call.prompt,
            {},
            0,
            system=call.system,
            messages=call.messages,
            schema=_parsed(call.schema),
            max_output_tokens=call.max_output_tokens,
            timeout=COUNT_S,
        )
        key = key_of(record.provider, request)
        known = self.counters.known(key)
        if known is not None:
            return known
        try:
            session = await self.sessions.any_session(record.provider) if self.sessions is not None else Session()
        except LightfastError as error:
            log.info("tokens are estimated", model=record.name, reason=error.message)
            return None
        provider = self._catalog.provider(record.provider)
        request = replace(request, session=session)
        outcome = await within(self._tasks, COUNT_S, f"count for {record.name}", provider.count_tokens, request)
        if outcome.error is not None or not isinstance(outcome.value, int) or outcome.value < 0:
            log.info("tokens are estimated", model=record.name, reason=type(outcome.error).__name__)
            return None
        self.counters.remember(key, outcome.value)
        return outcome.value

    # ---- windows
    async def fit(self, call: GenerateCall, record: ModelRecord) -> Fitted:
        """Return *call* as it fits into the window of a model; see `windows`.

        Raises `FailedPrecondition` (CONTEXT_TOO_LONG, saying by how much), `InvalidArgument` for a wrong pattern.
        """
        counter = self.counter(record.name)
        return await fit(call, record, counter, self._pack if self.views is not None else None, self._exact)

    async def _pack(self, patterns: Sequence[str], budget: int, model: str, purpose: str) -> Packed:
        from lightfast.context.views.records import Wanted
        from lightfast.context.views.views import MAX_BUDGET

        assert self.views is not None  # noqa: S101 — asked before
        wanted = Wanted(
            tuple(patterns), model=model, budget=min(budget, MAX_BUDGET), purpose=purpose[:MOST_PURPOSE].strip()
        )
        view = await self.views().build(wanted)
        return Packed(view.text, view.omitted)


def _check_arguments(template: Template, given: Mapping[str, Any], missing: Sequence[str]) -> None:
    unknown = [name for name in given if name not in template.arguments]
    if unknown:
        near = difflib.get_close_matches(unknown[0], missing or template.arguments, n=1)
        takes = ", ".join(template.arguments) or "none"
        hint = f"did you mean {near[0]!r}?" if near else f"it takes {takes}"
        raise InvalidArgument(
            f"the template {template.name!r} has no argument {unknown[0]!r:.80}: {hint}",
            reason="TEMPLATE_ARGUMENT",
            field=f"arguments.{unknown[0]}",
        )
    if missing:
        raise InvalidArgument(
            f"the template {template.name!r} needs the arguments {', '.join(missing)}",
            reason="TEMPLATE_ARGUMENT",
            field=f"arguments.{missing[0]}",
        )


def _parsed(schema: str) -> Mapping[str, Any] | None:
    if not schema:
        return None
    try:
        found = json.loads(schema)
    except (ValueError, RecursionError):
        return None  # said where the request is checked
    return found if isinstance(found, dict) else None
