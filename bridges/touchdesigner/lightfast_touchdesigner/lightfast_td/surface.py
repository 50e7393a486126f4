"""What this application offers whatever the project is: parameters by pattern, and commands. Plain data, read by both halves."""

from . import VERSION

LEVELS = 12
"""How deep an operator may lie for the patterns to know of it."""
COMPONENT = "lightfast/component"
"""Where the component says which version it is."""


def _everywhere(last, **said):
    return [dict(said, pattern="*/" * level + last) for level in range(1, LEVELS + 1)]


PARAMETERS = [
    *_everywhere("par/*", description="A parameter of an operator; its type and range come with the project."),
    *_everywhere(
        "chop/*",
        kind="double",
        access="r",
        signal=True,
        description="A channel of a CHOP: its value at the current time.",
    ),
    {
        "pattern": "time/frame",
        "kind": "double",
        "unit": "time.frame",
        "signal": True,
        "description": "Current frame of the project's timeline; a signal, since playback turns it.",
    },
    {"pattern": "time/play", "kind": "bool", "description": "The timeline plays."},
    {"pattern": "time/rate", "kind": "double", "minimum": 0.001, "unit": "fps", "description": "Frames per second."},
    {"pattern": "time/tempo", "kind": "double", "minimum": 0.001, "unit": "time.bpm", "description": "Tempo."},
    {"pattern": "time/start", "kind": "double", "unit": "time.frame", "description": "First frame."},
    {"pattern": "time/end", "kind": "double", "unit": "time.frame", "description": "Last frame."},
]

OURS = [
    {
        "pattern": COMPONENT,
        "kind": "string",
        "access": "r",
        "choices": [VERSION],
        "description": "Version of the component; another one here: build it anew, `lightfast pack touchdesigner`.",
    },
]
"""What only the daemon's half says: there a component of another version is flagged, which would vouch for itself."""

_PATH = {
    "name": "path",
    "kind": "string",
    "required": True,
    "description": "The operator's path, such as /project1/geo1 or project1/geo1.",
}


def _argument(name, kind, description, required=False):
    return {"name": name, "kind": kind, "required": required, "description": description}


def _command(name, effect, description, *arguments):
    return {"name": name, "effect": effect, "description": description, "arguments": list(arguments)}


COMMANDS = [
    _command(
        "list_operators",
        "read",
        "List operators below a component.",
        _argument("path", "string", "The component; the root by default."),
        _argument("depth", "int", "Levels below it, 1 to 10; 1 by default."),
        _argument("family", "string", "Only COMP, TOP, CHOP, SOP, POP, DAT or MAT."),
        _argument("limit", "int", "At most so many, 1 to 5000; 500 by default."),
    ),
    _command(
        "get_operator",
        "read",
        "Tell all of one operator: parameters, pulses, inputs, outputs, errors, shared or not.",
        _PATH,
    ),
    _command("get_text", "read", "Return the text of a DAT.", _PATH),
    _command(
        "snapshot",
        "read",
        "Store what a TOP shows as an image asset. Reading the picture back from the GPU holds the frame for a moment.",
        _PATH,
        _argument("format", "string", "png (default), jpg, tif or exr."),
    ),
    _command("cook", "reversible", "Cook an operator now, even if nothing asks for it.", _PATH),
    _command(
        "pulse",
        "destructive",
        "Pulse a parameter. What that does is the operator's business: reset, reload, start.",
        _argument("path", "string", "The parameter, such as /project1/timer1/par/start.", True),
    ),
    _command(
        "create_operator",
        "reversible",
        "Create an operator; one step of undo.",
        _argument("parent", "string", "The component to create it in.", True),
        _argument("type", "string", "Its type, such as noiseTOP, constantCHOP or textDAT.", True),
        _argument("name", "string", "Its name, which must be free; TouchDesigner chooses one by default."),
        _argument("x", "int", "Where in the network editor."),
        _argument("y", "int", "Where in the network editor."),
    ),
    _command("delete_operator", "destructive", "Delete an operator and all it contains; one step of undo.", _PATH),
    _command(
        "rename_operator",
        "reversible",
        "Rename an operator; its paths, links and scenes follow.",
        _PATH,
        _argument("name", "string", "The new name.", True),
    ),
    _command(
        "connect",
        "destructive",
        "Wire the output of one operator into the input of another; one step of undo.",
        _argument("source", "string", "The operator whose output it is.", True),
        _argument("target", "string", "The operator whose input it is.", True),
        _argument("output", "int", "The number of the output, from 0."),
        _argument("input", "int", "The number of the input, from 0."),
    ),
    _command(
        "disconnect",
        "destructive",
        "Unwire an input; one step of undo.",
        _PATH,
        _argument("input", "int", "The number of the input, from 0."),
    ),
    _command(
        "set_text",
        "destructive",
        "Set the text of a DAT. A DAT that is run as Python is refused unless 'Allow Code' is on.",
        _PATH,
        _argument("text", "string", "The text.", True),
    ),
    _command("play", "reversible", "Play the timeline."),
    _command("pause", "reversible", "Pause the timeline."),
    _command("undo", "destructive", "Undo the last step of this TouchDesigner."),
    _command("redo", "destructive", "Redo what was undone."),
]

_SETTLED = ("cook", "connect", "disconnect", "set_text", "play", "pause")
"""Commands that set a state: doing one again leaves all as it is."""
_UNDO = {
    "create_operator": {"command": "delete_operator", "arguments": {"path": "$result.path"}},
    "rename_operator": {
        "command": "rename_operator",
        "arguments": {"path": "$result.path", "name": "$result.was"},
    },
    "play": {"command": "pause", "arguments": {}},
    "pause": {"command": "play", "arguments": {}},
}
for _each in COMMANDS:
    if _each["name"] in _SETTLED:
        _each["idempotent"] = True
    if _each["name"] in _UNDO:
        _each["undo"] = _UNDO[_each["name"]]

EXEC = _command(
    "exec",
    "code",
    "Run Python code in TouchDesigner; only there while 'Allow Code' of the component is on.",
    _argument("code", "string", "The code; what it leaves in `result` comes back as text.", True),
)


def commands(allow_code):
    """Return the commands that `hello` offers."""
    return [*COMMANDS, EXEC] if allow_code else list(COMMANDS)
