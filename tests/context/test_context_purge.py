"""Purge: what was asked to go is in no tier, index, cache and file, and everything else is as it was."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.keeping import Keep, keeping

from lightfast.context.entry import Declaration, Delete, EventType, Move
from lightfast.context.memory.records import NewMemory, NewRelation
from lightfast.context.records import RequestKey
from lightfast.context.scenes.records import Wanted
from lightfast.context.upkeep.purge_needles import Needles
from lightfast.core.errors import FailedPrecondition, InvalidArgument, NotFound
from lightfast.gateway.operations import Operation, OperationState
from lightfast.storage.archive.records import NewFrame, Query
from lightfast.storage.blobs import Provenance

SECRET = 'sk-proj "Zwölf" 4711'
HARMLESS = "the quick brown fox"
VAULT_SECRET = "open sesame, please"


async def values_at(keep: Keep, revision: int) -> dict[str, Any]:
    page = await keep.store.read(pattern="//", at_revision=revision, page_size=10_000)
    return {entry.path: entry.value for entry in page.entries}


async def past(keep: Keep, pattern: str = "//") -> list[tuple[int, str, str, Any]]:
    page = await keep.store.history(pattern, page_size=1000)
    return [
        (transaction.revision, event.type.value, event.entry.path, event.entry.value)
        for transaction in reversed(page.transactions)
        for event in transaction.events
    ]


async def plant(keep: Keep, secret: str, at: str) -> None:
    """Put *secret* everywhere it can go, below *at* and under names that end like it."""
    await keep.set((f"{at}/notes/one", f"before {secret} after"), (f"{at}/notes/two", HARMLESS))
    await keep.set((f"{at}/notes/one", "changed"), label=f"label {secret}", group=f"g {secret}")
    await keep.set(
        (f"{at}/deep", {"list": [1, {"name": secret}], secret: 2.5}), (f"{at}/raw", b"\x00\x01" + secret.encode())
    )
    await keep.apply(Move(f"{at}/deep", f"{at}/deeper"))
    await keep.set((f"{at}/path/{secret.replace(' ', '%20').replace('/', '%2F')}", 1), (f"{at}/live", secret))
    request = RequestKey("client:test", "Apply", f"request-1{at}", "hash")
    await keep.set((f"{at}/answer", f"x{secret}"), request=request)
    await keep.apply(Delete(f"{at}/answer"))

    async def answer() -> bytes:
        return b"\x0a\x05" + secret.encode()

    await keep.requests.once("client:test", "Say", f"request-2{at}", b"payload", answer)
    await keep.operations.save(
        Operation(f"operation{at}", OperationState.SUCCEEDED, "m", "text", f"draw {secret}", 1, "me", 5)
    )
    await keep.blobs.put(f"asset with {secret}".encode(), "text/plain", "note.txt", Provenance())
    await keep.blobs.put(b"a picture" + at.encode(), "image/png", "p.png", Provenance(prompt=f"paint {secret}"))
    await keep.archive.append(
        [
            NewFrame(f"frame with {secret}"),
            NewFrame("plain", metadata={"about": secret}),
            NewFrame("plain", kind=secret),
            NewFrame(HARMLESS, metadata={"about": "nothing"}),
        ]
    )
    await keep.memory.remember(NewMemory(text=f"remember {secret}", key=f"k{at}"), origin="me")
    await keep.memory.remember(NewMemory(text="remember nothing", key=f"k{at}"), origin="me")
    await keep.memory.relate(NewRelation(subject=f"a{at}", predicate="knows", object=secret), origin="me")
    await keep.scenes.save(Wanted(f"evening{at[1:]}", patterns=(f"{at}//",)), origin="me")


async def test_a_text_is_gone_from_everywhere(tmp_path: Path) -> None:
    async with keeping(tmp_path) as keep:
        await plant(keep, SECRET, "/one")
        await plant(keep, "another matter altogether", "/two")
        await keep.archive.search(Query(text="frame"))
        revision = keep.store.revision
        assert keep.holders(SECRET), "the search of this test finds nothing"
        would = await keep.count(text=SECRET)
        assert keep.store.revision == revision
        stone, remaining = await keep.purge(text=SECRET)
        assert remaining == ()
        assert keep.holders(SECRET) == []
        rooms = {"live", "history", "answers", "operations", "assets", "frames", "memories", "scenes"}
        assert set(would) == set(stone.removed) == rooms
        assert await keep.count(text=SECRET) == {}

        # What it was told by is there, and nothing of it.
        entry = keep.store.get(f"/lightfast/purges/{stone.purge_id}")
        assert entry is not None
        assert entry.value == {"reason": "it was a mistake", "origin": "me", "removed": stone.removed}
        assert (await keep.purger.tombstones())[-1] == stone
        assert await keep.db.query("SELECT count(*) FROM purge_work") == [(0,)]

        # The rest is as it was.
        assert keep.store.get("/two/live") is not None
        frames = await keep.archive.run(lambda reader: [frame.content for frame in reader.scan()])
        assert frames.count(HARMLESS) == 2
        assert frames.count("frame with another matter altogether") == 1
        assert keep.integrity() == ["ok"]
        prompts = [(asset.name, asset.provenance.prompt) for asset in await keep.blobs.list()]
        assert ("", "") in prompts
        assert len(prompts) == 3
    async with keeping(tmp_path) as keep:
        assert keep.holders(SECRET) == []
        assert keep.holders("another matter altogether") != []
        await keep.purge(text="another matter altogether")
        assert keep.holders("another matter altogether") == []


async def test_the_past_shows_that_something_was_there_and_never_an_older_value(tmp_path: Path) -> None:
    async with keeping(tmp_path) as keep:
        first = await keep.set(("/a", "older"))
        held = await keep.set(("/a", SECRET), ("/b", 1))
        last = await keep.set(("/a", "newer"))
        moved = await keep.set(("/from", f"{SECRET}!"))
        await keep.apply(Move("/from", "/to"))
        await keep.set(("/to", "clean"))
        stone, _ = await keep.purge(text=SECRET)
        assert (await values_at(keep, first))["/a"] == "older"
        assert await values_at(keep, held) == {"/b": 1}
        assert (await values_at(keep, last))["/a"] == "newer"
        assert "/from" not in await values_at(keep, moved)
        events = await past(keep, "/a")
        assert [(kind, value) for _, kind, _, value in events] == [
            ("SET", "older"),
            ("DELETE", None),
            ("SET", "newer"),
        ]
        page = await keep.store.history("/a", page_size=10)
        (gone,) = [event for each in page.transactions for event in each.events if event.type is EventType.DELETE]
        assert stone.purge_id in gone.entry.status_reason
        labels = [each.label for each in (await keep.store.history("//")).transactions]
        assert f"purge {stone.purge_id}" in labels
        assert keep.store.get("/to") is not None


async def test_paths_lose_values_and_history_and_what_comes_later_stays(tmp_path: Path) -> None:
    async with keeping(tmp_path) as keep:
        await keep.set(("/keep/x", "gold-of-one"), ("/go/x", "silver-of-two"), ("/go/y", "silver-of-two"))
        await keep.set(("/go/x", "silver-again"))
        await keep.apply(Move("/go/y", "/went/y"))
        await keep.apply(Move("/keep/x", "/go/z"))
        stone, remaining = await keep.purge(patterns=["/go//"])
        assert remaining == ()
        assert stone.removed["live"] == 2
        assert await past(keep, "/go//") == []
        assert keep.holders("silver-again") == []
        assert keep.holders("/go/x") == []
        entry = keep.store.get("/went/y")
        assert entry is not None
        assert entry.value == "silver-of-two"
        assert [kind for _, kind, _, _ in await past(keep, "/went/y")] == ["SET"]
        revision = await keep.set(("/go/x", "a new life"))
        assert await past(keep, "/go//") == [(revision, "SET", "/go/x", "a new life")]
        again, _ = await keep.purge(patterns=["/nothing/here"])
        assert again.removed == {}


async def test_history_in_the_archive_is_purged_too(tmp_path: Path) -> None:
    async with keeping(tmp_path) as keep:
        for number in range(50):
            await keep.set(
                ("/a", f"value {number} {SECRET if number == 20 else ''}"), ("/b", number), label=f"l{number}"
            )
        kept = await keep.set(("/a", "last"))
        moved = await keep.store.tiers.demote(kept)
        assert moved.rows
        before = await values_at(keep, 30)
        stone, remaining = await keep.purge(text=SECRET)
        assert remaining == ()
        assert stone.removed["history"] == 1
        assert await keep.count(text=SECRET) == {}
        assert await values_at(keep, 21) == {"/b": 20}
        assert await values_at(keep, 30) == before
        await keep.purge(patterns=["/b"])
        assert await past(keep, "/b") == []
        assert (await values_at(keep, 30))["/a"] == before["/a"]


async def test_named_things_go_and_unknown_ones_are_refused(tmp_path: Path) -> None:
    async with keeping(tmp_path) as keep:
        asset = await keep.blobs.put(b"some bytes here", "text/plain", "a", Provenance())
        other = await keep.blobs.put(b"other bytes here", "text/plain", "a", Provenance())
        frame, left = await keep.archive.append([NewFrame("go away"), NewFrame("stay here")])
        await keep.memory.remember(NewMemory(text="a fact to be purged", key="fact"), origin="me")
        stone, _ = await keep.purge(assets=[asset.sha256], frame_ids=[frame], memories=["fact"])
        assert stone.removed == {"assets": 1, "frames": 1, "memories": 1}
        with pytest.raises(NotFound):
            await keep.blobs.get(asset.sha256)
        assert not asset.path.exists()
        assert (await keep.blobs.get(other.sha256)).size == 16
        assert keep.blobs.total_bytes == 16
        assert list(await keep.archive.get([frame, left])) == [left]
        assert (await keep.archive.why([frame]))[frame].startswith("purged")
        assert keep.holders("a fact to be purged") == []
        unknown: list[dict[str, Any]] = [{"assets": ["0" * 64]}, {"frame_ids": ["0" * 16]}, {"memories": ["nobody"]}]
        for what in unknown:
            with pytest.raises(NotFound):
                await keep.purge(**what)
        assert [stone.purge_id for stone in await keep.purger.tombstones()] == [stone.purge_id]
        assert await keep.db.query("SELECT count(*) FROM purges") == [(1,)]


@pytest.mark.parametrize(
    "what",
    [{}, {"text": "abc"}, {"text": "x" * 10_001}, {"patterns": ["["]}, {"patterns": [""]}, {"assets": ["no sha"]}],
)
async def test_a_malformed_purge_changes_nothing(tmp_path: Path, what: dict[str, Any]) -> None:
    async with keeping(tmp_path) as keep:
        with pytest.raises(InvalidArgument):
            await keep.purge(**what)
        with pytest.raises(InvalidArgument) as refused:
            await keep.purge(text=SECRET, reason=f"because of {SECRET}")
        assert SECRET not in refused.value.message
        assert await keep.db.query("SELECT count(*) FROM purges") == [(0,)]
        assert keep.store.revision == 0


async def test_private_frames_are_looked_into_while_they_are_open(tmp_path: Path) -> None:
    async with keeping(tmp_path) as keep:
        await keep.vault.unlock(VAULT_SECRET, create=True)
        await keep.archive.append([NewFrame(f"private {SECRET}", private=True), NewFrame("x", private=True)])
        await keep.vault.lock()
        _, remaining = await keep.purge(text=SECRET)
        (left,) = remaining
        assert left.startswith("2 private frames of the archive, which are locked: unlock them")
        await keep.vault.unlock(VAULT_SECRET)
        stone, remaining = await keep.purge(text=SECRET)
        assert remaining == ()
        assert stone.removed == {"frames": 1}


async def test_recordings_and_backups_that_hold_it_are_named(tmp_path: Path) -> None:
    async with keeping(tmp_path) as keep:
        await keep.set(("/a", SECRET))
        made = await keep.backup()
        assert not (await keep.backups.listed())[0].before_purge
        folder = tmp_path / "state/recordings"
        folder.mkdir()
        (folder / "show.lfrec").write_bytes(b"LFREC" + SECRET.encode())
        (folder / "other.lfrec").write_bytes(b"LFREC")
        _, remaining = await keep.purge(text=SECRET)
        assert [left.split(":")[0].split(",")[0] for left in remaining] == [
            f"the file {folder / 'show.lfrec'}",
            "the recording show",
            f"the backup {made.path}",
        ]
        assert (await keep.backups.listed())[0].before_purge
        (folder / "show.lfrec").unlink()
        fresh = await keep.backup()
        assert [(each.path, each.before_purge) for each in await keep.backups.listed()] == [
            (fresh.path, False),
            (made.path, True),
        ]
        assert SECRET.encode() not in fresh.path.read_bytes()


async def test_what_somebody_set_up_is_named_and_not_broken(tmp_path: Path) -> None:
    async with keeping(tmp_path) as keep:
        await keep.store.declare([Declaration("/a/*", description=f"about {SECRET}")], owner="me")
        await keep.set(("/a/b", SECRET))
        _, remaining = await keep.purge(text=SECRET)
        assert [left.split(":")[0] for left in remaining] == [f"the file {keep.db.path}", "the table declarations"]
        assert keep.store.describe()[0].description == f"about {SECRET}"
        await keep.store.declare([], ["/a/*"], owner="me")
        _, remaining = await keep.purge(text=SECRET)
        assert remaining == ()
        assert keep.holders(SECRET) == []


async def test_it_is_gone_though_others_go_on_writing(tmp_path: Path) -> None:
    async with keeping(tmp_path) as keep:
        stop = asyncio.Event()
        written: list[tuple[str, int]] = []

        async def write(name: str, times: int) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                await keep.set((f"/load/{name}", f"{number} {SECRET if number <= times else ''}"))
                written.append((name, number))

        writers = [asyncio.ensure_future(write(f"w{index}", 40)) for index in range(4)]
        while len(written) < 100:
            await asyncio.sleep(0.001)
        _, first = await keep.purge(text=SECRET)
        while len(written) < 400:
            await asyncio.sleep(0.001)
        _, remaining = await keep.purge(text=SECRET)
        stop.set()
        await asyncio.gather(*writers)
        assert remaining == ()
        assert keep.holders(SECRET) == []
        latest = dict(written)
        values = {entry.path: entry.value for entry in keep.store.select("/load//")}
        assert values == {f"/load/{name}": f"{number} " for name, number in latest.items()}
        assert len(first) <= 1


async def test_two_at_once_are_refused_and_a_left_one_goes_on(tmp_path: Path) -> None:
    async with keeping(tmp_path) as keep:
        await keep.set(("/a", SECRET))
        from lightfast.context.upkeep.purge_target import make_target

        steps = keep.purger.purge(make_target(text=SECRET), origin="me", reason="")
        await anext(steps)
        with pytest.raises(FailedPrecondition) as refused:
            await keep.purge(text=SECRET)
        assert refused.value.reason == "PURGE_UNDER_WAY"
        await steps.aclose()  # the caller went away
        async with asyncio.timeout(60):
            while not await keep.purger.tombstones():
                await asyncio.sleep(0.01)
        assert keep.holders(SECRET) == []


@given(st.text(min_size=4, max_size=30, alphabet=st.characters(codec="utf-8")), st.integers(0, 2))
def test_a_text_is_met_in_every_form(text: str, lead: int) -> None:
    import msgspec

    from lightfast.context.codec import encode
    from lightfast.context.entry import Entry
    from lightfast_link.path import encode_segment

    needles = Needles(text)
    for value in (text, f"x{text}y", {"a": [text]}, {text: 1}, [{"b": f"{text} "}]):
        entry = Entry("/p", value, 1, 1, 1, "o", 0, 1, 1)
        assert any(form in encode(entry) for form in needles.texts)
        assert needles.in_value(value)
        assert needles.in_bytes(encode(entry).encode())
        assert needles.in_bytes(msgspec.json.encode(encode(entry)))
    assert needles.in_text("/a/" + encode_segment(text))
    if len(text.encode()) >= 7:
        entry = Entry("/p", b"\xff" * lead + text.encode() + b"\xff", 1, 1, 1, "o", 0, 1, 1)
        assert any(form in encode(entry) for form in needles.texts)
    assert needles.in_value(b"\x00" + text.encode())
    assert not needles.in_value(["", 5, None, True, 2.5, {"": b""}])
    assert text not in repr(needles)
