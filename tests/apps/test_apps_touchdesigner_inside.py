"""The component inside TouchDesigner, on the stand-in for `td`: what it shares, takes, refuses, and how long it takes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.blender import Desk
from tests.support.ending import ended
from tests.support.touchdesigner import big, running
from tests.support.waiting import until

from lightfast.sdk import Wish
from lightfast_bridges.touchdesigner import inside
from lightfast_bridges.touchdesigner.simulator import TouchDesignerSimulator
from lightfast_bridges.touchdesigner.standin import make_td
from lightfast_bridges.touchdesigner.standin.par import ParMode


@pytest.fixture
def one_hello(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let operators that come and go not be declared anew: that would end the session of a test which takes long."""
    declare_anew(monkeypatch, after=3600.0)
    return monkeypatch


def declare_anew(monkeypatch: pytest.MonkeyPatch, after: float) -> None:
    monkeypatch.setattr(inside.part("session"), "REDECLARE_AFTER", after)


async def test_it_shares_the_project_with_types_and_says_that_it_is_simulated(tmp_path: Path) -> None:
    async with Desk(tmp_path) as desk, running(desk, "stage") as td:
        hello, values = td.app.hello, td.app.values
        assert hello.simulator
        assert hello.name == "stage"
        assert hello.transport == "tcp"
        assert f"component {inside.version()}" in hello.app_version
        assert values["lightfast/component"] == inside.version()
        assert values["project1/noise1/par/type"] == "sparse"
        assert values["project1/noise1/par/mono"] is True
        assert values["project1/noise1/par/harmon"] == 2
        assert values["project1/geo1/par/material"] == ""
        assert values["time/rate"] == 60.0
        assert "project1/timer1/par/start" not in values, "a pulse holds no value"
        assert not [path for path in values if path.startswith("project1/lightfast/")], "it does not share itself"
        declared = {parameter.pattern: parameter for parameter in hello.parameters}
        assert declared["project1/noise1/par/type"].choices[0] == "sparse"
        assert declared["project1/geo1/par/rx"].unit == "angle.degree"
        assert "the slider goes from 0 to 360" in declared["project1/geo1/par/rx"].description
        assert declared["project1/geo1/par/rx"].minimum is None, "a slider's range binds nobody"
        assert declared["time/frame"].signal


@pytest.mark.usefixtures("one_hello")
async def test_wishes_are_carried_out_or_refused_with_a_reason(tmp_path: Path) -> None:
    async with Desk(tmp_path) as desk, running(desk) as td:
        wish = td.app.wish
        geo, noise = td.op("/project1/geo1"), td.op("/project1/noise1")
        assert await wish("project1/geo1/par/tx", 2) == 2.0
        assert geo.par.tx.val == 2.0
        assert await wish("project1/noise1/par/type", "harmonic") == "harmonic"
        assert await wish("project1/noise1/par/harmon", 5.0) == 5
        assert await wish("project1/noise1/par/mono", False) is False
        assert await wish("time/play", False) is False
        assert td.td.time.play is False
        geo.par.ty.expr = "absTime.frame * 0"
        geo.par.sx.readOnly = True
        geo.par.sy.drive(lambda: 3.0, ParMode.EXPORT)
        noise.par.period.clampMax = True
        for path, value, reason in (
            ("project1/nope/par/tx", 1.0, "no operator /project1/nope"),
            ("project1/geo1/par/nope", 1.0, "has no parameter 'nope'"),
            ("project1/geo1/par/ty", 1.0, "driven by an expression"),
            ("project1/geo1/par/sy", 1.0, "driven by an export"),
            ("project1/geo1/par/tx", "far", "takes a double, not a string"),
            ("project1/geo1/par/tx", float("nan"), "finite"),
            ("project1/noise1/par/type", "none", "one of sparse"),
            ("project1/noise1/par/period", 4.0, "TouchDesigner holds 1.0 instead of 4.0"),
            ("project1/timer1/par/start", 1, "is a pulse: use the command pulse"),
            ("project1/lightfast/par/Allowcode", True, "is not shared"),
            ("project1/geo1/par/tx", None, "cannot be removed"),
            ("elsewhere", 1.0, "no such path"),
            ("time/rate", 0.0, "above 0"),
        ):
            with pytest.raises(RuntimeError, match=reason):
                await wish(path, value)
        td.op("/project1/geo1").par.material.val = "phong1"
        await td.app.until(lambda: td.app.values["project1/geo1/par/material"] == "phong1", "a reference")


async def test_changes_inside_are_seen_and_a_batch_is_one_step_of_undo(
    tmp_path: Path, one_hello: pytest.MonkeyPatch
) -> None:
    async with Desk(tmp_path) as desk, running(desk) as td:
        geo = td.op("/project1/geo1")
        geo.par.tz = 4.5
        await td.app.until(lambda: td.app.values["project1/geo1/par/tz"] == 4.5, "the change")
        assert td.app.times["project1/geo1/par/tz"] > 0
        steps = len(td.td.ui.undo.undoStack)
        await td.app.wish("project1/geo1/par/tx", 8.0)
        assert len(td.td.ui.undo.undoStack) == steps + 1
        await td.app.call("undo")
        assert geo.par.tx.val == 0.0
        await td.app.until(lambda: td.app.values["project1/geo1/par/tx"] == 0.0, "what was undone")
        # What an expression drives is read, and turns with the frames.
        geo.par.ry.expr = "absTime.frame"
        await td.app.until(lambda: float(td.app.values["project1/geo1/par/ry"]) > 5, "the expression")  # type: ignore[arg-type]
        declare_anew(one_hello, after=0.1)
        again = await desk.joined(2)
        declared = {parameter.pattern: parameter for parameter in again.hello.parameters}
        driven = declared["project1/geo1/par/ry"]
        assert driven.signal
        assert driven.access == "r"
        assert "driven by the expression absTime.frame" in driven.description
        assert again.hello.generation > td.app.hello.generation


async def test_operators_come_go_and_are_renamed(tmp_path: Path, one_hello: pytest.MonkeyPatch) -> None:
    async with Desk(tmp_path) as desk, running(desk) as td:
        app = td.app
        identity = app.ids["project1/geo1/par/tx"]
        td.op("/project1/geo1").name = "hero"
        await app.until(lambda: ("project1/geo1", "project1/hero") in app.moves, "the rename")
        assert app.values["project1/hero/par/tx"] == 0.0
        assert "project1/geo1/par/tx" not in app.values
        td.op("/project1/cam1").destroy()
        await app.until(lambda: "project1/cam1/par/fov" not in app.values, "the deletion")
        declare_anew(one_hello, after=0.1)
        again = await desk.joined(2)
        assert again.ids["project1/hero/par/tx"] == identity
        # The context renames, and writes by the new name at once.
        declare_anew(one_hello, after=3600.0)
        again.channel.apply([Wish(900, "project1/star", None, 1, moved_from="project1/hero")])
        again.channel.apply([Wish(901, "project1/star/par/tx", 6.0, 2)])
        await again.until(lambda: 901 in again.settled, "the value by the new name")
        assert 900 in again.settled
        assert td.op("/project1/star").par.tx.val == 6.0
        for target, reason in (
            ("project1/noise1", "taken"),
            ("project1/a b", "letters"),
            ("star", "not moved elsewhere"),
        ):
            number = 910 + len(again.rejected)
            again.channel.apply([Wish(number, target, None, 3, moved_from="project1/star")])
            await again.until(lambda n=number: n in again.rejected, f"a refusal of {target}")  # type: ignore[misc]
            assert reason in again.rejected[number]


async def test_names_that_are_swapped_keep_their_values(tmp_path: Path) -> None:
    async with Desk(tmp_path) as desk, running(desk) as td:
        geo, cam = td.op("/project1/geo1"), td.op("/project1/cam1")
        geo.par.tx, cam.par.tx = 1.0, 2.0
        await td.app.until(lambda: td.app.values["project1/cam1/par/tx"] == 2.0, "the values")
        geo.name = "between"
        cam.name = "geo1"
        geo.name = "cam1"
        last = await desk.joined(2)
        assert last.values["project1/geo1/par/tx"] == 2.0
        assert last.values["project1/cam1/par/tx"] == 1.0
        assert await last.wish("project1/cam1/par/tx", 5.0) == 5.0
        assert geo.par.tx.val == 5.0


@pytest.mark.usefixtures("one_hello")
async def test_commands_do_what_they_say_and_refuse_the_rest(tmp_path: Path) -> None:
    async with Desk(tmp_path) as desk, running(desk) as td:
        call: Any = td.app.call
        listed = await call("list_operators", path="/project1", family="TOP")
        assert {item["type"] for item in listed} == {"noiseTOP", "constantTOP", "levelTOP", "nullTOP"}
        told = await call("get_operator", path="project1/level1")
        assert told["inputs"] == ["/project1/noise1"]
        assert told["parameters"]["opacity"] == 1.0
        assert told["shared"] is True
        image = await call("snapshot", path="/project1/constant1")
        assert image.media_type == "image/png"
        assert desk.vault.kept[image.sha256][1].startswith(b"\x89PNG\r\n\x1a\n")
        made = await call("create_operator", parent="/project1", type="noiseTOP", name="fog")
        assert made["mount_path"] == "project1/fog"
        assert td.app.values["project1/fog/par/seed"] == 1.0, "what a command made is reported before its result"
        await call("connect", source="/project1/fog", target="/project1/level1")
        assert td.op("/project1/level1").inputs[0].name == "fog"
        await call("disconnect", path="/project1/level1")
        assert td.op("/project1/level1").inputs == []
        renamed = await call("rename_operator", path="/project1/fog", name="mist")
        assert (renamed["path"], renamed["was"]) == ("/project1/mist", "fog"), "its undo is made of them"
        assert td.app.values["project1/mist/par/seed"] == 1.0
        await call("delete_operator", path="/project1/mist")
        assert "project1/mist/par/seed" not in td.app.values
        await call("set_text", path="/project1/notes", text="hello")
        assert await call("get_text", path="/project1/notes") == "hello"
        await call("pulse", path="/project1/timer1/par/start")
        assert td.td.pulses[-1] == "/project1/timer1/start"
        await call("cook", path="/project1/out1")
        assert td.op("/project1/out1").cooks == 1
        await call("pause")
        assert td.td.time.play is False
        await call("play")
        td.op("/project1/notes").par.language = "python"
        for name, arguments, reason in (
            ("snapshot", {"path": "/project1/geo1"}, "only a TOP"),
            ("snapshot", {"path": "/project1/none"}, "no operator /project1/none"),
            ("snapshot", {"path": "/project1/out1", "format": "exr"}, "writes .png only"),
            ("create_operator", {"parent": "/project1", "type": "noiseTOP", "name": "out1"}, "taken"),
            ("create_operator", {"parent": "/project1", "type": "magicTOP"}, "no operator of the type"),
            ("create_operator", {"parent": "/", "type": "noiseTOP"}, "outside the root COMPs"),
            ("delete_operator", {"path": "/project1"}, "is a root COMP"),
            ("delete_operator", {"path": "/project1/lightfast"}, "or in it"),
            ("set_text", {"path": "/project1/notes", "text": "x"}, "run as Python"),
            ("set_text", {"path": "/project1/lightfast/frames", "text": "x"}, "or in it"),
            ("connect", {"source": "/project1/lfo1", "target": "/project1/level1"}, "joins one family"),
            ("pulse", {"path": "/project1/geo1/par/tx"}, "is no pulse"),
            ("exec", {"code": "1"}, "no command 'exec'"),
            ("cook", {}, "needs the argument 'path'"),
        ):
            with pytest.raises(RuntimeError, match=reason):
                await call(name, **arguments)


async def test_code_runs_only_where_the_user_allows_it(tmp_path: Path) -> None:
    async with Desk(tmp_path) as desk, running(desk, settings={"Allowcode": True}) as td:
        (offered,) = [command for command in td.app.hello.commands if command.effect == "code"]
        assert offered.name == "exec"
        assert await td.app.call("exec", code="result = op('/project1/geo1').name * 2") == "geo1geo1"
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            await td.app.call("exec", code="1 / 0")


async def test_the_user_chooses_what_is_shared(tmp_path: Path) -> None:
    settings = {"Include": "geo* noise1", "Exclude": "/project1/noise1", "Parnames": "t? *X", "Chops": "waves"}
    async with Desk(tmp_path) as desk, running(desk, settings=settings) as td:
        shared = {path for path in td.app.values if path.startswith("project1/")}
        assert shared == {*(f"project1/geo1/par/t{axis}" for axis in "xyz"), "project1/waves/chop/chan1"}
        with pytest.raises(RuntimeError, match="is not shared: choose it"):
            await td.app.wish("project1/geo1/par/rx", 1.0)
        with pytest.raises(RuntimeError, match="only be read"):
            await td.app.wish("project1/waves/chop/chan1", 1.0)
        td.simulator.component.par.Parnames = "t? r?"
        again = await desk.joined(2)
        assert "project1/geo1/par/rx" in again.values
        td.simulator.component.par.Rootcomps = "/project1 /nothing"
        await desk.joined(3)
        await td.app.until(lambda: True, "a moment")
        assert "no such COMP: /nothing" in td.session.status


async def test_the_channels_of_a_chop_are_signals_that_conflate(tmp_path: Path) -> None:
    async with Desk(tmp_path) as desk, running(desk) as td:
        values = td.app.values
        td.op("/project1/constant2").held = {"a/b": 1.0, "c": 2.0}
        await td.app.until(lambda: values.get("project1/constant2/chop/a%2Fb") == 1.0, "the channels")
        await td.app.until(lambda: "project1/constant2/chop/chan1" not in values, "the channel that went")
        seen = set()
        for _ in range(3):
            before = values["project1/waves/chop/chan1"]
            await td.app.until(lambda was=before: values["project1/waves/chop/chan1"] != was, "a turn")  # type: ignore[misc]
            seen.add(values["project1/waves/chop/chan1"])
        assert len(seen) == 3
        # Many frames while nobody reads: one value of each path waits.
        client = td.session.client
        with client.lock:
            for _ in range(50):
                td.td.absTime.seconds += 0.01
                changes = td.session.scanner.chops(0.0)
                for change in changes:
                    client.outbox.add(change)
            assert len(client.outbox) <= len({path for path in values if "/chop/" in path}) + 10


def test_three_thousand_parameters_never_take_more_than_the_budget(tmp_path: Path) -> None:
    simulator = TouchDesignerSimulator(str(tmp_path), td=big(100, 30))
    simulator.start()
    session = simulator.component.ext.LightfastExt.component.session
    ticks = 0.0

    def clock() -> float:
        nonlocal ticks
        ticks += 0.0002  # each look at the clock stands for the work since the last
        return ticks

    session.clock = session.scanner._clock = clock
    try:

        def frame() -> None:
            begin = ticks
            session.pump()
            assert ticks - begin < session.settings.budget + 0.002, "it stops when its time is up"

        frames = 0
        while len(session.scanner.index) < 3000:
            frame()
            frames += 1
            assert frames < 10_000
        assert frames > 10, "the work was spread over frames"

        def greeted() -> bool:
            frame()  # the hello is said beside the frames, in its own time
            return session.greeter.client is not None

        until(greeted, "the client")
        assert len(session._hello()["parameters"]) >= 3000
    finally:
        assert simulator.td is not None
        simulator.td.close()


async def test_three_thousand_parameters_are_reported_whole(tmp_path: Path) -> None:
    async with Desk(tmp_path) as desk, running(desk, td=big(100, 30)) as td:
        knobs = [path for path in td.app.values if "/par/Knob" in path]
        assert len(knobs) == 3000
        assert len([p for p in td.app.hello.parameters if "/par/Knob" in p.pattern]) == 3000
        td.op("/project1/rack77").par.Knob12 = 0.75
        await td.app.until(lambda: td.app.values["project1/rack77/par/Knob12"] == 0.75, "one change among them")


async def test_with_the_timeline_paused_and_no_frames_it_goes_on(tmp_path: Path) -> None:
    simulator = TouchDesignerSimulator(str(tmp_path / "home"))
    simulator.start()
    assert simulator.td is not None
    async with Desk(tmp_path) as desk:

        async def beats() -> None:
            while True:
                simulator.td.beat()  # type: ignore[union-attr]
                await asyncio.sleep(0.01)

        task = asyncio.ensure_future(beats())
        try:
            app = await desk.joined()
            assert await app.wish("project1/geo1/par/tx", 1.5) == 1.5
        finally:
            await ended(task, "the beat")
            simulator.td.close()


async def test_edits_while_the_daemon_is_away_make_a_later_generation(tmp_path: Path) -> None:
    async with Desk(tmp_path) as desk, running(desk) as td:
        generation = td.app.hello.generation
        await desk.shut()
        while td.session.live:
            await asyncio.sleep(0.01)
        td.op("/project1/geo1").par.tx = 9.0
        while td.session.document.generation == generation:
            await asyncio.sleep(0.01)
        await desk.open()
        again = await desk.joined(2)
        assert again.hello.document_id == td.app.hello.document_id
        assert again.hello.generation > generation
        assert again.values["project1/geo1/par/tx"] == 9.0


async def test_an_edit_that_is_seen_only_when_the_daemon_is_back_makes_a_later_generation(tmp_path: Path) -> None:
    async with Desk(tmp_path) as desk, running(desk) as td:
        generation = td.app.hello.generation
        await desk.shut()
        while td.session.live:
            await asyncio.sleep(0.01)
        session = td.session
        session._next_look = session._next_walk = float("inf")  # a big project is looked at seldom
        while session._steps is not None:
            await asyncio.sleep(0.01)
        session._next_look = session._next_walk = float("inf")
        td.op("/project1/geo1").par.tx = 9.0
        await desk.open()
        again = await desk.joined(2)
        assert again.hello.document_id == td.app.hello.document_id
        assert again.hello.generation == generation + 1
        assert again.values["project1/geo1/par/tx"] == 9.0
        # Counted once: what is edited from now on is a change like any other.
        td.op("/project1/geo1").par.ty = 8.0
        await again.until(lambda: again.values["project1/geo1/par/ty"] == 8.0, "the next edit")
        assert again.hello is desk.sessions[-1].hello


async def test_a_save_keeps_the_document_and_save_as_makes_another(tmp_path: Path) -> None:
    project = tmp_path / "projects"
    project.mkdir()

    async with (
        Desk(tmp_path) as desk,
        running(desk, td=lambda: make_td(str(project), "show.1.toe")) as td,
    ):
        first = td.app.hello.document_id
        td.td.project.save()
        assert td.td.project.name == "show.2.toe"
        assert td.session.document.id == first
        td.td.project.save(str(project / "other.toe"))
        again = await desk.joined(2)
        assert again.hello.document_id != first
