"""Applications come back some time after the daemon does: a run that is taken up waits for those it needs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog

from lightfast.engine.programs.program import Program
from lightfast.engine.runs.limits import APPS_GRACE_S
from lightfast.engine.runs.ports import There
from lightfast.engine.runs.records import Step, StepState

log = structlog.get_logger("lightfast.runs")

_LOOK_S = 0.1
_OVER = (StepState.DONE, StepState.SKIPPED, StepState.FAILED)


def needed(program: Program, steps: Mapping[str, Step]) -> set[str]:
    """Return the mounts that what is left of *program* commands."""
    over = {step_id for step_id, step in steps.items() if step.state in _OVER}
    return {
        app
        for each in program.walk()
        if each.op == "app.command" and each.id not in over
        if isinstance(app := each.arguments.get("app"), str) and "${" not in app
    }


async def apps_back(
    program: Program,
    steps: Mapping[str, Step],
    there: There,
    wanted_still: Callable[[], bool],
    grace: float = APPS_GRACE_S,
) -> None:
    """Wait until all that is needed is there; after *grace* seconds the steps say themselves what is missing."""
    wanted = needed(program, steps)
    try:
        async with asyncio.timeout(grace):
            while wanted_still() and not all(map(there, wanted)):  # noqa: ASYNC110  # an application comes when it comes
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        log.warning("applications did not come back", missing=sorted(mount for mount in wanted if not there(mount)))
