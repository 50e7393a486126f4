"""Diagnosis: what the engine sees, what the bridge finds, and what becomes of a bridge that hangs or raises."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.desk import App, hello, open_desk, until

from lightfast.context.entry import Status
from lightfast.core.errors import NotFound
from lightfast.engine.apps.diagnosis import LEVELS
from lightfast.sdk import Bridge, BridgeHost, Finding

QUICK = {"live": {"wish_timeout_s": 0.15}}


class Looking(Bridge):
    """A bridge that finds what it is told."""

    kind = "live"
    title = "Live"

    def __init__(self, found: Any = (), kind: str = "live") -> None:
        self.kind = kind
        self.found = found
        self.configs: list[Mapping[str, Any]] = []

    async def diagnose(self, config: Mapping[str, Any]) -> Sequence[Finding]:
        self.configs.append(config)
        if isinstance(self.found, BaseException):
            raise self.found
        if self.found == "hang":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.sleep(0.2)  # it takes its time even then
                raise
        return self.found  # type: ignore[no-any-return]

    async def run(self, host: BridgeHost) -> None:
        await asyncio.Event().wait()


async def found(desk: Any, target: str, **more: Any) -> list[tuple[str, str, str]]:
    findings = await desk.registry.diagnose(target, **more)
    assert all(finding.level in LEVELS for finding in findings)
    return [(finding.level, finding.subject, finding.what) for finding in findings]


async def test_one_in_step_is_well(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        bridge = Looking([Finding("ok", "UDP port 11000", "AbletonOSC answers in 3 ms")])
        desk.registry.add_kind(bridge, [{"port": 11000}])
        await desk.live(App({"song/tempo": 120.0}), hello())
        told = await found(desk, "/live")
        assert told[0][:2] == ("ok", "/live")
        assert told[0][2].startswith("live for ")
        assert told[1][:2] == ("ok", "last message")
        assert ("ok", "UDP port 11000", "AbletonOSC answers in 3 ms") in told
        assert any(subject == "last return" for _, subject, _ in told)
        assert bridge.configs == [{"port": 11000}]
        assert {level for level, _, _ in told} <= {"ok", "note"}


async def test_trouble_is_named_with_its_remedy(tmp_path: Path) -> None:
    async with open_desk(tmp_path, QUICK) as desk:
        app = App({"song/tempo": 120.0, "song/name": "x"}, refuses={"song/name": "it is locked"})
        await desk.live(app, hello())
        await desk.set("/live/song/name", "y")
        await desk.status("/live/song/name", Status.REJECTED)
        app.deaf = True
        await desk.set("/live/song/tempo", 90.0)
        await desk.set("/live/song/tempo", 91.0)
        await until(lambda: app.wishes[-1].value == 91.0)
        told = await found(desk, "live")
        assert ("warning", "/live/song/name", "rejected: it is locked") in told
        assert any(s == "wishes" and "1 wishes are with it, the oldest for " in w for _, s, w in told)
        assert any(s == "pending wishes" and w.endswith(": /live/song/tempo") for _, s, w in told)
        assert ("warning", "/live", "no bridge for a live is loaded") in told
        desk.registry.hold("panic")
        assert ("warning", "/live", "all applications are held: panic") in await found(desk, "live")
        desk.registry.release()
        await desk.status("/live/song/tempo", Status.REJECTED)
        findings = await desk.registry.diagnose("live")
        state = findings[0]
        assert (state.level, state.remedy) == ("warning", "lightfast apps resync live")
        assert "it does not answer" in state.what


async def test_one_that_is_away_is_diagnosed_too(tmp_path: Path) -> None:
    async with open_desk(tmp_path, {"live": {"resync_policy": "ask"}}) as desk:
        desk.registry.add_kind(Looking([Finding("error", "UDP port 11000", "nothing listens", "start Live")]))
        desk.registry.absent("live", "nothing answers on UDP port 11000")
        told = await found(desk, "/live")
        assert told[0][0] == "error"
        assert "absent for " in told[0][2]
        assert told[0][2].endswith("nothing answers on UDP port 11000")
        assert ("error", "UDP port 11000", "nothing listens") in told
        app = App({"song/tempo": 120.0, "song/name": "x"})
        await desk.live(app, hello())
        await desk.leave(app, "it crashed")
        await desk.set("/live/song/name", "waits")
        told = await found(desk, "live")
        assert told[0][0] == "error"
        assert told[0][2].endswith(": it crashed")
        assert any(level == "warning" and s == "pending wishes" for level, s, _ in told)
        again = App({"song/tempo": 100.0, "song/name": "x"})
        await desk.live(again, hello("i2"))
        told = await found(desk, "live")
        assert any(s == "conflicts" and w.startswith("2 conflict records, 2 of them questions") for _, s, w in told)
        assert not any(s == "pending wishes" for _, s, _ in told), "a question is not a wish that waits"


async def test_a_kind_without_applications_and_a_name_that_nobody_knows(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        desk.registry.add_kind(Looking([Finding("note", "Ardour", "not installed")], kind="ardour"))
        told = await found(desk, "ardour")
        assert told == [("error", "/ardour", "no ardour has joined yet"), ("note", "Ardour", "not installed")]
        with pytest.raises(NotFound, match=r"'/maya': none has joined yet; kinds that can join: ardour$"):
            await found(desk, "/maya")
        await desk.live(App({}), hello())
        with pytest.raises(NotFound, match="there are /live;"):
            await found(desk, "maya")


async def test_all_instances_of_a_kind_or_one_of_them(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        bridge = Looking([Finding("ok", "port", "fine")])
        desk.registry.add_kind(bridge, [{"name": "front of house", "port": 1}, {"name": "side", "port": 2}])
        for name in ("front of house", "side"):
            desk.registry.absent("live", "nothing answers", name)
        await found(desk, "/side")
        assert [config["port"] for config in bridge.configs] == [2]
        await found(desk, "/front%20of%20house")
        assert [config["port"] for config in bridge.configs] == [2, 1]
        told = await found(desk, "live")
        assert [config["port"] for config in bridge.configs] == [2, 1, 1, 2]
        assert [subject for level, subject, _ in told if level == "error"] == ["/front%20of%20house", "/side"]


@pytest.mark.parametrize(
    ("made", "what"),
    [
        (ValueError("no socket"), "its diagnosis failed: ValueError: no socket"),
        (SystemExit(3), "its diagnosis failed: RuntimeError: it raised SystemExit"),
        ("hang", "its diagnosis took longer than 0.05 s and was given up"),
        ([Finding("terrible", "x", "y")], "which is no finding with one of the levels ok, note, warning, error"),
        (["x"], "its diagnosis gave 'x'"),
        (None, "its diagnosis failed: TypeError"),
    ],
)
async def test_a_bridge_that_misbehaves_is_a_finding(tmp_path: Path, made: Any, what: str) -> None:
    async with open_desk(tmp_path) as desk:
        desk.registry.add_kind(Looking(made))
        await desk.live(App({"song/tempo": 1.0}), hello())
        told = await found(desk, "live", deadline=0.05)
        assert told[0][0] == "ok"
        level, subject, said = told[-1]
        assert (level, subject) == ("error", "bridge live")
        assert what in said
        await asyncio.sleep(0.3)  # what was given up ends in the meantime
