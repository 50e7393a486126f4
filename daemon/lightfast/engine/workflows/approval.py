"""Steps that ask a person before the run goes on, whatever their effects are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lightfast.core.errors import Denied, Exhausted
from lightfast.sdk import Bench, Operation, OperationCall, Outcome

APPROVAL = "ask.approval"
"""The name of the operation."""
MOST_WAITING = 1_000
"""The most steps that may wait for a person, in all runs together."""
_NOTE = "approved by "


@dataclass(slots=True)
class _Ask:
    reason: str
    answer: asyncio.Future[tuple[bool, str, str]]


class Asks:
    """Who waits for whom: `lightfast.engine.ports.StepAsks`. Belongs to the loop."""

    def __init__(self) -> None:
        self._asks: dict[tuple[str, str], _Ask] = {}

    def waiting(self, run_id: str) -> Sequence[str]:
        """Return why the steps of a run wait; none: no step waits."""
        return [ask.reason for (run, _), ask in self._asks.items() if run == run_id]

    def answer(self, run_id: str, approver: str, *, refuse: bool = False, comment: str = "") -> bool:
        """Let the steps of a run that wait go on, or fail with APPROVAL_REFUSED; `False`: none waits."""
        found = [ask for (run, _), ask in self._asks.items() if run == run_id and not ask.answer.done()]
        for ask in found:
            ask.answer.set_result((not refuse, approver, comment))
        return bool(found)

    async def ask(self, run_id: str, step_id: str, reason: str) -> str:
        """Wait for the answer; return who approved. Raises `Denied` (APPROVAL_REFUSED)."""
        if len(self._asks) >= MOST_WAITING:
            raise Exhausted(f"{MOST_WAITING} steps wait for a person: answer some of them", reason="TOO_MANY_ASKS")
        ask = _Ask(reason, asyncio.get_running_loop().create_future())
        self._asks[run_id, step_id] = ask
        try:
            approved, approver, comment = await ask.answer
        finally:
            del self._asks[run_id, step_id]
        if not approved:
            said = f": {comment}" if comment else ""
            raise Denied(f"{approver} refused {reason!r:.200}{said}", reason="APPROVAL_REFUSED")
        return approver


class AskApproval(Operation):
    """Waits until a person says that the run may go on.

    What was approved is kept, so it counts as acting: a restarted daemon does not ask again. A refusal fails the step.
    """

    name: ClassVar[str] = APPROVAL
    summary: ClassVar[str] = "Ask a person before the run goes on."
    arguments: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "properties": {
            "reason": {"type": "string", "minLength": 1, "maxLength": 2000, "description": "What is asked."}
        },
        "required": ["reason"],
        "additionalProperties": False,
    }
    result: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "properties": {"approver": {"type": "string", "description": "Who said yes."}},
    }
    idempotent: ClassVar[bool] = True
    timeout: ClassVar[float] = 24 * 3600.0

    def __init__(self, asks: Asks) -> None:
        self._asks = asks

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Wait for the answer."""
        if call.note.startswith(_NOTE):
            return Outcome({"approver": call.note[len(_NOTE) :]})
        reason = str(call.arguments["reason"])
        bench.progress(-1, f"waits for a person: {reason}"[:200])
        approver = await self._asks.ask(call.run_id, call.step_id, reason)
        await bench.keep(_NOTE + approver)
        return Outcome({"approver": approver})
