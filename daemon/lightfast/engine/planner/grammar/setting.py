"""Clauses that set, read, move and delete values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightfast.engine.planner.grammar import values
from lightfast.engine.planner.grammar.drafting import Draft, Misunderstood
from lightfast.engine.planner.grammar.finding import meaning, mounted, one_property, thing
from lightfast.engine.planner.grammar.vocabulary import Known
from lightfast.engine.planner.grammar.words import Clause, Word
from lightfast.engine.transport.roles import FOLLOWS

RAISING = {"raise": 1, "increase": 1, "lower": -1, "decrease": -1}
_SPATIAL = {"move": "object.location", "rotate": "object.rotation", "scale": "object.scale", "resize": "object.scale"}
_CREATED = {"object.location": "location", "object.rotation": "rotation_euler", "object.scale": "scale"}


def set_value(clause: Clause, draft: Draft) -> bool:
    """Take `set PROPERTY to VALUE`, `change … to …`, `set PATH = VALUE`."""
    words = list(clause.words)
    if words[0].low not in {"set", "change", "put", "turn", "make", "switch"}:
        return False
    at = _last(words, {"to", "="})
    if at < 2 or at == len(words) - 1:
        if words[0].low in {"set", "change"} and len(words) > 1:
            raise Misunderstood(f"say to what: {clause.rest(0)} to 10", "VALUE_MISSING")
        return False
    named = words[1:at]
    said = values.read(words[at + 1 :])
    if words[0].low in {"put", "make"} and named[0].kind != "path":
        return False
    if len(named) == 1 and named[0].kind == "path":
        if said is None:
            raise Misunderstood(f"{clause.rest(at + 1)!r} is no value", "VALUE_UNKNOWN")
        set_path(draft, named[0].text, said)
        return True
    named, mount = mounted(named, 0, draft.vocabulary)
    if said is None:
        raise Misunderstood(
            f"{clause.rest(at + 1)!r} is no value: give a number, a colour, on, off or a text in quotes",
            "VALUE_UNKNOWN",
        )
    if draft.made and _of_made(named, said, draft):
        return True
    if [word.low for word in meaning(named)] in (["tempo"], ["bpm"]):
        return _tempo(draft, said, mount)
    known = one_property(named, draft, mount)
    set_known(draft, known, said)
    return True


def _of_made(named: Sequence[Word], said: values.Said, draft: Draft) -> bool:
    """Set a property of what the program itself makes, by giving it to the command that makes it."""
    words = {word.low for word in meaning(named)}
    concepts = {"location": "location", "position": "location", "scale": "scale", "size": "scale",
                "rotation": "rotation_euler", "color": "color", "colour": "color", "name": "name"}  # fmt: skip
    found = [concepts[word] for word in words if word in concepts]
    others = words - set(concepts) - {"it", "that", "this"}
    return bool(len(found) == 1 and not others and give(draft, found[0], said))


def give(draft: Draft, argument: str, said: values.Said) -> bool:
    """Give *said* as *argument* to the command that made `it`, where it has such an argument."""
    made = draft.find(draft.made)
    if made is None:
        return False
    command = draft.vocabulary.world.commands(made.arguments["app"]).get(made.arguments["command"])
    known = {each.name: each for each in command.arguments} if command is not None else {}
    if argument not in known:
        return False
    draft.amend(made.id, {argument: argument_value(argument, known[argument].kind, known[argument].description, said)})
    return True


def argument_value(name: str, kind: str, description: str, said: values.Said) -> Any:
    """Return *said* as an argument of a command takes it; raises `Misunderstood`."""
    unit = next((word for word in ("radians", "meters", "degrees") if word in description), "")
    unit = {"radians": "angle.radian", "meters": "distance.m", "degrees": "angle.degree"}.get(unit, "")
    size = next((3 for word in ("x, y, z", "red, green, blue") if word in description), 0)
    current: Any = (0.0,) * size if kind == "vector" and size else None
    if kind == "vector" and size and len(said.numbers) == 1 and name == "scale":
        said = values.Said(said.numbers * size, said.whole, said.unit)
    if said.unit and not unit:
        unit = said.unit
    try:
        return values.fit(said, current, _Kind(kind, unit))
    except values.Unfit as error:
        raise Misunderstood(f"{name}: {error}", "VALUE_UNFIT") from None


class _Kind:
    """What `values.fit` asks of a declaration."""

    minimum = maximum = None
    choices = ()

    def __init__(self, kind: str, unit: str) -> None:
        self.kind, self.unit = kind, unit


def _tempo(draft: Draft, said: values.Said, mount: str) -> bool:
    """Set the tempo of the one application that has one; else, or where it follows that, of the timeline all share.

    The timeline hands it on: to the application that leads it, and to those that follow.
    """
    vocabulary = draft.vocabulary
    paths = []
    for each, timeline in sorted(vocabulary.timelines.items()):
        path = f"{each}/{timeline.tempo}" if timeline is not None and timeline.tempo else ""
        if path and path in vocabulary.entries.get(each, {}) and mount in {"", each}:
            paths.append(path)
    if not paths and mount:
        set_known(draft, one_property_named("tempo", draft, mount), said)
        return True
    if len(said.numbers) != 1 or said.unit not in {"", "time.bpm", "time.freq"}:
        raise Misunderstood("a tempo is a number of beats per minute", "VALUE_UNFIT")
    bpm = values.converted(said.numbers[0], said.unit, "time.bpm", None)
    follows = not mount and len(paths) == 1 and _follows_tempo(paths[0], draft)
    if len(paths) == 1 and not follows:
        set_known(draft, next(known for known in vocabulary.known if known.path == paths[0]), said)
    else:
        if follows:
            draft.notes.append(f"{paths[0]} follows the shared transport, whose tempo is set")
        elif paths:
            draft.notes.append(f"{len(paths)} applications have a tempo: the shared transport's is set")
        draft.add("transport.tempo", {"bpm": bpm})
    return True


def _follows_tempo(path: str, draft: Draft) -> bool:
    """Say whether the application of *path* takes its tempo from the timeline that all share."""
    name = path.split("/")[1]
    how = draft.vocabulary.world.value(f"{FOLLOWS}/{name}")
    return isinstance(how, dict) and how.get("tempo", True) is not False


def one_property_named(name: str, draft: Draft, mount: str) -> Known:
    """Return the one entry called *name*."""
    return one_property([Word("word", name, 0)], draft, mount)


def set_known(draft: Draft, known: Known, said: values.Said) -> None:
    """Set an entry whose words were said."""
    declared = draft.vocabulary.world.declared(known.path)
    if declared is not None and declared.access == "r":
        raise Misunderstood(f"{known.path} can only be read", "READ_ONLY")
    current = draft.vocabulary.value(known.path)
    try:
        value = values.fit(said, current, declared, known.unit)
    except values.Unfit as error:
        raise Misunderstood(f"{known.path}: {error}", "VALUE_UNFIT") from None
    if known.opposite and isinstance(value, bool):
        value = not value
    draft.add("context.set", {"path": known.path, "value": value})
    draft.path = known.path
    owner = next((each for each in draft.vocabulary.things if known.path.startswith(each.prefix + "/")), None)
    if owner is not None:
        draft.spoken(owner)
    else:
        draft.spoken(mount=known.mount)


def set_path(draft: Draft, path: str, said: values.Said) -> None:
    """Set the entry at a path that was written out."""
    vocabulary = draft.vocabulary
    declared, current = vocabulary.world.declared(path), vocabulary.value(path)
    if declared is not None and declared.access == "r":
        raise Misunderstood(f"{path} can only be read", "READ_ONLY")
    try:
        value = values.fit(said, current, declared)
    except values.Unfit as error:
        raise Misunderstood(f"{path}: {error}", "VALUE_UNFIT") from None
    draft.add("context.set", {"path": path, "value": value})
    draft.path = path


def change_by(clause: Clause, draft: Draft) -> bool:
    """Take `raise PROPERTY by VALUE`, `turn up …`, `turn down …`."""
    words = list(clause.words)
    way = RAISING.get(words[0].low, 0)
    start = 1
    if words[0].low == "turn" and len(words) > 2:
        where = next((i for i, word in enumerate(words) if word.low in {"up", "down"}), 0)
        if where:
            way = 1 if words.pop(where).low == "up" else -1
    if not way:
        return False
    at = _last(words, {"by"})
    if at < 0:
        if _last(words, {"to"}) > 0:
            return set_value(Clause((Word("word", "set", 0), *words[1:]), clause.source, clause.then), draft)
        raise Misunderstood(f"say by how much: {clause.rest(0)} by 10", "AMOUNT_MISSING")
    named, mount = mounted(words[start:at], 0, draft.vocabulary)
    said = values.read(words[at + 1 :])
    if said is None or len(said.numbers) != 1:
        raise Misunderstood(f"{clause.rest(at + 1)!r} is no amount", "VALUE_UNKNOWN")
    known = (
        _path_known(draft, named[0].text)
        if len(named) == 1 and named[0].kind == "path"
        else one_property(named, draft, mount)
    )
    current = draft.vocabulary.value(known.path)
    if isinstance(current, bool) or not isinstance(current, (int, float)):
        raise Misunderstood(
            f"{known.path} holds {current!r:.40}: only a number can be raised or lowered", "VALUE_UNFIT"
        )
    declared = draft.vocabulary.world.declared(known.path)
    unit = known.unit or (getattr(declared, "unit", "") or "")
    try:
        amount = said.numbers[0] * way
        if said.unit == "percent":
            target = float(current) * (1 + amount / 100.0)
        elif said.unit and unit and said.unit != unit:
            there = values.converted(float(current), unit, said.unit, None) + amount
            target = values.converted(there, said.unit, unit, None)
        else:
            target = current + amount
    except values.Unfit as error:
        raise Misunderstood(f"{known.path}: {error}", "VALUE_UNFIT") from None
    whole = isinstance(current, int) and float(target).is_integer()
    set_known(draft, known, values.Said((target,), whole=whole))
    return True


def _path_known(draft: Draft, path: str) -> Known:
    found = next((known for known in draft.vocabulary.known if known.path == path), None)
    return found or Known(path, "", frozenset(), frozenset(), 0)


def place(clause: Clause, draft: Draft) -> bool:
    """Take `move THING to X Y Z`, `rotate THING to/by … degrees`, `scale THING to/by N`, and `move PATH to PATH`."""
    words = list(clause.words)
    concept = _SPATIAL.get(words[0].low)
    at = _last(words, {"to", "by", "at"})
    if concept is None or at < 1 or at == len(words) - 1:
        return False
    named, after = words[1:at], words[at + 1 :]
    if len(named) == 1 and len(after) == 1 and named[0].kind == after[0].kind == "path" and words[0].low == "move":
        draft.add("context.move", {"source": named[0].text, "path": after[0].text})
        draft.path = after[0].text
        return True
    named, mount = mounted(named, 0, draft.vocabulary)
    axis = after.pop().low if after and after[-1].low in {"x", "y", "z"} and len(after) > 1 else ""
    after = [word for word in after if word.low not in {"on", "along", "in", "the", "axis"}]
    said = values.read(after)
    if said is None or not said.numbers:
        raise Misunderstood(f"{clause.rest(at + 1)!r} is no place: give x, y and z", "VALUE_UNKNOWN")
    found = thing(named, draft, mount)
    if found is None:
        if words[at].low == "by" or axis or not give(draft, _CREATED[concept], said):
            raise Misunderstood("what is just made can only be put somewhere, not moved on", "NOT_THERE_YET")
        return True
    term = draft.vocabulary.term(found, concept)
    if term is None:
        raise Misunderstood(f"{found.prefix} has no {concept.split('.')[1]}", "PROPERTY_UNKNOWN")
    path, spoken = term
    current = draft.vocabulary.value(path)
    unit = spoken.unit or getattr(draft.vocabulary.world.declared(path), "unit", "") or ""
    set_path(draft, path, _placed(said, current, unit, words[at].low == "by", axis, concept))
    draft.spoken(found)
    return True


def _placed(said: values.Said, current: Any, unit: str, further: bool, axis: str, concept: str) -> values.Said:
    if not isinstance(current, tuple):
        return said
    try:
        numbers = [values.converted(each, said.unit, unit, None) for each in said.numbers]
    except values.Unfit as error:
        raise Misunderstood(str(error), "VALUE_UNFIT") from None
    if axis and len(numbers) == 1:
        index = "xyz".index(axis)
        held = list(current)
        held[index] = held[index] + numbers[0] if further else numbers[0]
        return values.Said(tuple(held))
    if concept == "object.scale" and len(numbers) == 1:
        numbers *= len(current)
    if concept == "object.rotation" and len(numbers) == 1 and len(current) == 3:
        numbers = [0.0, 0.0, numbers[0]] if further else [*current[:2], numbers[0]]
    if further and len(numbers) == len(current):
        ways = zip(current, numbers, strict=True)
        numbers = [a * b if concept == "object.scale" else a + b for a, b in ways]
    return values.Said(tuple(numbers))


def _last(words: Sequence[Word], among: set[str]) -> int:
    return max((index for index, word in enumerate(words) if word.low in among or word.text in among), default=-1)
