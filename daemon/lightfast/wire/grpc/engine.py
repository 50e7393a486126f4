"""EngineService: programs, planned and run, put together from its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from google.protobuf.descriptor import ServiceDescriptor

from lightfast.api.v1 import engine_pb2 as pb
from lightfast.security.tokens import Scope
from lightfast.wire.grpc.planning import PlanningMethods
from lightfast.wire.grpc.runs import RunMethods
from lightfast.wire.grpc.services import Services


class EngineService(PlanningMethods, RunMethods):
    """The methods of `lightfast.api.v1.EngineService`."""

    DESCRIPTOR: ClassVar[ServiceDescriptor] = pb.DESCRIPTOR.services_by_name["EngineService"]
    SCOPES: ClassVar[Mapping[str, Scope | None]] = {**PlanningMethods.SCOPES, **RunMethods.SCOPES}
    ONCE: ClassVar[frozenset[str]] = PlanningMethods.ONCE | RunMethods.ONCE
    LOCKED: ClassVar[Mapping[str, str]] = {**PlanningMethods.LOCKED, **RunMethods.LOCKED}

    def __init__(self, services: Services) -> None:
        for part in (PlanningMethods, RunMethods):
            part.__init__(self, services)
