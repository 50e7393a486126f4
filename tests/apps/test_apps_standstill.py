"""While this process stands still nobody is judged: what applications have answered meanwhile is read first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, cast

import pytest
from tests.support.desk import until

from lightfast.sdk import AppSession, Value, Wish
from lightfast_bridges.ableton import wishes as ableton
from lightfast_bridges.ableton.asking import Asker
from lightfast_bridges.reaper import wishes as reaper
from lightfast_bridges.reaper.target import Known


class Ears:
    """Stands for the session: what became of wishes, by their numbers."""

    def __init__(self) -> None:
        self.settled: dict[int, Value | None] = {}
        self.rejected: dict[int, str] = {}
        self.settle = self.settled.__setitem__
        self.reject = self.rejected.__setitem__


class Asked:
    """Stands for who asks Live."""

    last_error = ""


def of_ableton(ears: Ears) -> Any:
    held: Mapping[str, Value] = {"song/tempo": 120.0}
    return ableton.Wishes(cast("AppSession", ears), cast("Asker", Asked()), lambda *_: None, held.get)


def of_reaper(ears: Ears) -> Any:
    known = Known({}, {"transport/repeat": False, "master/volume": 0.5}, {}, 12.0, ours=True)
    return reaper.Wishes(cast("AppSession", ears), lambda *_: None, lambda: known, lambda _: None)


@pytest.mark.parametrize(
    ("module", "made", "path", "value"),
    [(ableton, of_ableton, "song/tempo", 93.0), (reaper, of_reaper, "master/volume", 0.25)],
)
async def test_no_wish_is_rejected_by_the_time_that_this_process_stood_still(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, made: Callable[[Ears], Any], path: str, value: Value
) -> None:
    monkeypatch.setattr(module, "ANSWER", 0.1)
    monkeypatch.setattr(module, "ECHO", 0.1, raising=False)
    ears = Ears()
    wishes = made(ears)
    wishes.apply(Wish(1, path, value, 1))
    for _ in range(12):
        time.sleep(0.2)
        await asyncio.sleep(0)  # a turn of the loop, in which something else was read
    assert ears.rejected == {}
    assert wishes.hear(path, value)
    assert ears.settled == {1: value}
    wishes.apply(Wish(2, path, 0.75 if value == 0.25 else 94.0, 2))
    await until(lambda: "does not answer" in ears.rejected.get(2, ""), lambda: ears.rejected)
    wishes.stop()
