"""Events of OBS, as values by path: what changed, what was renamed, and what must be read again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lightfast.sdk import Value
from lightfast_bridges.obs.surface import INPUT, as_kind, input_path, scene_path, transform_values
from lightfast_link.path import encode_segment


@dataclass(slots=True)
class News:
    """What an event says. *renamed* holds the old and new path; *structure* that things came or went.

    *of* names the source that *values* with a path beginning with `filters/` belong to.
    """

    values: dict[str, Value] = field(default_factory=dict)
    renamed: tuple[str, str] | None = None
    structure: bool = False
    ended: str = ""
    paused: bool = False
    of: str = ""


STRUCTURE = frozenset(
    (
        *("SceneCreated", "SceneRemoved", "SceneListChanged", "InputCreated", "InputRemoved"),
        *("SceneItemCreated", "SceneItemRemoved", "SceneItemListReindexed"),
        *("SourceFilterCreated", "SourceFilterRemoved", "SourceFilterListReindexed", "CurrentProfileChanged"),
    )
)
_OUTPUTS = {
    "RecordStateChanged": "record",
    "StreamStateChanged": "stream",
    "VirtualcamStateChanged": "virtualCam",
    "ReplayBufferStateChanged": "replayBuffer",
}
_INPUT_EVENTS = frozenset(
    ("InputMuteStateChanged", "InputVolumeChanged", "InputAudioBalanceChanged", "InputAudioSyncOffsetChanged")
)


def read(event: str, data: Mapping[str, Any]) -> News:
    """Return what an event says; raise `KeyError`, `TypeError` or `ValueError` where it is malformed."""
    if event in STRUCTURE:
        return News(structure=True)
    if event in _INPUT_EVENTS:
        base = input_path(str(data["inputName"]))
        return News({f"{base}/{name}": as_kind(name, value) for name, value in data.items() if name in INPUT})
    if event in _OUTPUTS:
        return _output(_OUTPUTS[event], data)
    handler = _HANDLERS.get(event)
    return handler(data) if handler is not None else News()


def _output(name: str, data: Mapping[str, Any]) -> News:
    values: dict[str, Value] = {f"{name}/outputActive": bool(data["outputActive"])}
    state = str(data.get("outputState", ""))
    if name == "record" and state.endswith(("_PAUSED", "_RESUMED", "_STARTED", "_STOPPED")):
        values["record/outputPaused"] = state.endswith("_PAUSED")
    return News(values)


def _item(data: Mapping[str, Any]) -> str:
    return f"{scene_path(str(data['sceneName']))}/items/{int(data['sceneItemId'])}"


def _item_value(name: str) -> Callable[[Mapping[str, Any]], News]:
    return lambda data: News({f"{_item(data)}/{name}": as_kind(name, data[name])})


def _value(path: str, name: str, kind: Callable[[Any], Value]) -> Callable[[Mapping[str, Any]], News]:
    return lambda data: News({path: kind(data[name])})


def _renamed(path: Callable[[str], str], old: str, new: str) -> Callable[[Mapping[str, Any]], News]:
    return lambda data: News(renamed=(path(str(data[old])), path(str(data[new]))), structure=True)


def _filter_renamed(data: Mapping[str, Any]) -> News:
    old, new = (f"filters/{encode_segment(str(data[name]))}" for name in ("oldFilterName", "filterName"))
    return News(renamed=(old, new), structure=True, of=str(data["sourceName"]))


def _filter_enabled(data: Mapping[str, Any]) -> News:
    path = f"filters/{encode_segment(str(data['filterName']))}/filterEnabled"
    return News({path: bool(data["filterEnabled"])}, of=str(data["sourceName"]))


def _studio(data: Mapping[str, Any]) -> News:
    return News({"studioModeEnabled": bool(data["studioModeEnabled"])}, structure=True)


_HANDLERS: dict[str, Callable[[Mapping[str, Any]], News]] = {
    "CurrentProgramSceneChanged": _value("currentProgramSceneName", "sceneName", str),
    "CurrentPreviewSceneChanged": _value("currentPreviewSceneName", "sceneName", str),
    "StudioModeStateChanged": _studio,
    "CurrentSceneTransitionDurationChanged": _value("currentSceneTransitionDuration", "transitionDuration", int),
    "CurrentSceneTransitionChanged": lambda data: News(
        {"currentSceneTransitionName": str(data["transitionName"])}, structure=True
    ),
    "SceneNameChanged": _renamed(scene_path, "oldSceneName", "sceneName"),
    "InputNameChanged": _renamed(input_path, "oldInputName", "inputName"),
    "SourceFilterNameChanged": _filter_renamed,
    "SourceFilterEnableStateChanged": _filter_enabled,
    "SourceFilterSettingsChanged": lambda _: News(structure=True),
    "InputSettingsChanged": lambda _: News(structure=True),
    "SceneItemEnableStateChanged": _item_value("sceneItemEnabled"),
    "SceneItemLockStateChanged": _item_value("sceneItemLocked"),
    "SceneItemTransformChanged": lambda data: News(transform_values(_item(data), data["sceneItemTransform"])),
    "CurrentSceneCollectionChanging": lambda _: News(paused=True),
    "CurrentSceneCollectionChanged": lambda data: News(
        ended=f"another scene collection was opened: {data.get('sceneCollectionName', '')}"
    ),
    "ExitStarted": lambda _: News(ended="OBS is closing"),
}
