"""MemoryService: the memory and the archive, put together from its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from google.protobuf.descriptor import ServiceDescriptor

from lightfast.api.v1 import memory_pb2 as pb
from lightfast.security.tokens import Scope
from lightfast.wire.grpc.archive import ArchiveMethods
from lightfast.wire.grpc.frames import FrameMethods
from lightfast.wire.grpc.memory import MemoryMethods
from lightfast.wire.grpc.services import Services
from lightfast.wire.grpc.vault import VaultMethods


class MemoryService(MemoryMethods, FrameMethods, ArchiveMethods, VaultMethods):
    """The methods of `lightfast.api.v1.MemoryService`."""

    DESCRIPTOR: ClassVar[ServiceDescriptor] = pb.DESCRIPTOR.services_by_name["MemoryService"]
    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        **MemoryMethods.SCOPES,
        **FrameMethods.SCOPES,
        **ArchiveMethods.SCOPES,
        **VaultMethods.SCOPES,
    }
    ONCE: ClassVar[frozenset[str]] = MemoryMethods.ONCE | FrameMethods.ONCE | ArchiveMethods.ONCE | VaultMethods.ONCE
    LOCKED: ClassVar[Mapping[str, str]] = {
        **MemoryMethods.LOCKED,
        **FrameMethods.LOCKED,
        **ArchiveMethods.LOCKED,
        **VaultMethods.LOCKED,
    }

    def __init__(self, services: Services) -> None:
        for part in (MemoryMethods, FrameMethods, ArchiveMethods, VaultMethods):
            part.__init__(self, services)
