"""`lightfast import`: the layout read, each mistake named, the rest taken in, begun again without harm."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightfast.app.imports.importing import take_in
from lightfast.app.imports.layout import Record, look
from lightfast.app.imports.mapping import Fields, Unfit, context, identity, task
from lightfast.core.errors import AlreadyExists, InvalidArgument, Unavailable


class Shelf:
    """Keeps what it is given; *fails_after* so many writes it is gone."""

    def __init__(self, fails_after: int = 10**9) -> None:
        self.kept: dict[tuple[str, str], Fields] = {}
        self.workflows: dict[str, str] = {}
        self.writes = 0
        self.fails_after = fails_after

    def _key(self, kind: str, fields: Fields) -> tuple[str, str]:
        return kind, fields["key"] if kind == "context" else fields[f"{kind}_id"]

    def _write(self) -> None:
        if self.writes >= self.fails_after:
            raise Unavailable("the daemon is gone")
        self.writes += 1

    def find(self, kind: str, fields: Fields) -> Mapping[str, Any] | None:
        return self.kept.get(self._key(kind, fields))

    def create(self, kind: str, fields: Fields) -> None:
        self._write()
        for name in ("workspace_id", "parent_task_id"):
            if kind == "task" and name in fields:
                wanted = ("workspace" if name == "workspace_id" else "task", fields[name])
                if wanted not in self.kept:
                    raise InvalidArgument(f"there is no {wanted[0]} {wanted[1]}")
        self.kept[self._key(kind, fields)] = copy.deepcopy(fields)

    def update(self, kind: str, fields: Fields) -> None:
        self._write()
        self.kept[self._key(kind, fields)] = copy.deepcopy(fields)

    def workflow(self, record: Record, *, check_only: bool, replace: bool = False) -> list[str]:
        if self.workflows.get(record.file.stem, record.text) != record.text and not replace:
            raise AlreadyExists("there is another workflow of this name")
        if "steps" not in record.text:
            return ["line 1: there are no steps"]
        if not check_only:
            self.workflows[record.file.stem] = record.text
        return []


TASKS: list[dict[str, Any]] = [
    {"id": "task_2", "title": "Second", "dependencies": ["task_1"], "workspace_id": "ws1", "status": "in_progress",
     "intent": {"type": "create", "source": "chat"}, "complexity": "high", "created_at": "2025-06-01T10:00:00Z",
     "unheard_of": {"deep": [1, None, "x"]}},
    {"id": "task_1", "title": "First", "status": "completed", "confidence": 0.85, "workspace_id": "ws1",
     "routing_decision": "one-shot", "metadata": {"a": 1}},
    {"id": "part", "title": "Part", "parent_id": "task_2"},
]  # fmt: skip


def layout(folder: Path) -> Path:
    root = folder / ".kingly"
    files: dict[str, Any] = {
        "workspaces/main.json": {"id": "ws1", "name": "Main"},
        "projects/show.json": {"id": "p1", "name": "Show", "workspace": "ws1"},
        "tasks/all.json": TASKS,
        "context/theme.json": {"key": "user_preference", "value": {"theme": "dark"}, "memory_type": "semantic", "significance": 0.9},
    }  # fmt: skip
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "workflows").mkdir()
    (folder / "workflows/good.yaml").write_text("name: good\nsteps: []\n")
    return folder


def test_all_of_it_arrives_in_an_order_that_works(tmp_path: Path) -> None:
    shelf = Shelf()
    report = take_in(look(layout(tmp_path)), shelf)
    assert report.good, report.plain()
    assert {kind: count.imported for kind, count in report.counts.items()} == {
        "workspace": 1, "project": 1, "task": 3, "context": 1, "workflow": 1,
    }  # fmt: skip
    second = shelf.kept["task", "task_2"]
    assert second["state"] == "IN_PROGRESS"
    assert second["complexity"] == 0.8
    assert second["intent_type"] == "create"
    assert second["valid_from"] == 1748772000 * 10**9
    assert second["metadata"]["unheard_of"] == {"deep": [1, "x"]}
    assert second["metadata"]["created_at"] == "2025-06-01T10:00:00Z"
    assert shelf.kept["task", "task_1"]["routing_decision"] == "one_shot"
    fact = shelf.kept["context", "user_preference"]
    assert (fact["text"], fact["strength"], fact["tags"]) == ('{"theme": "dark"}', 0.9, ["semantic"])


def test_it_goes_on_where_it_broke_off_and_doubles_nothing(tmp_path: Path) -> None:
    layout(tmp_path)
    for broken in range(6):
        shelf = Shelf(broken)
        with pytest.raises(Unavailable):
            take_in(look(tmp_path), shelf)
        shelf.fails_after = 10**9
        report = take_in(look(tmp_path), shelf)
        assert report.good
        assert sum(count.there for count in report.counts.values()) == broken
        assert len(shelf.kept) == 6


def test_what_differs_is_left_alone_unless_it_is_to_be_changed(tmp_path: Path) -> None:
    shelf = Shelf()
    take_in(look(layout(tmp_path)), shelf)
    (tmp_path / ".kingly/workspaces/main.json").write_text('{"id": "ws1", "name": "Other"}')
    report = take_in(look(tmp_path), shelf)
    assert report.counts["workspace"].different == 1
    assert "another name" in report.mismatches[0]
    assert shelf.kept["workspace", "ws1"]["name"] == "Main"
    report = take_in(look(tmp_path), shelf, update=True)
    assert report.good
    assert shelf.kept["workspace", "ws1"]["name"] == "Other"


BAD: dict[str, tuple[str | bytes, str]] = {
    "tasks/broken.json": ('{"id": "x",\n "title": }', "line 2, column 11"),
    "tasks/latin.json": (b'{"title": "\xe9"}', "no UTF-8: byte 11"),
    "tasks/number.json": ("7", "it holds 7: a record"),
    "tasks/list.json": ('[{"title": "fine"}, 3]', "record 2 is 3"),
    "tasks/untitled.json": ('{"id": "u"}', "title is missing"),
    "tasks/status.json": ('{"id": "s", "title": "S", "status": "meh"}', "status is 'meh': use one of"),
    "tasks/confident.json": ('{"id": "c", "title": "C", "confidence": 7}', "from 0 to 1"),
    "tasks/when.json": ('{"id": "w", "title": "W", "created_at": "soon"}', "write a time such as"),
    "tasks/orphan.json": ('{"id": "o", "title": "O", "parent_id": "nobody"}', "there is no task nobody"),
    "tasks/twice.json": ('{"id": "task_1", "title": "First again"}', "give each record an id of its own"),
    "context/empty.json": ('{"key": "k"}', "it says nothing"),
    "workflows/bad.yaml": ("name: bad\n", "line 1: there are no steps"),
}


def test_a_bad_file_is_named_and_the_rest_is_taken_in(tmp_path: Path) -> None:
    layout(tmp_path)
    for name, (content, _) in BAD.items():
        file = tmp_path / (name if name.startswith("workflows") else f".kingly/{name}")
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / ".kingly/tasks/link.json").symlink_to("/etc/hostname")
    shelf = Shelf()
    report = take_in(look(tmp_path), shelf)
    for name, (_, reason) in BAD.items():
        told = [each.reason for each in report.bad if name in each.where]
        assert len(told) == 1, (name, report.bad)
        assert reason in told[0]
    assert any("it is a link" in each.reason for each in report.bad)
    assert len(report.bad) == len(BAD) + 1
    assert len([key for key in shelf.kept if key[0] == "task"]) == 3
    assert shelf.workflows.keys() == {"good"}


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    shelf = Shelf(0)
    report = take_in(look(layout(tmp_path)), shelf, dry_run=True)
    assert report.counts["task"].imported == 3
    assert not shelf.kept
    assert not shelf.workflows


def test_a_folder_that_holds_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds none of the folders workspaces"):
        look(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        look(tmp_path / "none")


def test_cycles_do_not_hang(tmp_path: Path) -> None:
    layout(tmp_path)
    ring = [{"id": f"r{n}", "title": "R", "dependencies": [f"r{(n + 1) % 3}"]} for n in range(3)]
    (tmp_path / ".kingly/tasks/ring.json").write_text(json.dumps(ring))
    assert take_in(look(tmp_path), Shelf()).counts["task"].imported == 6


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=10,
)
NAMES = st.sampled_from(
    ["id", "title", "status", "confidence", "complexity", "created_at", "metadata", "parent_id", "dependencies", "intent",
     "key", "value", "significance", "routing_decision", "other"]
)  # fmt: skip


@given(st.dictionaries(NAMES, JSON))
def test_no_record_breaks_the_reading(fields: dict[str, Any]) -> None:
    record = Record("task", Path("x.json"), 0, fields)
    for read in (task, context):
        try:
            found = read(record)
        except Unfit as error:
            assert str(error)  # noqa: PT017
        else:
            assert found["metadata"]["imported_from"] == "x.json"


@given(st.text(min_size=1), st.text(min_size=1))
def test_identities_are_fit_and_stay_apart(one: str, other: str) -> None:
    assert identity(identity(one)) == identity(one)
    if one != other and identity(one) != one and identity(other) != other:
        assert identity(one) != identity(other)


def test_what_no_record_can_hold_is_named_and_the_rest_is_taken_in(tmp_path: Path) -> None:
    place = layout(tmp_path) / ".kingly" / "tasks"
    deep: Any = "x"
    for _ in range(900):
        deep = [deep]
    (place / "half.json").write_text('{"id": "half \\ud800", "title": "half a character"}')
    (place / "early.json").write_text(
        '{"id": "early", "title": "too early", "created_at": "0001-01-01T00:00:00+14:00"}'
    )
    (place / "deep.json").write_text(json.dumps({"id": "deep", "title": "deep", "description": deep}))
    (place / "digits.json").write_text('{"id": "digits", "title": "d", "count": ' + "9" * 5_000 + "}")
    os.mkfifo(place / "pipe.json")
    (place / "around").symlink_to(place, target_is_directory=True)
    (place / "itself.json").symlink_to(place / "itself.json")
    (tmp_path / ".again").symlink_to(tmp_path / ".kingly", target_is_directory=True)
    report = take_in(look(tmp_path), Shelf())
    bad = {Path(each.where.partition("#")[0]).name for each in report.bad}
    assert bad >= {"half.json", "early.json", "digits.json", "pipe.json", "around", "itself.json"}
    assert bad <= {"half.json", "early.json", "digits.json", "pipe.json", "around", "itself.json", "deep.json"}
    assert report.counts["task"].imported >= len(TASKS)


def test_a_workflow_of_another_text_is_replaced_only_where_that_is_asked_for(tmp_path: Path) -> None:
    shelf = Shelf()
    place = layout(tmp_path)
    assert take_in(look(place), shelf).good
    (place / "workflows/good.yaml").write_text("name: good\nsteps: [{}]\n")
    assert [each.where for each in take_in(look(place), shelf).bad] == [str(place / "workflows/good.yaml")]
    assert take_in(look(place), shelf, update=True).good
    assert "{}" in shelf.workflows["good"]
