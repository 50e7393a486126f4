"""The bare peer: grpc.aio on uvloop, the same request and response, the same token check, nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import sys
from typing import Any

import grpc
from grpc import aio

from lightfast.api.v1 import context_pb2


async def serve(token: str) -> None:
    known = {hashlib.sha256(token.encode()).digest(): "bench"}
    answer = context_pb2.ApplyResponse(store_id="s" * 20)

    async def apply(request: context_pb2.ApplyRequest, context: Any) -> context_pb2.ApplyResponse:
        for key, value in context.invocation_metadata():
            if key == "authorization":
                digest = hashlib.sha256(value[7:].encode()).digest()
                found = known.get(digest)
                if found and hmac.compare_digest(digest, digest):
                    # The answer carries an entry of the same size as the daemon's.
                    answer.Clear()
                    entry = answer.entries.add()
                    entry.path = request.mutations[0].set.path
                    entry.value.CopyFrom(request.mutations[0].set.value)
                    entry.origin = "client:owner#00000000"
                    entry.version = 1
                    return answer
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
        raise AssertionError

    server = aio.server(options=(("grpc.so_reuseport", 0),))
    handler = grpc.unary_unary_rpc_method_handler(
        apply,
        request_deserializer=context_pb2.ApplyRequest.FromString,
        response_serializer=context_pb2.ApplyResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("lightfast.api.v1.ContextService", {"Apply": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print("ready", port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1]))
