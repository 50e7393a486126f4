"""The collector over all tiers: what nothing reaches goes, what anything reaches stays, what moved is still there."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.collecting import DAY, Desk, open_desk

from lightfast.context.entry import Delete, Set
from lightfast.context.memory.records import NewMemory, NewRelation
from lightfast.context.scenes.records import Wanted
from lightfast.context.upkeep.collect_records import Action, Limits
from lightfast.core.errors import InvalidArgument
from lightfast.storage.archive.records import NewFrame


async def test_an_asset_that_nothing_reaches_goes_and_every_other_stays(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        entry, scene, noted, pinned, framed, source, lonely, young = [await desk.asset(f"{n}") for n in range(8)]
        made = await desk.asset("made", sources=(source.sha256,))
        await desk.store.apply([Set("/a", entry), Set("/scene", scene), Set("/made", made)], origin="client:test")
        await desk.scenes.save(Wanted("one", patterns=("/scene",)), origin="client:test")
        await desk.store.apply([Delete("/a")], origin="client:test")  # the past still shows it
        await desk.memory.remember(NewMemory(text="a still", metadata={"image": noted}), origin="client:test")
        await desk.store.apply([Set("/pins/cover", pinned.sha256)], origin="client:test")
        await desk.archive.append([NewFrame(f"see {framed.uri}")])
        desk.clock.advance(40 * DAY)
        await desk.blobs.get(young.sha256)  # somebody looked at it
        dry = await desk.collect("assets", dry=True)
        assert [(item.ident, item.action) for item in dry[-1].items] == [(lonely.sha256, Action.DELETE)]
        assert await desk.assets() == 9
        reports = await desk.collect("assets")
        assert "of no use for 40 days, and nothing refers to it" in reports[0].items[0].reason
        assert reports[-1].done
        assert reports[-1].size == lonely.size
        assert await desk.assets() == 8
        assert not desk.blobs.path_of(lonely.sha256).exists()
        kept = reports[-1].kept
        assert kept == {"history": 3, "memory": 1, "pin": 1, "archive": 1, "source": 1}
        assert not (await desk.collect("assets"))[-1].items, "nothing is left to do"


async def test_an_asset_of_archived_history_stays(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        image = await desk.asset("image")
        await desk.store.apply([Set("/a", image)], origin="client:test")
        revision = desk.store.revision
        for number in range(5):
            await desk.store.apply([Set("/a", number)], origin="client:test")
        desk.clock.advance(40 * DAY)
        would = (await desk.collect("history", dry=True))[-1]
        ((texts,),) = await desk.db.query(
            "SELECT sum(octet_length(entry)) FROM history WHERE revision <= (SELECT max(revision) - 1 FROM transactions)"
        )
        assert 0 <= texts - would.size < 6  # the rows are few, so that each is in the sample
        assert f"estimated at {would.size} bytes" in would.items[0].reason
        moved = await desk.collect("history")
        assert moved[-1].items[0].action == Action.DEMOTE
        assert moved[-1].size == texts
        assert not await desk.db.query("SELECT 1 FROM history WHERE instr(entry, ?)", (image.sha256,)), "it has moved"
        assert (await desk.collect("assets"))[-1].kept == {"archive": 1}
        assert (await desk.store.read(["/a"], at_revision=revision)).entries[0].value == image
        await desk.store.compact(desk.store.revision)
        await desk.collected_references()
        assert (await desk.collect("assets"))[-1].items[0].ident == image.sha256


async def test_old_memories_of_little_weight_move_and_are_still_recalled(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:

        async def note(text: str, strength: float, key: str = "") -> str:
            new = NewMemory(text=text, strength=strength, key=key)
            return (await desk.memory.remember(new, origin="client:test")).memory.memory_id

        little = await note("the fog machine hissed once", 0.1)
        much = await note("the client is allergic to strobes", 0.9)
        related = await note("the old mixer", 0.1, "mixer")
        pinned = await note("a poem", 0.1, "poem")
        await desk.memory.relate(
            NewRelation(subject="mixer", predicate="stands in", object="store"), origin="client:test"
        )
        await desk.store.apply([Set("/pins/poem", "poem")], origin="client:test")
        assert not (await desk.collect("memories"))[-1].items, "they are young"
        desk.clock.advance(200 * DAY)
        reports = await desk.collect("memories")
        assert [item.ident for item in reports[0].items] == [little]
        assert "it matters little (0.1)" in reports[0].items[0].reason
        assert reports[-1].kept == {"relation": 1, "pin": 1}
        found = await desk.memory.get(little)
        assert found.versions[0].text == "the fog machine hissed once"
        for each in (much, related, pinned):
            assert (await desk.memory.get(each)).versions


async def test_frames_of_memories_that_came_back_go(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        new = NewMemory(text="came back", strength=0.1)
        memory = (await desk.memory.remember(new, origin="client:test")).memory.memory_id
        desk.clock.advance(200 * DAY)
        await desk.collect("memories")
        assert not (await desk.collect("frames"))[-1].items
        assert await desk.memory.archived.restore([memory]) == [memory]
        desk.clock.advance(2 * DAY)
        reports = await desk.collect("frames")
        assert [item.reason for item in reports[0].items] == ["no memory lies in it"]
        assert (await desk.memory.get(memory)).versions[0].text == "came back"


async def test_old_frames_go_only_where_that_is_wanted_and_by_their_weight(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        first, second, third = await desk.archive.append([NewFrame("dull"), NewFrame("great"), NewFrame("pinned")])
        desk.scores = {first: 0.1, second: 0.9, third: 0.1}
        await desk.store.apply([Set("/pins/frame", [third])], origin="client:test")
        desk.clock.advance(400 * DAY)
        assert not (await desk.collect("frames"))[-1].items, "by default they stay for ever"
        desk.collector.limits = Limits(frame_days=365)
        assert [item.ident for item in (await desk.collect("frames"))[0].items] == [first]
        assert set(await desk.archive.get([first, second, third])) == {second, third}


async def test_what_a_recording_names_stays(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        found = [await desk.asset("first"), await desk.asset("second")]
        (tmp_path / "take.lfrec").write_bytes(
            b"\x00" * ((1 << 20) - 30) + found[0].sha256.encode() + b"\xc7" + found[1].sha256.encode()
        )
        desk.clock.advance(40 * DAY)
        assert (await desk.collect("assets"))[-1].kept == {"recording": 2}
        (tmp_path / "take.lfrec").unlink()
        assert len((await desk.collect("assets"))[-1].items) == 2


async def test_locked_private_frames_keep_every_asset(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.asset("lonely")
        desk.private = (3, False)
        desk.clock.advance(40 * DAY)
        reports = await desk.collect("assets")
        assert not reports[-1].items
        assert list(reports[-1].kept) == ["3 private frames are locked: they may refer to any asset"]
        desk.private = (3, True)
        assert (await desk.collect("assets"))[-1].items


async def test_budgets_end_a_run_and_the_next_goes_on(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        for number in range(10):
            await desk.asset(f"{number}" * 100)
        desk.clock.advance(40 * DAY)
        reports = await desk.collect("assets", size=250)
        assert reports[-1].exhausted
        assert len(reports[-1].items) == 3
        left = [report async for report in desk.collector.collect(kinds=("assets",))]
        assert len(left[-1].items) == 7
        with pytest.raises(InvalidArgument, match="there is no kind 'stars': there are history"):
            await desk.collect("stars")
        with pytest.raises(InvalidArgument, match="time budget"):
            await desk.collect("assets", seconds=0)


ACTIONS = st.lists(
    st.sampled_from(
        ["write", "write", "overwrite", "delete", "remember", "forget", "scene", "unscene", "pin", "unpin", "age", "age",
         "demote", "collect", "collect", "look", "reopen"]
    ),
    min_size=5, max_size=40,
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ACTIONS, st.randoms(use_true_random=False))
def test_nothing_reachable_is_ever_lost(
    tmp_path_factory: pytest.TempPathFactory, actions: list[str], chance: object
) -> None:
    folder = tmp_path_factory.mktemp("collector")
    asyncio.run(asyncio.wait_for(_live(folder, actions, chance), 120))


async def _live(folder: Path, actions: list[str], chance: object) -> None:
    async with AsyncExitStack() as stack:
        desk = await stack.enter_async_context(open_desk(folder))
        life = Life(desk, chance)
        for action in actions:
            if action == "reopen":
                clock = desk.clock
                await stack.aclose()
                desk = await stack.enter_async_context(open_desk(folder, clock))
                life.desk = desk
            else:
                await getattr(life, action)()
        await life.check()
        desk.clock.advance(400 * DAY)
        await desk.collect()
        await life.check()
        assert {row[0] for row in await desk.db.query("SELECT sha256 FROM assets")} == life.reachable(), (
            "all else is gone"
        )


class Life:
    """What a desk lives through, and a plain model of what it must still hold."""

    def __init__(self, desk: Desk, chance: object) -> None:
        self.desk = desk
        self.chance = chance
        self.count = 0
        self.past: dict[int, tuple[str, object]] = {}
        self.entered: set[str] = set()
        self.memories: dict[str, str] = {}
        self.memory_assets: set[str] = set()
        self.scenes: dict[str, set[str]] = {}
        self.pins: set[str] = set()
        self.fresh: dict[str, int] = {}
        self.live: dict[str, str] = {}

    def pick(self, items: object) -> object:
        listed = sorted(items)  # type: ignore[call-overload]
        return self.chance.choice(listed) if listed else None  # type: ignore[attr-defined]

    def reachable(self) -> set[str]:
        return self.entered | self.memory_assets | self.pins | set().union(*self.scenes.values(), set())

    async def asset(self) -> str:
        self.count += 1
        found = await self.desk.asset(f"{self.count}")
        self.fresh[found.sha256] = self.desk.clock.now_ns()
        return found.sha256

    async def set(self, path: str) -> None:
        asset = self.desk.made[await self.asset()]
        applied = await self.desk.store.apply([Set(path, asset)], origin="client:test")
        self.past[applied.revision] = (path, asset)
        self.entered.add(asset.sha256)
        self.live[path] = asset.sha256

    async def write(self) -> None:
        await self.set(f"/show/{self.count}")

    async def overwrite(self) -> None:
        if path := self.pick(self.live):
            await self.set(str(path))

    async def delete(self) -> None:
        if path := self.pick(self.live):
            await self.desk.store.apply([Delete(str(path))], origin="client:test")
            del self.live[str(path)]

    async def remember(self) -> None:
        sha256 = await self.asset()
        new = NewMemory(
            text=f"memory number {self.count} of a show", metadata={"image": self.desk.made[sha256]}, strength=0.1
        )
        self.memories[(await self.desk.memory.remember(new, origin="client:test")).memory.memory_id] = new.text
        self.memory_assets.add(sha256)

    async def forget(self) -> None:
        if memory := self.pick(self.memories):
            await self.desk.memory.forget([str(memory)], origin="client:test")

    async def scene(self) -> None:
        if self.live:
            name = f"s{self.count}"
            await self.desk.scenes.save(Wanted(name, patterns=("/show//",)), origin="client:test")
            self.scenes[name] = set(self.live.values())

    async def unscene(self) -> None:
        if name := self.pick(self.scenes):
            await self.desk.scenes.delete(str(name))
            del self.scenes[str(name)]

    async def pin(self) -> None:
        sha256 = await self.asset()
        await self.desk.store.apply([Set(f"/pins/{self.count}", f"asset:{sha256}")], origin="client:test")
        self.pins.add(sha256)
        self.entered.add(sha256)  # the history of the pin names it, too

    async def unpin(self) -> None:
        await self.desk.store.apply([Delete("/pins", recursive=True)], origin="client:test")

    async def age(self) -> None:
        self.desk.clock.advance(50 * DAY)

    async def demote(self) -> None:
        await self.desk.collect("history")

    async def collect(self) -> None:
        await self.desk.collect()
        await self.check()

    async def look(self) -> None:
        await self.asset()  # one that nobody will refer to
        await self.check()

    async def check(self) -> None:
        """Everything that can be reached is there, and says what it said."""
        now = self.desk.clock.now_ns()
        young = {sha256 for sha256, time in self.fresh.items() if now - time < 30 * DAY * 10**9}
        there = {row[0] for row in await self.desk.db.query("SELECT sha256 FROM assets")}
        assert self.reachable() | young <= there
        for sha256 in there:
            assert self.desk.blobs.path_of(sha256).exists()
        for revision, (path, value) in self.past.items():
            page = await self.desk.store.read([path], at_revision=revision)
            assert page.entries[0].value == value
        for memory, text in self.memories.items():
            assert (await self.desk.memory.get(memory)).versions[0].text == text
