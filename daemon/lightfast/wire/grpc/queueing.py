"""Jobs and schedules: methods of JobService."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, ClassVar

from lightfast.api.v1 import jobs_pb2 as pb
from lightfast.engine.meta import MetaComputer
from lightfast.security.tokens import Scope
from lightfast.wire.grpc.job_messages import get_new, get_schedule, get_states, put_job, put_schedule, put_type
from lightfast.wire.grpc.run_messages import asker_of
from lightfast.wire.grpc.services import OPERATE, WATCH, Caller, Services


class QueueMethods:
    """Jobs and schedules: methods of JobService."""

    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "SubmitJob": OPERATE,
        "GetJob": WATCH,
        "ListJobs": WATCH,
        "CancelJob": OPERATE,
        "RetryJob": OPERATE,
        "ResumeJobs": OPERATE,
        "WatchJobs": WATCH,
        "ListJobTypes": WATCH,
        "SetSchedule": OPERATE,
        "ListSchedules": WATCH,
        "DeleteSchedule": OPERATE,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset()
    LOCKED: ClassVar[Mapping[str, str]] = {}

    def __init__(self, services: Services) -> None:
        self._services = services

    @property
    def _meta(self) -> MetaComputer:
        return self._services.computer("this daemon runs without jobs", "JOBS_MISSING")

    async def SubmitJob(self, request: pb.SubmitJobRequest, caller: Caller) -> pb.SubmitJobResponse:
        """Queue a job; its request id is kept in its row, so that both are on the disk or neither."""
        await self._meta.settled()
        job = await self._meta.jobs.submit(get_new(request), asker_of(caller), request_id=request.request_id)
        return pb.SubmitJobResponse(job=put_job(job))

    async def GetJob(self, request: pb.GetJobRequest, caller: Caller) -> pb.GetJobResponse:
        """Get a job with its log."""
        return pb.GetJobResponse(job=put_job(await self._meta.jobs.get(request.job_id)))

    async def ListJobs(self, request: pb.ListJobsRequest, caller: Caller) -> pb.ListJobsResponse:
        """List jobs, the newest first."""
        found, token = await self._meta.jobs.page(
            states=get_states(request.states),
            type_name=request.type,
            size=request.page_size,
            token=request.page_token,
        )
        return pb.ListJobsResponse(
            jobs=[put_job(job) for job in found], next_page_token=token, stopped=self._meta.jobs.stopped
        )

    async def CancelJob(self, request: pb.CancelJobRequest, caller: Caller) -> pb.CancelJobResponse:
        """Cancel a job."""
        return pb.CancelJobResponse(job=put_job(await self._meta.jobs.cancel(request.job_id)))

    async def RetryJob(self, request: pb.RetryJobRequest, caller: Caller) -> pb.RetryJobResponse:
        """Queue a dead or cancelled job again."""
        return pb.RetryJobResponse(job=put_job(await self._meta.jobs.retry(request.job_id)))

    async def ResumeJobs(self, request: pb.ResumeJobsRequest, caller: Caller) -> pb.ResumeJobsResponse:
        """Let go on what waits in a store that was restored from a backup."""
        meta = self._meta
        waited = await meta.restored.resume()
        return pb.ResumeJobsResponse(resumed=waited, waiting=meta.jobs.waiting, schedules=len(meta.schedules.all()))

    async def WatchJobs(
        self, request: pb.WatchJobsRequest, caller: Caller
    ) -> AsyncGenerator[pb.WatchJobsResponse, None]:
        """Send jobs as they change; those that are named first as they are."""
        found: Any = self._meta.jobs.watch(tuple(request.job_ids), until_done=request.until_done)
        async with aclosing(found) as jobs:
            async for job in jobs:
                yield pb.WatchJobsResponse(job=put_job(job))

    async def ListJobTypes(self, request: pb.ListJobTypesRequest, caller: Caller) -> pb.ListJobTypesResponse:
        """List the types of jobs."""
        await self._meta.settled()
        found = self._meta.jobs.list_types()
        return pb.ListJobTypesResponse(types=[put_type(job_type, plugin) for job_type, plugin in found])

    async def SetSchedule(self, request: pb.SetScheduleRequest, caller: Caller) -> pb.SetScheduleResponse:
        """Create or replace a schedule."""
        await self._meta.settled()
        made = await self._meta.schedules.set(get_schedule(request.schedule), asker_of(caller))
        return pb.SetScheduleResponse(schedule=put_schedule(made))

    async def ListSchedules(self, request: pb.ListSchedulesRequest, caller: Caller) -> pb.ListSchedulesResponse:
        """List the schedules."""
        return pb.ListSchedulesResponse(schedules=[put_schedule(each) for each in self._meta.schedules.all()])

    async def DeleteSchedule(self, request: pb.DeleteScheduleRequest, caller: Caller) -> pb.DeleteScheduleResponse:
        """Delete a schedule."""
        await self._meta.schedules.delete(request.name)
        return pb.DeleteScheduleResponse()
