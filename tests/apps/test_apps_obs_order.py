"""OBS works requests off side by side and tells side by side: neither its answers nor its news have an order."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Any

import pytest
from tests.apps.test_apps_obs import IMPATIENT, FakeObs, joined, running

from lightfast.sdk import Wish
from lightfast_bridges.obs.socket import Connection
from lightfast_bridges.obs.wishes import Setting

DB, MUL = "inputs/Mic/inputVolumeDb", "inputs/Mic/inputVolumeMul"


class SideBySide(FakeObs):
    """Takes what comes together, and works it off from behind."""

    async def serve(self, socket: Any) -> None:
        from websockets.exceptions import ConnectionClosed

        class Turned:
            """The requests of a socket, the last one that is there first."""

            def __init__(self) -> None:
                self.there: list[str] = []

            def __getattr__(self, name: str) -> Any:
                return getattr(socket, name)

            def __aiter__(self) -> Turned:
                return self

            async def __anext__(self) -> str:
                try:
                    if not self.there:
                        self.there = [await socket.recv()]
                        with contextlib.suppress(TimeoutError):
                            while True:
                                async with asyncio.timeout(0.01):
                                    self.there.append(await socket.recv())
                except ConnectionClosed:
                    raise StopAsyncIteration from None
                return self.there.pop()

        await super().serve(Turned())

    async def volume(self, decibels: float) -> None:
        """Tell of a volume."""
        await self.event(
            "InputVolumeChanged", inputName="Mic", inputVolumeDb=decibels, inputVolumeMul=10 ** (decibels / 20)
        )

    def sets(self) -> list[dict[str, Any]]:
        """Return the volumes that were set."""
        return [data for kind, data in self.asked if kind == "SetInputVolume"]


@pytest.mark.parametrize("late", [DB, MUL])
async def test_of_two_wishes_for_one_volume_the_later_decides(late: str) -> None:
    obs = SideBySide()
    async with running(obs) as (host, _):
        session = await joined(host)
        values = {DB: -20.0, MUL: 0.5}
        early = MUL if late == DB else DB
        wishes = [Wish(1, early, values[early], 1), Wish(2, late, values[late], 1)]
        session.channel.apply(wishes)
        await session.until(lambda: {1, 2} <= set(session.settled), "both answered")
        held = obs.inputs["Mic"]
        assert held == pytest.approx(-20.0 if late == DB else 20 * math.log10(0.5), abs=0.1)
        both = {DB: held, MUL: pytest.approx(10 ** (held / 20))}
        assert {wish.path: session.settled[wish.wish_id] for wish in wishes} == both
        assert len(obs.sets()) == 1 or obs.sets()[0].keys() == obs.sets()[-1].keys()  # no jump by the earlier one


async def test_the_other_unit_is_told_with_the_answer() -> None:
    async with running() as (host, _):
        session = await joined(host)
        session.channel.apply([Wish(1, DB, -20.0, 1)])
        await session.until(lambda: 1 in session.settled, "answered")
        assert session.values[MUL] == pytest.approx(0.1)


class Later(FakeObs):
    """Answers before its window has taken up what was set; *looks* is how often it still tells what was there."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks, self.duration, self.wished = looks, 300, 300

    def _data(self, kind: str, data: dict[str, Any]) -> dict[str, Any] | None:
        if kind == "SetCurrentSceneTransitionDuration":
            self.wished = data["transitionDuration"]
        if kind != "GetCurrentSceneTransition":
            return super()._data(kind, data)
        if self.wished != self.duration:
            self.looks -= 1
            self.duration = self.duration if self.looks >= 0 else self.wished
        return {"transitionName": "Fade", "transitionDuration": self.duration}


@pytest.mark.parametrize("looks", [0, 3, 1000])
async def test_what_obs_does_after_its_answer_settles_when_it_is_done(looks: int) -> None:
    """Of the duration of a transition it says that it is set, and its window sets it a moment later."""
    async with running(Later(looks)) as (host, obs):
        session = await joined(host)
        session.channel.apply([Wish(1, "currentSceneTransitionDuration", 700, 1)])
        await session.until(lambda: 1 in session.settled, "answered")
        assert isinstance(obs, Later)
        assert session.settled[1] == obs.duration == (300 if looks == 1000 else 700)


async def test_what_is_wished_by_a_new_name_waits_for_the_rename() -> None:
    obs = SideBySide()
    async with running(obs) as (host, _):
        session = await joined(host)
        rename = Wish(1, "inputs/Talk", None, 1, moved_from="inputs/Mic")
        session.channel.apply([Wish(3, MUL, 0.5, 1), rename, Wish(2, "inputs/Talk/inputVolumeDb", -20.0, 1)])
        await session.until(lambda: len(session.settled) + len(session.rejected) == 3, "all answered")
        assert session.rejected == {}
        assert obs.inputs == {"Talk": -20.0}


async def test_what_is_told_last_may_be_older() -> None:
    """The news of a volume that was held for a moment comes after that of the volume that is held since."""
    obs = SideBySide()
    async with running(obs) as (host, _):
        session = await joined(host)
        obs.inputs["Mic"] = -30.0
        await obs.volume(-30.0)
        await obs.volume(-10.0)
        await session.until(lambda: session.values[DB] == -10.0, "the older one")
        await session.until(lambda: session.values[DB] == -30.0, "what it holds")
        assert session.values[MUL] == pytest.approx(10 ** (-30 / 20))


async def test_the_news_of_an_older_wish_may_come_after_the_answer_to_a_newer_one() -> None:
    obs = SideBySide()
    async with running(obs) as (host, _):
        session = await joined(host)
        session.channel.apply([Wish(1, DB, -30.0, 1)])
        await session.until(lambda: 1 in session.settled, "answered")
        await obs.volume(-10.0)
        await session.until(lambda: session.values[DB] == -10.0, "the older one")
        await session.until(lambda: session.values[DB] == -30.0, "what it holds")


async def test_what_is_told_during_a_look_leaves_the_doubt() -> None:
    """It may be as old as what was told before: then the look is not taken, and another one follows."""
    async with running() as (host, obs):
        session = await joined(host)
        obs.inputs["Mic"] = -30.0
        older = {"inputName": "Mic", "inputVolumeDb": -10.0, "inputVolumeMul": 10 ** (-10 / 20)}
        obs.then["GetInputVolume"] = ("InputVolumeChanged", older)
        for decibels in (-20.0, -10.0):
            await obs.event("InputVolumeChanged", inputName="Mic", inputVolumeDb=decibels)
        await session.until(lambda: session.values[DB] == -10.0, "the older one")
        await session.until(lambda: session.values[DB] == -30.0, "what it holds")


class Unready(FakeObs):
    """Refuses to say what is open, some times."""

    refusals = 0

    def _data(self, kind: str, data: dict[str, Any]) -> dict[str, Any] | None:
        if kind == "GetSceneCollectionList" and self.refusals:
            self.refusals -= 1
            raise ValueError("OBS is not ready to perform the request.")
        return super()._data(kind, data)


async def test_a_look_that_obs_refuses_is_made_again() -> None:
    obs = Unready()
    async with running(obs) as (host, _):
        session = await joined(host)
        obs.refusals = 1
        for name in ("Scene", "Other"):
            await obs.event("CurrentProgramSceneChanged", sceneName=name)
        await session.until(lambda: session.values["currentProgramSceneName"] == "Other", "the older one")
        await session.until(lambda: session.values["currentProgramSceneName"] == "Stage", "what it holds")
        assert (obs.refusals, session.lost_reason) == (0, None)


async def test_a_reading_that_obs_refuses_is_made_again() -> None:
    obs = Unready()
    async with running(obs) as (host, _):
        session = await joined(host)
        obs.refusals, obs.inputs["Late"] = 1, -1.0
        session.channel.resync()
        await session.until(lambda: session.syncs == 2, "read again")
        assert session.values["inputs/Late/inputVolumeDb"] == -1.0
        assert obs.refusals == 0


async def test_a_rename_during_a_reading_removes_nothing() -> None:
    """Half of what is read then goes by the old name."""

    class Renaming(FakeObs):
        async def event(self, kind: str, **data: Any) -> None:
            if kind == "InputNameChanged":
                self.inputs["Voice"] = self.inputs.pop("Mic")
            await super().event(kind, **data)

    async with running(Renaming()) as (host, obs):
        session = await joined(host)
        obs.then["GetInputList"] = ("InputNameChanged", {"oldInputName": "Mic", "inputName": "Voice"})
        session.channel.resync()
        await session.until(lambda: session.syncs == 2, "read again")
        assert session.values["inputs/Voice/inputVolumeDb"] == -6.0
        moves = [(change.path, change.moved_from) for change in session.changes if change.value is None]
        assert moves == [("inputs/Voice", "inputs/Mic")]


async def test_what_is_gone_before_its_rename_is_answered_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another client removes it at once: what is told before an answer is older to the engine than the answer."""
    async with running() as (host, obs):
        session = await joined(host)
        carry_out = Setting.carry_out

        async def late(setting: Setting, connection: Connection) -> Any:
            done = await carry_out(setting, connection)
            obs.inputs.clear()
            await obs.event("InputRemoved", inputName="Talk")
            await session.until(lambda: not any(path.startswith("inputs/") for path in session.values), "it is gone")
            return done

        monkeypatch.setattr(Setting, "carry_out", late)
        session.channel.apply([Wish(1, "inputs/Talk", None, 1, moved_from="inputs/Mic")])
        await session.until(lambda: 1 in session.settled, "answered")
        assert [(one.path, one.value) for one in session.changes[-1:]] == [("inputs/Talk", None)]


@pytest.mark.parametrize("on", [True, False])
async def test_a_preview_is_chosen_while_studio_mode_is_on(on: bool) -> None:
    async with running() as (host, obs):
        session = await joined(host)
        wishes = [Wish(1, "currentPreviewSceneName", "Scene", 1), Wish(2, "studioModeEnabled", on, 1)]
        session.channel.apply(wishes)
        await session.until(lambda: {1, 2} <= set(session.settled), "both answered")
        sent = [kind for kind, _ in obs.asked if kind in {"SetStudioModeEnabled", "SetCurrentPreviewScene"}]
        assert sent == sorted(sent, reverse=on)


class Doubted(FakeObs):
    """Tells the older of two states last, and holds the newer one."""

    def _data(self, kind: str, data: dict[str, Any]) -> dict[str, Any] | None:
        held: dict[str, dict[str, Any]] = {
            "GetSceneItemEnabled": {"sceneItemEnabled": False},
            "GetSceneItemTransform": {"sceneItemTransform": {"positionX": 2.0}},
            "GetSceneItemList": {
                "sceneItems": [
                    {
                        "sceneItemId": 1,
                        "sourceName": "Mic",
                        "sceneItemEnabled": True,
                        "sceneItemTransform": {"positionX": 0.0},
                    }
                ]
            },
            "GetSourceFilter": {"filterEnabled": False},
            "GetSourceFilterList": {"filters": [{"filterName": "fx", "filterKind": "eq", "filterEnabled": True}]},
            "GetRecordStatus": {"outputActive": True, "outputPaused": False},
        }
        if kind == "GetSourceFilterList" and data["sourceName"] != "Mic":
            return {"filters": []}
        return held.get(kind) or super()._data(kind, data)


ITEM = {"sceneName": "Stage", "sceneItemId": 1}


@pytest.mark.parametrize(
    ("event", "said", "path", "held"),
    [
        (
            "SceneItemEnableStateChanged",
            lambda last: {**ITEM, "sceneItemEnabled": last},
            "scenes/Stage/items/1/sceneItemEnabled",
            False,
        ),
        (
            "SceneItemTransformChanged",
            lambda last: {**ITEM, "sceneItemTransform": {"positionX": 1.0 if last else 2.0}},
            "scenes/Stage/items/1/transform/positionX",
            2.0,
        ),
        (
            "CurrentProgramSceneChanged",
            lambda last: {"sceneName": "Scene" if last else "Stage"},
            "currentProgramSceneName",
            "Stage",
        ),
        (
            "RecordStateChanged",
            lambda last: {"outputActive": not last, "outputState": ""},
            "record/outputActive",
            True,
        ),
        (
            "SourceFilterEnableStateChanged",
            lambda last: {"sourceName": "Mic", "filterName": "fx", "filterEnabled": last},
            "inputs/Mic/filters/fx/filterEnabled",
            False,
        ),
    ],
)
async def test_whatever_is_told_twice_at_once_is_looked_at(
    event: str, said: Callable[[bool], dict[str, Any]], path: str, held: Any
) -> None:
    async with running(Doubted()) as (host, obs):
        session = await joined(host)
        for last in (False, True):
            await obs.event(event, **said(last))
        await session.until(lambda: session.values[path] != held, "the older state")
        await session.until(lambda: session.values[path] == held, "what it holds")


async def test_a_wish_waits_while_another_collection_is_opened() -> None:
    """It was meant for the one that was open: it is put back there, and never set in the other one."""
    async with running() as (host, obs):
        session = await joined(host)
        await obs.event("CurrentSceneCollectionChanging", sceneCollectionName="Other")
        await obs.event("CurrentProgramSceneChanged", sceneName="Scene")
        await session.until(lambda: session.values["currentProgramSceneName"] == "Scene", "taken")
        session.channel.apply([Wish(1, DB, -20.0, 1)])
        await asyncio.sleep(0.05)
        await obs.event("CurrentSceneCollectionChanged", sceneCollectionName="Other")
        await session.until(lambda: session.lost_reason, "lost")
        assert not any(kind == "SetInputVolume" for kind, _ in obs.asked)
        assert (session.settled, session.rejected) == ({}, {})
        assert obs.inputs == {"Mic": -6.0}


async def test_a_collection_that_takes_long_to_open_is_told() -> None:
    """What is wished meanwhile waits, and nothing is asked by which OBS could be seen to hang."""
    async with running(**IMPATIENT) as (host, obs):
        session = await joined(host)
        await obs.event("CurrentSceneCollectionChanging", sceneCollectionName="Other")
        await session.until(lambda: session.trouble, "degraded")
        assert "has been opening another scene collection" in session.trouble
        await obs.event("CurrentSceneCollectionChanged", sceneCollectionName="Other")
        await joined(host, 2)
