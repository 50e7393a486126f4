"""Clauses that call an application's own commands."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

from lightfast.engine.planner.grammar import values
from lightfast.engine.planner.grammar.drafting import Draft, Made, Misunderstood
from lightfast.engine.planner.grammar.finding import PRONOUNS, meaning, mounted, thing
from lightfast.engine.planner.grammar.setting import argument_value
from lightfast.engine.planner.grammar.vocabulary import Vocabulary, singular, split
from lightfast.engine.planner.grammar.words import FILLING, Clause, Word
from lightfast.sdk import Command

MOST_AT_ONCE = 20
_MAKING = frozenset({"add", "create", "make", "new", "insert"})
_NAMED = frozenset({"called", "named"})
_OBJECT = frozenset({"object", "name", "source", "item", "node"})
_DOING = {
    "delete": ("delete", "remove"),
    "remove": ("remove", "delete"),
    "duplicate": ("duplicate", "copy"),
    "copy": ("copy", "duplicate"),
}
_DESTROYING = frozenset({"destructive", "code"})


def make_thing(clause: Clause, draft: Draft) -> bool:
    """Take `add a red cube at 1 2 3 called Box`, `create a midi track`."""
    words = list(clause.words)
    if words[0].low not in _MAKING or len(words) < 2:
        return False
    words, mount = mounted(words, 1, draft.vocabulary)
    parts = _parts(words[1:])
    if len(parts) > 1 and all(_is_made(part, draft.vocabulary, mount) for part in parts):
        for part in parts:
            _make(part, mount, draft)
        return True
    return _make(words[1:], mount, draft)


def _parts(words: Sequence[Word]) -> list[list[Word]]:
    """Return what stands between `and`: `a plane and a cube`."""
    parts: list[list[Word]] = [[]]
    for word in words:
        if word.low == "and":
            parts.append([])
        else:
            parts[-1].append(word)
    return [part for part in parts if part]


def _is_made(words: Sequence[Word], vocabulary: Vocabulary, mount: str) -> bool:
    noun = [word for word in meaning(_given(words)[0]) if word.kind == "word" and not _is_colour(word)]
    return bool(noun) and bool(_makers([singular(word.low) for word in noun], vocabulary, mount))


def _make(words: Sequence[Word], mount: str, draft: Draft) -> bool:
    rest, given = _given(words)
    noun = [word for word in meaning(rest) if word.low not in {"new", "one"} and word.kind != "number"]
    colour = next((word for word in noun if values.read([word]) is not None and _is_colour(word)), None)
    if colour is not None:
        given["color"] = [colour]
        noun = [word for word in noun if word is not colour]
    if not noun:
        return False
    found = _makers([singular(word.low) for word in noun], draft.vocabulary, mount)
    if not found:
        return False
    if len(found) > 1 and draft.mount in {each[0] for each in found}:
        found = [each for each in found if each[0] == draft.mount]
    if len(found) > 1:
        raise _several([f"{mount} {command.name}" for mount, command, _ in found])
    ((where, command, arguments),) = found
    _fill(command, given, arguments)
    count = _count(rest)
    if count > 1 and "name" in arguments:
        raise Misunderstood("several things cannot have one name: add them one after the other", "NAME_TAKEN")
    for _ in range(count):
        identity = draft.add("app.command", {"app": where, "command": command.name, "arguments": dict(arguments)})
        draft.spoken(made=identity, mount=where)
    return True


def _count(words: Sequence[Word]) -> int:
    """Return how many are to be made: one, unless a number says otherwise; raises `Misunderstood`."""
    number = next((word.number for word in words if word.kind == "number"), 1.0)
    if not number.is_integer() or not 1 <= number <= MOST_AT_ONCE:
        raise Misunderstood(f"from 1 to {MOST_AT_ONCE} can be made at once", "TOO_MUCH")
    return int(number)


def _is_colour(word: Word) -> bool:
    said = values.read([word])
    return said is not None and bool(said.colour)


def _given(words: Sequence[Word]) -> tuple[list[Word], dict[str, list[Word]]]:
    """Return the words before what is given by name, and what is given: at, called, with size."""
    heads = {"at": "location", "scaled": "scale", "sized": "scale", "rotated": "rotation_euler",
             "size": "scale", "scale": "scale", "coloured": "color", "colored": "color"}  # fmt: skip
    rest: list[Word] = []
    given: dict[str, list[Word]] = {}
    current: list[Word] | None = None
    for word in words:
        if word.low in _NAMED:
            current = given.setdefault("name", [])
        elif word.low in heads and word.kind == "word":
            current = given.setdefault(heads[word.low], [])
        elif word.low in {"with", "and", "of", "to", "by"} and (current is None or word.low in {"with", "and"}):
            current = current if word.low == "of" else None
            if current is None and word.low not in {"with", "and"}:
                rest.append(word)
        elif current is not None:
            current.append(word)
        else:
            rest.append(word)
    return rest, given


def _fill(command: Command, given: Mapping[str, Sequence[Word]], arguments: dict[str, Any]) -> None:
    known = {each.name: each for each in command.arguments}
    for name, words in given.items():
        if name not in known:
            raise Misunderstood(
                f"{command.name} takes no {name}; it takes {', '.join(known) or 'nothing'}", "ARGUMENT_UNKNOWN"
            )
        said = values.read([word for word in words if word.low not in FILLING])
        if said is None:
            raise Misunderstood(f"it is not clear what {name} is", "VALUE_UNKNOWN")
        if name == "name":
            said = values.Said(text=" ".join(word.text for word in words))
        arguments[name] = argument_value(name, known[name].kind, known[name].description, said)
    missing = [each for each in command.arguments if each.required and each.name not in arguments]
    for each in list(missing):
        if each.name == "index" and "-1 puts it at the end" in each.description:
            arguments["index"] = -1
            missing.remove(each)
    if missing:
        told = ", ".join(f"{each.name} ({each.description.rstrip('.')})" for each in missing)
        raise Misunderstood(f"{command.name} needs {told}", "ARGUMENT_MISSING")


def _makers(noun: Sequence[str], vocabulary: Vocabulary, mount: str) -> list[tuple[str, Command, dict[str, Any]]]:
    """Return the commands that make *noun*: by their own name first, else by what their argument `kind` may be."""
    by_name: list[tuple[str, Command, dict[str, Any]]] = []
    by_kind: list[tuple[str, Command, dict[str, Any]]] = []
    for each in vocabulary.mounts:
        if mount and each != mount:
            continue
        for name, command in sorted(vocabulary.world.commands(each).items()):
            parts = split(name.rsplit(".", 1)[-1])
            if command.effect in _DESTROYING or not parts or parts[0] not in {"create", "add", "new", "insert", "make"}:
                continue
            if sorted(parts[1:]) == sorted(noun):
                by_name.append((each, command, {}))
            kind = next((one for one in command.arguments if one.name in {"kind", "type"}), None)
            said = _kind(noun, kind.description) if kind is not None else ""
            if kind is not None and said:
                by_kind.append((each, command, {kind.name: said}))
    return by_name or by_kind


def _kind(noun: Sequence[str], description: str) -> str:
    """Return which of the kinds that a *description* lists is meant by *noun*; `sphere` is the first of its kinds."""
    kinds = [part for part in re.split(r"[^a-zA-Z0-9_]+", description) if part and part.lower() not in {"or", "and"}]
    wanted = "_".join(noun)
    exact = next((kind for kind in kinds if kind.lower() == wanted), "")
    if exact:
        return exact
    return next((kind for kind in kinds if set(noun) <= set(split(kind)) and len(split(kind)) <= len(noun) + 1), "")


def on_thing(clause: Clause, draft: Draft) -> bool:
    """Take `delete THING`, `duplicate THING`, `rename THING to NAME`."""
    words = list(clause.words)
    verbs = _DOING.get(words[0].low, ("rename",) if words[0].low == "rename" else ())
    if not verbs or len(words) < 2:
        return False
    words, mount = mounted(words, 1, draft.vocabulary)
    rest, name = words[1:], ""
    cut = next((i for i, word in enumerate(rest) if word.low in {"to", "as", *_NAMED}), -1)
    if cut >= 0:
        name = " ".join(word.text for word in rest[cut + 1 :])
        rest = rest[:cut]
    if any(word.low in {"everything", "all"} for word in rest):
        raise Misunderstood(
            "that is too much at once: name what is to be deleted, one thing after the other", "TOO_MUCH"
        )
    if len(rest) == 1 and rest[0].kind == "path" and not name:
        if words[0].low not in {"delete", "remove"}:
            return False
        draft.add("context.delete", {"path": rest[0].text})
        draft.path = rest[0].text
        return True
    if words[0].low == "rename" and not name:
        raise Misunderstood("say the new name: rename the cube to Box", "NAME_MISSING")
    try:
        found = thing(rest, draft, mount)
    except Misunderstood:
        if not name and command(clause, draft):
            return True
        raise
    where = found.mount if found is not None else draft.mount
    commands = draft.vocabulary.world.commands(where)
    picked = _picked(verbs, found.family if found is not None else "objects", commands)
    if picked is None and found is not None and name and f"{found.prefix}/name" in draft.vocabulary.entries[where]:
        draft.add("context.set", {"path": f"{found.prefix}/name", "value": name})
        draft.spoken(found)
        return True
    if picked is None:
        raise Misunderstood(
            f"{where} has no command to {words[0].low} {found.name if found else 'it'}", "COMMAND_UNKNOWN"
        )
    what = next(one for one in picked.arguments if one.required and one.name != "name")
    subject: Any = Made(f"${{{draft.made}.name}}")
    if found is not None:
        subject = int(found.key) if what.kind == "int" and found.key.isdecimal() else found.name
    arguments: dict[str, Any] = {what.name: subject}
    if name and any(one.name == "name" for one in picked.arguments):
        arguments["name"] = name
    identity = draft.add("app.command", {"app": where, "command": picked.name, "arguments": arguments})
    if words[0].low in {"duplicate", "copy"}:
        draft.spoken(made=identity, mount=where)
    elif found is not None:
        draft.spoken(found)
    return True


def _picked(verbs: Sequence[str], family: str, commands: Mapping[str, Command]) -> Command | None:
    for verb in verbs:
        for name, command in sorted(commands.items()):
            parts = split(name.rsplit(".", 1)[-1])
            if parts[:1] != (verb,) or not any(one.required and one.name != "name" for one in command.arguments):
                continue
            if parts[1:] in {(singular(family),), ()} or (parts[1:] == ("object",) and family in {"lights", "cameras"}):
                return command
    return None


def command(clause: Clause, draft: Draft) -> bool:
    """Take the words of a command and its arguments: `tap tempo`, `fire clip 2 of track 1`, `render at 640 x 480`."""
    words, mount = mounted(clause.words, 1, draft.vocabulary)
    rest = [word for word in words if word.kind != "mark"]
    low = {word.low for word in rest}
    found: list[tuple[int, str, Command, dict[str, Any]]] = []
    errors: list[Misunderstood] = []
    for where in draft.vocabulary.mounts:
        if mount and where != mount:
            continue
        for name, each in sorted(draft.vocabulary.world.commands(where).items()):
            if name.lower() not in low and not low.issuperset(split(name.rsplit(".", 1)[-1])):
                continue  # applications have hundreds of commands, and a clause names one
            matched = _matched(name, rest, {one.name for one in each.arguments})
            if matched is None:
                continue
            try:
                arguments = _arguments(each, matched)
            except Misunderstood as error:
                errors.append(error)
                continue
            found.append((len(rest) - len(matched), where, each, arguments))
    if not found:
        if errors:
            raise errors[0]
        return False
    most = max(score for score, *_ in found)
    best = [each[1:] for each in found if each[0] == most]
    if len(best) > 1 and draft.mount in {where for where, *_ in best}:
        best = [each for each in best if each[0] == draft.mount]
    if len(best) > 1:
        raise _several([f"{where} {each.name}" for where, each, _ in best])
    ((where, chosen, arguments),) = best
    identity = draft.add("app.command", {"app": where, "command": chosen.name, "arguments": arguments})
    draft.mount = where
    if "asset" in chosen.description.lower():
        draft.asset = identity
    return True


def _matched(name: str, words: Sequence[Word], arguments: Container[str]) -> list[Word] | None:
    """Return the words beside those of a command's name, in any order; `None`: it is another command.

    What its name begins with (`track.delete_clip`) is left where it is an argument, too (`of track 2`).
    """
    low = [word.low for word in words]
    if name.lower() in low:
        index = low.index(name.lower())
        return [*words[:index], *words[index + 1 :]]
    wanted, own = split(name), split(name.rsplit(".", 1)[-1])
    for parts in (own,) if wanted[0] in arguments else (wanted, own):
        left = list(words)
        for part in parts:
            hit = next((word for word in left if word.low == part), None)
            if hit is None:
                break
            left.remove(hit)
        else:
            if words and words[0].low in parts:
                return left
    return None


def _arguments(command: Command, words: Sequence[Word]) -> dict[str, Any]:
    """Return the arguments in *words*: `track 2`, `640 x 480`, a text in quotes; raises `Misunderstood`."""
    known = {each.name: each for each in command.arguments}
    given: dict[str, Any] = {}
    left = list(words)
    for index in range(len(left) - 1, 0, -1):
        if index >= len(left):  # those behind went with the one that was taken last
            continue
        name = left[index - 1].low
        argument = known.get(name) or known.get({"clip": "scene", "slot": "scene", "at": "location"}.get(name, ""))
        if argument is None or left[index].kind not in {"number", "quoted", "word"} or argument.name in given:
            continue
        if left[index].kind == "word" and argument.kind in {"int", "double", "vector"}:
            continue
        given[argument.name] = _argument(argument, left[index])
        del left[index - 1 : index + 1]
    sizes = [word for word in left if word.kind == "number"]
    if {"width", "height"} <= set(known) and len(sizes) == 2 and not {"width", "height"} & set(given):
        given["width"], given["height"] = int(sizes[0].number), int(sizes[1].number)
        left = [word for word in left if word not in sizes and word.low not in {"x", "by", "×", "at"}]
    for word in list(left):
        open_ = [each for each in command.arguments if each.name not in given and each.required]
        if open_ and _fits(open_[0].kind, word):
            given[open_[0].name] = _argument(open_[0], word)
            left.remove(word)
    others = [
        word
        for word in meaning(left)
        if word.low not in PRONOUNS and word.low not in {"at", "to", "by", "for", "scene"}
    ]
    others = [word for word in others if word.low not in known and singular(word.low) not in split(command.description)]
    if others:
        raise Misunderstood(
            f"{command.name} is known, but not {' '.join(word.text for word in others)!r}; "
            f"it takes {', '.join(known) or 'nothing more'}",
            "ARGUMENT_UNKNOWN",
        )
    missing = [each for each in command.arguments if each.required and each.name not in given]
    if missing:
        _fill(command, {}, given)
    return given


def _fits(kind: str, word: Word) -> bool:
    if kind in {"int", "double"}:
        return word.kind == "number"
    return word.kind in {"quoted", "number"} if not kind else word.kind == "quoted"


def _argument(argument: Any, word: Word) -> Any:
    if word.kind == "number":
        if argument.kind == "int" and "from 0" in argument.description:
            if word.number < 1 or not word.number.is_integer():
                raise Misunderstood(f"{argument.name}s are counted from 1 here", "VALUE_UNFIT")
            return int(word.number) - 1
        if argument.kind == "int":
            if not word.number.is_integer():
                raise Misunderstood(f"{argument.name} is a whole number, not {word.text}", "VALUE_UNFIT")
            return int(word.number)
        return word.text if argument.kind == "string" else word.whole if not argument.kind else word.number
    return word.text


def _several(names: Sequence[str]) -> Misunderstood:
    return Misunderstood(
        f"more than one command fits: {', '.join(names[:4])}. Say which, by its name or its application", "AMBIGUOUS"
    )
