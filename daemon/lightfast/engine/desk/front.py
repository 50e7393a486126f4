"""The front model: says something in words after the acknowledgement, and proposes a command where code was not sure.

It is given the context of `lightfast.engine.desk.context` and nothing else, makes no tool call, and starts nothing:
what it proposes is shown to the user, who says it or does not. A proposal counts only where it is in order by the
grammar, is at least `SURE_PROPOSAL` sure, names only workflows that there are, and shares a word with what was said; so
a model that is wrong, slow or away leaves everything as it is without one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from lightfast.core.errors import LightfastError
from lightfast.core.tokens import Estimate, TokenCounter
from lightfast.engine.desk.coded import (
    Command,
    ContextLoad,
    MemoryStore,
    TaskCreate,
    TaskSplit,
    WorkflowStart,
    parse_command,
)
from lightfast.engine.desk.context import build
from lightfast.engine.desk.grammar import CodedFault, write_map
from lightfast.engine.desk.judge import words_of
from lightfast.gateway.calls import GenerateCall, StepFallback
from lightfast.sdk import TextDelta

if TYPE_CHECKING:
    from lightfast.gateway.router import Gateway

log = structlog.get_logger("lightfast.engine")

MOST_AT_ONCE = 8
"""So many answers in words are made at a time; where more are wanted, the others do without."""
PATIENCE_S = 20.0
MOST_OUTPUT = 160
SURE_PROPOSAL = 0.6
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "command": {"type": "string", "description": "One coded line, or empty where nothing is asked for."},
            "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        },
        "required": ["command", "confidence"],
        "additionalProperties": False,
    }
)
_PROPOSING = """
Now answer with one coded line for the message, and how sure you are. tc:TITLE creates a task, ts:auto|0.3|WHAT splits
something large, wf:NAME starts a workflow, cl:WHAT looks something up, ms:KEY|VALUE remembers. Workflows: """


class Front:
    """Asks the model that *model* returns the name of; an empty name: there is none."""

    def __init__(
        self, gateway: Gateway | None, model: Callable[[], str] = str, counter: TokenCounter | None = None
    ) -> None:
        self._gateway, self._model = gateway, model
        self._counter = counter or Estimate()
        self._at_work = 0
        self.answered = self.failed = self.left_out = 0

    @property
    def there(self) -> bool:
        """Say whether a model is configured."""
        return self._gateway is not None and bool(self._model())

    async def words(
        self, message: str, commands: Iterable[str], status: Iterable[str], *, origin: str, project: str = ""
    ) -> AsyncIterator[str]:
        """Yield what the model says, bit by bit; nothing where it fails or is busy. Never raises for its sake."""
        try:
            context = build(message, commands, status, self._counter)
        except CodedFault:
            return
        call = self._call(context.system, context.message, project)
        async for delta in self._ask(call, origin):
            yield delta

    async def propose(
        self,
        message: str,
        commands: Iterable[str],
        status: Iterable[str],
        workflows: Sequence[str],
        *,
        origin: str,
        project: str = "",
    ) -> Command | None:
        """Return a command for words that code was not sure of; `None` where the model has none that counts."""
        try:
            context = build(message, commands, status, self._counter)
        except CodedFault:
            return None
        names = ", ".join(sorted(workflows)[:10]) or "none"
        system = f"{context.system}{_PROPOSING}{names[:200]}"
        text = "".join([delta async for delta in self._ask(self._call(system, message, project, SCHEMA), origin)])
        return proposal(text, message, workflows)

    def _call(self, system: str, message: str, project: str, schema: str = "") -> GenerateCall:
        return GenerateCall(
            model=self._model(),
            output="text",
            prompt=message,
            system=system,
            schema=schema,
            max_output_tokens=MOST_OUTPUT,
            timeout=PATIENCE_S,
            keep_prompt=False,
            cache="off",
            project=project,
        )

    async def _ask(self, call: GenerateCall, origin: str) -> AsyncIterator[str]:
        if self._gateway is None or not call.model:
            return
        if self._at_work >= MOST_AT_ONCE:
            self.left_out += 1
            return
        self._at_work += 1
        try:
            async with asyncio.timeout(PATIENCE_S + 5.0):
                async for step in self._gateway.generate(call, origin):
                    if isinstance(step.kind, TextDelta):
                        yield step.kind.text
                    elif isinstance(step.kind, StepFallback) and step.kind.restarted:
                        yield "\n"
            self.answered += 1
        except (LightfastError, TimeoutError) as error:
            self.failed += 1
            log.info("the front model did not answer", model=call.model, error=str(error))
        finally:
            self._at_work -= 1


def proposal(text: str, message: str, workflows: Sequence[str]) -> Command | None:
    """Return the command of an answer of the model, where it counts; see the module."""
    try:
        said: Any = json.loads(text)
        line, sure = said["command"], said["confidence"]
        if not isinstance(line, str) or not isinstance(sure, (int, float)) or sure < SURE_PROPOSAL:
            return None
        command = parse_command(line)
    except (ValueError, TypeError, KeyError, RecursionError, CodedFault):
        return None
    if isinstance(command, WorkflowStart) and command.workflow not in workflows:
        return None
    about = _about(command)
    return command if words_of(about.replace("_", " ")) & words_of(message) else None


def _about(command: Command) -> str:
    match command:
        case TaskCreate():
            return command.title
        case TaskSplit():
            return f"{command.reason} {command.task}"
        case WorkflowStart():
            return f"{command.workflow} {write_map(command.parameters)}"
        case ContextLoad():
            return command.context
        case MemoryStore():
            value = command.value if isinstance(command.value, str) else write_map(command.value)
            return f"{command.key} {value}"
