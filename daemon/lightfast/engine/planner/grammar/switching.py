"""Clauses that switch things on and off, and those that give them colours."""

from __future__ import annotations

from collections.abc import Sequence

from lightfast.engine.planner.grammar import values
from lightfast.engine.planner.grammar.drafting import Draft, Misunderstood
from lightfast.engine.planner.grammar.finding import meaning, mounted, properties, thing
from lightfast.engine.planner.grammar.setting import give, set_known, set_path
from lightfast.engine.planner.grammar.vocabulary import Thing, singular
from lightfast.engine.planner.grammar.words import Clause, Word
from lightfast_link.path import encode_segment
from lightfast_link.value import kind_of

_SWITCH_LEAVES = ("on", "enabled", "active", "is_on", "power", "visible")


def switch(clause: Clause, draft: Draft) -> bool:
    """Take `turn THING on`, `switch off THING`, `mute track 2`, `solo THING`, `hide THING`, `show THING`."""
    words = list(clause.words)
    verb = words[0].low
    concept, wanted = {
        "mute": ("track.mute", True), "unmute": ("track.mute", False), "solo": ("track.solo", True),
        "unsolo": ("track.solo", False), "hide": ("object.visible", False), "show": ("object.visible", True),
        "enable": ("", True), "disable": ("", False),
    }.get(verb, ("", None))  # fmt: skip
    rest = words[1:]
    if verb in {"turn", "switch"}:
        where = [index for index, word in enumerate(rest) if word.low in {"on", "off"}]
        if not where:
            return False
        wanted = rest.pop(where[-1] if where[-1] == len(rest) - 1 else where[0]).low == "on"
    elif wanted is None or (verb == "show" and any(word.kind == "path" for word in rest)):
        return False
    rest, mount = mounted(rest, 0, draft.vocabulary)
    for group in _each(rest):
        _switch_one(group, draft, mount, concept, wanted)
    return True


def _switch_one(named: list[Word], draft: Draft, mount: str, concept: str, wanted: bool) -> None:
    found = None
    try:
        found = thing(named, draft, mount)
    except Misunderstood:
        choices = [
            each for each in properties(named, draft, mount) if isinstance(draft.vocabulary.value(each.path), bool)
        ]
        if len(choices) == 1 and not concept:
            set_known(draft, choices[0], values.Said(switch=wanted))
            return
        raise
    if found is None:
        raise Misunderstood("what is just made is on already", "NOT_THERE_YET")
    for path, opposite in _switches(found, draft, concept):
        value = (not wanted) if opposite else wanted
        draft.add("context.set", {"path": path, "value": bool(value)})
        draft.path = path
        draft.spoken(found)
        return
    raise Misunderstood(f"{found.prefix} has nothing that is switched on and off", "PROPERTY_UNKNOWN")


def _switches(found: Thing, draft: Draft, concept: str) -> list[tuple[str, bool]]:
    ways = []
    for each in (concept,) if concept else ("object.visible",):
        term = draft.vocabulary.term(found, each)
        if term is not None:
            ways.append((term[0], term[1].opposite))
    if not concept or not ways:
        leaves = _SWITCH_LEAVES if not concept else (concept.split(".")[1],)
        for leaf in leaves:
            path = f"{found.prefix}/{leaf}"
            if isinstance(draft.vocabulary.value(path), bool):
                ways.append((path, False))
    return ways


def _each(words: Sequence[Word]) -> list[list[Word]]:
    """Return the things of a list: `track 2 and 3`, `the cube and the light`."""
    groups: list[list[Word]] = [[]]
    for word in words:
        if word.low == "and" or word.text == ",":
            groups.append([])
        else:
            groups[-1].append(word)
    groups = [group for group in groups if group]
    for index in range(1, len(groups)):
        named = meaning(groups[index])
        if len(named) == 1 and named[0].kind == "number":
            groups[index] = [*(word for word in groups[0] if word.kind == "word"), named[0]]
    return [[Word("word", singular(w.text), w.at) if w.low == "tracks" else w for w in group] for group in groups] or [
        []
    ]


def colour(clause: Clause, draft: Draft) -> bool:
    """Take `make THING COLOUR`, `color THING COLOUR`, `paint THING COLOUR`."""
    words = list(clause.words)
    if words[0].low not in {"make", "color", "colour", "paint", "turn"} or len(words) < 3:
        return False
    said = values.read(words[-1:])
    if said is None or not said.colour:
        return False
    named, mount = mounted(words[1:-1], 0, draft.vocabulary)
    if named and named[-1].low == "to":
        named = named[:-1]
    found = thing(named, draft, mount)
    if found is None:
        if not give(draft, "color", said):
            raise Misunderstood("what is just made takes no colour", "PROPERTY_UNKNOWN")
        return True
    path = colour_path(found, draft)
    if not path:
        raise Misunderstood(
            f"{found.prefix} has no colour of its own: give it a material first, or add a new one in that colour",
            "PROPERTY_UNKNOWN",
        )
    set_path(draft, path, said)
    draft.spoken(found)
    return True


def colour_path(found: Thing, draft: Draft) -> str:
    """Return where the colour of a thing is kept: its own, its material's or its light's; empty: nowhere."""
    entries = draft.vocabulary.entries.get(found.mount, {})

    prefixes = [found.prefix]
    for leaf, family in (("active_material", "materials"), ("data", "lights")):
        name = entries.get(f"{found.prefix}/{leaf}")
        if isinstance(name, str) and name:
            prefixes.append(f"{found.mount}/{family}/{encode_segment(name)}")
    for prefix in prefixes:
        for leaf in ("base_color", "color", "colour"):
            path = f"{prefix}/{leaf}"
            if path in entries and kind_of(entries[path]) in {"vector", "list", "string", "int"}:
                return path
    return ""
