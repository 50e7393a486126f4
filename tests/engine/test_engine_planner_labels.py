"""A labelled set of plans, good and bad: what code alone holds back, and that a reviewer only ever adds to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.planning import PlanningEmulator, answer, asker, planning

from lightfast.engine.planner.settings import GRAMMAR
from lightfast_providers.openai.provider import OpenAI

MODEL = "openai/gpt-6-luna"
JUDGE = "judge/gpt-6-luna"
Step = tuple[str, dict[str, Any]]


def put(path: str, value: Any) -> Step:
    return "context.set", {"path": path, "value": value}


def run(app: str, command: str, **arguments: Any) -> Step:
    return "app.command", {"app": app, "command": command, "arguments": arguments}


def gone(path: str) -> Step:
    return "context.delete", {"path": path}


TEMPO, MUTE = "/ableton/song/tempo", "/ableton/tracks/1/mute"
CUBE = run("/blender", "delete_object", object="Cube")
GOOD: tuple[tuple[str, tuple[Step, ...]], ...] = (
    ("set the tempo to 128", (put(TEMPO, 128),)),
    ("mute the bass", (put(MUTE, True),)),
    ("quieter drums", (put("/ableton/tracks/0/volume", 0.6),)),
    ("a red cube please", (run("/blender", "create_object", kind="cube", color=[1, 0, 0]),)),
    ("render a small picture", (run("/blender", "render", width=64, height=36),)),
    ("make the title two", (put("/show/title", "two"),)),
    ("put the camera up", (put("/blender/objects/Camera/location", [7, -6, 9]),)),
    ("a new midi track", (run("/ableton", "song.create_midi_track", index=-1),)),
    ("launch the first scene", (run("/ableton", "scene.fire", scene=0),)),
    ("a picture of a fox", (("generate.image", {"prompt": "a fox", "model": "studio/image"}),)),
    ("copy the cube", (run("/blender", "duplicate", object="Cube"),)),
    ("what is the level", (("context.get", {"path": "/show/level"}),)),
    ("delete the title", (gone("/show/title"),)),
    ("tempo 90 and mute the bass", (put(TEMPO, 90), put(MUTE, True))),
    ("dim the light", (put("/blender/lights/Light/energy", 200),)),
)
BAD: tuple[tuple[str, tuple[Step, ...]], ...] = (
    ("set the tempo to 128", (put(TEMPO, 128), CUBE)),
    ("mute the bass", (gone("/show/title"), put(MUTE, True))),
    ("a red cube please", (CUBE,)),
    ("render a small picture", (run("/blender", "open", path="/tmp/x.blend"), run("/blender", "render"))),
    ("launch the first scene", (run("/ableton", "song.delete_track", track=0),)),
    ("quieter drums", (run("/ableton", "clip_slot.delete_clip", track=0, scene=1),)),
    ("a picture of a fox", (("generate.image", {"prompt": "a fox", "model": "cloud/paint"}),)),
    ("put the camera up", (put("/blender/objects/Kamera/location/x/y", 9), put("nowhere", 1))),
    ("make the title two", (put("/blender/objects/Cube/type", "two"),)),
    ("dim the light", (put("/blender/lights/Light/energy", "much"),)),
    ("a new midi track", (run("/ableton", "song.create_midi_trak"),)),
    ("copy the cube", (run("/blender", "duplicate", object="Cube", colour="red"),)),
    ("tempo 90", (run("/reaper", "tempo", bpm=90),)),
    ("louder", (put("/ableton/tracks/0/volume", 9),)),
    ("mute the bass", (put("/ableton/tracks/0/mute", True),)),  # the wrong track: code cannot know
)


async def _held(tmp_path: Path, verdict: Any) -> dict[bool, list[bool]]:
    """Return for good (True) and bad plans whether each was held back, by code and a reviewer that says *verdict*."""
    found: dict[bool, list[bool]] = {True: [], False: []}
    reviewer: dict[str, Any] = {} if verdict is None else {"reviewer": JUDGE}
    async with (
        PlanningEmulator("{}") as emulator,
        PlanningEmulator(verdict or "{}") as judge,
        planning(tmp_path, chain=(MODEL,), repairs=0, **reviewer) as room,
    ):
        room.house.gateway.register(OpenAI(base_url=emulator.base_url), "openai")
        other = OpenAI(base_url=judge.base_url)
        other.name = "judge"
        room.house.gateway.register(other, "judge")
        for good, rows in ((True, GOOD), (False, BAD)):
            for intent, steps in rows:
                emulator.script = [answer(*steps)]
                plan = await room.planner.plan(intent, asker())
                held = plan.planner == GRAMMAR or bool(plan.checked.mistakes) or plan.checked.needs_approval
                found[good].append(held)
    return found


def _wrong_track(body: Any) -> Any:
    """Answer as a model with some sense would about the two rows that code cannot know."""
    told = json.dumps(body)
    wrong = "tracks/0/mute" in told or "tracks/0/volume 9" in told
    return {"verdict": "refuse" if wrong else "fine", "reason": "It is not what was asked for." if wrong else ""}


async def test_code_alone_holds_back_what_it_can_know(tmp_path: Path) -> None:
    found = await _held(tmp_path, None)
    assert sum(found[True]) == 0, [row for row, held in zip(GOOD, found[True], strict=True) if held]
    missed = [row for row, held in zip(BAD, found[False], strict=True) if not held]
    assert len(missed) <= 2, missed


async def test_a_reviewer_adds_what_takes_sense_and_takes_nothing_away(tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    alone = await _held(tmp_path / "alone", None)
    for name, verdict, wanted in (
        ("sense", _wrong_track, None),
        ("lax", {"verdict": "fine", "reason": "All is fine."}, alone),
        ("broken", "{}", alone),
    ):
        (tmp_path / name).mkdir()
        found = await _held(tmp_path / name, verdict)
        for good in (True, False):
            assert all(now or not before for before, now in zip(alone[good], found[good], strict=True)), name
        if wanted is not None:
            assert found == wanted
        else:
            assert all(found[False])
            assert not any(found[True])
