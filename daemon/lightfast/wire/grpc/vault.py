"""Private frames: methods of MemoryService."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, ClassVar

from lightfast.api.v1 import memory_pb2 as pb
from lightfast.core.errors import Unavailable
from lightfast.security.tokens import Scope
from lightfast.wire.grpc import convert
from lightfast.wire.grpc.services import ADMIN, OPERATE, Caller, Services

if TYPE_CHECKING:
    from lightfast.security.sealing.vault import Vault


class VaultMethods:
    """Private frames: methods of MemoryService. None takes a request id: its answer would be kept with a hash."""

    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "Unlock": ADMIN,
        "Lock": OPERATE,
        "RotateSecret": ADMIN,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset()
    LOCKED: ClassVar[Mapping[str, str]] = {}

    def __init__(self, services: Services) -> None:
        self._services = services

    async def Unlock(self, request: pb.UnlockRequest, caller: Caller) -> pb.UnlockResponse:
        """Open the private frames."""
        vault = self._vault()
        ttl = convert.get_duration(request.ttl, "ttl") if request.HasField("ttl") else None
        await vault.unlock(request.secret, ttl=ttl, create=request.create)
        response = pb.UnlockResponse(private_frames=0 if vault.count is None else await vault.count())
        convert.put_time(response.expire_time, vault.expire_time or 0)
        return response

    async def Lock(self, request: pb.LockRequest, caller: Caller) -> pb.LockResponse:
        """Close them."""
        await self._vault().lock()
        return pb.LockResponse()

    async def RotateSecret(
        self, request: pb.RotateSecretRequest, caller: Caller
    ) -> AsyncGenerator[pb.RotateSecretResponse, None]:
        """Give them another secret."""
        async with aclosing(self._vault().rotate(request.secret, request.new_secret)) as steps:
            async for step in steps:
                yield pb.RotateSecretResponse(done_keys=step.done, total_keys=step.total, done=step.done == step.total)

    def _vault(self) -> Vault:
        if self._services.vault is None:
            raise Unavailable("this daemon has no vault", reason="VAULT_ABSENT")
        return self._services.vault
