"""The bridge to OBS against a stand-in for obs-websocket: passwords, events in any order, silence, and garbage."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import math
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from tests.support.ending import ended

from lightfast.sdk import BridgeError, Call, Change, Value, Wish
from lightfast.sdk.testing import FakeAppSession, FakeBridgeHost, check_bridge
from lightfast_bridges.obs import bridge as module
from lightfast_bridges.obs import events
from lightfast_bridges.obs.bridge import ObsBridge
from lightfast_bridges.obs.settings import settings_of
from lightfast_bridges.obs.socket import SUBSCRIPTIONS, authentication
from lightfast_bridges.obs.surface import scalars

QUICK = {"poll": 0.1, "patience": 5.0, "gone": 15.0}
IMPATIENT: dict[str, Any] = {"patience": 0.5, "gone": 1.5}
SECRET = "open sesame"


class FakeObs:
    """Speaks obs-websocket 5; it can be made to fall silent, to close, and to say what it should not."""

    def __init__(self) -> None:
        self.scenes = ["Stage", "Scene"]
        self.inputs = {"Mic": -6.0}
        self.uuids = False
        self.mute = False
        self.close_with = 0
        self.version = 1
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.then: dict[str, tuple[str, dict[str, Any]]] = {}
        """Events that follow, once, the answer to a request so closely that both are read at once."""
        self.sockets: list[Any] = []
        self.identified = 0
        self.url = ""

    async def serve(self, socket: Any) -> None:
        from websockets.exceptions import ConnectionClosed

        self.sockets.append(socket)
        with contextlib.suppress(ConnectionClosed):
            if self.close_with:
                await socket.close(self.close_with, "as told")
                return
            await socket.send(json.dumps(self._hello()))
            said = json.loads(await socket.recv())["d"]
            if said.get("authentication") != authentication(SECRET, "pepper", "riddle"):
                await socket.close(4009, "Authentication failed.")
                return
            assert said["eventSubscriptions"] == SUBSCRIPTIONS
            await self.event("StudioModeStateChanged", studioModeEnabled=False)  # before it is due
            await socket.send(json.dumps({"op": 2, "d": {"negotiatedRpcVersion": 1}}))
            self.identified += 1
            async for text in socket:
                request = json.loads(text)["d"]
                self.asked.append((request["requestType"], request["requestData"]))
                if not self.mute:
                    await socket.send(json.dumps({"op": 7, "d": self._answer(request)}))
                    if request["requestType"] in self.then:
                        kind, data = self.then.pop(request["requestType"])
                        await self.event(kind, **data)

    def _hello(self) -> dict[str, Any]:
        auth = {"salt": "pepper", "challenge": "riddle"}
        return {"op": 0, "d": {"obsWebSocketVersion": "5.1.0", "rpcVersion": self.version, "authentication": auth}}

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        status: dict[str, Any] = {"result": True, "code": 100}
        data: dict[str, Any] | None = None
        try:
            data = self._data(request["requestType"], request["requestData"])
        except LookupError as error:
            status = {"result": False, "code": 600, "comment": f"No source was found by the name of {error}."}
        except ValueError as error:
            status = {"result": False, "code": 604, "comment": str(error)}
        head = {"requestType": request["requestType"], "requestId": request["requestId"]}
        return {**head, "requestStatus": status, "responseData": data}

    def _data(self, kind: str, data: dict[str, Any]) -> dict[str, Any] | None:
        name = data.get("inputName", "")
        if name and name not in self.inputs:
            raise LookupError(name)
        if kind == "SetInputVolume":
            asked = data["inputVolumeDb"] if "inputVolumeDb" in data else 20 * math.log10(data["inputVolumeMul"])
            self.inputs[name] = round(asked, 1)  # it has a mind of its own
        if kind == "SetInputName":
            self.inputs[data["newInputName"]] = self.inputs.pop(name)
        if kind == "GetSourceScreenshot":
            return {"imageData": "data:image/png;base64," + base64.b64encode(b"picture").decode()}
        if kind in {"GetVirtualCamStatus", "GetReplayBufferStatus"}:
            raise ValueError("VirtualCam is not available.")
        volume = self.inputs.get(name, 0.0)
        answers: dict[str, dict[str, Any]] = {
            "GetVersion": {"obsVersion": "29.0.2"},
            "GetSceneCollectionList": {"currentSceneCollectionName": "Show", "sceneCollections": ["Show"]},
            "GetProfileList": {"currentProfileName": "Untitled"},
            "GetStudioModeEnabled": {"studioModeEnabled": False},
            "GetSceneList": {
                "currentProgramSceneName": self.scenes[0],
                "currentPreviewSceneName": None,
                "scenes": [{"sceneName": one, "sceneIndex": at} for at, one in enumerate(self.scenes)],
            },
            "GetInputList": {
                "inputs": [{"inputName": one, "inputKind": "wasapi", **self._uuid(one)} for one in self.inputs]
            },
            "GetInputVolume": {"inputVolumeDb": volume, "inputVolumeMul": 10 ** (volume / 20)},
            "GetInputMute": {"inputMuted": False},
            "GetInputAudioBalance": {"inputAudioBalance": 0.5},
            "GetInputAudioSyncOffset": {"inputAudioSyncOffset": 0},
            "GetInputSettings": {"inputSettings": {"device": "hw:1", "api_token": "hush", "list": [1]}},
            "GetInputDefaultSettings": {"defaultInputSettings": {"gain": 1.0}},
            "GetSceneItemList": {"sceneItems": [{"sceneItemId": 1, "sourceName": "Mic", "sceneItemEnabled": True}]},
            "GetRecordStatus": {"outputActive": False, "outputPaused": False},
            "GetStats": {"cpuUsage": 1.5, "activeFps": 30.0, "renderSkippedFrames": 2},
        }
        return answers.get(kind)

    def _uuid(self, name: str) -> dict[str, str]:
        return {"inputUuid": f"u-{name}"} if self.uuids else {}

    async def event(self, kind: str, **data: Any) -> None:
        await self.sockets[-1].send(
            json.dumps({"op": 5, "d": {"eventType": kind, "eventIntent": 1, "eventData": data}})
        )


@contextlib.asynccontextmanager
async def running(obs: FakeObs | None = None, **config: Any) -> AsyncIterator[tuple[FakeBridgeHost, FakeObs]]:
    from websockets.asyncio.server import serve

    obs = obs or FakeObs()
    async with serve(obs.serve, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        obs.url = f"ws://127.0.0.1:{port}"
        host = FakeBridgeHost({"url": obs.url, "password": SECRET, **QUICK, **config})
        task = asyncio.ensure_future(ObsBridge().run(host))
        try:
            yield host, obs
        finally:
            if task.done() and not task.cancelled():
                task.result()
            await ended(task, "the bridge")


async def joined(host: FakeBridgeHost, number: int = 1) -> FakeAppSession:
    await host.until(lambda: len(host.sessions) >= number, f"session {number}")
    session = host.sessions[number - 1]
    await session.until(lambda: session.syncs, "in step")
    return session


@pytest.mark.parametrize("turns", range(6))
async def test_it_ends_when_it_is_cancelled_while_its_session_ends(turns: int) -> None:
    async with running() as (host, _):
        (await joined(host)).channel.close("the engine is done with it")
        for _ in range(turns):
            await asyncio.sleep(0)


async def test_contract_without_obs() -> None:
    await check_bridge(ObsBridge(), config={"url": "ws://127.0.0.1:9"})


def test_the_answer_to_a_challenge() -> None:
    secret = base64.b64encode(hashlib.sha256(b"supersecretpassword" + b"salt").digest())
    answer = base64.b64encode(hashlib.sha256(secret + b"challenge").digest()).decode()
    assert authentication("supersecretpassword", "salt", "challenge") == answer


async def test_all_is_reported() -> None:
    async with running(name="studio") as (host, _):
        session = await joined(host)
        assert (session.mount, session.hello.document_id, session.hello.app_version) == ("/studio", "Show", "29.0.2")
        assert session.values["inputs/Mic/inputVolumeDb"] == -6.0
        assert session.values["inputs/Mic/settings/gain"] == 1.0  # a default
        assert session.values["inputs/Mic/settings/device"] == "hw:1"
        assert not any("token" in path or "list" in path for path in session.values)
        assert session.values["scenes/Stage/items/1/sceneItemEnabled"] is True
        assert "virtualCam/outputActive" not in session.values
        await session.until(lambda: session.values.get("stats/activeFps") == 30.0, "how it is")


async def test_a_wish_is_settled_with_what_obs_made_of_it() -> None:
    async with running() as (host, obs):
        session = await joined(host)
        session.channel.apply([Wish(number, "inputs/Mic/inputVolumeDb", -10.0 - number, 1) for number in range(1, 50)])
        session.channel.apply([Wish(50, "inputs/Mic/inputVolumeDb", -12.34, 1)])
        await session.until(lambda: len(session.settled) == 50, "all answered")
        assert session.settled[50] == -12.3
        sent = [data for kind, data in obs.asked if kind == "SetInputVolume"]
        assert len(sent) < 10  # of those that wait, the newest counts


async def test_an_event_behind_the_answer_is_not_overtaken_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine takes what was reported before an answer to be older: it would forget what OBS holds now."""
    # An event so soon after a wish makes the bridge look again once it is calm: the next event would follow that look.
    monkeypatch.setattr("lightfast_bridges.obs.session.CALM", 3600.0)
    path = "inputs/Mic/inputVolumeDb"
    async with running() as (host, obs):
        session = await joined(host)
        said: list[tuple[str, Value | None]] = []
        settle, report = session.settle, session.report

        def settled(wish_id: int, value: Value | None = None) -> None:
            said.append(("settled", value))
            settle(wish_id, value)

        def reported(changes: Sequence[Change]) -> None:
            said.extend(("reported", change.value) for change in changes if change.path == path)
            report(changes)

        session.settle, session.report = settled, reported  # type: ignore[method-assign]
        moved = {"inputName": "Mic", "inputVolumeDb": -40.0, "inputVolumeMul": 0.01}
        for number in range(1, 21):
            said.clear()
            obs.then["GetInputVolume"] = ("InputVolumeChanged", moved)
            session.channel.apply([Wish(number, path, -float(number), number)])
            await session.until(lambda: len(said) >= 2, "the answer and the event")
            assert said == [("settled", -float(number)), ("reported", -40.0)]


async def test_what_changes_during_the_first_reading_is_reported() -> None:
    async with running() as (host, obs):
        obs.then["GetRecordStatus"] = ("CurrentProgramSceneChanged", {"sceneName": "Scene"})
        session = await joined(host)
        assert session.values["currentProgramSceneName"] == "Scene"


async def test_what_cannot_be_is_refused_with_a_reason() -> None:
    async with running() as (host, obs):
        session = await joined(host)
        wrong: list[tuple[str, Value | None, str]] = [
            ("inputs/Nobody/inputVolumeDb", -1.0, "there is no inputs/Nobody"),
            ("inputs/Mic/inputKind", "x", "can only be read"),
            ("scenes/Stage/items/1/sourceName", "x", "can only be read"),
            ("scenes/Stage/items/1", None, "use RemoveInput"),
            ("weather", 1.0, "there is no weather"),
            ("inputs/Mic/settings/device", [1], "a setting is"),
        ]
        session.channel.apply([Wish(number, path, value, 1) for number, (path, value, _) in enumerate(wrong, 1)])
        await session.until(lambda: len(session.rejected) == len(wrong), "all refused")
        for number, (_, _, reason) in enumerate(wrong, 1):
            assert reason in session.rejected[number]
        obs.inputs.clear()
        session.channel.apply([Wish(9, "inputs/Mic/inputVolumeDb", -1.0, 1)])
        await session.until(lambda: 9 in session.rejected, "the refusal of OBS")
        assert "there is no such thing in OBS (No source was found" in session.rejected[9]


async def test_a_rename_moves_and_a_rename_from_here_renames() -> None:
    async with running() as (host, obs):
        obs.uuids = True
        session = await joined(host)
        obs.inputs["Voice"] = obs.inputs.pop("Mic")
        await obs.event("InputNameChanged", oldInputName="Mic", inputName="Voice")
        await session.until(lambda: "inputs/Voice/inputVolumeDb" in session.values, "the new name")
        assert [change.moved_from for change in session.changes if change.moved_from] == ["inputs/Mic"]
        assert not any(path.startswith("inputs/Mic/") for path in session.values)
        assert "rename" in session.hello.capabilities
        session.channel.apply([Wish(1, "inputs/Talk", None, 1, moved_from="inputs/Voice")])
        await session.until(lambda: 1 in session.settled, "renamed in OBS")
        assert list(obs.inputs) == ["Talk"]
        session.channel.apply([Wish(2, "scenes/Talk", None, 1, moved_from="inputs/Talk")])
        await session.until(lambda: 2 in session.rejected, "no such rename")
        told = [change for change in session.changes if change.path == "inputs/Mic/inputKind"]
        assert told[0].object_id == "u-Mic"


async def test_events_may_come_in_any_order() -> None:
    async with running() as (host, obs):
        session = await joined(host)
        await obs.event("InputVolumeChanged", inputName="Late", inputVolumeDb=-1.0, inputVolumeMul=0.9)
        await obs.event("SourceFilterEnableStateChanged", sourceName="Late", filterName="fx", filterEnabled=True)
        obs.inputs["Late"] = -1.0
        await obs.event("InputCreated", inputName="Late")
        await session.until(lambda: session.values.get("inputs/Late/inputVolumeDb") == -1.0, "the late one")
        assert "inputs/Late/filters/fx/filterEnabled" not in session.values
        del obs.inputs["Late"]
        await obs.event("InputRemoved", inputName="Late")
        await session.until(lambda: "inputs/Late/inputKind" not in session.values, "gone")
        await obs.event("InputMuteStateChanged", inputName="Late", inputMuted=True)
        await obs.event("CurrentProgramSceneChanged", sceneName="Scene")
        await session.until(lambda: session.values["currentProgramSceneName"] == "Scene", "on air")


async def test_garbage_is_harmless() -> None:
    async with running() as (host, obs):
        session = await joined(host)
        before = {path: value for path, value in session.values.items() if not path.startswith("stats/")}
        socket = obs.sockets[-1]
        for text in (
            "",
            "{",
            "[]",
            "7",
            '{"op": 5}',
            '{"op": 5, "d": []}',
            '{"op": 7, "d": {"requestId": "x"}}',
            b"\xff",
        ):
            await socket.send(text)
        for kind in ("InputVolumeChanged", "SceneItemEnableStateChanged", "SceneNameChanged", "RecordStateChanged"):
            await obs.event(kind)
            await obs.event(kind, inputName=None, sceneName=7, sceneItemId="x", outputActive=[])
        session.channel.apply([Wish(1, "inputs/Mic/inputVolumeDb", -20.0, 1)])
        await session.until(lambda: 1 in session.settled, "the next wish")
        now = {path: value for path, value in session.values.items() if path in before}
        changed = ("record/outputActive", "inputs/Mic/inputVolumeMul")
        assert now == before | {path: now[path] for path in changed}
        assert session.lost_reason is None


async def test_silence_degrades_then_ends_the_session() -> None:
    async with running(**IMPATIENT) as (host, obs):
        session = await joined(host)
        obs.mute = True
        session.channel.apply([Wish(1, "inputs/Mic/inputVolumeDb", -20.0, 1)])
        await session.until(lambda: session.trouble and 1 in session.rejected, "degraded")
        assert "did not answer GetStats within 0.5 s" in session.trouble
        assert "did not answer SetInputVolume" in session.rejected[1]
        obs.mute = False
        await session.until(lambda: not session.trouble, "well again")
        obs.mute = True
        await session.until(lambda: session.lost_reason, "lost")
        assert "it hangs" in str(session.lost_reason)
        obs.mute = False
        await joined(host, len(host.sessions) + 1)


async def test_a_standstill_of_ours_is_no_silence_of_obs() -> None:
    async with running(**IMPATIENT) as (host, obs):
        session = await joined(host)
        asked = len(obs.asked)
        session.channel.apply([Wish(1, "inputs/Mic/inputVolumeDb", -20.0, 1)])
        while len(obs.asked) == asked:
            await asyncio.sleep(0)
        time.sleep(2.0)  # the whole process, as where a machine sleeps
        await session.until(lambda: session.settled or session.rejected, "answered")
        assert (session.settled, session.rejected) == ({1: -20.0}, {})
        assert (session.lost_reason, session.trouble) == (None, "")


async def test_closing_opening_and_another_collection() -> None:
    async with running() as (host, obs):
        session = await joined(host)
        await obs.event("ExitStarted")
        await session.until(lambda: session.lost_reason, "lost")
        assert session.lost_reason == "OBS is closing"
        session = await joined(host, 2)
        await obs.event("CurrentSceneCollectionChanging", sceneCollectionName="Other")
        await obs.event("CurrentSceneCollectionChanged", sceneCollectionName="Other")
        await session.until(lambda: session.lost_reason, "lost")
        assert "another scene collection" in str(session.lost_reason)
        session = await joined(host, 3)
        await obs.sockets[-1].close(1001)
        await session.until(lambda: session.lost_reason, "lost")
        await joined(host, 4)


@pytest.mark.parametrize(
    ("code", "reason"),
    [(4009, "set the password"), (4010, "another version of its protocol"), (4011, "lightfast plugins reload obs")],
)
async def test_why_obs_does_not_take_us_in(code: int, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFUSED", 0.1)
    async with running() as (host, obs):
        obs.close_with = code
        for socket in obs.sockets:
            await socket.close(code)
        await host.until(lambda: any(reason in one for one in host.absences), reason)
        tries = len(obs.sockets)
        if code == 4011:  # its user has thrown us out: we do not come back by ourselves
            await asyncio.sleep(0.5)
            assert len(obs.sockets) == tries


@pytest.mark.parametrize("config", [{"password": "wrong"}, {"password": ""}])
async def test_a_wrong_password(config: dict[str, Any]) -> None:
    async with running(**config) as (host, obs):
        await host.until(lambda: host.absences, "the reason")
        assert "set the password" in host.absences[0]
        assert "env:NAME" in host.absences[0]
        assert (host.sessions, obs.identified) == ([], 0)
        [*_, finding] = await ObsBridge().diagnose(host.config)
        assert (finding.level, "password" in finding.remedy) == ("error", True)


async def test_something_else_on_the_port() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        host = FakeBridgeHost({"url": f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", **QUICK})
        task = asyncio.ensure_future(ObsBridge().run(host))
        try:
            await host.until(lambda: host.absences, "the reason")
        finally:
            await ended(task, "the bridge")
        assert "not obs-websocket" in host.absences[0]


async def test_commands() -> None:
    async with running() as (host, _):
        session = await joined(host)
        session.channel.invoke(Call(1, "GetSourceScreenshot"))
        session.channel.invoke(Call(2, "ToggleInputMute", {"inputName": "Nobody"}))
        session.channel.invoke(Call(3, "ToggleInputMute"))
        session.channel.invoke(Call(4, "StartVirtualCam"))
        await session.until(lambda: 1 in session.results and {2, 3} <= session.failures.keys(), "all answered")
        picture: Any = session.results[1]
        assert (picture.media_type, host.assets[picture.sha256]) == ("image/png", b"picture")
        assert "there is no such thing" in session.failures[2]
        assert session.failures[3] == "ToggleInputMute needs inputName"


@pytest.mark.parametrize("config", [{"url": "http://x"}, {"url": "ws://"}, {"poll": 0}, {"gone": 1}, {"pasword": "x"}])
def test_wrong_settings_are_named(config: dict[str, Any]) -> None:
    with pytest.raises(BridgeError, match="obs"):
        settings_of(config)


def test_values_that_fit() -> None:
    found = scalars({"a b": 1 << 70, "x": None, "stream_key": "s", "y": True}, "base", {"y": False, "z": 1})
    assert found == {"base/settings/a%20b": float(1 << 70), "base/settings/y": True, "base/settings/z": 1}
    kept = {"a": "rtsp://camera.local/1?speed=2", "b": "me@example.org", "c": "https://host/@name"}
    told = {"d": "rtsp://me:pass@camera.local/1", "e": "https://host/alerts?x=1&accessToken=abc", "f": "srt://h#key=1"}
    assert scalars({**kept, **told}, "base") == {f"base/settings/{name}": value for name, value in kept.items()}


def test_the_events_of_recording() -> None:
    paused = events.read("RecordStateChanged", {"outputActive": True, "outputState": "OBS_WEBSOCKET_OUTPUT_PAUSED"})
    assert paused.values == {"record/outputActive": True, "record/outputPaused": True}
    starting = events.read(
        "RecordStateChanged", {"outputActive": False, "outputState": "OBS_WEBSOCKET_OUTPUT_STARTING"}
    )
    assert starting.values == {"record/outputActive": False}
    assert events.read("SomethingNew", {"a": 1}) == events.News()
