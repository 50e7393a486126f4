"""Between an application's paths and the concepts that applications share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lightfast.context.entry import Entry
from lightfast.sdk.dialect import CONCEPTS, Dialect, Term
from lightfast_link.path import decode_segment, encode_segment
from lightfast_link.value import Value

TRACK_NAME = "track.name"


@dataclass(frozen=True, slots=True)
class Fact:
    """What one application says of one concept: *key* is the object or track, *paths* where it says so."""

    concept: str
    key: str
    value: Value
    unit: str
    mount: str
    paths: tuple[str, ...]
    event_time: int


class Reading:
    """Reads the entries of one application in its dialect; *unit_of* gives the declared unit of a path."""

    def __init__(self, mount: str, dialect: Dialect, entries: Mapping[str, Entry]) -> None:
        self.mount = mount
        self.dialect = dialect
        self._entries = entries
        self._named = any(term.concept == TRACK_NAME for term in dialect.terms)
        self._names = {key: name for key, name in self._tracks() if name}

    def _tracks(self) -> Iterable[tuple[str, str]]:
        for term in self.dialect.terms:
            if term.concept == TRACK_NAME:
                for key, found in self._find(term):
                    if isinstance(found[0].value, str):
                        yield key, found[0].value

    def _find(self, term: Term) -> Iterable[tuple[str, list[Entry]]]:
        """Yield each object that *term* is there for, with the entries of its components."""
        first = compiled(self.mount, term.paths[0])
        for path in self._entries:
            match = first.fullmatch(path)
            if match is None:
                continue
            key = match.group("key") if "{}" in term.paths[0] else ""
            stem = match.group("stem") if "stem" in match.re.groupindex else ""
            wanted = [self._filled(each, key, stem) for each in term.paths]
            found = [self._entries[each] for each in wanted if each in self._entries]
            if len(found) == len(wanted):
                yield key, found

    def facts(self, units: Mapping[str, str]) -> Iterable[Fact]:
        """Yield what is said of shared concepts; *units* are the declared ones, by path."""
        for term in self.dialect.terms:
            if term.concept == TRACK_NAME:
                continue
            for key, found in self._find(term):
                values = [entry.value for entry in found]
                value = values[0] if len(values) == 1 else _joined(values)
                if value is None:
                    continue
                yield Fact(
                    term.concept,
                    self.name_of(term.concept, key),
                    _meant(value, term),
                    term.unit or units.get(found[0].path, ""),
                    self.mount,
                    tuple(entry.path for entry in found),
                    max(entry.event_time for entry in found),
                )

    def _filled(self, path: str, key: str, stem: str) -> str:
        return f"{self.mount}/" + path.replace("**", stem or self.dialect.home, 1).replace("{}", key, 1)

    def name_of(self, concept: str, key: str) -> str:
        """Return what an object is called by people: its segment, or a track's name where that is kept apart."""
        if concept.startswith("track.") and self._named:
            return self._names.get(key, "#" + key)
        return decode_segment(key) if key else ""

    def term(self, concept: str) -> Term | None:
        """Return how this application says *concept*."""
        return next((term for term in self.dialect.terms if term.concept == concept), None)

    def paths_for(self, term: Term, name: str) -> tuple[str, ...] | None:
        """Return where it would say *term* of the object called *name*; None where it has no such track."""
        if "{}" not in term.paths[0]:
            return tuple(self._filled(path, "", "") for path in term.paths)
        if term.concept.startswith("track.") and self._named:
            keys = [key for key, called in self._names.items() if called == name]
            key = keys[0] if len(keys) == 1 else ""
            return tuple(self._filled(path, key, "") for path in term.paths) if key else None
        if name.startswith("#"):
            return None  # one that only its own application can tell
        key = encode_segment(name)
        for found, entries in self._find(term):  # where it is already, whatever it lies in
            if found == key:
                return tuple(entry.path for entry in entries)
        return tuple(self._filled(path, key, "") for path in term.paths)


def spoken(value: Value, term: Term) -> Value:
    """Return *value*, which is of the concept, as the application of *term* holds it."""
    if term.opposite and isinstance(value, (bool, int, float)):
        return not value
    if term.scale is not None and isinstance(value, (int, float)):
        low, high = term.scale
        return low + (float(value) + 1.0) * (high - low) / 2.0
    return value


def _meant(value: Value, term: Term) -> Value:
    if term.opposite and isinstance(value, (bool, int, float)):
        return not value
    if term.scale is not None and isinstance(value, (int, float)):
        low, high = term.scale
        return (float(value) - low) * 2.0 / (high - low) - 1.0
    return value


def _joined(values: list[Value | None]) -> Value | None:
    numbers = [float(value) for value in values if isinstance(value, (int, float))]
    return tuple(numbers) if len(numbers) == len(values) else None


def compiled(mount: str, path: str) -> re.Pattern[str]:
    """Return what matches *path* under *mount*: `{}` one segment (`key`), `**` any segments in between (`stem`)."""
    pattern = re.escape(f"{mount}/{path}")
    pattern = pattern.replace(re.escape("{}"), "(?P<key>[^/]+)", 1)
    return re.compile(pattern.replace(re.escape("**"), "(?P<stem>.+)", 1))


def role(concept: str) -> str:
    """Return what *concept* is to a change of axes; `scalar` for one that is not shared by all."""
    return CONCEPTS.get(concept, "scalar")
