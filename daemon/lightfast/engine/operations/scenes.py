"""Operations on scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any, ClassVar

from lightfast.context.scenes.records import Wanted
from lightfast.core.errors import NotFound
from lightfast.engine.operations.built import SECONDS, TEXT, Built, is_open, missing, needed, request_of, said, schema
from lightfast.engine.operations.built import within as bounded
from lightfast.engine.operations.paths import check_pattern, each
from lightfast.engine.programs.near import did_you_mean
from lightfast.engine.scenes.records import Applied, Asked, Morphing, Verified
from lightfast.sdk import EVERYTHING, Bench, Effect, Mistake, OperationCall, Outcome, Undoing, World
from lightfast_link.path import encode_segment

_NAME = said(TEXT, "The name of the scene.", minLength=1, maxLength=200)
_PATTERNS: Mapping[str, Any] = {
    "type": ["array", "string"],
    "items": {"type": "string"},
    "maxItems": 1000,
    "description": "Only what these patterns match; none: everything.",
}
_VERIFY_S = 10.0
"""How long applications have to report what they were asked for, in seconds."""


def _place(name: Any) -> Sequence[str]:
    """Return a path that stands for the scene, so that saving and recalling it keep their order."""
    return EVERYTHING if is_open(name) or not isinstance(name, str) else (f"/lightfast/scenes/{encode_segment(name)}",)


def _patterns(arguments: Mapping[str, Any]) -> Sequence[str]:
    given = arguments.get("patterns")
    return EVERYTHING if not given or is_open(given) else [str(pattern) for pattern in each(given)]


def _mistakes(arguments: Mapping[str, Any]) -> list[Mistake]:
    patterns = enumerate(each(arguments.get("patterns")))
    return [found for index, one in patterns for found in check_pattern(one, f"arguments.patterns[{index}]")]


class Save(Built):
    """Saves."""

    name = "scene.save"
    summary = "Save what the context holds now as a scene; one of that name gets a new version."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        ("name",), name=_NAME, patterns=_PATTERNS, description=said(TEXT, "What it is.", maxLength=2000)
    )
    result: ClassVar[Mapping[str, Any]] = {"type": "object", "description": "name, version, entries, revision."}
    possible_effects = frozenset((Effect.REVERSIBLE,))
    keyed = True

    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return what goes into it."""
        return _patterns(arguments)

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return what stands for it."""
        return _place(arguments.get("name"))

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check the patterns."""
        return [*missing(self.rooms.scenes, "scenes"), *_mistakes(arguments)]

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Save."""
        scenes, given = needed(self.rooms.scenes, "scenes"), call.arguments
        wanted = Wanted(given["name"], given.get("description", ""), tuple(given.get("patterns", ())))
        async with bounded(call.deadline_s, self.name):
            scene = await scenes.save(wanted, origin=call.origin, request=request_of(call, self.name))
        value = {
            "name": scene.name,
            "version": scene.version,
            "entries": scene.entries,
            "revision": scene.revision,
        }
        if scene.version > 1:
            return Outcome(value, stuck=f"version {scene.version} of {scene.name!r} stays, beside the earlier ones")
        return Outcome(value, undo=Undoing("scene.delete", {"name": scene.name}))


class Delete(Built):
    """Deletes."""

    name = "scene.delete"
    summary = "Delete a scene with all its versions."
    arguments: ClassVar[Mapping[str, Any]] = schema(("name",), name=_NAME)
    possible_effects = frozenset((Effect.DESTRUCTIVE,))
    idempotent = True

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return what stands for it."""
        return _place(arguments.get("name"))

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check that there is such a scene."""
        return [*missing(self.rooms.scenes, "scenes"), *_known(arguments.get("name"), world)]

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Delete; one that is not there is not."""
        name = call.arguments["name"]
        try:
            async with bounded(call.deadline_s, self.name):
                await needed(self.rooms.scenes, "scenes").delete(name)
        except NotFound:
            return Outcome({"deleted": False})
        return Outcome({"deleted": True}, stuck=f"the scene {name!r} is deleted")


class Recall(Built):
    """Recalls."""

    name = "scene.recall"
    summary = "Bring the values of a scene back, at once or as a morph."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        ("name",),
        name=_NAME,
        version={"type": "integer", "minimum": 0, "description": "Its version; 0 or none: the newest."},
        patterns=_PATTERNS,
        morph_s=said(SECONDS, "How long values take to get there, in seconds.", maximum=3600),
    )
    result: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "description": "revision, settled (values applications report as wished), problems (path, reason of others).",
    }
    possible_effects = frozenset((Effect.REVERSIBLE,))
    idempotent = True

    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return what stands for it."""
        return _place(arguments.get("name"))

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return what it may set."""
        return _patterns(arguments)

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check that there is such a scene."""
        found = [*missing(self.rooms.scenes, "scenes"), *missing(self.rooms.recalls, "recalls")]
        return [*found, *_known(arguments.get("name"), world), *_mistakes(arguments)]

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Recall, in the group of the run; the store takes it back."""
        recalls, given = needed(self.rooms.recalls, "recalls"), call.arguments
        morph = float(given.get("morph_s", 0.0))
        asked = Asked(
            given["name"],
            int(given.get("version", 0)),
            tuple(given.get("patterns", ())),
            morph=morph,
            verify=max(0.0, min(_VERIFY_S, call.deadline_s - morph - 1.0)),
            group=call.group,
        )
        revision, verified = 0, None
        async with (
            bounded(call.deadline_s, self.name),
            aclosing(recalls.recall(asked, origin=call.origin)) as steps,
        ):
            async for step in steps:
                match step:
                    case Morphing():
                        bench.progress(step.progress, "morphing")
                    case Applied():
                        revision = step.revision
                    case Verified():
                        verified = step
        problems = [] if verified is None else verified.problems
        value = {
            "revision": revision,
            "settled": 0 if verified is None else verified.settled,
            "problems": [{"path": problem.path, "reason": problem.reason} for problem in problems],
        }
        return Outcome(value, revision=revision)


def _known(name: Any, world: World) -> list[Mistake]:
    names = world.scenes()
    if is_open(name) or name in names:
        return []
    # A program may save it first, so this keeps nothing from running; a name that is wrong is told all the same.
    told = f"there is no scene {name!r} now{did_you_mean(str(name), names)}"
    return [Mistake("SCENE_UNKNOWN", told, "arguments.name", warning=True)]


SCENES = (Save, Delete, Recall)
