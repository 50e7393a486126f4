"""What can be spoken of: built anew for each intent from what is connected just then."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from lightfast.sdk import World
from lightfast.sdk.dialect import Dialect, Term
from lightfast_link.path import decode_segment
from lightfast_link.value import Value

MOST_ENTRIES = 20_000
"""Entries of one application that are looked at; of larger ones those that come first."""
MANY = 1_000
"""With more entries they are looked at in a thread."""
CONCEPT_WORDS: dict[str, tuple[str, ...]] = {
    "object.location": ("location", "position", "place"),
    "object.rotation": ("rotation", "angle", "orientation"),
    "object.scale": ("scale", "size"),
    "object.visible": ("visible", "visibility"),
    "camera.lens": ("lens", "focal", "length", "zoom"),
    "light.color": ("color", "colour"),
    "light.energy": ("energy", "brightness", "intensity", "power", "strength"),
    "track.volume": ("volume", "level", "loudness", "gain"),
    "track.pan": ("pan", "panning", "balance"),
    "track.mute": ("mute", "muted"),
    "track.solo": ("solo", "soloed"),
    "master.volume": ("master", "main", "volume", "level"),
    "tempo": ("tempo", "bpm", "speed"),
    "frame_rate": ("frame", "rate", "fps"),
}
"""Everyday words of the shared concepts (`lightfast.sdk.dialect.CONCEPTS`)."""
LEAF_WORDS: dict[str, tuple[str, ...]] = {
    "base_color": ("color", "colour"),
    "energy": ("brightness", "intensity", "power"),
    "panning": ("pan",),
    "tempo": ("bpm",),
    "frame_current": ("frame",),
    "resolution_x": ("width",),
    "resolution_y": ("height",),
}
"""Everyday words of last segments, whatever the application."""
_SPLIT = re.compile(r"[^0-9a-zA-Z]+|(?<=[a-z])(?=[A-Z])")


@lru_cache(maxsize=8192)
def split(text: str) -> tuple[str, ...]:
    """Return the words in a name, in lower case: `rotation_euler` → rotation, euler."""
    return tuple(part.lower() for part in _SPLIT.split(text) if part)


def singular(word: str) -> str:
    """Return *word* without the s of a plural."""
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


@dataclass(frozen=True, slots=True)
class Thing:
    """An object, a track, a light: what entries of one application lie under. *number* counts from 1, 0: none."""

    mount: str
    family: str
    key: str
    name: str
    prefix: str
    number: int = 0
    kind: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """Return the words of its name."""
        return split(self.name)


@dataclass(frozen=True, slots=True)
class Known:
    """One entry: *words* are all that it can be called by, *leaf* those that mean its last segment."""

    path: str
    mount: str
    words: frozenset[str]
    leaf: frozenset[str]
    depth: int
    concept: str = ""
    unit: str = ""
    opposite: bool = False
    own: frozenset[str] = frozenset()
    alias: frozenset[str] = frozenset()
    """Everyday words that alone mean the whole last segment."""


@dataclass
class Vocabulary:
    """The words there are. *entries* by mount; *kinds* are what applications are, `ableton` at `/live`."""

    world: World
    entries: Mapping[str, Mapping[str, Value]]
    dialects: Mapping[str, Dialect] = field(default_factory=dict)
    timelines: Mapping[str, Any] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def mounts(self) -> tuple[str, ...]:
        """Return the mounts, in order."""
        return tuple(sorted(self.world.mounts()))

    @cached_property
    def names(self) -> dict[str, str]:
        """Return the mount for each word that names an application alone."""
        found: dict[str, list[str]] = {}
        for mount in self.mounts:
            kind = self.kinds.get(mount, "")
            for name in {mount[1:].lower(), kind, *(("live",) if kind == "ableton" else ())} - {""}:
                found.setdefault(name, []).append(mount)
        return {name: mounts[0] for name, mounts in found.items() if len(mounts) == 1 or f"/{name}" in mounts}

    @cached_property
    def things(self) -> tuple[Thing, ...]:
        """Return what has entries of its own: what lies two segments below a mount."""
        found: dict[str, Thing] = {}
        for mount, entries in self.entries.items():
            for path in entries:
                parts = path[len(mount) + 1 :].split("/")
                if len(parts) < 3:
                    continue
                prefix = f"{mount}/{parts[0]}/{parts[1]}"
                if prefix not in found:
                    name = entries.get(f"{prefix}/name")
                    called = name if isinstance(name, str) and name else decode_segment(parts[1])
                    number = int(parts[1]) + 1 if parts[1].isdecimal() else 0
                    kind = entries.get(f"{prefix}/type")
                    found[prefix] = Thing(
                        mount, parts[0], parts[1], called, prefix, number, kind.lower() if isinstance(kind, str) else ""
                    )
        return tuple(found.values())

    @cached_property
    def known(self) -> tuple[Known, ...]:
        """Return every entry under a mount with its words."""
        by_prefix = {thing.prefix: thing for thing in self.things}
        found = []
        for mount, entries in self.entries.items():
            terms = _terms(mount, self.dialects.get(mount), self.timelines.get(mount))
            for path in entries:
                parts = path[len(mount) + 1 :].split("/")
                thing = by_prefix.get("/".join([mount, *parts[:2]])) if len(parts) > 2 else None
                found.append(_known(path, mount, parts, thing, terms))
        return tuple(found)

    def term(self, thing: Thing, concept: str) -> tuple[str, Term] | None:
        """Return where *thing* holds *concept*, in one path, and the term; `None`: it does not."""
        dialect = self.dialects.get(thing.mount)
        for term in dialect.terms if dialect is not None else ():
            if term.concept != concept or len(term.paths) != 1 or "{}" not in term.paths[0]:
                continue
            path = f"{thing.mount}/" + term.paths[0].replace("{}", thing.key, 1)
            if path in self.entries.get(thing.mount, {}):
                return path, term
        return None

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """Return all single words, for `did you mean`."""
        found: set[str] = set(self.names) | {scene.lower() for scene in self.world.scenes()}
        found.update(word for known in self.known for word in known.words if not word.isdigit())
        for mount in self.mounts:
            found.update(word for name in self.world.commands(mount) for word in split(name))
        found.update(word for words in CONCEPT_WORDS.values() for word in words)
        return tuple(sorted(found))

    @property
    def is_large(self) -> bool:
        """Say whether it takes so long to look at all entries that others must have their turn meanwhile."""
        return "known" not in self.__dict__ and sum(map(len, self.entries.values())) > MANY

    def look(self) -> None:
        """Look at all entries; asks nothing of the world, so it may be done in a thread."""
        _ = self.things, self.known

    def like(self, other: Vocabulary) -> Vocabulary:
        """Take over what does not depend on the world from *other*, which is of the same entries; return this one."""
        for name in ("things", "known"):
            if name in other.__dict__:
                self.__dict__[name] = other.__dict__[name]
        return self

    def near(self, word: str, among: Iterable[str] | None = None) -> tuple[str, ...]:
        """Return the words nearest to *word*, best first."""
        choices: Sequence[str] = tuple(among) if among is not None else self.vocabulary
        return tuple(difflib.get_close_matches(word.lower(), choices, n=3, cutoff=0.72))

    def value(self, path: str) -> Value | None:
        """Return what is at *path* now."""
        for mount, entries in self.entries.items():
            if path.startswith(mount + "/") and path in entries:
                return entries[path]
        return self.world.value(path)


@dataclass(frozen=True, slots=True)
class _Way:
    pattern: re.Pattern[str]
    concept: str
    unit: str
    opposite: bool


def _terms(mount: str, dialect: Dialect | None, timeline: Any) -> tuple[_Way, ...]:
    found = []
    for term in dialect.terms if dialect is not None else ():
        if len(term.paths) == 1:
            pattern = re.escape(f"{mount}/{term.paths[0]}").replace(re.escape("{}"), "[^/]+")
            pattern = pattern.replace(re.escape("**"), ".+")
            found.append(_Way(re.compile(pattern), term.concept, term.unit, term.opposite))
    if timeline is not None and timeline.tempo:
        found.append(_Way(re.compile(re.escape(f"{mount}/{timeline.tempo}")), "tempo", "time.bpm", opposite=False))
    return tuple(found)


def _known(path: str, mount: str, parts: Sequence[str], thing: Thing | None, terms: Sequence[_Way]) -> Known:
    last = decode_segment(parts[-1])
    leaf = {*split(last), *LEAF_WORDS.get(last, ())}
    way = next((each for each in terms if each.pattern.fullmatch(path)), None)
    if way is not None:
        leaf.update(CONCEPT_WORDS.get(way.concept, ()))
    around = {word for part in parts[:-1] for word in split(decode_segment(part)) if not word.isdigit()}
    around |= {singular(word) for word in around}
    own: set[str] = set()
    if thing is not None:
        own = set(thing.words)
        around |= own
        if thing.kind:
            around.add(thing.kind)
        if thing.number:
            around.add(f"#{thing.number}")
    return Known(
        path,
        mount,
        frozenset(leaf | around),
        frozenset(leaf),
        len(parts),
        way.concept if way is not None else "",
        way.unit if way is not None else "",
        way.opposite if way is not None else False,
        frozenset(own),
        frozenset({*LEAF_WORDS.get(last, ()), *(CONCEPT_WORDS.get(way.concept, ()) if way is not None else ())}),
    )
