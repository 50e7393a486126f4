"""A real OBS on a virtual screen, a real daemon, and a second client of obs-websocket that is not ours."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from PIL import Image
from tests.support.joined import Desk, daemon_with, desk, frozen
from tests.support.netns import Network, network
from tests.support.obs import PASSWORD, PORT, Client, Obs
from tests.support.waiting import until

from lightfast.core.errors import LightfastError
from lightfast.sdk import Simulator
from lightfast.sdk.testing import FakeBridgeHost, check_bridge
from lightfast_bridges.obs.bridge import ObsBridge
from lightfast_link.value import Asset, close

pytestmark = pytest.mark.real_app
URL = f"ws://127.0.0.1:{PORT}"
ITEM = "scenes/Stage/items/1"


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    with network() as found:
        yield found


@pytest.fixture(scope="module")
def obs(net: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Obs]:
    found = Obs(tmp_path_factory.mktemp("obs"), net)
    try:
        found.start()
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def other(obs: Obs) -> Iterator[list[Client]]:
    """One client, in a list, so that a test that restarts OBS can renew it."""
    clients = [obs.client()]
    ask = clients[0].ask
    ask("CreateScene", sceneName="Stage")
    settings = {"width": 64, "height": 36, "color": 0xFF0000FF}
    ask("CreateInput", sceneName="Stage", inputName="Red", inputKind="color_source_v3", inputSettings=settings)
    ask("CreateInput", sceneName="Stage", inputName="Film", inputKind="ffmpeg_source")
    ask("CreateSourceFilter", sourceName="Red", filterName="fx", filterKind="color_filter_v2")
    ask("SetCurrentProgramScene", sceneName="Stage")
    try:
        yield clients
    finally:
        clients[0].close()


@pytest.fixture(scope="module")
def house(other: list[Client], net: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    settings = {"url": URL, "password": "env:OBS_SECRET", "poll": 0.3, "patience": 5.0}
    daemon = daemon_with(tmp_path_factory.mktemp("home"), "obs", **settings)
    daemon.environ["OBS_SECRET"] = PASSWORD
    with ExitStack() as stack:
        with net.inside():
            found = stack.enter_context(desk(daemon, "/obs"))
        found.live()
        yield found


def test_it_is_there(house: Desk) -> None:
    app = house.app()
    assert (app.document_id, app.transport, app.simulator) == ("Untitled", "websocket", False)
    assert house.value("currentProgramSceneName") == "Stage"
    assert house.value("inputs/Red/inputKind") == "color_source_v3"
    assert house.value("inputs/Red/inputVolumeDb") is None  # it has no sound
    assert house.value("inputs/Film/inputVolumeDb") == 0.0
    assert house.value(f"{ITEM}/sourceName") == "Red"
    assert house.value("inputs/Red/filters/fx/settings/opacity") == 1.0  # which nobody has set
    assert house.value("record/outputActive") is False
    until(lambda: (house.value("stats/memoryUsage") or 0.0) > 10.0, "how OBS is")
    assert PASSWORD not in house.daemon.log()


def test_set_here_it_is_really_there(house: Desk, other: list[Client]) -> None:
    ask = other[0].ask
    assert house.set("inputs/Film/inputVolumeDb", -12.5).status == "SETTLED"
    assert close(ask("GetInputVolume", inputName="Film")["inputVolumeDb"], -12.5, 1e-3)
    house.holds("inputs/Film/inputVolumeMul", 10 ** (-12.5 / 20), 1e-4)  # of which OBS tells by itself
    assert house.set("inputs/Film/inputMuted", True).status == "SETTLED"
    assert ask("GetInputMute", inputName="Film")["inputMuted"] is True
    assert house.set(f"{ITEM}/sceneItemEnabled", False).status == "SETTLED"
    assert ask("GetSceneItemEnabled", sceneName="Stage", sceneItemId=1)["sceneItemEnabled"] is False
    assert house.set(f"{ITEM}/sceneItemEnabled", True).status == "SETTLED"
    assert house.set(f"{ITEM}/transform/positionX", 12.25).status == "SETTLED"
    found = ask("GetSceneItemTransform", sceneName="Stage", sceneItemId=1)["sceneItemTransform"]
    assert found["positionX"] == 12.25
    assert house.set("inputs/Red/filters/fx/settings/opacity", 0.5).status == "SETTLED"
    assert house.set("inputs/Red/filters/fx/filterEnabled", False).status == "SETTLED"
    fx = ask("GetSourceFilter", sourceName="Red", filterName="fx")
    assert (fx["filterEnabled"], fx["filterSettings"]["opacity"]) == (False, 0.5)
    assert house.set("inputs/Red/settings/height", 48).status == "SETTLED"
    assert ask("GetInputSettings", inputName="Red")["inputSettings"]["height"] == 48
    assert house.set("currentSceneTransitionDuration", 700).status == "SETTLED"
    until(lambda: ask("GetCurrentSceneTransition")["transitionDuration"] == 700, "its window takes it up in its time")
    assert house.set("currentProgramSceneName", "Scene").status == "SETTLED"
    assert ask("GetCurrentProgramScene")["currentProgramSceneName"] == "Scene"
    refused = house.set("currentProgramSceneName", "Nowhere")
    assert refused.status == "REJECTED"
    assert "there is no such thing" in str(refused)
    assert house.set("currentProgramSceneName", "Stage").status == "SETTLED"
    with pytest.raises(LightfastError, match="26"):
        house.client.set(house.path("inputs/Film/inputVolumeDb"), 99.0)


def test_changed_there_seen_here(house: Desk, other: list[Client]) -> None:
    ask = other[0].ask
    ask("SetInputVolume", inputName="Film", inputVolumeDb=-3.0)
    house.holds("inputs/Film/inputVolumeDb", -3.0, 1e-3)
    ask("SetInputMute", inputName="Film", inputMuted=False)
    house.holds("inputs/Film/inputMuted", False)
    ask("SetSceneItemTransform", sceneName="Stage", sceneItemId=1, sceneItemTransform={"rotation": 45.0})
    house.holds(f"{ITEM}/transform/rotation", 45.0)
    ask("SetSceneItemEnabled", sceneName="Stage", sceneItemId=2, sceneItemEnabled=False)
    house.holds("scenes/Stage/items/2/sceneItemEnabled", False)
    ask("SetSourceFilterEnabled", sourceName="Red", filterName="fx", filterEnabled=True)
    house.holds("inputs/Red/filters/fx/filterEnabled", True)
    ask("SetSourceFilterSettings", sourceName="Red", filterName="fx", filterSettings={"opacity": 0.75})
    house.holds("inputs/Red/filters/fx/settings/opacity", 0.75)  # of which this OBS tells nobody
    ask("SetStudioModeEnabled", studioModeEnabled=True)
    house.holds("studioModeEnabled", True)
    house.holds("currentPreviewSceneName", "Stage")
    ask("SetStudioModeEnabled", studioModeEnabled=False)
    until(lambda: house.value("currentPreviewSceneName") is None, "no preview")


def test_things_come_go_and_are_renamed(house: Desk, other: list[Client]) -> None:
    ask = other[0].ask
    ask("CreateInput", sceneName="Stage", inputName="New/1", inputKind="color_source_v3")
    house.holds("inputs/New%2F1/inputKind", "color_source_v3")
    before = house.client.get(house.path("inputs/New%2F1/inputKind")).revision
    ask("SetInputName", inputName="New/1", newInputName="Blue")
    house.holds("inputs/Blue/inputKind", "color_source_v3")
    until(lambda: house.value("inputs/New%2F1/inputKind") is None, "the old name is gone")
    assert house.client.get(house.path("inputs/Blue/inputKind")).revision >= before
    house.client.move(house.path("inputs/Blue"), house.path("inputs/Green"))
    until(lambda: "Green" in [one["inputName"] for one in ask("GetInputList")["inputs"]], "renamed in OBS")
    ask("RemoveInput", inputName="Green")
    until(lambda: house.value("inputs/Green/inputKind") is None, "the removed input")
    ask("SetSceneName", sceneName="Scene", newSceneName="Wide shot")
    until(lambda: house.value("scenes/Wide%20shot/sceneIndex") is not None, "the new name")
    ask("SetSceneName", sceneName="Wide shot", newSceneName="Scene")
    until(lambda: house.value("scenes/Scene/sceneIndex") is not None, "the old name again")


def test_commands_and_a_picture(house: Desk, other: list[Client]) -> None:
    ask = other[0].ask
    house.invoke("CreateScene", sceneName="Made here")
    until(lambda: house.value("scenes/Made%20here/sceneIndex") is not None, "the new scene")
    with pytest.raises(LightfastError, match="has one of that name already"):
        house.invoke("CreateScene", sceneName="Made here")
    number = house.invoke("CreateSceneItem", sceneName="Made here", sourceName="Red")
    house.holds(f"scenes/Made%20here/items/{number}/sourceName", "Red")
    house.invoke("RemoveScene", sceneName="Made here")
    until(lambda: house.value("scenes/Made%20here/sceneIndex") is None, "the removed scene")
    house.invoke("SetCurrentProgramScene", sceneName="Scene")
    house.holds("currentProgramSceneName", "Scene")
    house.invoke("SetCurrentProgramScene", sceneName="Stage")
    assert "OBSBasic.StartRecording" in house.invoke("GetHotkeyList")
    house.invoke("TriggerHotkeyByName", hotkeyName="libobs.hide_scene_item.Red")
    house.holds(f"{ITEM}/sceneItemEnabled", False)
    house.set(f"{ITEM}/sceneItemEnabled", True)
    with pytest.raises(LightfastError, match="that output is not running"):
        house.invoke("StopRecord")
    ask("SetSourceFilterEnabled", sourceName="Red", filterName="fx", filterEnabled=False)
    picture = house.invoke("GetSourceScreenshot", sourceName="Red", imageWidth=64, imageHeight=48)
    assert isinstance(picture, Asset)
    assert picture.media_type == "image/png"
    with Image.open(io.BytesIO(house.client.read_asset(picture.sha256))) as image:
        assert image.size == (64, 48)
        assert image.convert("RGB").getpixel((32, 24)) == (255, 0, 0)


def test_recording_is_shown(house: Desk) -> None:
    house.invoke("StartRecord")
    house.holds("record/outputActive", True)
    path = until(lambda: _stopped(house), "the file")
    house.holds("record/outputActive", False)
    assert path.endswith(".mkv")


def _stopped(house: Desk) -> str:
    try:
        return str(house.invoke("StopRecord"))
    except LightfastError:
        return ""  # it has only just begun


def test_killed_and_started_again_it_gets_its_values_back(house: Desk, obs: Obs, other: list[Client]) -> None:
    scenes = obs.home / "obs-studio" / "basic" / "scenes" / "Untitled.json"
    until(lambda: scenes.is_file() and "Film" in scenes.read_text(encoding="utf-8"), "saved by OBS")
    house.set("inputs/Film/inputVolumeDb", -20.0)
    house.set("currentSceneTransitionDuration", 444)
    other[0].close()
    obs.kill()
    began = time.monotonic()
    obs.start()
    other[0] = obs.client()
    up = time.monotonic()
    ask = other[0].ask
    until(lambda: close(ask("GetInputVolume", inputName="Film")["inputVolumeDb"], -20.0, 1e-3), "the volume is back")
    until(lambda: ask("GetCurrentSceneTransition")["transitionDuration"] == 444, "the duration is back")
    print(f"\nOBS: up after {up - began:.2f} s, in step {time.monotonic() - up:.2f} s later")
    house.live()


def test_frozen_it_is_said_and_it_comes_back(house: Desk, obs: Obs, other: list[Client]) -> None:
    assert obs.process is not None
    with frozen(obs.process.pid):
        assert "OBS did not answer" in house.troubled()
    house.live()
    assert house.set("inputs/Film/inputMuted", True).status == "SETTLED"
    assert other[0].ask("GetInputMute", inputName="Film")["inputMuted"] is True


def test_the_daemon_may_die(house: Desk, net: Network, other: list[Client]) -> None:
    house.daemon.kill()
    other[0].ask("SetInputVolume", inputName="Film", inputVolumeDb=-6.0)
    with net.inside():
        house.daemon.start()
    house.client.close()
    house.client = type(house.client)(home=house.daemon.home)
    house.live()
    house.holds("inputs/Film/inputVolumeDb", -6.0, 1e-3)


class Played(Simulator):
    """The real OBS in the place of a simulator, for the contract."""

    name = "obs"
    description = "OBS itself."
    default_listen = ("127.0.0.1", PORT)

    async def run(self, listen: tuple[str, int], reply_port: int, ready: Callable[[tuple[str, int]], None]) -> None:
        ready(("127.0.0.1", PORT))
        await asyncio.Event().wait()


async def test_contract_and_a_wrong_password(other: list[Client], net: Network) -> None:
    with net.inside():
        await check_bridge(
            ObsBridge(),
            config={"url": "ws://127.0.0.1:9"},
            simulator=Played(),
            configure=lambda _, __: {"url": URL, "password": PASSWORD},
            wish=("inputs/Film/inputVolumeDb", -9.0),
        )
        for password, reason in (("wrong", "does not accept the password"), ("", "asks for a password")):
            host = FakeBridgeHost({"url": URL, "password": password})
            task = asyncio.ensure_future(ObsBridge().run(host))
            try:
                await host.until(lambda: host.absences, "the reason")  # noqa: B023
            finally:
                task.cancel()
            assert reason in host.absences[0]
            assert "set the password" in host.absences[0]
            assert not host.sessions
        found = await ObsBridge().diagnose({"url": URL, "password": "wrong"})
        assert (found[-1].level, "password" in found[-1].remedy) == ("error", True)
        assert (await ObsBridge().diagnose({"url": URL, "password": PASSWORD}))[-1].level == "ok"
