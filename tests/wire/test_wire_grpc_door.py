"""Who may enter, how many, for how long, and where the server listens."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tests.support.grpc_daemon import refused, running
from tests.support.link import eventually

from lightfast.api.v1 import admin_pb2, context_pb2, types_pb2
from lightfast.api.v1.admin_pb2_grpc import AdminServiceStub
from lightfast.api.v1.context_pb2_grpc import ContextServiceStub
from lightfast.core.errors import FailedPrecondition, InvalidArgument, LightfastError
from lightfast.security.tokens import Scope
from lightfast.wire.grpc.context import ContextService
from lightfast.wire.grpc.errors import status_of
from lightfast.wire.grpc.server import GrpcServer

WRITE = context_pb2.ApplyRequest(
    mutations=[types_pb2.Mutation(set=types_pb2.Mutation.Set(path="/a", value=types_pb2.Value(int_value=1)))]
)
READ = context_pb2.GetRequest(pattern="//")


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


# ---- who


async def test_the_unix_socket_is_the_user(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        admin = await daemon.stub("admin")
        info = await admin.GetInfo(admin_pb2.GetInfoRequest(), metadata=(("lightfast-session", "s1"),))
        assert info.origin == "local#s1"
        assert set(info.scopes) == {"watch", "operate", "approve", "admin"}


async def test_tcp_asks_for_a_token(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = ContextServiceStub(await daemon.channel("grpc"))
        for metadata, reason in (
            ((), "TOKEN_REQUIRED"),
            ((("authorization", "Basic abc"),), "TOKEN_REQUIRED"),
            (bearer("wrong"), "TOKEN_UNKNOWN"),
        ):
            found = await refused(stub.Get(READ, metadata=metadata))
            assert (found.code, found.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)
            assert "lightfast token issue" in found.message
            found = await refused(stub.Watch(context_pb2.WatchRequest(patterns=["//"]), metadata=metadata).read())
            assert found.code is grpc.StatusCode.UNAUTHENTICATED


async def test_a_token_has_an_origin_and_a_session(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        token = await daemon.token("ann", "watch", "operate")
        stub = ContextServiceStub(await daemon.channel("grpc"))
        applied = await stub.Apply(WRITE, metadata=(*bearer(token), ("lightfast-session", "b7")))
        assert applied.entries[0].origin == "client:ann#b7"
        applied = await stub.Apply(WRITE, metadata=(("authorization", f"bearer {token}"),))
        assert applied.entries[0].origin == "client:ann"
        found = await refused(stub.Apply(WRITE, metadata=(*bearer(token), ("lightfast-session", "no#way"))))
        assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["lightfast-session"])


async def test_a_token_on_the_unix_socket_counts(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        token = await daemon.token("reader", "watch")
        stub = await daemon.stub()
        found = await refused(stub.Apply(WRITE, metadata=bearer(token)))
        assert found.code is grpc.StatusCode.PERMISSION_DENIED


async def test_missing_scopes(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        channel = await daemon.channel("grpc")
        stub, admin = ContextServiceStub(channel), AdminServiceStub(channel)
        reader = bearer(await daemon.token("reader", "watch"))
        writer = bearer(await daemon.token("writer", "watch", "operate"))
        await stub.Get(READ, metadata=reader)
        for call, scope in (
            (stub.Apply(WRITE, metadata=reader), "operate"),
            (stub.Compact(context_pb2.CompactRequest(), metadata=writer), "admin"),
            (admin.ListTokens(admin_pb2.ListTokensRequest(), metadata=writer), "admin"),
        ):
            found = await refused(call)
            assert (found.code, found.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
            assert found.metadata["scope"] == scope
        assert daemon.store.revision == 0


async def test_a_revoked_token_is_refused_at_once(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        token = await daemon.token("ann", "watch")
        stub = ContextServiceStub(await daemon.channel("grpc"))
        await stub.Get(READ, metadata=bearer(token))
        (record,) = daemon.services.tokens.list()
        await daemon.services.tokens.revoke(record.token_id)
        found = await refused(stub.Get(READ, metadata=bearer(token)))
        assert found.reason == "TOKEN_UNKNOWN"


async def test_a_revoked_token_loses_its_streams(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        token = await daemon.token("ann", "watch")
        stub = ContextServiceStub(await daemon.channel("grpc"))
        watch = stub.Watch(context_pb2.WatchRequest(patterns=["//"]), metadata=bearer(token))
        opening = await watch.read()
        assert isinstance(opening, context_pb2.WatchResponse)
        assert opening.synced
        (record,) = daemon.services.tokens.list()
        await daemon.services.tokens.revoke(record.token_id)
        found = await refused(watch.read())
        assert (found.code, found.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_UNKNOWN")
        await eventually(lambda: daemon.server.door.open_calls == (0, 0))


async def test_every_method_names_a_scope(tmp_path: Path) -> None:
    from lightfast.wire.grpc.admin import AdminService
    from lightfast.wire.grpc.apps import AppService
    from lightfast.wire.grpc.assets import AssetService
    from lightfast.wire.grpc.context import ContextService
    from lightfast.wire.grpc.generation import GenerationService
    from lightfast.wire.grpc.health import HealthService
    from lightfast.wire.grpc.links import LinkService
    from lightfast.wire.grpc.transport import TransportService

    services = (AdminService, AppService, AssetService, ContextService, GenerationService, LinkService)
    for service in (*services, TransportService):
        methods = {method.name for method in service.DESCRIPTOR.methods}
        assert set(service.SCOPES) == methods
        assert None not in service.SCOPES.values()
        assert methods >= service.ONCE
    assert [name for name, scope in HealthService.SCOPES.items() if scope is None] == ["Check"]


# ---- health and reflection


async def test_health_check_alone_is_open(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        channel = await daemon.channel("grpc")
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        serving = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
        assert await check(health_pb2.HealthCheckRequest()) == serving
        assert await check(health_pb2.HealthCheckRequest(service="lightfast.api.v1.ContextService")) == serving
        found = await refused(check(health_pb2.HealthCheckRequest(service="no.Such")))
        assert found.code is grpc.StatusCode.NOT_FOUND
        watch = channel.unary_stream(
            "/grpc.health.v1.Health/Watch", request_serializer=health_pb2.HealthCheckRequest.SerializeToString
        )
        found = await refused(watch(health_pb2.HealthCheckRequest()).read())
        assert found.code is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("version", ["v1alpha", "v1"])
async def test_reflection_lists_all_services(tmp_path: Path, version: str) -> None:
    async with running(tmp_path) as daemon:
        channel = await daemon.channel()
        call = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        names = {service.name for service in (await call.read()).list_services_response.service}
        assert names == {
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
            *(f"lightfast.api.v1.{name}Service" for name in ("Context", "Asset", "App", "Link", "Generation", "Admin")),
            "lightfast.api.v1.TransportService",
            "lightfast.api.v1.ShowService",
            "lightfast.api.v1.MemoryService",
            *(f"lightfast.api.v1.{name}Service" for name in ("Engine", "Event", "Desk", "Job", "Workspace")),
        }
        symbol = reflection_pb2.ServerReflectionRequest(file_containing_symbol="lightfast.api.v1.ContextService")
        await call.write(symbol)
        assert (await call.read()).file_descriptor_response.file_descriptor_proto
        call.cancel()


async def test_an_unknown_method(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        channel = await daemon.channel()
        with pytest.raises(aio.AioRpcError) as caught:
            await channel.unary_unary("/lightfast.api.v1.ContextService/Nothing")(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


# ---- bounds


async def test_streams_are_bounded_apart_from_calls(tmp_path: Path) -> None:
    async with running(tmp_path, max_streams=2) as daemon:
        stub = await daemon.stub()
        request = context_pb2.WatchRequest(patterns=["//"])
        calls = [stub.Watch(request) for _ in range(2)]
        for call in calls:
            await call.read()
        found = await refused(stub.Watch(request).read())
        assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
        assert found.retry_after == 1.0
        await stub.Get(READ)
        calls[0].cancel()
        async with asyncio.timeout(60):
            while daemon.server.door.open_calls[1] > 1:
                await asyncio.sleep(0.01)
        calls.append(stub.Watch(request))
        await calls[-1].read()
        for call in calls:
            call.cancel()


async def test_calls_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, max_unary=1) as daemon:
        stub = await daemon.stub()
        entered, leave = asyncio.Event(), asyncio.Event()
        original = daemon.store.read

        async def slow(*args: Any, **kwargs: Any) -> Any:
            entered.set()
            await leave.wait()
            return await original(*args, **kwargs)

        monkeypatch.setattr(daemon.store, "read", slow)
        first = asyncio.ensure_future(stub.Get(READ))
        await asyncio.wait_for(entered.wait(), 60)
        found = await refused(stub.Get(READ))
        assert found.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        leave.set()
        await first
        await stub.Get(READ)


async def test_a_call_that_does_not_obey_does_not_keep_the_daemon_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, free = asyncio.Event(), asyncio.Event()

    async def stubborn(*_: Any) -> AsyncIterator[Any]:
        entered.set()
        while not free.is_set():
            with suppress(asyncio.CancelledError):
                await free.wait()
        if not free.is_set():
            yield

    monkeypatch.setattr(ContextService, "Watch", stubborn)
    async with running(tmp_path) as daemon:
        try:
            call = (await daemon.stub()).Watch(context_pb2.WatchRequest(patterns=["//"]))
            reading = asyncio.ensure_future(refused(call.read()))
            async with asyncio.timeout(60):
                await entered.wait()
                await daemon.server.stop(0.1)
                await reading
        finally:
            free.set()


async def test_calls_without_a_deadline_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, unary_deadline=0.05) as daemon:
        stub = await daemon.stub()

        async def hang(*_args: Any, **_kwargs: Any) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(daemon.store, "read", hang)
        found = await refused(stub.Get(READ))
        assert (found.code, found.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        assert "Get took longer than 0.05 s" in found.message
        # One that brings a longer deadline is left to it.
        patient = asyncio.ensure_future(stub.Get(READ, timeout=20))
        _, pending = await asyncio.wait([patient], timeout=0.3)
        assert pending
        patient.cancel()
        async with asyncio.timeout(60):
            while daemon.server.door.open_calls[0]:
                await asyncio.sleep(0.01)


async def test_a_bug_is_internal_with_an_id_and_the_daemon_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()

        async def broken(*_args: Any, **_kwargs: Any) -> None:
            raise ZeroDivisionError("the secret is mellon")

        with monkeypatch.context() as patch:
            patch.setattr(daemon.store, "read", broken)
            found = await refused(stub.Get(READ))
        assert (found.code, found.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
        assert "mellon" not in found.message
        assert found.metadata["error_id"] in found.message
        assert found.metadata["error_id"] in capsys.readouterr().out
        await stub.Get(READ)


async def test_too_large_a_message_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        value = types_pb2.Value(bytes_value=b"x" * (5 << 20))
        request = context_pb2.ApplyRequest(
            mutations=[types_pb2.Mutation(set=types_pb2.Mutation.Set(path="/a", value=value))]
        )
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Apply(request)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await stub.Apply(WRITE)


# ---- where


async def test_the_socket_is_private(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        mode = Path(daemon.addresses["grpc_unix"]).stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
    assert not Path(daemon.addresses["grpc_unix"]).exists()


async def test_a_group_may_be_let_in(tmp_path: Path) -> None:
    import grp

    async with running(tmp_path) as daemon:
        second = GrpcServer(daemon.services)
        group = grp.getgrgid(os.getgid()).gr_name
        found = await second.start("", tmp_path / "shared.sock", group=group)
        assert set(found) == {"grpc_unix"}
        assert stat.S_IMODE(Path(found["grpc_unix"]).stat().st_mode) == 0o660
        await second.stop(0)


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "grpc.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    async with running(tmp_path) as daemon:
        await (await daemon.stub()).Get(READ)


async def test_a_long_path_falls_back_to_a_short_private_folder(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    async with running(folder) as daemon:
        path = Path(daemon.addresses["grpc_unix"])
        assert len(os.fsencode(path)) <= 100
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        await (await daemon.stub()).Get(READ)
    assert not path.parent.exists()


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:50151", "example.org:50151"])
async def test_off_loopback_needs_tls(tmp_path: Path, listen: str) -> None:
    async with running(tmp_path) as daemon:
        with pytest.raises(FailedPrecondition) as caught:
            await GrpcServer(daemon.services).start(listen, None)
        assert caught.value.reason == "TLS_REQUIRED"
        assert "127.0.0.1" in caught.value.message


async def test_tls_off_loopback(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt install openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    line = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} -out {certificate}"
    subprocess.run(
        [*line.split(), "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True, timeout=60
    )
    async with running(tmp_path) as daemon:
        token = await daemon.token("ann", "watch")
        server = GrpcServer(daemon.services)
        credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
        found = await server.start("0.0.0.0:0", None, credentials=credentials)
        port = found["grpc"].rpartition(":")[2]
        trusted = grpc.ssl_channel_credentials(certificate.read_bytes())
        async with aio.secure_channel(f"localhost:{port}", trusted) as channel:
            await ContextServiceStub(channel).Get(READ, metadata=bearer(token))
        async with aio.insecure_channel(f"localhost:{port}") as channel:
            assert (
                await refused(ContextServiceStub(channel).Get(READ, timeout=60))
            ).code is grpc.StatusCode.UNAVAILABLE
        await server.stop(0)


async def test_a_taken_port_is_named_with_its_holder(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        port = daemon.addresses["grpc"].rpartition(":")[2]
        with pytest.raises(FailedPrecondition) as caught:
            await GrpcServer(daemon.services).start(f"127.0.0.1:{port}", None)
        error = caught.value
        assert (error.reason, error.metadata["port"]) == ("PORT_TAKEN", port)
        assert port in error.message
        assert str(os.getpid()) in error.message
        assert "grpc.listen" in error.message


async def test_nonsense_addresses(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        for listen in ("here", "127.0.0.1:99999", ":1"):
            with pytest.raises(InvalidArgument) as caught:
                await GrpcServer(daemon.services).start(listen, None)
            assert caught.value.field == "grpc.listen"
        with pytest.raises(FailedPrecondition):
            await GrpcServer(daemon.services).start("", None)
        with pytest.raises(FailedPrecondition) as refused_:
            await GrpcServer(daemon.services).start("", tmp_path / "none" / "grpc.sock")
        assert refused_.value.reason == "SOCKET_REFUSED"


async def test_stopping_ends_the_watches_with_a_reason(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        watching = stub.Watch(context_pb2.WatchRequest(patterns=["//"]))
        await watching.read()
        await stub.Apply(WRITE)
        stopping = asyncio.ensure_future(daemon.server.stop(5))
        assert (await watching.read()).revision == 1
        found = await refused(watching.read())
        assert (found.code, found.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        assert found.retry_after == 1.0
        async with asyncio.timeout(60):
            await stopping
        await daemon.server.stop(0)  # once more does nothing


# ---- errors


@pytest.mark.parametrize("kind", LightfastError.__subclasses__())
def test_every_error_has_its_code(kind: type[LightfastError]) -> None:
    code, message, trailers = status_of(kind("no", metadata={"a": "b"}))
    assert code.name == kind.status
    assert message == "no"
    assert trailers[0][0] == "grpc-status-details-bin"


def test_an_error_never_outgrows_the_trailer() -> None:
    error = LightfastError("ü" * 10_000 + "\ud800", metadata={str(n): "y" * 5000 for n in range(50)}, field="f" * 9999)
    _, message, ((_, details),) = status_of(error)
    assert len(message.encode()) <= 1024
    assert len(details) <= 3 * 1024 + 64
    status = status_pb2.Status.FromString(details)
    assert error_details_pb2.ErrorInfo.DESCRIPTOR.full_name in status.details[0].type_url


def test_scopes_are_the_words_of_the_contract() -> None:
    assert [scope.value for scope in Scope] == ["watch", "operate", "approve", "admin"]
