"""Reads everything that an OBS holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from lightfast.sdk import Value
from lightfast_bridges.obs.socket import Connection, RefusedError
from lightfast_bridges.obs.surface import (
    FRAMES,
    INPUT,
    ITEM,
    OUTPUTS,
    STATS,
    as_kind,
    filter_values,
    input_path,
    item_values,
    names_in,
    scalars,
    scene_path,
    transform_values,
)

MAX_OBJECTS = 10_000
"""The most inputs, and the most scenes, that are read."""
TURNS = 8
"""Inputs and scenes whose settings are looked at in each round: old versions of OBS do not tell of those."""


class Reader:
    """Asks for everything; what vanishes between two questions is left out."""

    def __init__(self, connection: Connection) -> None:
        self._ask = connection.ask
        self._defaults: dict[str, Mapping[str, Any]] = {}
        self.inputs: dict[str, str] = {}
        """Kinds by name."""
        self.scenes: list[str] = []
        self.ids: dict[str, str] = {}
        """Identities by path, where OBS has them (obs-websocket 5.4 and later)."""

    async def everything(self) -> dict[str, Value]:
        """Return all values by path."""
        parts = await asyncio.gather(
            self._general(), self._transition(), self._inputs(), self._scenes(), self._outputs()
        )
        return {path: value for part in parts for path, value in part.items()}

    async def _general(self) -> dict[str, Value]:
        collections, profiles = await self._ask("GetSceneCollectionList"), await self._ask("GetProfileList")
        studio, scenes = await self._ask("GetStudioModeEnabled"), await self._ask("GetSceneList")
        values: dict[str, Value] = {
            "currentSceneCollectionName": str(collections.get("currentSceneCollectionName", "")),
            "currentProfileName": str(profiles.get("currentProfileName", "")),
            "studioModeEnabled": bool(studio.get("studioModeEnabled")),
        }
        for name in ("currentProgramSceneName", "currentPreviewSceneName"):
            if scenes.get(name):
                values[name] = str(scenes[name])
        return values

    async def _transition(self) -> dict[str, Value]:
        found = await _maybe(self._ask("GetCurrentSceneTransition"))
        values: dict[str, Value] = {}
        if found.get("transitionName"):
            values["currentSceneTransitionName"] = str(found["transitionName"])
        if isinstance(found.get("transitionDuration"), int | float):
            values["currentSceneTransitionDuration"] = int(found["transitionDuration"])
        return values

    async def _outputs(self) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for name, request in OUTPUTS.items():
            found = await _maybe(self._ask(request))
            for field in ("outputActive", "outputPaused"):
                if field in found and (field == "outputActive" or name == "record"):
                    values[f"{name}/{field}"] = bool(found[field])
        return values

    async def stats(self) -> dict[str, Value]:
        """Return how OBS is; that it answers is the sign of life."""
        found = await self._ask("GetStats")
        values: dict[str, Value] = {
            f"stats/{name}": float(found[name]) for name in STATS if _is_number(found.get(name))
        }
        return values | {f"stats/{name}": int(found[name]) for name in FRAMES if _is_number(found.get(name))}

    async def again(self, paths: Iterable[str]) -> dict[str, Value]:
        """Return what lies at *paths* now, of what OBS tells by events, and what is told together with it."""
        looks: dict[str, Callable[[], Awaitable[dict[str, Value]]]] = {}
        for path in paths:
            names, base = names_in(path), path.rpartition("/")[0]
            match names:
                case ["inputs", name, prop] if prop in INPUT:
                    read = INPUT[prop].read
                    looks[f"{read} {base}"] = partial(self._fields, read, {"inputName": name}, base, tuple(INPUT))
                case ["scenes", scene, "items", number, prop] if prop in ITEM:
                    read, item = ITEM[prop].read, {"sceneName": scene, "sceneItemId": int(number)}
                    looks[f"{read} {base}"] = partial(self._fields, read, item, base, tuple(ITEM))
                case ["scenes", scene, "items", number, "transform", _]:
                    looks[base] = partial(self._transform, {"sceneName": scene, "sceneItemId": int(number)}, base)
                case [_, source, "filters", name, "filterEnabled"]:
                    of = {"sourceName": source, "filterName": name}
                    looks[base] = partial(self._fields, "GetSourceFilter", of, base, ("filterEnabled",))
                case [_]:
                    looks["general"], looks["transition"] = self._general, self._transition
                case [output, _] if output in OUTPUTS:
                    looks["outputs"] = self._outputs
        return await _all(look() for look in looks.values())

    async def _fields(
        self, request: str, about: Mapping[str, Any], base: str, names: Iterable[str]
    ) -> dict[str, Value]:
        found = await _maybe(self._ask(request, about))
        return {f"{base}/{name}": as_kind(name, found[name]) for name in names if found.get(name) is not None}

    async def _transform(self, item: Mapping[str, Any], base: str) -> dict[str, Value]:
        found = await _maybe(self._ask("GetSceneItemTransform", item))
        return transform_values(base.removesuffix("/transform"), found.get("sceneItemTransform"))

    # ------------------------------------------------------------------ inputs

    async def _inputs(self) -> dict[str, Value]:
        found = (await self._ask("GetInputList")).get("inputs", [])[:MAX_OBJECTS]
        self.inputs = {str(one["inputName"]): str(one.get("inputKind", "")) for one in found}
        self._note("inputUuid", {input_path(str(one["inputName"])): one for one in found})
        return await _all(self.input(name) for name in self.inputs)

    async def input(self, name: str) -> dict[str, Value]:
        """Return the values of one input."""
        base = input_path(name)
        values: dict[str, Value] = {f"{base}/inputKind": self.inputs.get(name, "")}
        for request in dict.fromkeys(prop.read for prop in INPUT.values()):
            found = await _maybe(self._ask(request, {"inputName": name}))
            if not found:
                break  # it has no sound, or is gone
            values.update(
                {f"{base}/{field}": as_kind(field, value) for field, value in found.items() if field in INPUT}
            )
        return values | await self.input_settings(name) | await self.filters(name, base)

    async def input_settings(self, name: str) -> dict[str, Value]:
        """Return the settings of one input."""
        found = await _maybe(self._ask("GetInputSettings", {"inputName": name}))
        kind = self.inputs.get(name, "")
        defaults = await self._default("GetInputDefaultSettings", "inputKind", kind, "defaultInputSettings")
        return scalars(found.get("inputSettings"), input_path(name), defaults) if found else {}

    async def filters(self, source: str, base: str) -> dict[str, Value]:
        """Return the filters of an input or a scene at *base*."""
        values: dict[str, Value] = {}
        for found in (await _maybe(self._ask("GetSourceFilterList", {"sourceName": source}))).get("filters", []):
            kind = str(found.get("filterKind", ""))
            defaults = await self._default(
                "GetSourceFilterDefaultSettings", "filterKind", kind, "defaultFilterSettings"
            )
            values |= filter_values(base, found, defaults)
        return values

    async def _default(self, request: str, field: str, kind: str, answer: str) -> Mapping[str, Any]:
        """Return what the settings of a kind are where nobody has set them."""
        if not kind:
            return {}
        if kind not in self._defaults:
            found = (await _maybe(self._ask(request, {field: kind}))).get(answer)
            self._defaults[kind] = found if isinstance(found, Mapping) else {}
        return self._defaults[kind]

    # ------------------------------------------------------------------ scenes

    async def _scenes(self) -> dict[str, Value]:
        found = (await self._ask("GetSceneList")).get("scenes", [])[:MAX_OBJECTS]
        self.scenes = [str(one["sceneName"]) for one in found]
        self._note("sceneUuid", {scene_path(str(one["sceneName"])): one for one in found})
        values: dict[str, Value] = {
            f"{scene_path(str(one['sceneName']))}/sceneIndex": int(one.get("sceneIndex", 0)) for one in found
        }
        return values | await _all(self.scene(name) for name in self.scenes)

    async def scene(self, name: str) -> dict[str, Value]:
        """Return the items and filters of one scene."""
        values: dict[str, Value] = {}
        for item in (await _maybe(self._ask("GetSceneItemList", {"sceneName": name}))).get("sceneItems", []):
            values |= item_values(name, item)
        return values | await self.filters(name, scene_path(name))

    def _note(self, field: str, found: Mapping[str, Mapping[str, Any]]) -> None:
        self.ids.update({path: str(one[field]) for path, one in found.items() if one.get(field)})


async def _all(parts: Iterable[Awaitable[dict[str, Value]]]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for part in await asyncio.gather(*parts):
        values |= part
    return values


async def _maybe(asked: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """Return an answer; nothing where OBS says that there is no such thing."""
    try:
        return await asked
    except RefusedError:
        return {}


def some(sources: Sequence[tuple[str, str]], turn: int) -> Sequence[tuple[str, str]]:
    """Return those of *sources* whose turn it is."""
    if len(sources) <= TURNS:
        return sources
    first = turn * TURNS % len(sources)
    return [*sources[first : first + TURNS], *sources[: max(0, first + TURNS - len(sources))]]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
