"""Reads .ReaperOSC files: which messages REAPER takes and tells, and how an address is matched to them.

A line is an action's name and its patterns; a pattern is a flag and an address with `@` for numbers. Flags: `n`
normalized float, `f` raw float, `b` 0 or 1, `t` trigger or toggle, `r` rotary, `s` string, `i` integer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

FLAGS = "nfbtrsi"
MAX_PATTERN = 512
MAX_REPEATS = 16
"""The most targets of one message (`/track/1,2,5/mute`)."""

_FOLLOWS = frozenset({"REAPER", "DEVICE", "LAST_TOUCHED", "FOCUSED", "MIXER"})
_NUMBERS = re.compile(r"\d+(?:,\d+)*")


class PatternError(ValueError):
    """A pattern file is wrong; the message says where."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern of one action."""

    action: str
    flag: str
    address: str

    @property
    def wildcards(self) -> int:
        """How many numbers the address takes."""
        return self.address.count("@")

    def filled(self, numbers: tuple[int, ...]) -> str:
        """Return the address with *numbers*, one for each wildcard, in order."""
        parts = self.address.split("@")
        return "".join(f"{part}{number}" for part, number in zip(parts, numbers, strict=False)) + parts[-1]


@dataclass(slots=True)
class PatternFile:
    """What a file says: its *settings* (`DEVICE_TRACK_COUNT` → `8`), and its patterns by action, in their order."""

    settings: dict[str, str] = field(default_factory=dict)
    by_action: dict[str, list[Pattern]] = field(default_factory=dict)
    _exact: dict[str, Pattern] = field(default_factory=dict)
    _inside: list[tuple[re.Pattern[str], Pattern]] = field(default_factory=list)

    def count(self, setting: str, default: int) -> int:
        """Return a count among the settings; REAPER leaves a count of 0 as it is by default."""
        given = int(self.settings.get(setting, "0"))
        return given if given > 0 else default

    def add(self, pattern: Pattern) -> None:
        """Take one pattern; of two of one address the later decides what a message on it means."""
        self.by_action.setdefault(pattern.action, []).append(pattern)
        if all(part in {"", "@"} or "@" not in part for part in pattern.address.split("/")):
            self._exact[pattern.address] = pattern
        else:  # a wildcard within a word
            escaped = re.escape(pattern.address).replace("@", r"(\d*(?:,\d+)*)")
            self._inside.append((re.compile(escaped), pattern))

    def match(self, address: str) -> tuple[Pattern, list[tuple[int, ...]]] | None:
        """Return the pattern that *address* means, and one tuple of numbers for each of its targets.

        `/track/3/fx/1,2/bypass` has two targets: (3, 1) and (3, 2). Each wildcard names one number or as many as
        there are targets; anything else means nothing.
        """
        found = self._exact.get(address)
        if found is not None and not found.wildcards:
            return found, [()]
        parts = address.split("/")
        places = [at for at, part in enumerate(parts) if _NUMBERS.fullmatch(part)]
        template = "/".join("@" if at in places else part for at, part in enumerate(parts))
        found = self._exact.get(template)
        if found is not None:
            return _targets(found, [parts[at] for at in places])
        for regex, pattern in self._inside:
            if inside := regex.fullmatch(address):
                return _targets(pattern, [group or "0" for group in inside.groups()])
        return None


def _targets(pattern: Pattern, texts: list[str]) -> tuple[Pattern, list[tuple[int, ...]]] | None:
    slots = [[int(number) for number in text.split(",") if number] for text in texts]
    repeats = max((len(slot) for slot in slots), default=1)
    if repeats > MAX_REPEATS or any(len(slot) not in {1, repeats} for slot in slots):
        return None
    return pattern, [tuple(slot[0 if len(slot) == 1 else at] for slot in slots) for at in range(repeats)]


def parse(text: str) -> PatternFile:
    """Return what a pattern file says; raise `PatternError` for what REAPER would refuse."""
    found = PatternFile()
    for number, words in _lines(text):
        action, *patterns = words
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*[-+]?", action):
            raise PatternError(f"line {number}: {action!r} is no action: actions are written in capitals")
        if patterns and _is_setting(action, patterns[0]):
            found.settings[action] = patterns.pop(0)
        for pattern in patterns:
            if pattern[0] not in FLAGS:
                raise PatternError(f"line {number}: {pattern!r} begins with {pattern[0]!r}: use one of {FLAGS}")
            if pattern[1:2] != "/":
                raise PatternError(f"line {number}: {pattern!r} has no '/' after its flag")
            if len(pattern) > MAX_PATTERN:
                raise PatternError(f"line {number}: a pattern has {len(pattern)} characters, at most {MAX_PATTERN}")
            found.add(Pattern(action, pattern[0], pattern[1:]))
    return found


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if words and not words[0].startswith("#"):
            yield number, words


def _is_setting(action: str, word: str) -> bool:
    """Say whether *word* is a value where others stand for patterns, as REAPER judges it."""
    if not action.startswith(("DEVICE_", "REAPER_")):
        return False
    if action.endswith("_COUNT"):
        return word.isdigit()
    if action.endswith("_ROTARY_CENTER"):
        return bool(re.fullmatch(r"-?\d*\.?\d*", word))
    if action.endswith("_FOLLOWS"):
        return word in _FOLLOWS
    return action.endswith("_EQ") and word == "INSERT"
