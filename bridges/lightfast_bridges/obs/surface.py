"""What of OBS lies in the tree: paths by the names of obs-websocket, and the requests that set them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lightfast.sdk import Parameter, Value
from lightfast_link.path import decode_segment, encode_segment, is_under

TRANSFORM = {
    "positionX": "double", "positionY": "double", "rotation": "double", "scaleX": "double", "scaleY": "double",
    "cropLeft": "int", "cropRight": "int", "cropTop": "int", "cropBottom": "int", "alignment": "int",
    "boundsType": "string", "boundsAlignment": "int", "boundsWidth": "double", "boundsHeight": "double",
}  # fmt: skip
"""What of a transform can be set."""
MEASURED = ("width", "height", "sourceWidth", "sourceHeight")
OUTPUTS = {
    "record": "GetRecordStatus",
    "stream": "GetStreamStatus",
    "virtualCam": "GetVirtualCamStatus",
    "replayBuffer": "GetReplayBufferStatus",
}
STATS = {
    "cpuUsage": "ratio.percent",
    "memoryUsage": "MB",
    "activeFps": "time.freq",
    "averageFrameRenderTime": "time.ms",
}
FRAMES = ("renderSkippedFrames", "outputSkippedFrames")
_SECRET = ("password", "passphrase", "token", "secret", "auth", "key")
_TELLING = re.compile(rf"://[^/?#\s]*@|[?&#][^=&\s]*(?:{'|'.join(_SECRET)})[^=&\s]*=", re.IGNORECASE)
"""Addresses with a password or a token in them, as media and browser sources have."""


@dataclass(frozen=True, slots=True)
class Prop:
    """How one value is set: the request, the field it takes, and what must be read to see it.

    *read* is the request that tells it back, in the field of the same name; empty where OBS takes it as it is.
    """

    request: str
    field: str
    read: str = ""


GLOBAL = {
    "currentProgramSceneName": Prop("SetCurrentProgramScene", "sceneName"),
    "currentPreviewSceneName": Prop("SetCurrentPreviewScene", "sceneName"),
    "studioModeEnabled": Prop("SetStudioModeEnabled", "studioModeEnabled"),
    "currentSceneTransitionName": Prop("SetCurrentSceneTransition", "transitionName"),
    "currentSceneTransitionDuration": Prop(
        "SetCurrentSceneTransitionDuration", "transitionDuration", "GetCurrentSceneTransition"
    ),
}
INPUT = {
    "inputMuted": Prop("SetInputMute", "inputMuted", "GetInputMute"),
    "inputVolumeDb": Prop("SetInputVolume", "inputVolumeDb", "GetInputVolume"),
    "inputVolumeMul": Prop("SetInputVolume", "inputVolumeMul", "GetInputVolume"),
    "inputAudioBalance": Prop("SetInputAudioBalance", "inputAudioBalance", "GetInputAudioBalance"),
    "inputAudioSyncOffset": Prop("SetInputAudioSyncOffset", "inputAudioSyncOffset", "GetInputAudioSyncOffset"),
}
TWINS = {"inputVolumeDb": "inputVolumeMul", "inputVolumeMul": "inputVolumeDb"}
"""Values of an input that are one thing in two units."""
ITEM = {
    "sceneItemEnabled": Prop("SetSceneItemEnabled", "sceneItemEnabled", "GetSceneItemEnabled"),
    "sceneItemLocked": Prop("SetSceneItemLocked", "sceneItemLocked", "GetSceneItemLocked"),
    "sceneItemBlendMode": Prop("SetSceneItemBlendMode", "sceneItemBlendMode", "GetSceneItemBlendMode"),
    "sceneItemIndex": Prop("SetSceneItemIndex", "sceneItemIndex", "GetSceneItemIndex"),
}


def declarations() -> tuple[Parameter, ...]:
    """Return what is known of every OBS's paths."""
    item, fx = "scenes/*/items/*", "{inputs,scenes}/*/filters/*"
    return (
        Parameter("currentProgramSceneName", "string", description="The scene on air."),
        Parameter("currentPreviewSceneName", "string", description="The scene in preview; only in studio mode."),
        Parameter("studioModeEnabled", "bool", description="Studio mode: preview beside program."),
        Parameter("currentSceneCollectionName", "string", access="r", description="The open scene collection."),
        Parameter("currentProfileName", "string", access="r", description="The profile in use."),
        Parameter("currentSceneTransitionName", "string", description="The transition in use."),
        Parameter("currentSceneTransitionDuration", "int", 50, 20_000, "time.ms", description="How long it takes."),
        Parameter("inputs/*/inputKind", "string", access="r", description="The kind of the input."),
        Parameter("inputs/*/inputMuted", "bool", description="Muted."),
        Parameter("inputs/*/inputVolumeDb", "double", -100.0, 26.0, "gain.db", description="Volume.", tolerance=1e-4),
        Parameter("inputs/*/inputVolumeMul", "double", 0.0, 20.0, "gain.linear", description="Volume, as a factor."),
        Parameter("inputs/*/inputAudioBalance", "double", 0.0, 1.0, description="0 left, 0.5 middle, 1 right."),
        Parameter("inputs/*/inputAudioSyncOffset", "int", -950, 20_000, "time.ms", description="Delay of the sound."),
        Parameter("inputs/*/settings/*", description="A setting of the input, by the name its kind gives it."),
        Parameter("scenes/*/sceneIndex", "int", access="r", description="Its place in the list."),
        Parameter(f"{item}/sourceName", "string", access="r", description="What it shows."),
        Parameter(f"{item}/sceneItemEnabled", "bool", description="Shown."),
        Parameter(f"{item}/sceneItemLocked", "bool", description="Locked against the mouse."),
        Parameter(f"{item}/sceneItemBlendMode", "string", description="OBS_BLEND_NORMAL and others."),
        Parameter(f"{item}/sceneItemIndex", "int", 0, 8192, description="Its place in the stack, 0 at the bottom."),
        *(Parameter(f"{item}/transform/{name}", kind, unit="angle.degree" if name == "rotation" else "",
                    description="Where and how large it is.") for name, kind in TRANSFORM.items()),
        *(Parameter(f"{item}/transform/{name}", "double", access="r", description="In pixels.") for name in MEASURED),
        Parameter(f"{fx}/filterKind", "string", access="r", description="The kind of the filter."),
        Parameter(f"{fx}/filterIndex", "int", access="r", description="Its place among the filters."),
        Parameter(f"{fx}/filterEnabled", "bool", description="At work."),
        Parameter(f"{fx}/settings/*", description="A setting of the filter, by the name its kind gives it."),
        *(Parameter(f"{name}/outputActive", "bool", access="r", description="Running.") for name in OUTPUTS),
        Parameter("record/outputPaused", "bool", access="r", description="Paused."),
        *(Parameter(f"stats/{name}", "double", unit=unit, access="r", signal=True, description="How OBS is.")
          for name, unit in STATS.items()),
        *(Parameter(f"stats/{name}", "int", access="r", signal=True, description="Lost frames.") for name in FRAMES),
    )  # fmt: skip


def scalars(found: Any, base: str, defaults: Any = None) -> dict[str, Value]:
    """Return the settings that are single values, by path; those that may be secrets stay in OBS."""
    values: dict[str, Value] = {}
    merged = {**(defaults if isinstance(defaults, Mapping) else {}), **(found if isinstance(found, Mapping) else {})}
    for name, value in merged.items():
        secret = any(word in str(name).lower() for word in _SECRET) or (
            isinstance(value, str) and _TELLING.search(value) is not None
        )
        if isinstance(value, bool | int | float | str) and not secret and len(str(value)) < 65_536:
            fits = not isinstance(value, int) or -(1 << 63) <= value < 1 << 63
            values[f"{base}/settings/{encode_segment(str(name))}"] = value if fits else float(value)
    return values


def transform_values(base: str, found: Any) -> dict[str, Value]:
    """Return the values of a transform, by path."""
    values: dict[str, Value] = {}
    if not isinstance(found, Mapping):
        return values
    for name, value in found.items():
        if name in TRANSFORM or name in MEASURED:
            kind = TRANSFORM.get(name, "double")
            values[f"{base}/transform/{name}"] = str(value) if kind == "string" else _number(value, kind)
    return values


def item_values(scene: str, found: Mapping[str, Any]) -> dict[str, Value]:
    """Return the values of a scene item, by path."""
    base = f"{scene_path(scene)}/items/{found['sceneItemId']}"
    values: dict[str, Value] = {f"{base}/sourceName": str(found.get("sourceName", ""))}
    for name, kind in (
        ("sceneItemEnabled", bool),
        ("sceneItemLocked", bool),
        ("sceneItemBlendMode", str),
        ("sceneItemIndex", int),
    ):
        if found.get(name) is not None:
            values[f"{base}/{name}"] = kind(found[name])
    return values | transform_values(base, found.get("sceneItemTransform"))


def filter_values(base: str, found: Mapping[str, Any], defaults: Any) -> dict[str, Value]:
    """Return the values of a filter of the source at *base*, by path."""
    path = f"{base}/filters/{encode_segment(str(found['filterName']))}"
    values: dict[str, Value] = {
        f"{path}/filterKind": str(found.get("filterKind", "")),
        f"{path}/filterIndex": int(found.get("filterIndex", 0)),
        f"{path}/filterEnabled": bool(found.get("filterEnabled", True)),
    }
    return values | scalars(found.get("filterSettings"), path, defaults)


def as_kind(name: str, value: Any) -> Value:
    """Return a value as it lies in the tree, by the name of its field."""
    if name in {"inputVolumeDb", "inputVolumeMul", "inputAudioBalance"}:
        return float(value)
    if name in {"inputAudioSyncOffset", "sceneItemIndex", "transitionDuration"}:
        return int(value)
    return value  # type: ignore[no-any-return]


def _number(value: Any, kind: str) -> Value:
    return int(value) if kind == "int" else float(value)


def roots_of(gone: Iterable[str], left: Collection[str]) -> set[str]:
    """Return the objects of which all is *gone* and nothing is *left*, and the paths of the others."""
    roots = set()
    for path in gone:
        parts = path.split("/")
        root = "/".join(parts[: 4 if parts[2:3] in (["items"], ["filters"]) else 2])
        if parts[0] not in {"inputs", "scenes"} or any(is_under(f"/{one}", f"/{root}") for one in left):
            root = path
        roots.add(root)
    return roots


def input_path(name: str) -> str:
    """Return where an input lies."""
    return f"inputs/{encode_segment(name)}"


def scene_path(name: str) -> str:
    """Return where a scene lies."""
    return f"scenes/{encode_segment(name)}"


def names_in(path: str) -> list[str]:
    """Return the segments of a path, decoded."""
    return [decode_segment(part) for part in path.split("/")]
