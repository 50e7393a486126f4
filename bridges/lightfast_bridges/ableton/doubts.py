"""Listeners that may speak of another object than the one their index names.

A listener of AbletonOSC stays with its object and goes on to say the index under which it was started. After a
track was inserted it speaks of another one, and it cannot be taken back: to stop it, AbletonOSC looks the object up
by the index. So what such an index tells unasked is not believed, but taken as the news that one of a few objects
has changed; these are read. Where two changes follow each other at once, the second may be taken for the answer to
the question about the first; the answer itself then puts it right.

Most listeners can be started again besides, for the object that has the index now. Those of faders and of devices'
parameters cannot (AbletonOSC fails before it gets there): they are stuck with the object they have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from lightfast_bridges.ableton.asking import TIMEOUT, Send
from lightfast_bridges.ableton.paths import Target, target
from lightfast_bridges.ableton.shift import Shift

STICKING = frozenset({"volume", "panning", "parameter/value"})


class Doubts:
    """What each listened index may be about; *send* asks Live, for what *exists*."""

    def __init__(self, send: Send, exists: Callable[[Target], bool]) -> None:
        self._send = send
        self._exists = exists
        self._about: dict[Target, set[Target]] = {}
        self._asked: dict[Target, float] = {}
        self._covered: set[Target] = set()

    def clear(self) -> None:
        """Believe everything: the listeners are gone."""
        self._about.clear()
        self._covered.clear()

    def follow(self, shift: Shift, listened: list[Target]) -> None:
        """Note that objects moved while *listened* was listened to."""
        before, self._about = self._about, {}
        for told in dict.fromkeys((*listened, *before)):
            about = {there for known in before.get(told, ()) if (there := shift.where(known)) is not None}
            now = shift.where(told)
            if now != told and not (told in before and told.verb in STICKING):
                about |= {now} if now is not None else set()
            elif told not in before:
                continue
            self._about[told] = about
        self._covered = {one for told, about in self._about.items() if told.verb in STICKING for one in about}

    def stuck(self, told: Target) -> bool:
        """Say whether a listener cannot be started again for the object that has its index now."""
        return told.verb in STICKING and told in self._about

    def is_stuck(self, key: tuple[str, str, tuple[Any, ...]]) -> bool:
        """Say the same by kind, property and indices."""
        stem, verb, ids = key
        try:
            return self.stuck(target(stem, verb, *ids))
        except (KeyError, TypeError):
            return False

    def covered(self, one: Target) -> bool:
        """Say whether a listener that is stuck, under whatever index, speaks of *one*."""
        return one in self._covered

    def trusts(self, told: Target) -> bool:
        """Say whether news that nobody asked for is what it says; if not, Live is asked."""
        now = asyncio.get_running_loop().time()
        if self._asked.pop(told, 0.0) > now:
            return True
        key = target(told.stem, "parameter/value", *told.ids) if told.verb == "parameter/value_string" else told
        about = self._about.get(key)
        if about is None:
            return True
        asked = {key, *about}
        if key.verb == "parameter/value":
            asked |= {target(one.stem, "parameter/value_string", *one.ids) for one in asked}
        for one in asked:
            if self._asked.get(one, 0.0) <= now and self._exists(one):
                self._asked[one] = now + TIMEOUT
                self._send(one.get, *one.ids)
        return False
