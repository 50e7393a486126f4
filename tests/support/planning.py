"""What the planner speaks of in tests: Blender's and Live's own commands and dialects over a few values."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.emulators.base import Call
from tests.emulators.openai import OpenAIEmulator
from tests.support.gateway import House, house

from lightfast.context.entry import Declaration
from lightfast.context.views.views import Views
from lightfast.core.clock import SYSTEM
from lightfast.engine.apps.registry import AppRegistry
from lightfast.engine.operations.book import Operations
from lightfast.engine.operations.rooms import OperationRooms
from lightfast.engine.planner.grammar.vocabulary import Vocabulary
from lightfast.engine.planner.planner import Planner
from lightfast.engine.planner.rooms import PlannerRooms
from lightfast.engine.planner.settings import PlannerSettings
from lightfast.engine.ports import Asker
from lightfast.engine.programs.checked import Saving
from lightfast.engine.programs.checker import ProgramChecker
from lightfast.engine.programs.program import Program
from lightfast.sdk import Command, Parameter, World
from lightfast_bridges.ableton.bridge import AbletonBridge
from lightfast_bridges.blender.bridge import BlenderBridge
from lightfast_link.path import compile_pattern
from lightfast_link.value import Value

BLENDER = BlenderBridge()
LIVE = AbletonBridge()
BLENDER_VALUES: dict[str, Value] = {
    "objects/Cube/type": "MESH",
    "objects/Cube/location": (0.0, 0.0, 0.0),
    "objects/Cube/rotation_euler": (0.0, 0.0, 0.0),
    "objects/Cube/scale": (1.0, 1.0, 1.0),
    "objects/Cube/hide_viewport": False,
    "objects/Cube/hide_render": False,
    "objects/Cube/data": "Cube",
    "objects/Cube/active_material": "Material",
    "objects/Light/type": "LIGHT",
    "objects/Light/location": (4.0, 1.0, 5.0),
    "objects/Light/rotation_euler": (0.0, 0.0, 0.0),
    "objects/Light/scale": (1.0, 1.0, 1.0),
    "objects/Light/hide_render": False,
    "objects/Light/data": "Light",
    "objects/Light/active_material": "",
    "objects/Camera/type": "CAMERA",
    "objects/Camera/location": (7.0, -6.0, 4.0),
    "objects/Camera/rotation_euler": (1.0, 0.0, 0.8),
    "objects/Camera/scale": (1.0, 1.0, 1.0),
    "objects/Camera/hide_render": False,
    "objects/Camera/data": "Camera",
    "objects/Camera/active_material": "",
    "lights/Light/type": "POINT",
    "lights/Light/energy": 1000.0,
    "lights/Light/color": (1.0, 1.0, 1.0),
    "cameras/Camera/lens": 50.0,
    "materials/Material/base_color": (0.8, 0.8, 0.8, 1.0),
    "materials/Material/metallic": 0.0,
    "materials/Material/roughness": 0.5,
    "worlds/World/color": (0.05, 0.05, 0.05),
    "worlds/World/strength": 1.0,
    "scene/frame_current": 1,
    "scene/frame_start": 1,
    "scene/frame_end": 250,
    "scene/render/fps": 24,
    "scene/render/engine": "BLENDER_EEVEE",
    "scene/render/resolution_x": 1920,
    "scene/render/resolution_y": 1080,
    "scene/render/frame_rate": 24.0,
}
LIVE_VALUES: dict[str, Value] = {
    "song/tempo": 120.0,
    "song/is_playing": False,
    "song/current_song_time": 0.0,
    "song/metronome": False,
    "song/signature_numerator": 4,
    "master/volume": 0.85,
    "master/panning": 0.0,
    **{
        f"tracks/{index}/{leaf}": value
        for index, name in enumerate(("Drums", "Bass", "Lead", "Pad"))
        for leaf, value in (
            ("name", name),
            ("volume", 0.85),
            ("panning", 0.0),
            ("mute", False),
            ("solo", False),
            ("arm", False),
        )
    },
    "scenes/0/name": "Intro",
    "scenes/0/tempo": -1.0,
    "scenes/1/name": "Verse",
}


@dataclass
class Model:
    """A model as `World.models` tells it."""

    name: str
    local: bool = True
    free: bool = True
    available: bool = True
    aliases: tuple[str, ...] = ()


@dataclass
class FakeWorld:
    """A `lightfast.sdk.World` over dictionaries."""

    values: dict[str, Value] = field(default_factory=dict)
    apps: dict[str, tuple[Sequence[Command], Sequence[Parameter]]] = field(default_factory=dict)
    made: Mapping[str, Sequence[Model]] = field(default_factory=dict)
    scene_names: Sequence[str] = ()
    flows: Mapping[str, Any] = field(default_factory=dict)

    def value(self, path: str) -> Value | None:
        return self.values.get(path)

    def has(self, path: str) -> bool:
        return path in self.values

    def declared(self, path: str) -> Any:
        for mount, (_, parameters) in self.apps.items():
            for each in parameters:
                if compile_pattern(f"{mount}/{each.pattern}").matches(path):
                    return Declaration(
                        f"{mount}/{each.pattern}",
                        kind=each.kind,
                        minimum=each.minimum,
                        maximum=each.maximum,
                        unit=each.unit,
                        access=each.access,
                        choices=each.choices,
                    )
        return None

    def mounts(self) -> Sequence[str]:
        return list(self.apps)

    def commands(self, mount: str) -> Mapping[str, Command]:
        return {each.name: each for each in self.apps.get(mount, ((), ()))[0]}

    def models(self, output: str) -> Sequence[Model]:
        return self.made.get(output, ())

    def scenes(self) -> Sequence[str]:
        return self.scene_names

    def workflows(self) -> Mapping[str, Any]:
        return self.flows


STUDIO: Mapping[str, Sequence[Model]] = {
    "image": (Model("studio/image", aliases=("picture",)), Model("cloud/paint", local=False, free=False)),
    "video": (Model("studio/film"),),
    "audio": (Model("studio/audio"), Model("studio/music"), Model("studio/speech")),
    "text": (Model("studio/text"),),
}


def studio_world(**more: Value) -> FakeWorld:
    """Return Blender and Live with the daemon's own models, two scenes and two workflows."""
    world = FakeWorld(
        made=STUDIO,
        scene_names=("intro", "verse two"),
        flows={"nightly": object(), "render-all": object()},
        apps={
            "/blender": (BLENDER.commands(), BLENDER.parameters()),
            "/ableton": (LIVE.commands(), LIVE.parameters()),
        },
    )
    world.values |= {f"/blender/{path}": value for path, value in BLENDER_VALUES.items()}
    world.values |= {f"/ableton/{path}": value for path, value in LIVE_VALUES.items()}
    world.values |= {"/show/title": "one", "/show/level": 3, **more}
    return world


def vocabulary(world: FakeWorld) -> Vocabulary:
    """Return the words over *world*."""
    bridges = {"/blender": BLENDER, "/ableton": LIVE}
    return Vocabulary(
        world,
        {
            mount: {path: value for path, value in sorted(world.values.items()) if path.startswith(mount + "/")}
            for mount in world.apps
        },
        {mount: each.dialect for mount, each in bridges.items() if mount in world.apps and each.dialect is not None},
        {mount: each.timeline for mount, each in bridges.items() if mount in world.apps},
        {mount: each.kind for mount, each in bridges.items() if mount in world.apps},
    )


class PlainRewriter:
    """Rewrites nothing."""

    def optimize(self, program: Program, world: World) -> tuple[Program, tuple[Saving, ...]]:
        return program, ()

    async def gently(self, program: Program, world: World) -> tuple[Program, tuple[Saving, ...]]:
        return program, ()


class PlanningEmulator(OpenAIEmulator):
    """OpenAI's emulator that answers what a test says: *script* one after the other, the last one again and again.

    An entry is a text, something that JSON can hold, or a function of the request's body that gives one.
    """

    def __init__(self, *script: Any) -> None:
        super().__init__()
        self.needs_key = False
        self.script = list(script)
        self.asked: list[Any] = []

    def said(self, call: Call) -> list[str]:
        self.asked.append(call.json)
        entry = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if callable(entry):
            entry = entry(call.json)
        text = entry if isinstance(entry, str) else json.dumps(entry)
        middle = len(text) // 2
        return [text[: middle // 2], text[middle // 2 : middle], text[middle:]]


def answer(*instructions: tuple[str, dict[str, Any]], message: str = "As you wish.") -> dict[str, Any]:
    """Return a model's answer."""
    steps = [{"id": f"s{n}", "op": op, "arguments": given} for n, (op, given) in enumerate(instructions, 1)]
    return {"message": message, "instructions": steps}


def asker(*scopes: str, untrusted: bool = False) -> Asker:
    """Return somebody who asks."""
    return Asker("user:ann", "client:ann", frozenset(scopes or ("watch", "operate")), untrusted=untrusted)


@dataclass
class Room:
    """A planner over a real gateway, with Blender and Live as dictionaries."""

    planner: Planner
    house: House
    world: FakeWorld
    book: Operations
    settings: list[PlannerSettings]
    """The one there is."""

    def change(self, **settings: Any) -> None:
        """Change some of the settings, from the next plan on."""
        self.settings[0] = replace(self.settings[0], **settings)


class NoDialects:
    """Knows no application."""

    def dialect(self, mount: str) -> None:
        return None

    def mounts(self) -> Sequence[str]:
        return ()


@asynccontextmanager
async def planning(
    folder: Path, world: FakeWorld | None = None, *, recalls: Any = None, **settings: Any
) -> AsyncIterator[Room]:
    """Open a planner; *settings* are those of `PlannerSettings`, *recalls* stands in for `Recalls`."""
    world = world or studio_world()
    async with house(folder) as rooms:
        registry = AppRegistry(rooms.store, rooms.db, SYSTEM, rooms.tasks)
        book = Operations(OperationRooms(rooms.store, registry, rooms.gateway, SYSTEM))
        kept = [PlannerSettings(**settings)]
        planner = Planner(
            PlannerRooms(
                book,
                ProgramChecker(book, world),
                PlainRewriter(),
                world,
                SYSTEM,
                lambda: vocabulary(world),
                lambda: kept[0],
                gateway=rooms.gateway,
                views=lambda: Views(rooms.store, SYSTEM, NoDialects()),
                recalls=recalls,
            )
        )
        yield Room(planner, rooms, world, book, kept)
