"""Comparing two sets of entries: scenes, revisions, times and the values of now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from lightfast.context.declarations import RESERVED
from lightfast.context.reader import MAX_PATHS
from lightfast.context.scenes.gather import Choice, gather, standing
from lightfast.context.scenes.records import Difference, Scene
from lightfast.context.scenes.scenes import MAX_ENTRIES, Scenes
from lightfast.context.store import Store
from lightfast_link.value import Value, close

Values = Mapping[str, Value]
_NOTHING = RESERVED + "/-"
"""A pattern that matches nothing: beside one, a path may be missing."""


class Ref(msgspec.Struct, frozen=True):
    """A set of entries: one of these, and none for the values of now; *time* is in ns since 1970, of recording."""

    scene: str = ""
    version: int = 0
    revision: int | None = None
    time: int | None = None


async def compare(
    store: Store, scenes: Scenes, before: Ref, after: Ref, patterns: Sequence[str] = ()
) -> list[Difference]:
    """Return what differs, ordered by path.

    Only paths of *patterns* count; without any, those that the scenes among the two were saved with and those they
    hold, or everything. Numbers that lie within the declared tolerance of each other are equal.
    """
    refs = (before, after)
    known = [await scenes.get(ref.scene, ref.version) if ref.scene else None for ref in refs]
    held = [{} if scene is None else await _held(scenes, scene) for scene in known]
    if patterns:
        choice = Choice(patterns)
        choices = [choice]
        held = [{path: value for path, value in values.items() if path in choice} for values in held]
    else:
        choices = [Choice(scene.patterns, scene.exclude) for scene in known if scene is not None] or [Choice(())]
    # What was renamed since the scene was saved need not match its patterns any more.
    named = sorted({path for values in held for path in values if not any(path in choice for choice in choices)})
    sides = [
        values if scene is not None else await _past(store, ref, choices, named)
        for ref, scene, values in zip(refs, known, held, strict=True)
    ]
    return await asyncio.get_running_loop().run_in_executor(
        None, differences, sides[0], sides[1], _tolerances(store, *sides)
    )


async def _held(scenes: Scenes, scene: Scene) -> Values:
    return {entry.path: entry.value for entry in await scenes.entries(scene)}


async def _past(store: Store, ref: Ref, choices: Sequence[Choice], named: Sequence[str]) -> Values:
    """Return what the store holds, or held, of *choices*, and at the paths *named*."""
    revision = ref.revision
    if ref.time is not None:
        revision = (await store.read(pattern=_NOTHING, at_time=ref.time)).revision
    found: dict[str, Value] = {}
    for choice in choices:
        gathered = await gather(store, choice, revision, MAX_ENTRIES)
        found.update({entry.path: entry.value for entry in gathered.entries})
    for start in range(0, len(named), MAX_PATHS):
        token = ""
        while True:
            page = await store.read(
                named[start : start + MAX_PATHS], _NOTHING, revision, page_size=MAX_PATHS, page_token=token
            )
            found.update({entry.path: value for entry in page.entries if (value := standing(entry)) is not None})
            token = page.next_page_token
            if not token:
                break
    return found


def _tolerances(store: Store, before: Values, after: Values) -> Callable[[str], float]:
    """Return the declared tolerance of a path; the declarations belong to the loop, so it is asked for here."""
    found: dict[str, float] = {}
    for path in before.keys() & after.keys():
        if before[path] != after[path]:
            declared = store.declaration(path)
            if declared is not None and declared.tolerance:
                found[path] = declared.tolerance
    return lambda path: found.get(path, 0.0)


def differences(before: Values, after: Values, tolerance: Callable[[str], float]) -> list[Difference]:
    """Return the paths at which the two do not hold the same, ordered."""
    found = []
    for path in sorted(before.keys() | after.keys()):
        left, right = before.get(path), after.get(path)
        if left is None or right is None or not close(left, right, tolerance(path)):
            found.append(Difference(path, left, right))
    return found
