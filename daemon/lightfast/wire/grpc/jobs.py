"""JobService: jobs, schedules, workflows and triggers, put together from its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from google.protobuf.descriptor import ServiceDescriptor

from lightfast.api.v1 import jobs_pb2 as pb
from lightfast.security.tokens import Scope
from lightfast.wire.grpc.flows import FlowMethods
from lightfast.wire.grpc.queueing import QueueMethods
from lightfast.wire.grpc.services import Services


class JobService(QueueMethods, FlowMethods):
    """The methods of `lightfast.api.v1.JobService`."""

    DESCRIPTOR: ClassVar[ServiceDescriptor] = pb.DESCRIPTOR.services_by_name["JobService"]
    SCOPES: ClassVar[Mapping[str, Scope | None]] = {**QueueMethods.SCOPES, **FlowMethods.SCOPES}
    ONCE: ClassVar[frozenset[str]] = QueueMethods.ONCE | FlowMethods.ONCE
    LOCKED: ClassVar[Mapping[str, str]] = {**QueueMethods.LOCKED, **FlowMethods.LOCKED}

    def __init__(self, services: Services) -> None:
        for part in (QueueMethods, FlowMethods):
            part.__init__(self, services)
