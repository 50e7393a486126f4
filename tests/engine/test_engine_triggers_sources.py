"""What triggers wait for besides paths: schedules, beats, files, applications that come and go."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.flows import Flows, flows, until

from lightfast.context.entry import Delete, Set
from lightfast.core.clock import StillClock
from lightfast.engine.triggers.beats import BeatWatch
from lightfast.engine.triggers.records import Firing
from lightfast.engine.triggers.schedules import next_due
from lightfast.engine.workflows.records import Place, TriggerSpec

MONDAY = int(datetime(2026, 3, 2, 8, 59, 30, tzinfo=UTC).timestamp()) * 1_000_000_000


def text(trigger: str, parameters: str = "{}", value: str = "1") -> str:
    return f"""
name: put
parameters: {parameters}
steps:
  - {{id: put, op: context.set, arguments: {{path: /put, value: "{value}"}}}}
triggers:
  - {trigger}
"""


def run_flows(tmp_path: Path, file: str, test: Any, **how: Any) -> None:
    async def main() -> None:
        (tmp_path / "workflows").mkdir(exist_ok=True)
        (tmp_path / "workflows" / "put.yaml").write_text(file)
        async with asyncio.timeout(90), flows(tmp_path, watching=False, **how) as house:
            await test(house)

    asyncio.run(main())


async def traced(house: Flows) -> list[Firing]:
    return list(reversed(await house.triggers.firings()))


async def codes(house: Flows) -> list[str]:
    return [each.code for each in await traced(house)]


def spec(**fields: Any) -> TriggerSpec:
    return TriggerSpec("t", "t", place=Place(1, 1), **fields)


@pytest.mark.parametrize(
    ("cron", "zone", "after", "due"),
    [
        ("0 9 * * 1-5", "UTC", "2026-03-02T08:59:30+00:00", "2026-03-02T09:00:00+00:00"),
        ("0 9 * * 1-5", "Europe/Berlin", "2026-03-02T08:59:30+00:00", "2026-03-03T08:00:00+00:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00+00:00", "2026-03-29T01:00:00+00:00"),
        ("*/15 * * * *", "America/New_York", "2026-11-01T05:50:00+00:00", "2026-11-01T06:00:00+00:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:05:00+00:00", "2026-10-26T01:30:00+00:00"),
    ],
    ids=range(5),
)
def test_cron_knows_time_zones_and_their_jumps(cron: str, zone: str, after: str, due: str) -> None:
    start = round(datetime.fromisoformat(after).timestamp()) * 1_000_000_000
    found = next_due(spec(kind="schedule", cron=cron, time_zone=zone), start)
    assert datetime.fromtimestamp(found / 1e9, UTC).isoformat() == due


def test_a_schedule_fires_at_its_times_and_tells_what_it_missed(tmp_path: Path) -> None:
    clock = StillClock(MONDAY)

    async def test(house: Flows) -> None:
        await house.triggers.step()
        assert await codes(house) == []
        clock.advance(31.0)
        await house.triggers.step()
        await until(lambda: house.value("/put") == "1")
        clock.advance(2 * 86_400.0)
        await house.triggers.step()
        assert await codes(house) == ["fired", "missed"]
        clock.advance(86_400.0 - 31.0 + 1)
        await house.triggers.step()
        assert (await codes(house))[:2] == ["fired", "missed"]

    run_flows(tmp_path, text('{on: schedule, cron: "0 9 * * *", time_zone: UTC, concurrent: 8}'), test, clock=clock)


def test_what_was_due_while_the_daemon_was_away_fires_once_where_the_file_says_so(tmp_path: Path) -> None:
    file = text('{on: schedule, cron: "0 9 * * *", time_zone: UTC, missed: once}')

    async def first(house: Flows) -> None:
        await house.triggers.step()

    async def later(house: Flows) -> None:
        await house.triggers.step()
        assert await codes(house) == ["fired"]
        await house.triggers.step()
        assert await codes(house) == ["fired"]

    run_flows(tmp_path, file, first, clock=StillClock(MONDAY))
    run_flows(tmp_path, file, later, clock=StillClock(MONDAY + 3 * 86_400 * 1_000_000_000))


def test_every_so_often_keeps_in_step(tmp_path: Path) -> None:
    clock = StillClock(MONDAY)

    async def test(house: Flows) -> None:
        for _ in range(3):
            clock.advance(10.5)
            await house.triggers.step()
        counts = house.work.traces.of("put-1")
        assert counts.fired == 3
        assert counts.due_time == MONDAY + 40_000_000_000

    run_flows(tmp_path, text("{on: schedule, every: 10s, concurrent: 8}"), test, clock=clock)


@pytest.mark.parametrize("away", [False, True], ids=["at work", "while it was away"])
@pytest.mark.parametrize("when", ["every: 10s", 'cron: "* * * * *", time_zone: UTC'], ids=["interval", "cron"])
def test_a_clock_that_is_set_back_silences_no_trigger(tmp_path: Path, when: str, away: bool) -> None:
    clock = StillClock(MONDAY)

    async def fires(house: Flows) -> None:
        await house.triggers.step()
        before = house.work.listed()[-1].counts.fired
        clock.advance(61)
        await house.triggers.step()
        assert house.work.listed()[-1].counts.fired == before + 1

    async def both(house: Flows) -> None:
        await fires(house)
        if not away:
            clock.set_back(86_400)
            await fires(house)

    file = text(f"{{on: schedule, {when}, missed: once, concurrent: 8}}")
    run_flows(tmp_path, file, both, clock=clock, examples=False)
    if away:
        clock.set_back(86_400)
        run_flows(tmp_path, file, fires, clock=clock, examples=False)


@dataclass
class Timeline:
    """A timeline that a test moves."""

    beats: float = 0.0
    playing: bool = True
    tempo: float = 120.0

    def record(self) -> Timeline:
        """Return it."""
        return self

    async def watch(self, max_rate_hz: float = 10.0) -> AsyncGenerator[Any, None]:
        """Never tell of anything."""
        await asyncio.Event().wait()
        yield self


def test_beats_are_told_once_each_and_a_jump_tells_of_none() -> None:
    head, told = Timeline(), list[tuple[str, float]]()
    specs = [
        TriggerSpec("four", "w", "beat", Place(1, 1), every=4.0),
        TriggerSpec("bar3", "w", "beat", Place(1, 1), at=8.0),
    ]
    watch = BeatWatch(head, specs, lambda spec, beat, tempo: told.append((spec.name, beat)))
    for beats in (0.0, 1.0, 3.9995, 4.001, 5.0, 6.5, 7.9, 8.0, 8.2):
        head.beats = beats
        watch.look(head)
    assert told == [("four", 0.0), ("four", 4.0), ("four", 8.0), ("bar3", 8.0)]
    assert watch.wait(head) == pytest.approx((12 - 8.2) / 2)
    told.clear()
    for beats in (100.5, 101.0, 3.0, 3.5):
        head.beats = beats
        watch.look(head)
    assert told == []
    head.playing = False
    head.beats = 4.0
    watch.look(head)
    assert told == []
    assert watch.wait(head) == 3600.0


def test_a_beat_of_the_real_timeline_fires(tmp_path: Path) -> None:
    async def test(house: Flows) -> None:
        await house.transport.set_tempo(300.0)
        await house.transport.play()
        await until(lambda: house.value("/put") is not None)

        async def fired() -> list[Firing]:
            return await traced(house)

        await until(fired)
        (first, *_) = await traced(house)
        assert first.fired
        assert "at 300 bpm" in first.reason

    file = text('{on: beat, every: 1 beats, parameters: {beat: "${beat}"}}', "{beat: number}", "${params.beat}")
    run_flows(tmp_path, file, test)


def test_a_file_that_appears_is_taken_in_when_it_is_at_rest(tmp_path: Path) -> None:
    inbox, outside = tmp_path / "in box", tmp_path / "secret.txt"
    inbox.mkdir()
    outside.write_text("secret")
    (inbox / "old.txt").write_text("there before")

    async def test(house: Flows) -> None:
        (inbox / "link.txt").symlink_to(outside)
        os.mkfifo(inbox / "pipe.txt")
        (inbox / "other.png").write_text("another kind")
        (inbox / ".hidden.txt").write_text("hidden")
        (inbox / "A new.TXT").write_text("hello")
        await until(lambda: house.value("/put") is not None)
        await until(lambda: house.triggers.idle)
        asset = house.value("/put")
        record = await house.blobs.get(asset.sha256)
        assert record.path.read_text() == "hello"
        assert (record.media_type, record.name) == ("text/plain", "A new.TXT")
        assert record.provenance.origin == "trigger:put-1"
        assert [(each.code, each.reason) for each in await traced(house)] == [
            ("fired", "A new.TXT of 5 bytes appeared")
        ]
        (inbox / "A new.TXT").write_text("hello again")
        await until(lambda: house.value("/put") != asset)

    file = text(
        f'{{on: file, folder: "{inbox}", glob: "*.txt", parameters: {{file: "${{asset}}"}}}}',
        "{file: asset}",
        "${params.file}",
    )
    run_flows(tmp_path, file, test)


def test_an_application_that_arrives_or_leaves_fires(tmp_path: Path) -> None:
    file = (
        text("{on: app, app: blender, concurrent: 8}") + "  - {on: app, app: /studio-b, event: leaves, concurrent: 8}\n"
    )

    async def test(house: Flows) -> None:
        async def state(mount: str, *mutations: Any) -> None:
            await house.store.apply(list(mutations), origin="daemon", trusted=True)
            await asyncio.sleep(0)
            await until(lambda: house.triggers.idle)

        b = "/lightfast/apps/studio-b"
        await state(b, Set(b + "/kind", "blender"), Set(b + "/state", "connecting"))
        await state(b, Set(b + "/state", "live"))
        await state(b, Set(b + "/state", "degraded"))
        await state(b, Set(b + "/state", "gone"))
        await state(b, Set("/lightfast/apps/live/state", "live"), Delete(b + "/state"))
        assert [(each.trigger, each.reason) for each in await traced(house)] == [
            ("put-1", "/studio-b was connecting and is live"),
            ("put-2", "/studio-b was degraded and is gone"),
        ]

    run_flows(tmp_path, file, test)


def test_triggers_follow_their_file_and_those_of_examples_are_off(tmp_path: Path) -> None:
    async def test(house: Flows) -> None:
        assert [each.name for each in await house.triggers.listed() if not each.disabled] == ["put-1"]
        off = {each.name: each.disabled for each in await house.triggers.listed()}
        assert "an example" in off["snapshot-1"]
        house.write("put", text("{on: path, pattern: /b}"))
        await house.workflows.read()
        await until(lambda: house.triggers.idle)
        await house.store.apply([Set("/a", 1)], origin="client:test")
        await house.store.apply([Set("/b", 1)], origin="client:test")
        await until(lambda: house.value("/put"))
        await until(lambda: house.triggers.idle)
        assert [each.reason for each in await traced(house)] == ["/b=1, previous=None"]
        house.write("put", text("{on: path, pattern: /b, disabled: true}"))
        await house.workflows.read()
        await until(lambda: house.triggers.idle)
        (status,) = [each for each in await house.triggers.listed() if each.name == "put-1"]
        assert status.disabled == "it is switched off in its file"

    run_flows(tmp_path, text("{on: path, pattern: /a}"), test)


def test_a_file_whose_name_is_no_text_is_taken_in_all_the_same(tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()

    async def test(house: Flows) -> None:
        Path(os.fsdecode(os.fsencode(inbox) + b"/caf\xe9.txt")).write_text("hello")
        await until(lambda: house.value("/put") is not None)
        asset = house.value("/put")
        assert (await house.blobs.get(asset.sha256)).path.read_text() == "hello"
        (first,) = await traced(house)
        assert "caf?.txt of 5 bytes appeared" in first.reason

    file = text(
        f'{{on: file, folder: "{inbox}", glob: "*.txt", parameters: {{f: "${{asset}}"}}}}', "{f: asset}", "${params.f}"
    )
    run_flows(tmp_path, file, test)
