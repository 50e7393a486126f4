"""Workflow files: what ComfyUI exports in its API format, with names for the inputs that a request may set.

The names are in the file itself, as one more key beside the nodes, or in `NAME.lightfast.json` next to it:

    "lightfast": {"description": "…", "output": "image", "inputs": {
        "prompt": {"node": "6", "field": "text"},
        "steps": {"node": "3", "field": "steps", "minimum": 1, "maximum": 100},
        "image": {"node": "10", "field": "image", "type": "image"}}}

`prompt` and `seed` are filled from the request, inputs of type `image`, `audio` and `video` from its sources, in their
order; all others become settings of the model. Type and default are those of the value in the workflow where they are
not given.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightfast.sdk import Model

SHIPPED = Path(__file__).parent / "shipped"
MOST_BYTES = 4 * 1024 * 1024
"""A larger file is no workflow."""
FILES = ("image", "audio", "video")
"""The types of inputs that are files."""
OWN = ("prompt", "seed")
_TYPES = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"))
_KEPT = ("type", "minimum", "maximum", "enum", "default", "description")


class WorkflowMistake(Exception):
    """A workflow file cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Input:
    """One named input: where its value goes, and its JSON Schema (*type* may also be one of `FILES`)."""

    name: str
    node: str
    field: str
    rule: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Return its type, empty where any will do."""
        return str(self.rule.get("type", ""))


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow: its nodes by id, as `POST /prompt` takes them."""

    name: str
    nodes: Mapping[str, Mapping[str, Any]]
    inputs: tuple[Input, ...]
    output: str = "image"
    description: str = ""

    @property
    def files(self) -> tuple[Input, ...]:
        """Return the inputs that are files, in their order."""
        return tuple(each for each in self.inputs if each.kind in FILES)

    @property
    def settings(self) -> tuple[Input, ...]:
        """Return the inputs that are settings."""
        return tuple(each for each in self.inputs if each.kind not in FILES and each.name not in OWN)

    def model(self, known: Mapping[tuple[str, str], Sequence[str]] | None = None) -> Model:
        """Return it as a model; *known* are the choices the server has, by class of node and field."""
        properties: dict[str, Any] = {}
        for each in self.settings:
            rule = dict(each.rule)
            choices = (known or {}).get((self.kind_of(each.node), each.field))
            if choices:
                rule["enum"] = list(choices)
                if rule.get("default") not in rule["enum"]:
                    rule["default"] = rule["enum"][0]
            properties[each.name] = rule
        text = ("text",) if any(each.name == "prompt" for each in self.inputs) else ()
        seed = ("seed",) if any(each.name == "seed" for each in self.inputs) else ()
        edit = ("edit",) if self.files else ()
        return Model(
            self.name,
            outputs=(self.output,),
            inputs=(*text, *dict.fromkeys(each.kind for each in self.files)) or ("text",),
            description=self.description or f"the workflow {self.name} of ComfyUI",
            settings={"type": "object", "properties": properties},
            capabilities=("jobs", "preview", *seed, *edit),
            free=True,
            needs_sources=len(self.files),
        )

    def filled(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the nodes with *values* by name of the input; what is not among them stays as it is."""
        nodes = copy.deepcopy({key: dict(node) for key, node in self.nodes.items()})
        for each in self.inputs:
            if each.name in values:
                nodes[each.node]["inputs"][each.field] = values[each.name]
        return nodes

    def kind_of(self, node: str) -> str:
        """Return the class of a node, empty where there is none."""
        return str(self.nodes.get(node, {}).get("class_type", ""))

    def named(self, node: str, field: str) -> str:
        """Return the name of the input that sets *field* of *node*, empty where none does."""
        return next((each.name for each in self.inputs if (each.node, each.field) == (node, field)), "")


class Shelf:
    """The workflow files of some folders; later folders win. Files are read again when they have changed."""

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self._read: dict[Path, tuple[tuple[int, ...], Workflow | WorkflowMistake]] = {}

    def look(self) -> tuple[dict[str, Workflow], dict[str, WorkflowMistake]]:
        """Return the workflows by name, and what is wrong with the others."""
        good: dict[str, Workflow] = {}
        bad: dict[str, WorkflowMistake] = {}
        for folder in self._folders:
            for path in sorted(folder.glob("*.json")):
                if path.name.endswith(".lightfast.json"):
                    continue
                name = path.stem
                good.pop(name, None)
                bad.pop(name, None)
                found = self._one(path)
                if isinstance(found, Workflow):
                    good[name] = found
                else:
                    bad[name] = found
        return good, bad

    def _one(self, path: Path) -> Workflow | WorkflowMistake:
        side = path.with_name(f"{path.stem}.lightfast.json")
        state = _state(path) + _state(side)
        kept = self._read.get(path)
        if kept is not None and kept[0] == state:
            return kept[1]
        found: Workflow | WorkflowMistake
        try:
            found = read(path.stem, _loaded(path), _loaded(side) if side.exists() else None)
        except WorkflowMistake as mistake:
            found = mistake
        self._read[path] = (state, found)
        return found


def read(name: str, nodes: Any, side: Any = None) -> Workflow:
    """Return the workflow *name* of a parsed file and its sidecar; raise `WorkflowMistake`."""
    if not isinstance(nodes, dict):
        raise WorkflowMistake("it is no JSON object: export it in the API format of ComfyUI")
    nodes = dict(nodes)
    told = nodes.pop("lightfast", None) if side is None else (nodes.pop("lightfast", None), side)[1]
    if "nodes" in nodes and "links" in nodes:
        raise WorkflowMistake("it is a workflow of the editor: export it with 'Export (API)'")
    for key, node in nodes.items():
        if not isinstance(node, dict) or "class_type" not in node or not isinstance(node.get("inputs"), dict):
            raise WorkflowMistake(f"its node {key!r} has no class_type and inputs: export it in the API format")
    if not nodes:
        raise WorkflowMistake("it has no nodes")
    if not isinstance(told, dict) or not isinstance(told.get("inputs"), dict):
        raise WorkflowMistake(f"it names no inputs: add the key 'lightfast', or the file {name}.lightfast.json")
    output = told.get("output", "image")
    if output not in FILES:
        raise WorkflowMistake(f"its output is {output!r}: use one of {', '.join(FILES)}")
    inputs = tuple(_input(each, rule, nodes) for each, rule in told["inputs"].items())
    return Workflow(name, nodes, inputs, output, str(told.get("description", "")))


def _input(name: str, rule: Any, nodes: Mapping[str, Any]) -> Input:
    if not isinstance(rule, dict) or "node" not in rule or "field" not in rule:
        raise WorkflowMistake(f"its input {name!r} has no node and field")
    node, field = str(rule["node"]), str(rule["field"])
    if node not in nodes:
        raise WorkflowMistake(f"its input {name!r} is for the node {node!r}, which is not there")
    schema = {key: rule[key] for key in _KEPT if key in rule}
    now = nodes[node]["inputs"].get(field)
    if "type" not in schema:
        found = next((word for kind, word in _TYPES if isinstance(now, kind)), "")
        if not found and name not in OWN:
            raise WorkflowMistake(f"its input {name!r} has no type, and the workflow no value to tell it by")
        schema["type"] = found or "string"
    if schema["type"] not in (*FILES, "string", "integer", "number", "boolean"):
        raise WorkflowMistake(f"its input {name!r} has the type {schema['type']!r}")
    if schema["type"] not in FILES and "default" not in schema and isinstance(now, str | int | float):
        schema["default"] = now
    return Input(name, node, field, schema)


def _loaded(path: Path) -> Any:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise WorkflowMistake(f"{path.name} has more than {MOST_BYTES} bytes")
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise WorkflowMistake(f"{path.name} cannot be read: {error}") from None


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def usual_folder() -> Path:
    """Return where the user's own workflows are: `comfyui` in the configuration folder of the daemon."""
    if home := os.environ.get("LIGHTFAST_HOME"):
        return Path(home).expanduser() / "config" / "comfyui"
    if folders := os.environ.get("CONFIGURATION_DIRECTORY"):
        return Path(folders.split(":", maxsplit=1)[0]) / "comfyui"
    import platformdirs

    return platformdirs.user_config_path("lightfast", appauthor=False) / "comfyui"
