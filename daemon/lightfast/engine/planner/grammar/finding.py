"""Which thing, property or application is meant."""

from __future__ import annotations

from collections.abc import Sequence

from lightfast.engine.planner.grammar.drafting import Draft, Misunderstood
from lightfast.engine.planner.grammar.vocabulary import Known, Thing, Vocabulary, singular
from lightfast.engine.planner.grammar.words import FILLING, Word

PRONOUNS = frozenset({"it", "that", "this", "them", "these", "one"})
_IN = frozenset({"in", "on", "of", "with", "at", "using"})
_SHOWN = 4
_COMMON = FILLING | PRONOUNS | _IN | {"called", "named", "to", "by", "and", "as", "for", "from"}
"""Words that are never told to be unknown."""


def application(words: Sequence[Word], vocabulary: Vocabulary) -> tuple[list[Word], str]:
    """Return *words* without what names an application (`in blender`), and its mount or the empty text."""
    kept = list(words)
    for index, word in enumerate(kept):
        mount = vocabulary.names.get(word.low) if word.kind == "word" else None
        if word.kind == "path" and word.text in vocabulary.mounts:
            mount = word.text
        before = kept[index - 1].low if index else ""
        if mount is None or not (before in _IN or index == len(kept) - 1 or index == 0):
            continue
        start = index - 1 if before in _IN else index
        after = index + 1
        if after < len(kept) and kept[after].low in {"'s", "s"}:
            after += 1
        return kept[:start] + kept[after:], mount
    return kept, ""


def mounted(words: Sequence[Word], start: int, vocabulary: Vocabulary) -> tuple[list[Word], str]:
    """Do the same for the words from *start* on, which alone may name an application."""
    rest, mount = application(words[start:], vocabulary)
    return [*words[:start], *rest], mount


def meaning(words: Sequence[Word]) -> list[Word]:
    """Return the words that carry something where a thing or a property is named."""
    return [word for word in words if not (word.kind == "word" and word.low in FILLING) and word.kind != "mark"]


def thing(words: Sequence[Word], draft: Draft, mount: str = "") -> Thing | None:
    """Return the thing that *words* name; `None`: `it`, which this program makes. Raises `Misunderstood`."""
    named = meaning(words)
    if not named or (len(named) == 1 and named[0].low in PRONOUNS):
        if draft.made:
            return None
        if draft.subject is not None:
            return draft.subject
        raise Misunderstood("it is not clear what is meant: name it", "WHAT_IS_MEANT")
    found = things(named, draft.vocabulary, mount)
    if not found and draft.made and _is_made(named, draft):
        return None
    if not found:
        raise unknown(named, draft.vocabulary, mount)
    if len(found) > 1:
        raise _several([each.prefix for each in found])
    return found[0]


def _is_made(named: Sequence[Word], draft: Draft) -> bool:
    made = draft.find(draft.made)
    given = made.arguments.get("arguments", {}) if made is not None else {}
    own = {str(given.get("kind", "")).lower(), str(given.get("name", "")).lower()}
    return all(any(word.low in each.split("_") or word.low == each for each in own if each) for word in named)


def things(named: Sequence[Word], vocabulary: Vocabulary, mount: str = "") -> list[Thing]:
    """Return the things that *named* fit: by the whole name first, then by its words, its number, or its kind."""
    if len(named) == 1 and named[0].kind == "path":
        return [each for each in vocabulary.things if each.prefix == named[0].text]
    said = " ".join(word.text for word in named).lower()
    pool = [each for each in vocabulary.things if (not mount or each.mount == mount) and _stands_alone(each)]
    exact = [each for each in pool if each.name.lower() == said or each.key.lower() == said]
    if exact:
        return _favoured(exact)
    last = named[-1]
    if last.kind == "number" and len(named) > 1:
        family = [singular(word.low) for word in named[:-1]]
        numbered = [each for each in pool if each.number == last.number and singular(each.family).split("_") == family]
        if numbered:
            return numbered
    families = {singular(each.family) for each in pool}
    wanted = {word.low for word in named if word.low not in families} or {word.low for word in named}
    of_family = [each for each in pool if singular(each.family) in {word.low for word in named}] or pool
    for candidates in (of_family, pool):
        by_words = [each for each in candidates if wanted <= set(each.words)]
        if by_words:
            return _favoured(_shortest(by_words))
    return _favoured([each for each in pool if {each.kind, singular(each.family)} & wanted and len(wanted) == 1])


def _stands_alone(each: Thing) -> bool:
    return each.family not in {"scene", "song", "master", "screen", "render"}


def _shortest(found: Sequence[Thing]) -> list[Thing]:
    least = min(len(each.words) for each in found)
    return [each for each in found if len(each.words) == least]


def _favoured(found: list[Thing]) -> list[Thing]:
    """Of things of one name keep the object: its data (a light, a camera) is called the same."""
    objects = [each for each in found if each.family in {"objects", "tracks"}]
    return objects if objects and len({each.name.lower() for each in found}) == 1 else found


def properties(words: Sequence[Word], draft: Draft, mount: str = "") -> list[Known]:
    """Return the entries that *words* describe, those with the fewest other words; empty: none."""
    vocabulary = draft.vocabulary
    named = meaning(words)
    said: set[str] = set()
    for index, word in enumerate(named):
        if word.kind == "number":
            said.add(f"#{int(word.number)}" if word.number.is_integer() and index else word.text)
        elif word.low in PRONOUNS:
            if draft.subject is not None:
                said |= set(draft.subject.words)
                mount = mount or draft.subject.mount
        else:
            said |= {part for part in word.low.replace("'s", "").replace("_", " ").replace(".", " ").split() if part}
    if not said:
        return []
    scored = []
    for known in vocabulary.known:
        if mount and known.mount != mount:
            continue
        if not (said & known.leaf) or not all(word in known.words or singular(word) in known.words for word in said):
            continue
        extra = 0 if known.concept else known.depth
        missed = len(known.own - said) if known.own & said else 2 * bool(known.own)
        if not said & known.alias:
            missed += len(known.leaf - known.alias - said)
        scored.append((missed, extra, known))
    if not scored:
        return []
    least = min((missed, extra) for missed, extra, _ in scored)
    return [known for missed, extra, known in scored if (missed, extra) == least]


def one_property(words: Sequence[Word], draft: Draft, mount: str = "") -> Known:
    """Return the one entry that *words* describe; raises `Misunderstood`."""
    found = properties(words, draft, mount)
    if not found:
        raise unknown(meaning(words), draft.vocabulary, mount)
    if len(found) > 1:
        raise _several([each.path for each in found])
    return found[0]


def _several(paths: Sequence[str]) -> Misunderstood:
    shown = ", ".join(sorted(paths)[:_SHOWN]) + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")
    return Misunderstood(
        f"more than one thing is called so: {shown}. Say which, by its path or its application", "AMBIGUOUS"
    )


def unknown(words: Sequence[Word], vocabulary: Vocabulary, mount: str = "") -> Misunderstood:
    """Return what says word by word what is not known, and what may be meant."""
    parts = []
    for word in words:
        if word.kind == "path":
            parts.append(f"there is nothing at {word.text}")
        elif word.kind == "number" or word.low in vocabulary.vocabulary or word.low in _COMMON:
            continue
        else:
            near = vocabulary.near(word.low)
            parts.append(f"{word.text!r} is not known" + (f": did you mean {' or '.join(near)}?" if near else ""))
    said = " ".join(word.text for word in words)
    where = f" in {mount}" if mount else ""
    if not parts:
        parts = [f"nothing{where} is called {said!r}" if said else f"it does not say what{where}"]
    if not vocabulary.mounts:
        parts.append("no application is connected")
    return Misunderstood("; ".join(parts), "WORD_UNKNOWN")
