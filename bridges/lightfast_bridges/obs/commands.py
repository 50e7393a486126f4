"""Commands: requests of obs-websocket, by its names."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from lightfast.sdk import Argument, BridgeError, BridgeHost, Call, Command, Undo, Value
from lightfast_bridges.obs.socket import Connection

SLOW = 10.0
"""The most seconds that OBS has to answer a command."""


def _text(name: str, description: str = "", *, required: bool = True) -> Argument:
    return Argument(name, "string", required, description)


_SCENE, _SOURCE, _INPUT = _text("sceneName"), _text("sourceName"), _text("inputName")
_ITEM = Argument("sceneItemId", "int", True, "Its number, as in scenes/NAME/items/NUMBER.")
_SHOWN = Argument("sceneItemEnabled", "bool", False, "Shown at once; true where it is left out.")
SCREENSHOT = Command(
    "GetSourceScreenshot",
    "Return a picture of a scene or source.",
    (
        _text("sourceName", "A scene or an input; the scene on air where it is left out.", required=False),
        _text("imageFormat", "png where it is left out; jpg and others as OBS has them.", required=False),
        Argument("imageWidth", "int", False, "In pixels, 8 to 4096."),
        Argument("imageHeight", "int", False, "In pixels, 8 to 4096."),
        Argument("imageCompressionQuality", "int", False, "0 to 100; -1 leaves it to OBS."),
    ),
    "read",
)
COMMANDS: tuple[Command, ...] = (
    Command("StartRecord", "Start to record.", undo=Undo("StopRecord")),
    Command("StopRecord", "Stop recording; returns where the file is.", effect="destructive"),
    Command("PauseRecord", "Pause recording.", undo=Undo("ResumeRecord")),
    Command("ResumeRecord", "Go on recording.", undo=Undo("PauseRecord")),
    Command("StartStream", "Go live.", effect="destructive"),
    Command("StopStream", "End the stream.", effect="destructive"),
    Command("StartVirtualCam", "Start the virtual camera.", undo=Undo("StopVirtualCam")),
    Command("StopVirtualCam", "Stop the virtual camera.", undo=Undo("StartVirtualCam")),
    Command("StartReplayBuffer", "Start the replay buffer.", undo=Undo("StopReplayBuffer")),
    Command("StopReplayBuffer", "Stop the replay buffer."),
    Command("SaveReplayBuffer", "Save what the replay buffer holds.", effect="destructive"),
    Command("SetCurrentProgramScene", "Put a scene on air.", (_SCENE,), idempotent=True),
    Command("SetCurrentPreviewScene", "Put a scene into preview.", (_SCENE,), idempotent=True),
    Command("TriggerStudioModeTransition", "Put the preview on air."),
    Command("SetCurrentSceneTransition", "Choose a transition.", (_text("transitionName"),), idempotent=True),
    Command("CreateScene", "Create a scene.", (_SCENE,),
            undo=Undo("RemoveScene", {"sceneName": "$arguments.sceneName"})),
    Command("RemoveScene", "Remove a scene.", (_SCENE,), "destructive"),
    Command("CreateInput", "Create an input in a scene; returns the number of its item.",
            (_SCENE, _INPUT, _text("inputKind", "As GetInputKindList names it."),
             Argument("inputSettings", "map", False, "Its settings."), _SHOWN),
            undo=Undo("RemoveInput", {"inputName": "$arguments.inputName"})),
    Command("RemoveInput", "Remove an input from all scenes.", (_INPUT,), "destructive"),
    Command("ToggleInputMute", "Mute an input, or let it be heard again.", (_INPUT,),
            undo=Undo("ToggleInputMute", {"inputName": "$arguments.inputName"})),
    Command("TriggerMediaInputAction", "Play, pause, stop or restart a media input.",
            (_INPUT, _text("mediaAction", "OBS_WEBSOCKET_MEDIA_INPUT_ACTION_PLAY and others."))),
    Command("CreateSceneItem", "Show a source in a scene; returns the number of the item.", (_SCENE, _SOURCE, _SHOWN),
            undo=Undo("RemoveSceneItem", {"sceneName": "$arguments.sceneName", "sceneItemId": "$result"})),
    Command("DuplicateSceneItem", "Copy an item.",
            (_SCENE, _ITEM, _text("destinationSceneName", "The same scene where left out.", required=False)),
            "destructive"),
    Command("RemoveSceneItem", "Remove an item from a scene.", (_SCENE, _ITEM), "destructive"),
    Command("CreateSourceFilter", "Put a filter on a source.",
            (_SOURCE, _text("filterName"), _text("filterKind"), Argument("filterSettings", "map", False)),
            undo=Undo("RemoveSourceFilter", {
                "sourceName": "$arguments.sourceName", "filterName": "$arguments.filterName"})),
    Command("RemoveSourceFilter", "Remove a filter.", (_SOURCE, _text("filterName")), "destructive"),
    Command("SetCurrentSceneCollection", "Open another scene collection.", (_text("sceneCollectionName"),),
            "destructive"),
    Command("SetCurrentProfile", "Use another profile.", (_text("profileName"),), "destructive", idempotent=True),
    Command("TriggerHotkeyByName", "Do what a hotkey does.", (_text("hotkeyName", "As GetHotkeyList names it."),),
            "destructive"),
    Command("TriggerHotkeyByKeySequence", "Press keys.",
            (_text("keyId", "OBS_KEY_F1 and others.", required=False),
             Argument("keyModifiers", "map", False, "shift, control, alt, command: bools.")), "destructive"),
    Command("GetHotkeyList", "Return the names of the hotkeys.", effect="read"),
    Command("GetInputKindList", "Return the kinds of inputs that can be created.", effect="read"),
    Command("GetSceneTransitionList", "Return the transitions.", effect="read"),
    SCREENSHOT,
)  # fmt: skip
_BY_NAME = {command.name: command for command in COMMANDS}
_RESULTS = {
    "StopRecord": "outputPath", "CreateInput": "sceneItemId", "CreateSceneItem": "sceneItemId",
    "DuplicateSceneItem": "sceneItemId", "GetHotkeyList": "hotkeys", "GetInputKindList": "inputKinds",
    "ToggleInputMute": "inputMuted",
}  # fmt: skip


async def run(connection: Connection, host: BridgeHost, on_air: Value | None, call: Call) -> Value | None:
    """Run one command and return its result; raises as `Connection.ask` does, and `ValueError` for what is wrong."""
    command = _BY_NAME.get(call.command)
    if command is None:
        raise ValueError(f"OBS has no command {call.command!r} here: there are {', '.join(_BY_NAME)}")
    for argument in command.arguments:
        if argument.required and argument.name not in call.arguments:
            raise ValueError(f"{command.name} needs {argument.name}. {argument.description}".rstrip(". "))
    timeout = min(call.timeout, SLOW)
    if command is SCREENSHOT:
        return await _screenshot(connection, host, on_air, call, timeout)
    said = await connection.ask(command.name, call.arguments, timeout=timeout)
    if command.name == "GetSceneTransitionList":
        return [str(one.get("transitionName")) for one in said.get("transitions", [])]
    found = said.get(_RESULTS.get(command.name, ""))
    return found if isinstance(found, bool | int | float | str | list) else None


async def _screenshot(
    connection: Connection, host: BridgeHost, on_air: Value | None, call: Call, timeout: float
) -> Value:
    given: dict[str, Any] = {"imageFormat": "png", "sourceName": on_air, **call.arguments}
    if not given["sourceName"]:
        raise ValueError("GetSourceScreenshot needs sourceName")
    said = await connection.ask("GetSourceScreenshot", given, timeout=timeout)
    head, _, data = str(said.get("imageData", "")).partition(",")
    media = head.removeprefix("data:").partition(";")[0] or "application/octet-stream"
    try:
        content = base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise BridgeError(f"OBS sent a picture that cannot be read: {error}") from None
    if not content:
        raise BridgeError(f"OBS has no picture of {given['sourceName']!r}: is its size 0?")
    return await host.save_asset(f"{given['sourceName']}.{given['imageFormat']}", media, content)
