"""The files of the index: every flipped bit is seen, what is lost is made anew, what is removed leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.files import content, files
from tests.support.frame_shelf import Shelf

from lightfast.storage.archive.caches import Caches
from lightfast.storage.archive.records import Options, Query
from lightfast.storage.archive.search import layout
from lightfast.storage.archive.search.fresh import Fresh
from lightfast.storage.archive.search.group import Group, GroupDamaged
from lightfast.storage.archive.search.index import FrameIndex
from lightfast.storage.archive.search.layout import Row
from lightfast.storage.archive.search.search import Searches

BEGIN = 1_767_225_600_000


def filled(count: int = 40) -> Fresh:
    fresh = Fresh("2026/01")
    for number in range(count):
        words = [b"all", f"only{number}".encode(), *([b"even"] if number % 2 == 0 else [])]
        fresh.add(Row(BEGIN + number, number, f"{number + 1:016x}"), words)
    return fresh


def test_a_group_holds_what_was_put_into_it(tmp_path: Path) -> None:
    path = tmp_path / "1.words"
    path.write_bytes(filled().sealed(3))
    group = Group(path)
    group.check()
    assert (group.head.shard, group.head.sequence, group.count) == ("2026/01", 3, 40)
    assert (group.low, group.high) == ((BEGIN, 0), (BEGIN + 39, 39))
    assert list(group.places(b"all")) == list(range(40))
    assert list(group.places(b"even")) == list(range(0, 40, 2))
    assert list(group.places(b"only7")) == [7]
    assert not group.places(b"nothing")
    assert list(group.held()) == list(range(40))
    assert [row.frame_id for row in group.rows()] == [f"{number + 1:016x}" for number in range(40)]
    assert group.places_of(["0" * 15 + "5", "f" * 16]) == [4]
    assert {word for word, _ in group.all_words()} == {b"all", b"even", *(f"only{at}".encode() for at in range(40))}


def test_every_flipped_bit_is_seen(tmp_path: Path) -> None:
    whole = filled().sealed(1)
    path = tmp_path / "1.words"
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        with pytest.raises(GroupDamaged):
            Group(path).check()


def test_every_shorter_or_longer_file_is_seen(tmp_path: Path) -> None:
    whole = filled().sealed(1)
    path = tmp_path / "1.words"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(GroupDamaged):
            Group(path).check()
    path.write_bytes(whole + b"\0")
    with pytest.raises(GroupDamaged):
        Group(path).check()


@settings(max_examples=30, deadline=None)
@given(words=st.lists(st.binary(min_size=1, max_size=9), max_size=200, unique=True))
def test_every_word_is_found_and_no_other(words: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    fresh = Fresh("2026/01")
    for number, word in enumerate(words):
        fresh.add(Row(BEGIN, number, f"{number:016x}"), [word])
    fresh.add(Row(BEGIN, 999, "f" * 16), [])
    path = tmp_path_factory.mktemp("words") / "1.words"
    path.write_bytes(fresh.sealed(1))
    group = Group(path)
    for number, word in enumerate(words):
        assert list(group.places(word)) == [number]
        assert (word + b"x" in words) == bool(group.places(word + b"x"))


# ---- the index over its files


class Desk:
    """An index over a shelf, opened as often as wanted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shelf = Shelf()
        self.open()

    def open(self) -> None:
        self.caches = Caches(Options())
        self.index = FrameIndex(self.folder, self.caches, self.shelf.source)
        self.searches = Searches(self.index, is_unlocked=lambda: self.shelf.unlocked)

    def restart(self) -> None:
        self.index.close()
        self.open()

    def find(self, text: str, limit: int = 1000) -> list[int]:
        source = self.shelf.source()
        return [hit.frame.number for hit in self.searches.search(Query(text, limit=limit), source)]

    def files(self) -> list[Path]:
        return sorted(self.folder.rglob("*.words"))

    def write(self) -> None:
        self.index.catch_up()
        self.index.seal()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(layout, "MAX_FRAMES", 10)
    found = Desk(tmp_path / "words")
    for number in range(35):
        found.shelf.append(f"cube {number} {'warm' if number % 3 == 0 else 'cold'} zzsecret{number}", BEGIN + number)
    try:
        yield found
    finally:
        found.index.close()


def test_groups_lie_beside_the_shards_by_month(desk: Desk) -> None:
    desk.shelf.append("cube of february", BEGIN + 32 * 86_400_000)
    assert len(desk.find("cube")) == 36
    assert [path.relative_to(desk.folder).as_posix() for path in desk.files()] == [
        "2026/01/00000001.words",
        "2026/01/00000002.words",
        "2026/01/00000003.words",
    ]


def test_nothing_is_read_before_the_first_search(desk: Desk) -> None:
    assert desk.find("warm") == list(range(33, -1, -3))
    desk.restart()
    desk.shelf.append("warm cube", BEGIN + 100)
    desk.index.appended(1)
    figures = desk.index.figures()
    assert (figures["index.loaded"], figures["index.groups"]) == (False, 0)
    assert desk.find("warm")[0] == 35


def test_a_start_reads_only_what_is_not_sealed(desk: Desk) -> None:
    assert len(desk.find("cube")) == 35
    desk.restart()
    taken: list[int] = []
    unheld = type(desk.shelf.source()).unheld

    def counted(self: object, held: object) -> Iterator[object]:
        for item in unheld(self, held):  # type: ignore[arg-type]
            taken.append(item.row.number)
            yield item

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(desk.shelf.source()), "unheld", counted)
        assert len(desk.find("cube")) == 35
    assert taken == list(range(30, 35))


@pytest.mark.parametrize("at", [0, 9, 20, 200, -200, -1])
def test_a_damaged_group_is_made_anew(desk: Desk, at: int) -> None:
    wanted = desk.find("warm")
    desk.index.close()
    path = desk.files()[1]
    whole = path.read_bytes()
    content = bytearray(whole)
    content[at] ^= 4
    path.write_bytes(content)
    desk.open()
    assert desk.find("warm") == wanted
    assert desk.find("cube 17") == [17]
    desk.write()
    assert sum(Group(path).count for path in desk.files()) >= 30
    for path in desk.files():
        Group(path).check()


def test_a_lost_group_and_a_lost_folder_are_made_anew(desk: Desk) -> None:
    wanted = desk.find("warm")
    desk.index.close()
    desk.files()[0].unlink()
    desk.open()
    assert desk.find("warm") == wanted
    desk.index.close()
    for path in desk.files():
        path.unlink()
    desk.open()
    assert desk.find("warm") == wanted


def test_what_was_half_written_or_doubled_is_deleted(desk: Desk) -> None:
    wanted = desk.find("warm")
    desk.index.close()
    first = desk.files()[0]
    half = first.with_name("00000009.words.new")
    half.write_bytes(first.read_bytes()[:100])
    double = first.with_name("00000008.words")
    double.write_bytes(first.read_bytes())
    desk.open()
    assert desk.find("warm") == wanted
    assert not half.exists()
    assert not double.exists()


def test_removed_frames_leave_no_trace(desk: Desk) -> None:
    desk.find("cube")
    gone = [desk.shelf.frames[number].frame_id for number in (0, 15, 34)]
    desk.index.removed(gone)
    for frame_id in gone:
        desk.shelf.remove(frame_id)
    kept = b"".join(content(path) for path in files(desk.folder))
    for number, frame_id in zip((0, 15), gone, strict=False):
        assert (
            f"zzsecret{number}".encode() + b"" not in kept.replace(f"zzsecret{number}".encode() + b"0", b"") or number
        )
        assert bytes.fromhex(frame_id) not in kept
    assert b"zzsecret15" not in kept
    assert b"zzsecret16" in kept
    assert desk.find("zzsecret15") == []
    assert len(desk.find("cube")) == 32
    desk.restart()
    assert len(desk.find("cube")) == 32


def test_removing_before_the_first_search_rewrites_the_files(desk: Desk) -> None:
    desk.find("cube")
    desk.restart()
    frame_id = desk.shelf.frames[15].frame_id
    desk.index.removed([frame_id])
    desk.shelf.remove(frame_id)
    assert not any(b"zzsecret15" in path.read_bytes() for path in desk.files())
    assert len(desk.find("cube")) == 34


def test_many_are_removed_at_once(desk: Desk) -> None:
    desk.find("cube")
    gone = [frame.frame_id for frame in desk.shelf.frames.values()]
    gone += [f"{number:016x}" for number in range(100)]
    desk.index.removed(gone)
    assert desk.files() == []
    desk.shelf.frames.clear()
    assert desk.find("cube") == []


def test_a_removal_that_was_cut_off_is_finished_at_the_next_start(desk: Desk) -> None:
    desk.find("cube")
    desk.index.close()
    desk.shelf.remove(desk.shelf.frames[15].frame_id)  # the frames are gone, the words are not
    desk.open()
    assert desk.find("zzsecret15") == []
    assert len(desk.find("cube")) == 34
    assert not any(b"zzsecret15" in path.read_bytes() for path in desk.files())


def test_a_place_that_is_no_folder_is_no_hindrance(desk: Desk) -> None:
    desk.folder.write_text("in the way")
    assert len(desk.find("cube")) == 35
    assert desk.index.figures()["index.open"] == 35
    desk.folder.unlink()
    for number in range(10):
        desk.shelf.append("cube", BEGIN + 1000 + number)
    assert len(desk.find("cube")) == 45
    desk.write()
    assert desk.index.figures()["index.groups"] == 4


def test_private_words_are_in_no_file_and_gone_at_lock(desk: Desk) -> None:
    for number in range(10):
        desk.shelf.append(f"zzhidden cube {number}", BEGIN + 500 + number, private=True)
    assert len(desk.find("zzhidden")) == 10
    desk.write()
    assert desk.index.figures()["index.groups"] == 4
    assert not any(b"zzhidden" in path.read_bytes() for path in desk.files())
    desk.shelf.unlocked = False
    desk.index.locked()
    assert desk.index.figures()["index.private"] == 0
    assert desk.find("zzhidden") == []
    assert max(desk.find("cube")) == 34
    desk.restart()
    assert desk.find("zzhidden") == []
    desk.shelf.unlocked = True
    assert len(desk.find("zzhidden")) == 10
    assert desk.find("cube")[0] == 44
