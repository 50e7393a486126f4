"""workflow_execute: starts a workflow as a run, and waits for its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from lightfast.core.errors import AlreadyExists, FailedPrecondition, LightfastError
from lightfast.engine.jobs.ports import OwnBench
from lightfast.engine.ports import RunRoom, WorkflowRoom
from lightfast.engine.runs.records import ENDED, Run, RunState
from lightfast.sdk import JobBench, JobType
from lightfast_link.value import Value


class RunEnded(FailedPrecondition):
    """The run did not end well: trying the job again would start nothing new."""

    reason = "RUN_NOT_SUCCEEDED"
    retryable = False


class WorkflowExecute(JobType):
    """The run's identity is kept before it is waited for: the next attempt waits for the same run.

    Between the start of the run and the keeping of its identity the request id makes sure that there is only one.
    """

    name: ClassVar[str] = "workflow_execute"
    summary: ClassVar[str] = "Starts a workflow, and waits until its run has ended."
    payload: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "properties": {
            "workflow": {"type": "string", "minLength": 1, "maxLength": 200},
            "parameters": {"type": "object"},
            "project": {"type": "string", "maxLength": 200},
        },
        "required": ["workflow"],
        "additionalProperties": False,
    }
    max_attempts: ClassVar[int] = 100
    """It only waits: a daemon that is restarted often must not end it."""
    timeout: ClassVar[float] = 7 * 86_400.0

    def __init__(self, workflows: WorkflowRoom, runs: RunRoom) -> None:
        self._workflows = workflows
        self._runs = runs

    async def run(self, payload: Mapping[str, Value], bench: JobBench) -> Value | None:
        """Start the run, or find it again, and return how it ended; a run that did not succeed is an error."""
        run_id = bench.note.removeprefix("run:")
        if not run_id:
            run_id = await self._start(payload, cast("OwnBench", bench))
            await bench.keep(f"run:{run_id}")
        run = await self._follow(run_id, bench)
        if run.state is not RunState.SUCCEEDED:
            raise RunEnded(f"the run {run_id} is {run.state.told}: {run.reason or 'see lightfast runs show'}")
        found: dict[str, Value] = {"run_id": run_id, "state": run.state.value, "cost_usd": run.cost_usd}
        if run.result is not None:
            found["result"] = run.result
        return found

    async def _start(self, payload: Mapping[str, Value], bench: OwnBench) -> str:
        parameters = payload.get("parameters", {})
        try:
            run = await self._workflows.start(
                str(payload["workflow"]),
                parameters if isinstance(parameters, dict) else {},
                bench.asker,
                project=str(payload.get("project", "")),
                request_id=f"job:{bench.job_id}",
                details={"job_id": bench.job_id},
            )
        except AlreadyExists as error:
            # The workflow has changed since an earlier attempt started the run, and died before it could keep it.
            run_id = error.metadata.get("answer", "")
            if error.reason != "REQUEST_ID_REUSED" or not run_id:
                raise
            return run_id
        return run.run_id

    async def _follow(self, run_id: str, bench: JobBench) -> Run:
        run = await self._runs.get(run_id)
        while run.state not in ENDED:
            _tell(run, bench)
            try:
                async for event in self._runs.watch(run_id):
                    if isinstance(event.kind, Run):
                        _tell(event.kind, bench)
            except LightfastError as error:
                bench.log(f"the run could not be followed, and is looked at again: {error.reason}")
                raise
            run = await self._runs.get(run_id)
        return run


def _tell(run: Run, bench: JobBench) -> None:
    known = max(run.steps_known, run.steps_done)
    fraction = run.steps_done / known if known else -1.0
    waits = run.state in (RunState.AWAITING_APPROVAL, RunState.NEEDS_YOU, RunState.PAUSED)
    bench.progress(fraction, f"{run.run_id} is {run.state.told}" + (f": {run.reason}" if waits and run.reason else ""))
