"""Learns a map from traffic: which addresses there are, what they carry, how they are numbered."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightfast_link.path import check_path, encode_segment

MAX_ADDRESSES = 2000
"""How many addresses are learned; more are counted and left out."""
MAX_TEXTS = 6
"""How many different texts of one address are remembered, for the comments."""
MAX_SIBLINGS = 64
"""The most siblings that one place stands for."""
_NUMBER = re.compile(r"[0-9]+")
_CARRIED = frozenset("ifhdsTFb")


@dataclass(slots=True)
class Seen:
    """What one address carried."""

    tags: Counter[str] = field(default_factory=Counter)
    count: int = 0
    low: float = math.inf
    high: float = -math.inf
    texts: list[str] = field(default_factory=list)

    def add(self, tags: str, arguments: Sequence[Any]) -> None:
        """Note one message."""
        self.count += 1
        if len(self.tags) < 16:
            self.tags[tags.replace("F", "T").replace("S", "s")] += 1
        for one in arguments:
            if isinstance(one, bool):
                continue
            if isinstance(one, (int, float)) and math.isfinite(one):
                self.low, self.high = min(self.low, one), max(self.high, one)
            elif isinstance(one, str) and one not in self.texts and len(self.texts) < MAX_TEXTS:
                self.texts.append(one[:40])

    def join(self, other: Seen) -> None:
        """Add what another address of the same group carried."""
        self.count += other.count
        self.tags.update(other.tags)
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.texts = (self.texts + [text for text in other.texts if text not in self.texts])[:MAX_TEXTS]

    @property
    def type(self) -> str:
        """The tags seen most."""
        return self.tags.most_common(1)[0][0] if self.tags else ""


class Learner:
    """Gathers messages; `write` makes the map. *left_out* counts addresses beyond the bound."""

    def __init__(self) -> None:
        self.seen: dict[str, Seen] = {}
        self.senders: Counter[tuple[str, int]] = Counter()
        self.messages = 0
        self.left_out = 0

    def hear(self, sender: tuple[str, int], messages: Iterable[tuple[str, str, Sequence[Any]]]) -> None:
        """Note the messages of one datagram."""
        if sender in self.senders or len(self.senders) < 64:
            self.senders[sender] += 1
        for address, tags, arguments in messages:
            self.messages += 1
            known = self.seen.get(address)
            if known is None:
                if len(self.seen) >= MAX_ADDRESSES:
                    self.left_out += 1
                    continue
                known = self.seen[address] = Seen()
            known.add(tags, arguments)

    def write(self, kind: str, port: int, seconds: float) -> str:
        """Return the text of a map called *kind* from what came to *port* in *seconds*."""
        lines = list(self._head(kind, port, seconds))
        silent: list[str] = []
        odd: list[str] = []
        lines.append("parameters:")
        parameters = 0
        used: set[str] = set()
        for path, address, known in groups(self.seen):
            if not known.type:
                silent.append(f"{address} ×{known.count}")
            elif not _CARRIED.issuperset(known.type) or len(known.type) > 64 or not _plain(path, address, used):
                odd.append(f"{address} ,{known.type}")
            else:
                used.add(path)
                parameters += 1
                lines += _parameter(path, address, known, seconds)
        if not parameters:
            lines[-1] = "parameters: {}"
        lines += _comment("Without a value, so there is nothing to hold:", silent)
        lines += _comment("Left out, since a map cannot say it:", odd)
        if self.left_out:
            lines.append(
                f"# {self.left_out} messages of further addresses were not noted: {MAX_ADDRESSES} is the most."
            )
        return "\n".join(lines) + "\n"

    def _head(self, kind: str, port: int, seconds: float) -> Iterator[str]:
        sender = self.senders.most_common(1)[0][0] if self.senders else ("127.0.0.1", 9000)
        yield f"# Learned from {self.messages} messages in {seconds:.0f} s on port {port}. A first draft: check the"
        yield "# ranges, and give the parameters names you like. `lightfast osc check FILE` says what is wrong in it."
        yield f"kind: {kind}"
        yield f"title: {kind}"
        yield f"remote: 127.0.0.1:{sender[1]}  # where it sent from; write the port it listens on, if that is another"
        yield f"reply: {port}  # where it sends to"
        yield "alive: {assumed: true}  # better: silence, and a ping that it answers"
        yield "defaults:"
        yield "  confirm: none  # echo, if it repeats what it is sent; query, if it can be asked"


def _comment(title: str, items: list[str]) -> Iterator[str]:
    if items:
        yield f"# {title}"
        for item in items[:100]:
            yield "#   " + "".join(char if char.isprintable() else "?" for char in item[:200])


def _plain(path: str, address: str, used: set[str]) -> bool:
    """Say whether the address can stand in a map: braces would be places, and a name may be taken."""
    shown = re.sub(r"\{n(:[0-9.,]+)?\}", "1", address)
    try:
        check_path("/m/" + re.sub(r"\{n:[0-9.,]+\}", "1", path))
    except ValueError:
        return False
    return not set("{}[]*? ").intersection(shown) and shown.isprintable() and len(shown) < 250 and path not in used


def _parameter(path: str, address: str, known: Seen, seconds: float) -> Iterator[str]:
    said = [f"{known.count / max(seconds, 1e-9):.3g} messages/s"]
    if known.low <= known.high:
        said.append(f"seen {known.low:.6g} … {known.high:.6g}")
    if known.texts:
        said.append("seen " + ", ".join(repr(text) for text in known.texts))
    if len(known.tags) > 1:
        said.append("types " + ", ".join(sorted(known.tags)))
    yield f"  {_quoted(path)}:  # {'; '.join(said)}"
    yield f"    send: {_quoted(address)}"
    yield f"    type: {known.type}"
    if set(known.type) <= set("fd") and known.low >= 0 and known.high <= 1:
        yield "    range: [0, 1]  # a guess"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def groups(seen: dict[str, Seen]) -> Iterator[tuple[str, str, Seen]]:
    """Yield path, address and what was seen, in the order of the addresses; siblings that differ in a number are one.

    `/fader1`, `/fader2` and `/fader3` become `fader{n:1..3}` where they carry the same types.
    """
    families: dict[tuple[str, str, int], list[tuple[int, str]]] = {}
    for address, known in seen.items():
        for position, match in enumerate(_NUMBER.finditer(address)):
            if str(int(match[0])) == match[0] and len(match[0]) <= 6:
                shape = f"{address[: match.start()]}\0{address[match.end() :]}"
                families.setdefault((shape, known.type, position), []).append((int(match[0]), address))
    taken: dict[str, tuple[str, list[tuple[int, str]]]] = {}
    for (shape, _, _), members in sorted(families.items(), key=lambda item: -len(item[1])):
        free = [member for member in members if member[1] not in taken]
        if len(free) > 1 and "{" not in shape:
            for _, address in free:
                taken[address] = (shape, sorted(free))
    done: set[str] = set()
    for address in sorted(seen, key=_natural):
        shape, members = taken.get(address, ("", []))
        if not shape:
            yield _path(address), address, seen[address]
        elif shape not in done:
            done.add(shape)
            for start in range(0, len(members), MAX_SIBLINGS):  # a key of YAML must not grow too long
                part = members[start : start + MAX_SIBLINGS]
                joined = Seen()
                for _, member in part:
                    joined.join(seen[member])
                spans = _spans([number for number, _ in part])
                yield _path(shape).replace("%00", f"{{n:{spans}}}"), shape.replace("\0", "{n}"), joined


def _natural(address: str) -> list[tuple[int, str]]:
    return [
        (int(part), "") if part.isdecimal() and len(part) < 10 else (0, part) for part in re.split(r"(\d+)", address)
    ]


def _path(address: str) -> str:
    return "/".join(encode_segment(part) for part in address.strip("/").split("/") if part) or "value"


def _spans(numbers: list[int]) -> str:
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(f"{low}..{high}" if high > low else str(low) for low, high in found)
