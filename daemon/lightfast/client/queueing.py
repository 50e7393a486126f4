"""Jobs and schedules, for both clients."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api.v1 import jobs_pb2 as pb
from lightfast.api.v1 import jobs_pb2_grpc
from lightfast.api.values import set_time, to_message
from lightfast_link.value import Value

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")


class QueueCalls:
    """Methods of `AsyncClient`."""

    channel: Any
    metadata: Any

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    def messages(self, start: Any) -> AsyncGenerator[Any, None]:
        """Make one streaming call."""
        raise NotImplementedError

    def _queue(self) -> jobs_pb2_grpc.JobServiceStub:
        return jobs_pb2_grpc.JobServiceStub(self.channel)

    async def submit_job(
        self,
        job_type: str,
        payload: Mapping[str, Value] | None = None,
        *,
        priority: int = 0,
        run_time_ns: int = 0,
        max_attempts: int = 0,
        after: Sequence[str] = (),
        timeout_s: float = 0.0,
        request_id: str | None = None,
    ) -> pb.Job:
        """Queue a job, durable when this returns; with the same *request_id* it is queued once."""
        request = pb.SubmitJobRequest(
            type=job_type,
            priority=priority,
            max_attempts=max_attempts,
            after=after,
            request_id=uuid.uuid4().hex if request_id is None else request_id,
        )
        for name, value in (payload or {}).items():
            to_message(value, request.payload[name])
        if run_time_ns:
            set_time(request.run_time, run_time_ns)
        if timeout_s:
            request.timeout.FromNanoseconds(round(timeout_s * 1e9))
        return (await self.call(self._queue().SubmitJob, request)).job  # type: ignore[no-any-return]

    async def job(self, job_id: str) -> pb.Job:
        """Return a job with its log; `NotFound` where there is none."""
        return (await self.call(self._queue().GetJob, pb.GetJobRequest(job_id=job_id))).job  # type: ignore[no-any-return]

    async def jobs(self, *, states: Sequence[str] = (), job_type: str = "", limit: int = 100) -> list[pb.Job]:
        """Return at most *limit* jobs, the newest first; *states* such as `DEAD`."""
        wanted = [pb.JobState.Value(f"JOB_STATE_{state}") for state in states]
        request = pb.ListJobsRequest(states=wanted, type=job_type, page_size=min(limit, 1000))
        found: list[pb.Job] = []
        while True:
            response = await self.call(self._queue().ListJobs, request)
            found += response.jobs
            if not response.next_page_token or len(found) >= limit:
                return found[:limit]
            request.page_token = response.next_page_token

    async def cancel_job(self, job_id: str) -> pb.Job:
        """Cancel a job; one that has ended stays as it is."""
        return (await self.call(self._queue().CancelJob, pb.CancelJobRequest(job_id=job_id))).job  # type: ignore[no-any-return]

    async def retry_job(self, job_id: str) -> pb.Job:
        """Queue a dead or cancelled job again."""
        return (await self.call(self._queue().RetryJob, pb.RetryJobRequest(job_id=job_id))).job  # type: ignore[no-any-return]

    async def resume_jobs(self) -> bool:
        """Let go on what waits in a store that was restored from a backup; say whether anything had waited for that."""
        return (await self.call(self._queue().ResumeJobs, pb.ResumeJobsRequest())).resumed  # type: ignore[no-any-return]

    async def watch_jobs(self, *job_ids: str, until_done: bool = False) -> AsyncIterator[pb.Job]:
        """Yield jobs as they change, those that are named first as they are; *until_done* ends with the last."""
        request = pb.WatchJobsRequest(job_ids=job_ids, until_done=until_done)
        async for message in self.messages(partial(self._queue().WatchJobs, request, metadata=self.metadata)):
            yield message.job

    async def wait_for_job(self, job_id: str) -> pb.Job:
        """Wait until a job has ended, and return it with its log."""
        async for _ in self.watch_jobs(job_id, until_done=True):
            pass
        return await self.job(job_id)

    async def job_types(self) -> list[pb.JobType]:
        """Return the types of jobs there are."""
        return list((await self.call(self._queue().ListJobTypes, pb.ListJobTypesRequest())).types)

    async def set_schedule(
        self,
        name: str,
        when: str,
        job_type: str,
        payload: Mapping[str, Value] | None = None,
        *,
        time_zone: str = "",
        priority: int = 0,
        missed: str = "",
        disabled: bool = False,
    ) -> pb.Schedule:
        """Queue a job again and again: *when* is a cron expression of five fields or `every 90s`."""
        schedule = pb.Schedule(
            name=name,
            when=when,
            type=job_type,
            time_zone=time_zone,
            priority=priority,
            missed=missed,
            disabled=disabled,
        )
        for key, value in (payload or {}).items():
            to_message(value, schedule.payload[key])
        request = pb.SetScheduleRequest(schedule=schedule)
        return (await self.call(self._queue().SetSchedule, request)).schedule  # type: ignore[no-any-return]

    async def schedules(self) -> list[pb.Schedule]:
        """Return the schedules."""
        return list((await self.call(self._queue().ListSchedules, pb.ListSchedulesRequest())).schedules)

    async def delete_schedule(self, name: str) -> None:
        """Delete a schedule; the jobs it has queued stay."""
        await self.call(self._queue().DeleteSchedule, pb.DeleteScheduleRequest(name=name))


class BlockingQueueCalls:
    """The same methods, blocking; see `QueueCalls`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def _iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        raise NotImplementedError

    def submit_job(
        self,
        job_type: str,
        payload: Mapping[str, Value] | None = None,
        **options: Any,
    ) -> pb.Job:
        """Queue a job, durable when this returns."""
        return self._run(self.aio.submit_job(job_type, payload, **options))

    def job(self, job_id: str) -> pb.Job:
        """Return a job with its log."""
        return self._run(self.aio.job(job_id))

    def jobs(self, **which: Any) -> list[pb.Job]:
        """Return jobs, the newest first."""
        return self._run(self.aio.jobs(**which))

    def cancel_job(self, job_id: str) -> pb.Job:
        """Cancel a job."""
        return self._run(self.aio.cancel_job(job_id))

    def retry_job(self, job_id: str) -> pb.Job:
        """Queue a dead or cancelled job again."""
        return self._run(self.aio.retry_job(job_id))

    def resume_jobs(self) -> bool:
        """Let go on what waits in a store that was restored from a backup; say whether anything had waited for that."""
        return self._run(self.aio.resume_jobs())

    def watch_jobs(self, *job_ids: str, until_done: bool = False) -> Iterator[pb.Job]:
        """Yield jobs as they change."""
        return self._iterate(self.aio.watch_jobs(*job_ids, until_done=until_done))

    def wait_for_job(self, job_id: str) -> pb.Job:
        """Wait until a job has ended, and return it with its log."""
        return self._run(self.aio.wait_for_job(job_id))

    def job_types(self) -> list[pb.JobType]:
        """Return the types of jobs there are."""
        return self._run(self.aio.job_types())

    def set_schedule(self, name: str, when: str, job_type: str, **options: Any) -> pb.Schedule:
        """Queue a job again and again."""
        return self._run(self.aio.set_schedule(name, when, job_type, **options))

    def schedules(self) -> list[pb.Schedule]:
        """Return the schedules."""
        return self._run(self.aio.schedules())

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule."""
        self._run(self.aio.delete_schedule(name))
