"""Clauses about scenes, the transport, waiting, workflows, and questions for values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightfast.engine.planner.grammar import values
from lightfast.engine.planner.grammar.drafting import Draft, Misunderstood
from lightfast.engine.planner.grammar.finding import application, one_property
from lightfast.engine.planner.grammar.words import EVENTS, Clause, Word

_TRANSPORT = {"play": True, "start": True, "stop": False, "pause": False}
_WHOLE = frozenset({"it", "everything", "all", "playback", "transport", "playing", "music", "song", "show"})
BEATS_PER_BAR = 4


def standing_wish(clause: Clause, draft: Draft) -> bool:
    """Take `every time X do Y`, `when X, Y`: that is a workflow with a trigger, not a program."""
    if clause.words[0].low not in EVENTS:
        return False
    raise Misunderstood(
        f"{clause.rest(0)!r} is to happen again and again, or on an event: write it as a workflow with a trigger "
        "(lightfast workflow), a plan runs once",
        "USE_WORKFLOW",
    )


def scene(clause: Clause, draft: Draft) -> bool:
    """Take `save this as scene NAME`, `save scene NAME`, `recall NAME over 4 seconds`."""
    words = list(clause.words)
    low = [word.low for word in words]
    if low[0] in {"save", "store", "remember"} and "scene" in low:
        at = low.index("scene")
        name_words = [word for word in words[at + 1 :] if word.low not in {"as", "called", "named"}]
        if not name_words and "as" in low:
            name_words = [word for word in words[low.index("as") + 1 :] if word.low not in {"scene", "a"}]
        if not name_words:
            raise Misunderstood("say the name of the scene: save this as scene intro", "NAME_MISSING")
        draft.add("scene.save", {"name": _name(name_words)})
        return True
    going = low[0] == "go" and low[1:2] == ["to"]
    if low[0] not in {"recall", "load", "morph", "fade"} and not (going and "scene" in low):
        return False
    rest, seconds = _over(words[1:])
    picked = [word for word in rest if word.low not in {"to", "the", "scene", "into"}]
    known = {each.lower(): each for each in draft.vocabulary.world.scenes()}
    said = _name(picked)
    saved = {each.arguments["name"].lower(): each.arguments["name"]
             for each in draft.instructions if each.op == "scene.save"}  # fmt: skip
    name = known.get(said.lower()) or saved.get(said.lower())
    if name is None:
        if low[0] != "recall" and "scene" not in low:
            return False
        near = draft.vocabulary.near(said, known)
        hint = f": did you mean {' or '.join(known[each] for each in near)}?" if near else ""
        there = f"; there are {', '.join(sorted(known.values())[:8])}" if known and not near else ""
        raise Misunderstood(f"there is no scene called {said!r}{hint}{there}", "SCENE_UNKNOWN")
    arguments: dict[str, Any] = {"name": name}
    if seconds is not None:
        arguments["morph_s"] = seconds
    draft.then = draft.then or name in saved.values()
    draft.add("scene.recall", arguments)
    return True


def _over(words: Sequence[Word]) -> tuple[list[Word], float | None]:
    for index, word in enumerate(words):
        if word.low in {"over", "in", "within"} and index + 1 < len(words):
            seconds = _seconds(words[index + 1 :])
            if seconds is not None:
                return list(words[:index]), seconds
    return list(words), None


def _seconds(words: Sequence[Word]) -> float | None:
    if not words or words[0].kind != "number" or len(words) > 2:
        return None
    unit = words[1].low if len(words) == 2 else "s"
    factor = {"minute": 60.0, "minutes": 60.0, "min": 60.0, "hour": 3600.0, "hours": 3600.0}.get(unit)
    if factor is None:
        factor = {"time.second": 1.0, "time.ms": 0.001}.get(values.UNITS.get(unit, ""))
    return None if factor is None else words[0].number * factor


def _name(words: Sequence[Word]) -> str:
    return " ".join(word.text for word in words)


def transport(clause: Clause, draft: Draft) -> bool:
    """Take `play`, `stop`, `play in blender`, `go to 10 seconds`, `jump to beat 16`."""
    words = list(clause.words)
    verb = words[0].low
    if verb in {"go", "jump", "seek"}:
        return _seek(words, draft)
    if verb not in _TRANSPORT:
        return False
    rest, mount = application(words[1:], draft.vocabulary)
    if any(word.low not in _WHOLE and word.low not in {"the", "again"} for word in rest):
        return False
    if not mount:
        draft.add("transport.play" if _TRANSPORT[verb] else "transport.stop", {})
        return True
    timeline = draft.vocabulary.timelines.get(mount)
    path = f"{mount}/{timeline.playing}" if timeline is not None and timeline.playing else ""
    if path and path in draft.vocabulary.entries.get(mount, {}):
        draft.add("context.set", {"path": path, "value": _TRANSPORT[verb]})
        draft.mount, draft.path = mount, path
        return True
    return False


def _seek(words: Sequence[Word], draft: Draft) -> bool:
    rest = [word for word in words[1:] if word.low not in {"to", "the"}]
    low = [word.low for word in rest]
    number = next((word.number for word in rest if word.kind == "number"), None)
    if low in (["start"], ["beginning"]):
        draft.add("transport.seek", {"seconds": 0.0})
    elif number is None:
        return False
    elif len(rest) == 2 and low[0] == "beat":
        draft.add("transport.seek", {"beats": number})
    elif len(rest) == 2 and low[0] == "bar":
        draft.notes.append(f"bar {number:g} is reckoned with {BEATS_PER_BAR} beats to the bar")
        draft.add("transport.seek", {"beats": (number - 1) * BEATS_PER_BAR})
    elif (seconds := _seconds(rest)) is not None:
        draft.add("transport.seek", {"seconds": seconds})
    else:
        return False
    return True


def wait(clause: Clause, draft: Draft) -> bool:
    """Take `wait 4 beats`, `wait 2 bars`, `wait 3 seconds`, `wait for bar 9`, `wait until PATH is VALUE`."""
    if clause.words[0].low != "wait":
        return False
    rest = [word for word in clause.words[1:] if word.low not in {"for", "another", "the", "next"}]
    if rest and rest[0].low in {"until", "till"} and len(rest) > 1 and rest[1].kind == "path":
        return _until(rest[1:], draft)
    if len(rest) == 2 and rest[0].low == "bar" and rest[1].kind == "number":
        draft.add("wait.beat", {"bar": int(rest[1].number)})
        return True
    if len(rest) == 2 and rest[0].kind == "number" and rest[1].low in {"beat", "beats"}:
        draft.add("wait.beat", {"beats": rest[0].number})
        return True
    if len(rest) == 2 and rest[0].kind == "number" and rest[1].low in {"bar", "bars"}:
        draft.notes.append(f"a bar is reckoned with {BEATS_PER_BAR} beats")
        draft.add("wait.beat", {"beats": rest[0].number * BEATS_PER_BAR})
        return True
    seconds = _seconds(rest)
    if seconds is None:
        raise Misunderstood("say how long: wait 4 beats, wait 2 seconds, wait until /path is 1", "VALUE_UNKNOWN")
    draft.add("wait.seconds", {"seconds": seconds})
    return True


def _until(words: Sequence[Word], draft: Draft) -> bool:
    path, rest = words[0].text, [word for word in words[1:] if word.low not in {"is", "be", "equals", "="}]
    arguments: dict[str, Any] = {"pattern": path, "timeout": 60.0}
    if rest:
        said = values.read(rest)
        if said is None:
            raise Misunderstood("say until what: wait until /path is 1", "VALUE_UNKNOWN")
        held = said.switch if said.switch is not None else _plain(said)
        shown = repr(held) if not isinstance(held, str) else '"' + held.replace("\\", "\\\\").replace('"', '\\"') + '"'
        arguments["condition"] = f"item == {shown}"
    draft.add("wait.pattern", arguments)
    return True


def _plain(said: values.Said) -> Any:
    if len(said.numbers) != 1:
        return said.text
    return int(said.numbers[0]) if said.whole else said.numbers[0]


def workflow(clause: Clause, draft: Draft) -> bool:
    """Take `run workflow NAME with KEY=VALUE`, `start the workflow NAME`."""
    words = [clause.words[0], *(word for word in clause.words[1:] if word.low not in {"the", "a"})]
    low = [word.low for word in words]
    known = draft.vocabulary.world.workflows()
    if low[0] not in {"run", "start", "call", "launch"} or not ("workflow" in low or low[0] == "run"):
        return False
    rest = [word for word in words[1:] if word.low not in {"workflow", "called", "named"}]
    cut = next((i for i, word in enumerate(rest) if word.low in {"with", "where"}), len(rest))
    said = _name(rest[:cut])
    names = {each.lower(): each for each in known}
    name = (
        names.get(said.lower())
        or names.get(said.lower().replace(" ", "-"))
        or names.get(said.lower().replace(" ", "_"))
    )
    if name is None:
        if "workflow" not in low:
            return False
        near = draft.vocabulary.near(said, names)
        hint = f": did you mean {' or '.join(names[each] for each in near)}?" if near else ""
        raise Misunderstood(f"there is no workflow called {said!r}{hint}", "WORKFLOW_UNKNOWN")
    draft.add("workflow.call", {"workflow": name, "parameters": _parameters(rest[cut + 1 :])})
    return True


def _parameters(words: Sequence[Word]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    groups: list[list[Word]] = [[]]
    for word in words:
        if word.text == "," or word.low == "and":
            groups.append([])
        elif word.text != "=":
            groups[-1].append(word)
    for group in groups:
        if len(group) < 2:
            if group:
                raise Misunderstood(f"{group[0].text!r} has no value: with name=value", "VALUE_UNKNOWN")
            continue
        said = values.read(group[1:])
        if said is None:
            raise Misunderstood(f"{group[0].text!r} has no value that is known", "VALUE_UNKNOWN")
        try:
            found[group[0].text] = values.fit(said, None, None)
        except values.Unfit as error:
            raise Misunderstood(f"{group[0].text}: {error}", "VALUE_UNFIT") from None
    return found


def question(clause: Clause, draft: Draft) -> bool:
    """Take `what is PROPERTY`, `get PATH`, `show me PATH`."""
    words = list(clause.words)
    low = [word.low for word in words]
    if low[:2] == ["what", "is"] or low[:2] == ["tell", "me"] or low[:2] == ["show", "me"]:
        rest = words[2:]
    elif low[0] in {"get", "read", "what's"} or (low[0] == "show" and len(words) == 2 and words[1].kind == "path"):
        rest = words[1:]
    else:
        return False
    if not rest:
        return False
    if len(rest) == 1 and rest[0].kind == "path":
        path = rest[0].text
        key = "pattern" if any(mark in path for mark in "*?[{") or "//" in path else "path"
        draft.add("context.get", {key: path})
        draft.path = path
        return True
    named, mount = application(rest, draft.vocabulary)
    known = one_property(named, draft, mount)
    draft.add("context.get", {"path": known.path})
    draft.path, draft.mount = known.path, known.mount
    return True
