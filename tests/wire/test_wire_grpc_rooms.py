"""The services of the other rooms over real sockets: assets, applications, links, generation, administration."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import aio
from tests.support.grpc_daemon import Daemon, refused, running

from lightfast.api.v1 import admin_pb2, apps_pb2, assets_pb2, context_pb2, generation_pb2, links_pb2, types_pb2
from lightfast.sdk import (
    Argument,
    Artifact,
    Call,
    Command,
    GenerationRequest,
    Hello,
    Model,
    Preview,
    Progress,
    Provider,
    Step,
    TextDelta,
    Usage,
    Wish,
    Workbench,
)


def value_at(daemon: Daemon, path: str) -> Any:
    entry = daemon.store.get(path)
    assert entry is not None
    return entry.value


# ---- assets


def chunks(content: bytes, size: int = 1000, **asset: Any) -> AsyncIterator[assets_pb2.WriteAssetRequest]:
    async def write() -> AsyncIterator[assets_pb2.WriteAssetRequest]:
        yield assets_pb2.WriteAssetRequest(
            asset=assets_pb2.Asset(media_type="image/png", name="a.png", **asset), chunk=content[:size]
        )
        for start in range(size, len(content), size):
            yield assets_pb2.WriteAssetRequest(chunk=content[start : start + size])

    return write()


async def test_assets_go_in_and_out(tmp_path: Path) -> None:
    content = bytes(range(256)) * 3000
    sha256 = hashlib.sha256(content).hexdigest()
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("assets")
        provenance = assets_pb2.Provenance(origin="forged", prompt="a cube", sources=["b" * 64])
        written = (await stub.WriteAsset(chunks(content, 100_000, provenance=provenance))).asset
        assert (written.sha256, written.size, written.media_type) == (sha256, len(content), "image/png")
        assert (written.uri, written.name) == (f"asset:{sha256}", "a.png")
        assert (written.provenance.origin, written.provenance.prompt) == ("local", "a cube")
        assert Path(written.file_path).read_bytes() == content
        assert (await stub.GetAsset(assets_pb2.GetAssetRequest(sha256=sha256))).asset == written
        parts = [part async for part in stub.ReadAsset(assets_pb2.ReadAssetRequest(sha256=sha256))]
        assert parts[0].asset == written
        assert b"".join(part.chunk for part in parts) == content
        parts = [part async for part in stub.ReadAsset(assets_pb2.ReadAssetRequest(sha256=sha256, offset=5, length=7))]
        assert b"".join(part.chunk for part in parts) == content[5:12]
        listed = await stub.ListAssets(assets_pb2.ListAssetsRequest(media_type="image/"))
        assert list(listed.assets) == [written]
        assert (listed.total_size, listed.quota_size) == (len(content), 64 << 20)
        assert not (await stub.ListAssets(assets_pb2.ListAssetsRequest(media_type="audio/"))).assets


async def test_asset_pages(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("assets")
        for number in range(5):
            await stub.WriteAsset(chunks(b"%d" % number))
        request, seen = assets_pb2.ListAssetsRequest(page_size=2), []
        while True:
            page = await stub.ListAssets(request)
            seen.append([asset.sha256 for asset in page.assets])
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        assert [len(page) for page in seen] == [2, 2, 1]
        assert [sha for page in seen for sha in page] == [
            hashlib.sha256(b"%d" % n).hexdigest() for n in (4, 3, 2, 1, 0)
        ]


async def test_asset_mistakes(tmp_path: Path) -> None:
    async def only(*messages: assets_pb2.WriteAssetRequest) -> AsyncIterator[assets_pb2.WriteAssetRequest]:
        for message in messages:
            yield message

    asset = assets_pb2.Asset(media_type="image/png")
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("assets")
        for requests, field in (
            (only(), "asset"),
            (only(assets_pb2.WriteAssetRequest(chunk=b"x")), "asset"),
            (only(assets_pb2.WriteAssetRequest(asset=asset), assets_pb2.WriteAssetRequest(asset=asset)), "asset"),
            (only(assets_pb2.WriteAssetRequest(asset=asset, chunk=b"x" * ((1 << 20) + 1))), "chunk"),
        ):
            found = await refused(stub.WriteAsset(requests))
            assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
        found = await refused(stub.WriteAsset(chunks(b"abc", sha256="0" * 64)))
        assert found.code is grpc.StatusCode.INVALID_ARGUMENT
        found = await refused(stub.WriteAsset(chunks(b"x" * (65 << 20), 1 << 20)))
        assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "ASSET_QUOTA")
        found = await refused(stub.GetAsset(assets_pb2.GetAssetRequest(sha256="0" * 64)))
        assert found.code is grpc.StatusCode.NOT_FOUND
        assert not (await stub.ListAssets(assets_pb2.ListAssetsRequest())).assets


async def test_a_broken_off_upload_leaves_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("assets")
        call = stub.WriteAsset()
        await call.write(assets_pb2.WriteAssetRequest(asset=assets_pb2.Asset(media_type="a/b"), chunk=b"x" * 9999))
        async with asyncio.timeout(60):
            while not daemon.server.door.open_calls[1]:
                await asyncio.sleep(0.01)
            call.cancel()
            while daemon.server.door.open_calls[1]:
                await asyncio.sleep(0.01)
        assert daemon.services.blobs.total_bytes == 0
        assert not [path for path in (tmp_path / "assets").rglob("*") if path.is_file() and path.stat().st_size > 9000]


# ---- applications


class Application:
    """An application at the other end: takes wishes, runs one command."""

    def __init__(self) -> None:
        self.session: Any = None
        self.cancelled: list[int] = []

    def apply(self, wishes: Sequence[Wish]) -> None:
        for wish in wishes:
            self.session.settle(wish.wish_id, wish.value)

    def invoke(self, call: Call) -> None:
        asyncio.get_running_loop().call_soon(self._run, call)

    def _run(self, call: Call) -> None:
        if call.command == "hang":
            return
        if call.command == "break":
            self.session.fail(call.call_id, "there is no camera")
            return
        self.session.progress(call.call_id, 0.5, "half")
        asyncio.get_running_loop().call_later(0.02, self.session.result, call.call_id, call.arguments.get("value"))

    def cancel(self, call_id: int) -> None:
        self.cancelled.append(call_id)

    def resync(self) -> None:
        asyncio.get_running_loop().call_soon(self.session.synced)

    def close(self, reason: str) -> None:
        self.session.lost(reason)


def join(daemon: Daemon) -> Application:
    application = Application()
    commands = (
        Command("echo", "Gives it back.", (Argument("value", "double"),), "read"),
        Command("hang"),
        Command("break"),
    )
    hello = Hello("blender", "i-1", app_version="5.0", document_id="d-1", pid=7, simulator=True, commands=commands)
    application.session = daemon.services.registry.hello(hello, application, transport="zmq")
    application.session.synced()
    return application


async def test_apps(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("apps")
        empty = await stub.ListApps(apps_pb2.ListAppsRequest())
        assert (len(empty.apps), empty.store_id) == (0, daemon.store.store_id)
        join(daemon)
        async with asyncio.timeout(60):
            while (
                app := (await stub.GetApp(apps_pb2.GetAppRequest(mount="/blender"))).app
            ).state != apps_pb2.APP_STATE_LIVE:
                await asyncio.sleep(0.02)
        assert (app.kind, app.app_version, app.instance_id, app.pid, app.simulator) == (
            "blender",
            "5.0",
            "i-1",
            7,
            True,
        )
        assert (app.transport, app.document_id) == ("zmq", "d-1")
        assert app.connect_time.seconds > 1_600_000_000
        assert [item.mount for item in (await stub.ListApps(apps_pb2.ListAppsRequest())).apps] == ["/blender"]
        commands = (await stub.ListCommands(apps_pb2.ListCommandsRequest(mount="/blender"))).commands
        assert [command.name for command in commands] == ["break", "echo", "hang"]
        assert (commands[1].arguments[0].name, commands[1].arguments[0].type, commands[1].effect) == (
            "value",
            "double",
            "read",
        )
        resynced = await stub.Resync(apps_pb2.ResyncRequest(mount="/blender"))
        assert resynced.app.mount == "/blender"
        found = await refused(stub.GetApp(apps_pb2.GetAppRequest(mount="/maya")))
        assert found.code is grpc.StatusCode.NOT_FOUND
        assert "/blender" in found.message


async def test_invoke(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("apps")
        application = join(daemon)
        request = apps_pb2.InvokeRequest(
            mount="/blender", command="echo", arguments={"value": types_pb2.Value(double_value=2.5)}
        )
        steps = [step async for step in stub.Invoke(request)]
        assert (steps[0].progress.fraction, steps[0].progress.message) == (0.5, "half")
        assert steps[-1].result.double_value == 2.5
        assert len(steps) == 2
        found = await refused(stub.Invoke(apps_pb2.InvokeRequest(mount="/blender", command="break")).read())
        assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "COMMAND_FAILED")
        assert "there is no camera" in found.message
        found = await refused(stub.Invoke(apps_pb2.InvokeRequest(mount="/blender", command="ech")).read())
        assert (found.code, found.reason) == (grpc.StatusCode.NOT_FOUND, "COMMAND_UNKNOWN")
        assert "echo" in found.message
        hanging = apps_pb2.InvokeRequest(mount="/blender", command="hang", timeout=Duration(nanos=20_000_000))
        found = await refused(stub.Invoke(hanging).read())
        assert found.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert len(application.cancelled) == 1


async def test_leaving_an_invocation_cancels_it(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("apps")
        application = join(daemon)
        call = stub.Invoke(apps_pb2.InvokeRequest(mount="/blender", command="hang"))
        async with asyncio.timeout(60):
            while not daemon.services.registry.session("/blender").calls:
                await asyncio.sleep(0.01)
            call.cancel()
            while not application.cancelled:
                await asyncio.sleep(0.01)


async def test_invoke_with_a_request_id_runs_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("apps")
        application = join(daemon)
        ran: list[Call] = []
        original = application.invoke

        def counted(call: Call) -> None:
            ran.append(call)
            original(call)

        monkeypatch.setattr(application, "invoke", counted)
        request = apps_pb2.InvokeRequest(
            mount="/blender",
            command="echo",
            arguments={"value": types_pb2.Value(double_value=2.5)},
            request_id="r-1",
        )
        first = [step async for step in stub.Invoke(request)]
        assert [step.WhichOneof("kind") for step in first] == ["progress", "result"]
        again = [step async for step in stub.Invoke(request)]
        assert again == first[1:]
        assert len(ran) == 1
        request.arguments["value"].double_value = 3
        found = await refused(stub.Invoke(request).read())
        assert found.reason == "REQUEST_ID_REUSED"
        failing = apps_pb2.InvokeRequest(mount="/blender", command="break", request_id="r-2")
        assert (await refused(stub.Invoke(failing).read())).reason == "COMMAND_FAILED"


# ---- links


async def test_links(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub, context = await daemon.stub("links"), await daemon.stub()
        link = links_pb2.Link(source="/live/tempo", target="/blender/bpm", expression="x / 60", two_way=True)
        value = types_pb2.Value(double_value=120)
        tested = await stub.TestLink(links_pb2.TestLinkRequest(link=link, value=value))
        assert (tested.converted.double_value, tested.returned.double_value) == (2.0, 120.0)
        dry = await stub.CreateLink(links_pb2.CreateLinkRequest(link=link, validate_only=True))
        assert not dry.link.link_id
        request = links_pb2.CreateLinkRequest(link=link, request_id="r-1")
        created = (await stub.CreateLink(request)).link
        assert created.link_id
        assert (await stub.CreateLink(request)).link == created
        assert (await stub.GetLink(links_pb2.GetLinkRequest(link_id=created.link_id))).link.source == "/live/tempo"
        assert len((await stub.ListLinks(links_pb2.ListLinksRequest(pattern="/live//"))).links) == 1
        assert not (await stub.ListLinks(links_pb2.ListLinksRequest(pattern="/other//"))).links
        mutation = types_pb2.Mutation(set=types_pb2.Mutation.Set(path="/live/tempo", value=value))
        await context.Apply(context_pb2.ApplyRequest(mutations=[mutation]))
        async with asyncio.timeout(60):
            while daemon.store.get("/blender/bpm") is None:
                await asyncio.sleep(0.01)
        assert value_at(daemon, "/blender/bpm") == 2.0
        created.disabled = True
        assert (await stub.UpdateLink(links_pb2.UpdateLinkRequest(link=created))).link.disabled
        await stub.DeleteLink(links_pb2.DeleteLinkRequest(link_id=created.link_id))
        found = await refused(stub.GetLink(links_pb2.GetLinkRequest(link_id=created.link_id)))
        assert found.code is grpc.StatusCode.NOT_FOUND
        found = await refused(
            stub.CreateLink(
                links_pb2.CreateLinkRequest(link=links_pb2.Link(source="/a", target="/b", expression="x +"))
            )
        )
        assert found.code is grpc.StatusCode.INVALID_ARGUMENT


# ---- generation


class Painter(Provider):
    """Makes what a test can follow."""

    name = "painter"
    description = "For tests."
    local = True

    def models(self) -> Sequence[Model]:
        schema = {"properties": {"size": {"type": "integer", "default": 8}}}
        return [
            Model("image", ("image",), description="Paints.", settings=schema, procedural=True),
            Model("hang", ("audio",)),
        ]

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        yield Progress(0.25, "sketching")
        if request.model == "hang":
            await asyncio.Event().wait()
        yield Preview("image/png", b"small")
        yield TextDelta("done")
        yield Artifact("image/png", repr((request.seed, request.settings["size"])).encode(), "cube.png")
        yield Usage(cost_usd=0.5)


async def drain(call: Any) -> None:
    while await call.read() is not aio.EOF:
        pass


async def test_generation(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("generation")
        painter = Painter()
        daemon.services.gateway.register(painter, "painter")
        (provider,) = (await stub.ListProviders(generation_pb2.ListProvidersRequest())).providers
        assert (provider.name, provider.available, provider.local) == ("painter", True, True)
        (model,) = (await stub.ListModels(generation_pb2.ListModelsRequest(output="image"))).models
        assert (model.name, list(model.outputs), model.procedural) == ("painter/image", ["image"], True)
        assert '"size"' in model.settings_schema
        request = generation_pb2.GenerateRequest(
            model="painter/image",
            output="image",
            prompt="a cube",
            seed=7,
            settings={"size": types_pb2.Value(int_value=3)},
            target_path="/art/cube",
            request_id="r-1",
        )
        steps = [step async for step in stub.Generate(request)]
        kinds = [step.WhichOneof("kind") for step in steps]
        assert kinds[-1] == "usage"
        assert [kind for kind in kinds if kind != "progress"] == ["preview", "text_delta", "asset", "usage"]
        (asset,) = [step.asset for step in steps if step.HasField("asset")]
        assert Path(asset.file_path).read_bytes() == b"(7, 3)"
        assert asset.provenance.prompt == "a cube"
        assert value_at(daemon, "/art/cube").sha256 == asset.sha256
        again = [step async for step in stub.Generate(request)]
        assert [step.WhichOneof("kind") for step in again] == ["text_delta", "asset", "usage"]
        operation = (
            await stub.GetOperation(generation_pb2.GetOperationRequest(operation_id=steps[0].operation_id))
        ).operation
        assert operation.state == generation_pb2.OPERATION_STATE_SUCCEEDED
        assert [item.sha256 for item in operation.assets] == [asset.sha256]
        daemon.services.gateway.unregister(painter)


async def test_a_generation_is_cancelled(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("generation")
        daemon.services.gateway.register(Painter(), "painter")
        call = stub.Generate(generation_pb2.GenerateRequest(model="painter/hang", output="audio"))
        first = await call.read()
        cancelled = await stub.CancelOperation(generation_pb2.CancelOperationRequest(operation_id=first.operation_id))
        assert cancelled.operation.state == generation_pb2.OPERATION_STATE_CANCELLED
        with pytest.raises((aio.AioRpcError, asyncio.CancelledError)):
            await drain(call)
        assert await call.code() is grpc.StatusCode.CANCELLED
        found = await refused(stub.Generate(generation_pb2.GenerateRequest(model="painter/none")).read())
        assert found.code is grpc.StatusCode.NOT_FOUND


# ---- administration


async def test_admin(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("admin")
        info = await stub.GetInfo(admin_pb2.GetInfoRequest())
        assert (info.version, info.pid, info.store_id) == ("0.0.test", 42, daemon.store.store_id)
        assert (dict(info.endpoints), info.state_directory) == ({"grpc": "here"}, str(tmp_path))
        assert info.start_time.seconds == 1_800_000_000
        assert info.loop_lag.nanos == 1_000_000
        settings = {row.key: row.value for row in (await stub.GetConfig(admin_pb2.GetConfigRequest())).settings}
        assert settings == {"ai.key": '"***"', "grpc.listen": '"127.0.0.1:0"'}
        daemon.errors.add({"event": "it broke", "logger": "lightfast.x", "path": Path("/p")})
        (error,) = (await stub.ListErrors(admin_pb2.ListErrorsRequest())).errors
        assert (error.event, error.logger, error.fields) == ("it broke", "lightfast.x", '{"path": "/p"}')
        assert not (await stub.ListPlugins(admin_pb2.ListPluginsRequest())).plugins
        found = await refused(stub.ReloadPlugin(admin_pb2.ReloadPluginRequest(name="none")))
        assert found.code is grpc.StatusCode.NOT_FOUND


async def test_tokens(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("admin")
        issued = await stub.IssueToken(
            admin_pb2.IssueTokenRequest(name="ann", scopes=["watch", "admin"], ttl=Duration(seconds=60))
        )
        assert issued.secret.startswith("lf_")
        assert issued.token.expire_time.seconds == issued.token.create_time.seconds + 60
        metadata = (("authorization", f"Bearer {issued.secret}"),)
        (token,) = (await stub.ListTokens(admin_pb2.ListTokensRequest(), metadata=metadata)).tokens
        assert token == issued.token
        found = await refused(
            stub.IssueToken(admin_pb2.IssueTokenRequest(name="bob", scopes=["operate"]), metadata=metadata)
        )
        assert found.code is grpc.StatusCode.PERMISSION_DENIED
        found = await refused(stub.IssueToken(admin_pb2.IssueTokenRequest(name="bob", scopes=["root"])))
        assert found.reason == "SCOPE_UNKNOWN"
        await stub.RevokeToken(admin_pb2.RevokeTokenRequest(token_id=token.token_id))
        assert (await refused(stub.GetInfo(admin_pb2.GetInfoRequest(), metadata=metadata))).reason == "TOKEN_UNKNOWN"
