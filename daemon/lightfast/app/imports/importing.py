"""Takes records in, one after the other, and checks that what arrived is what was there.

Each record has an identity of its own, so that an import that broke off is simply begun again: what is there already
and the same is left alone, what is there and differs is updated only where that is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lightfast.app.imports.layout import KINDS, BadFile, Found, Record
from lightfast.app.imports.mapping import MAPPINGS, Fields, Unfit
from lightfast.core.errors import LightfastError, Unavailable


class Target(Protocol):
    """Where records go: a daemon."""

    def find(self, kind: str, fields: Fields) -> Mapping[str, Any] | None:
        """Return what is there under the identity of *fields*, with the same names, or `None`."""

    def create(self, kind: str, fields: Fields) -> None:
        """Create it."""

    def update(self, kind: str, fields: Fields) -> None:
        """Change it."""

    def workflow(self, record: Record, *, check_only: bool, replace: bool = False) -> list[str]:
        """Save a workflow, and return what is wrong with it; then it was not saved. *replace*: another text, too."""


@dataclass(slots=True)
class Count:
    """What became of the records of one kind."""

    found: int = 0
    imported: int = 0
    updated: int = 0
    there: int = 0
    bad: int = 0
    different: int = 0
    """There already, with other contents, and left as they are."""


@dataclass(slots=True)
class Report:
    """What was imported; *mismatches* are records that did not arrive as they were sent."""

    files: int = 0
    counts: dict[str, Count] = field(default_factory=lambda: {kind: Count() for kind in KINDS})
    bad: list[BadFile] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Say whether all arrived."""
        return not self.bad and not self.mismatches

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        names = ("found", "imported", "updated", "there", "different", "bad")
        return {
            "files": self.files,
            "counts": {kind: {name: getattr(count, name) for name in names} for kind, count in self.counts.items()},
            "bad": [{"where": each.where, "reason": each.reason} for each in self.bad],
            "mismatches": self.mismatches,
        }


def take_in(
    found: Found,
    target: Target,
    *,
    update: bool = False,
    dry_run: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> Report:
    """Import all that was *found*; a record that cannot be is named in the report, and the rest goes on.

    *update* changes what is there with other contents. Raises `Unavailable` where the daemon is gone.
    """
    report = Report(found.files, bad=list(found.bad))
    seen: dict[tuple[str, str], str] = {}
    total = len(found.records)
    for number, (record, fields) in enumerate(_in_order(found.records, report), 1):
        if progress is not None:
            progress(number, total, record.where)
        count = report.counts[record.kind]
        wrong = ""
        try:
            if record.kind == "workflow":
                wrong = "; ".join(target.workflow(record, check_only=dry_run, replace=update))
                count.imported += not wrong
            elif (first := seen.setdefault((record.kind, _name(record.kind, fields)), record.where)) != record.where:
                wrong = f"{_name(record.kind, fields)} is in {first}, too: give each record an id of its own"
            else:
                _one(record, fields, target, count, update=update, dry_run=dry_run, report=report)
        except Unavailable:
            raise
        except LightfastError as error:
            wrong = str(error)
        except (ValueError, OverflowError, RecursionError) as error:  # no message of the API can hold what it says
            wrong = f"it cannot be sent: {error}"
        if wrong:
            count.bad += 1
            report.bad.append(BadFile(record.where, wrong))
    return report


def _one(
    record: Record, fields: Fields, target: Target, count: Count, *, update: bool, dry_run: bool, report: Report
) -> None:
    there = target.find(record.kind, fields)
    if there is not None:
        if not (wrong := differences(fields, there)):
            count.there += 1
            return
        if not update:
            count.different += 1
            report.mismatches.append(
                f"{record.where}: it is there with another {', '.join(wrong)}; --update changes it"
            )
            return
    if dry_run:
        count.imported += there is None
        count.updated += there is not None
        return
    if there is None:
        target.create(record.kind, fields)
        count.imported += 1
    else:
        target.update(record.kind, fields)
        count.updated += 1
    now = target.find(record.kind, fields)
    if now is None or (wrong := differences(fields, now)):
        report.mismatches.append(f"{record.where}: it did not arrive as it was sent: {', '.join(wrong if now else ())}")


def differences(sent: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Return the names of the fields that differ; only those that were sent count, and a text left out is empty."""
    empty = {str: ""}
    return [name for name, value in sent.items() if not _same(value, there.get(name, empty.get(type(value))))]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) or isinstance(other, float):
        numbers = isinstance(one, int | float) and isinstance(other, int | float)
        return numbers and math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _in_order(records: Sequence[Record], report: Report) -> Iterator[tuple[Record, Fields]]:
    """Yield the records with their fields, those that others refer to first."""
    mapped: list[tuple[Record, Fields]] = []
    for record in records:
        count = report.counts[record.kind]
        count.found += 1
        try:
            mapped.append((record, {} if record.kind == "workflow" else MAPPINGS[record.kind](record)))
        except (Unfit, UnicodeEncodeError, OverflowError, RecursionError) as error:
            count.bad += 1
            report.bad.append(BadFile(record.where, str(error)))
    tasks = [pair for pair in mapped if pair[0].kind == "task"]
    for kind in KINDS:
        yield from _tasks(tasks) if kind == "task" else (pair for pair in mapped if pair[0].kind == kind)


def _tasks(pairs: Sequence[tuple[Record, Fields]]) -> Iterator[tuple[Record, Fields]]:
    """Yield tasks after those they are parts of, and after those they wait for; a cycle as it stands."""
    by_name: dict[str, tuple[Record, Fields]] = {}
    for pair in pairs:
        by_name.setdefault(_name("task", pair[1]), pair)
    done: set[str] = set()
    for record, fields in pairs:
        if by_name[_name("task", fields)][0] is not record:
            yield record, fields  # a second one of that name: it is refused where it is taken in
            continue
        stack = [(_name("task", fields), False)]
        path: set[str] = set()
        while stack:
            name, left = stack.pop()
            if left:
                path.discard(name)
                if name not in done:
                    done.add(name)
                    yield by_name[name]
                continue
            if name in done or name in path or name not in by_name:
                continue
            path.add(name)
            stack.append((name, True))
            needs = [*by_name[name][1].get("after", ()), by_name[name][1].get("parent_task_id", "")]
            stack += [(need, False) for need in reversed(needs) if need]


def _name(kind: str, fields: Fields) -> str:
    return str(fields["key"] if kind == "context" else fields[f"{kind}_id"])
