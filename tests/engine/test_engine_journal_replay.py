"""Replays: what is written again, when, by whom, and what differs from the recording."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.engine.test_engine_journal import journal, signal
from tests.support.desk import App, Desk, hello, open_desk, until

from lightfast.context.entry import Declaration, Delete, Move, Set
from lightfast.context.watch import Batch, Bus
from lightfast.core.errors import FailedPrecondition, InvalidArgument, NotFound
from lightfast.engine.journal.compare import Difference
from lightfast.engine.journal.journal import Journal
from lightfast.engine.journal.plan import Outcome, Plan, Planned, Step
from lightfast.engine.links.links import Link

FAST = math.inf


async def play(found: Journal, name: str = "take", **plan: Any) -> list[Step]:
    """Replay to the end, and return all steps."""
    async with asyncio.timeout(50):
        return [step async for step in found.replays.replay(Plan(name, **{"speed": FAST, **plan}))]


def outcome(steps: list[Step]) -> Outcome:
    assert isinstance(steps[-1], Outcome)
    return steps[-1]


def differences(steps: list[Step]) -> list[tuple[str, str]]:
    return [(step.kind, step.path) for step in steps if isinstance(step, Difference)]


async def record(desk: Desk, found: Journal, act: Callable[[], Awaitable[object]]) -> None:
    """Record what *act* does, and all that follows from it."""
    found.recorder.start("take", "local")
    await act()
    await settle(desk)
    await found.recorder.stop()


async def settle(desk: Desk) -> None:
    """Wait until nothing follows any more."""
    calm, revision = 0, -1
    async with asyncio.timeout(60):
        while calm < 20:
            calm = calm + 1 if desk.store.revision == revision else 0
            revision = desk.store.revision
            await asyncio.sleep(0.02)
            await desk.store.drain()  # on a slow disk all that time may pass over one commit


async def test_a_replay_writes_the_inputs_and_links_do_the_rest(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        await desk.links.create(Link("/a", "/b", expression="x * 2"))

        async def act() -> None:
            await desk.set("/a", 1.0, label="one")
            await desk.set("/a", 5.0)
            await desk.store.apply([Set("/c", "x"), Set("/d", 1)], origin="client:other")
            await desk.store.apply([Move("/c", "/e"), Delete("/d")], origin="client:other")

        await desk.set("/a", 0.0)
        await settle(desk)
        await record(desk, found, act)
        await desk.store.apply([Delete("/e"), Set("/a", 77.0)], origin="client:test")
        await settle(desk)
        steps = await play(found, check=True)
        done = outcome(steps)
        assert differences(steps) == []
        assert (done.differences, done.refused, done.checked, done.note) == (0, 0, True, "")
        assert {path: desk.entry(path).value for path in ("/a", "/b", "/e")} == {"/a": 5.0, "/b": 10.0, "/e": "x"}
        assert desk.entry("/a").origin == "replay:take"
        assert desk.entry("/b").origin.startswith("link:")
        undone = await desk.store.undo(group=done.group, origin="client:test")
        assert undone.conflicts == ()
        assert desk.entry("/a").value == 77.0, "one undo takes the replay back"


async def test_signals_are_published_and_settle_by_themselves(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        await signal(desk, "/s")
        seen: list[object] = []

        async def act() -> None:
            for number in range(50):
                desk.store.publish([Set("/s", float(number))], origin="client:knob")
                await asyncio.sleep(0.001)
            await until(lambda: desk.entry("/s").revision)

        await record(desk, found, act)
        desk.store.publish([Set("/s", -1.0)], origin="client:knob")
        await until(lambda: desk.entry("/s").value == -1.0 and desk.entry("/s").revision)

        def note(batch: Batch) -> None:
            seen.extend(e.entry.value for e in batch.events if e.entry.path == "/s" and not e.entry.revision)

        assert isinstance(desk.store.bus, Bus)
        leave = desk.store.bus.listen(["/s"], note)
        steps = await play(found, speed=1.0, check=True)
        leave()
        assert outcome(steps).samples >= 50
        assert seen[-1] == 49.0
        assert len(seen) > 1, "spread over time; how far is the machine's business"
        assert seen == sorted(seen, key=float), "in their order"  # type: ignore[arg-type]
        assert differences(steps) == []
        assert outcome(steps).transactions <= 1, "the settled value is not written again"


async def test_the_times_are_kept_and_scaled(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:

        async def act() -> None:
            for number in range(4):
                await desk.set("/a", number)
                await asyncio.sleep(0.2)

        await desk.set("/a", "before")
        await record(desk, found, act)
        for speed, least in ((1.0, 0.6), (4.0, 0.15)):
            await desk.set("/a", "before")
            await settle(desk)
            written: list[tuple[float, object]] = []

            def note(batch: Batch, written: list[tuple[float, object]] = written) -> None:
                now = asyncio.get_running_loop().time()
                written.extend((now, e.entry.value) for e in batch.events if e.entry.path == "/a")

            assert isinstance(desk.store.bus, Bus)
            leave = desk.store.bus.listen(["/a"], note)
            began = asyncio.get_running_loop().time()  # and not the first write: the disk may take long for that one
            done = outcome(await play(found, speed=speed))
            await settle(desk)
            leave()
            assert [value for _, value in written] == [0, 1, 2, 3]
            assert written[-1][0] - began > least - 0.05, "no write comes early"
            assert done.worst_lateness >= 0


async def test_a_part_begins_with_the_state_of_its_moment(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        await desk.set("/kept", 1)

        async def act() -> None:
            await desk.set("/early", "state")
            await desk.set("/a", 1)
            await asyncio.sleep(0.3)
            await desk.set("/a", 2)
            await asyncio.sleep(0.3)
            await desk.set("/a", 3)

        await record(desk, found, act)
        await desk.store.apply([Delete("/early"), Set("/a", 0), Set("/kept", 5)], origin="client:test")
        times = [step.at for step in await play(found, dry=True) if isinstance(step, Planned)]  # of the disk, too
        assert len(times) == 4
        steps = await play(found, start=(times[1] + times[2]) / 2, end=(times[2] + times[3]) / 2, check=True)
        assert differences(steps) == []
        assert [desk.entry(path).value for path in ("/early", "/a", "/kept")] == ["state", 2, 1]
        texts = [entry.value for t in (await desk.store.history("/a")).transactions for entry in [t.events[0].entry]]
        assert texts[:2] == [2, 1], "the state first, then the input"


async def test_only_some_applications_and_wishes_under_mounts(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        live = App({"song/tempo": 120.0, "song/length": 10.0})
        other = App({"song/tempo": 60.0})
        await desk.live(live, hello("i1", "a"))
        await desk.live(other, hello("i2", "b", name="other"))

        async def act() -> None:
            live.turn("song/tempo", 90.0)  # its user
            live.turn("song/length", 20.0)  # only it can
            await desk.set("/other/song/tempo", 70.0)  # a client
            await desk.set("/free", 1)

        await record(desk, found, act)
        live.turn("song/tempo", 33.0)
        await desk.set("/other/song/tempo", 44.0)
        await desk.set("/free", 2)
        await settle(desk)
        steps = await play(found, apps=("/live",))
        await settle(desk)
        assert live.values["song/tempo"] == 90.0, "what its user did is wished"
        assert desk.entry("/live/song/tempo").status == "SETTLED"
        assert (other.values["song/tempo"], desk.entry("/free").value) == (44.0, 2)
        assert outcome(steps).refused == 0
        await play(found, apps=("other",))
        await until(lambda: other.values["song/tempo"] == 70.0)


async def test_a_dry_run_tells_and_writes_nothing(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        await signal(desk, "/s")

        async def act() -> None:
            await desk.set("/a", 1)
            desk.store.publish([Set("/s", 0.5)], origin="client:knob")
            await desk.store.apply([Move("/a", "/b")], origin="client:test")
            await desk.store.apply([Delete("/b")], origin="client:test")

        await record(desk, found, act)
        revision = desk.store.revision
        steps = await play(found, dry=True)
        told = [(step.what, step.path, step.value) for step in steps if isinstance(step, Planned)]
        assert told == [("set", "/a", 1), ("publish", "/s", 0.5), ("move", "/b", None), ("delete", "/b", None)]
        assert desk.store.revision == revision


async def test_a_check_finds_what_differs(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        link = await desk.links.create(Link("/a", "/b", expression="x * 2"))

        async def act() -> None:
            await desk.set("/a", 1.0)
            await settle(desk)
            await desk.set("/a", 3.0)

        await record(desk, found, act)
        await desk.links.delete(link.link_id)
        await desk.links.create(Link("/a", "/b", expression="x * 2.5"))
        await desk.links.create(Link("/a", "/new"))
        await settle(desk)
        steps = await play(found, check=True, speed=1.0)
        assert outcome(steps).differences == len(differences(steps)) > 0
        kinds = set(differences(steps))
        assert {("state", "/b"), ("caused", "/b"), ("extra", "/new")} <= kinds
        found_b = next(s for s in steps if isinstance(s, Difference) and (s.kind, s.path) == ("state", "/b"))
        assert (found_b.recorded, found_b.replayed) == (6.0, 7.5)


async def test_a_check_without_the_link_misses_what_it_caused(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        link = await desk.links.create(Link("/a", "/b"))
        await record(desk, found, lambda: desk.set("/a", 1.0))
        await desk.links.delete(link.link_id)
        await desk.store.apply([Delete("/b")], origin="client:test")
        assert ("missing", "/b") in differences(await play(found, check=True))
        assert differences(await play(found, check=True, set_up=True)) == [], "the recorded link is made again"
        assert [(one.source, one.target) for one in desk.links.list()] == [("/a", "/b")]


async def test_a_check_allows_the_tolerance_of_each_parameter(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        link = await desk.links.create(Link("/a", "/b"))
        await record(desk, found, lambda: desk.set("/a", 1.0))
        await desk.links.delete(link.link_id)
        await desk.links.create(Link("/a", "/b", expression="x + 0.05"))
        await settle(desk)
        assert ("state", "/b") in differences(await play(found, check=True))
        await desk.store.declare([Declaration("/b", kind="double", tolerance=0.1)], owner="client:test")
        assert differences(await play(found, check=True)) == []


async def test_what_cannot_be_written_is_told_and_the_rest_is(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:

        async def act() -> None:
            await desk.store.apply([Set("/bad", "text"), Set("/good", 1.0)], origin="client:test")

        await record(desk, found, act)
        await desk.store.apply([Delete("/bad"), Delete("/good")], origin="client:test")
        await desk.store.declare([Declaration("/bad", kind="double")], owner="client:test")
        steps = await play(found, check=True)
        assert ("refused", "/bad") in differences(steps)
        assert ("missing", "/bad") in differences(steps)
        assert desk.entry("/good").value == 1.0
        assert outcome(steps).refused == 1


async def test_a_panic_ends_a_replay_before_its_next_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:

        async def act() -> None:
            for number in range(100):
                await desk.set("/a", number)
                await asyncio.sleep(0.02)

        await record(desk, found, act)
        apply = desk.store.apply
        handed: Any = -1

        def noting(mutations: Sequence[Any], **more: Any) -> Any:
            nonlocal handed
            handed = mutations[-1].value if isinstance(mutations[-1], Set) else handed
            return apply(mutations, **more)

        monkeypatch.setattr(desk.store, "apply", noting)
        # Slower than it was recorded: a machine that stands still for a while does not bring it to its end.
        playing = desk.tasks.start(_refused(play(found, speed=0.25)), "play")
        await until(lambda: handed >= 10)
        found.replays.hold("smoke")
        last = handed
        error = await playing
        assert (error.reason, "smoke" in error.message) == ("PANIC", True)
        await settle(desk)
        assert desk.entry("/a").value == handed == last < 99, "no more than what was at the disk already"
        assert found.replays.running == 0
        assert (await _refused(play(found))).reason == "PANIC"
        found.replays.release()
        await play(found)
        await desk.holds("/a", 99)


async def _refused(playing: Awaitable[Any]) -> FailedPrecondition:
    with pytest.raises(FailedPrecondition) as error:
        await playing
    return error.value


async def test_who_leaves_early_ends_the_replay(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:

        async def act() -> None:
            await desk.set("/a", 1)
            await asyncio.sleep(0.8)
            await desk.set("/a", 2)

        await record(desk, found, act)
        steps = found.replays.replay(Plan("take", speed=0.2))  # so that the second write comes four seconds later
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(60):
            async for _ in steps:
                if desk.store.get("/a") is not None:
                    break  # the first progress after the first write, half a second in
        await steps.aclose()  # type: ignore[attr-defined]
        assert found.replays.running == 0
        revision = desk.store.revision
        over = began + 0.8 / 0.2 + 0.6
        await asyncio.sleep(over - asyncio.get_running_loop().time())  # silence cannot be awaited, only listened to
        assert (desk.store.revision, desk.entry("/a").value) == (revision, 1)


async def test_bad_plans_are_refused_by_name(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        await record(desk, found, lambda: desk.set("/a", 1))
        for plan in (
            {"speed": 0.0},
            {"speed": math.nan},
            {"start": -1.0},
            {"start": 2.0, "end": 1.0},
            {"apps": ("/",)},
        ):
            with pytest.raises(InvalidArgument):
                await play(found, **plan)
        with pytest.raises(InvalidArgument, match="nothing to check"):
            await play(found, dry=True, check=True)
        with pytest.raises(NotFound, match="there are take"):
            await play(found, "other")
        with pytest.raises(InvalidArgument):
            await play(found, "../take")
