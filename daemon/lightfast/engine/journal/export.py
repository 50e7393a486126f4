"""A recording as lines of JSON, one record a line, for other programs."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import msgspec

from lightfast.engine.journal.reader import CUT, Change, Commit, End, Gap, Item, Reader, Samples
from lightfast_link.value import to_json

_TYPES = ("set", "delete", "move")
_encode = msgspec.json.Encoder().encode


def lines(path: Path) -> Generator[str, None, None]:
    """Yield the lines of a recording, each with its end.

    The first is `{"record": "head", …}`; then come `state`, `commit`, `samples` and `gap`, last `end`. `at` is in
    seconds since the recording began, other times in ns since 1970; values are in the JSON form of `lightfast_link`.
    """
    with Reader(path) as reader:
        yield _line({"record": "head", **reader.head})
        for item in reader.items():
            yield from _lines(item)
        if not reader.whole:
            yield _line({"record": "end", "incomplete": True, "reason": CUT})


def _lines(item: Item) -> Iterator[str]:
    if isinstance(item, list):
        for state in item:
            yield _line({"record": "state", **state._asdict(), "value": _value(state.value)})
    elif isinstance(item, Commit):
        yield _line(
            {"record": "commit", **item._asdict(), "at": item.at / 1e9, "changes": list(map(_change, item.changes))}
        )
    elif isinstance(item, Samples):
        samples = [{**sample._asdict(), "value": _value(sample.value)} for sample in item.samples]
        yield _line({"record": "samples", "at": item.at / 1e9, "samples": samples})
    elif isinstance(item, Gap):
        yield _line({"record": "gap", "at": item.at / 1e9, "dropped": item.dropped})
    elif isinstance(item, End):
        yield _line({"record": "end", "at": item.at / 1e9, **item.totals})


def _change(change: Change) -> dict[str, Any]:
    return {
        **change._asdict(),
        "type": _TYPES[change.type],
        "value": _value(change.value),
        "reported": _value(change.reported),
    }


def _value(value: Any) -> Any:
    return None if value is None else to_json(value)


def _line(record: dict[str, Any]) -> str:
    return _encode(record).decode() + "\n"
