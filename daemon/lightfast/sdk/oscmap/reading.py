"""The text of a map to an `OscMap`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightfast.sdk.bridge import Argument, Command
from lightfast.sdk.contract import EFFECTS
from lightfast.sdk.oscmap.convert import kind_of_tags
from lightfast.sdk.oscmap.document import MapError, Node, Problem, compose
from lightfast.sdk.oscmap.fields import Fields, TooMany
from lightfast.sdk.oscmap.model import VALUE, Alive, KeepAlive, MapCommand, MapParameter, Named, OscMap
from lightfast.sdk.oscmap.parameters import PARAMETER_FIELDS, read_feedback, read_parameter
from lightfast.sdk.oscmap.places import MAX_EXPANDED, expand, places

MAX_BYTES = 256 * 1024
"""The longest file, in bytes."""
MAX_COMMANDS = 512

_FIELDS = (
    "kind", "title", "description", "remote", "reply", "allow_remote", "rate", "timeout", "start", "keep_alive",
    "alive", "defaults", "parameters", "commands",
)  # fmt: skip
_KIND = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_COMMAND = re.compile(r"[A-Za-z0-9_./]{1,100}")


def read_file(path: Path) -> OscMap:
    """Read the map in *path*; raises `MapError`, and `OSError` where it cannot be opened."""
    with path.open("rb") as opened:
        content = opened.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise MapError(path.name, [Problem(1, 1, f"the file is longer than {MAX_BYTES // 1024} KiB: use {{n:1..8}}")])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise MapError(path.name, [Problem(line, 1, "this is not UTF-8: save the file as UTF-8")]) from None
    return read(text, path.name)


def read(text: str, name: str = "map") -> OscMap:
    """Read the map in *text*, called *name* in messages; raises `MapError` with all mistakes."""
    root = compose(text, name)
    reader = _Reader(name)
    try:
        found = reader.map(root)
    except TooMany:
        reader.problems.append(Problem(root.line + 1_000_000, 1, "and more: mend these first"))
        raise MapError(name, reader.problems) from None
    if reader.problems or found is None:
        raise MapError(name, reader.problems)
    return found


class _Reader(Fields):
    """Reads one map."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def map(self, root: Node) -> OscMap | None:
        """Read everything; None where not even the kind can be read."""
        fields = self.table(root, "a map", _FIELDS)
        if not fields:
            return None
        kind = self._kind(fields, root)
        allow_remote = self.flag(fields, "allow_remote")
        found = OscMap(
            name=self._name,
            kind=kind,
            title=self.text(fields, "title", kind),
            remote=self._remote(fields, root, allow_remote),
            description=self.text(fields, "description"),
            reply=int(self.number(fields, "reply", 0, 0, 65_535)),
            allow_remote=allow_remote,
            rate=self.number(fields, "rate", 500, 1, 20_000),
            timeout=self.number(fields, "timeout", 1.0, 0.05, 30),
            start=self.messages(fields, "start"),
            keep_alive=self._keep_alive(fields),
            alive=self._alive(fields),
            parameters=self._parameters(fields, root),
            commands=self._commands(fields),
        )
        alive = found.alive
        if alive.assumed and (alive.ping is not None or alive.silence):
            self.bad(fields["alive"], "a device that is assumed to be there is not asked: leave ping and silence out")
        return found

    def _kind(self, fields: Mapping[str, Node], root: Node) -> str:
        if not self.required(fields, "kind", root, "a map"):
            return ""
        kind = self.text(fields, "kind")
        if kind in ("lightfast", "osc") or (kind and not _KIND.fullmatch(kind)):
            self.bad(fields["kind"], f"kind cannot be {kind!r}: use small letters, digits, - and _, such as resolume")
        return kind

    def _remote(self, fields: Mapping[str, Node], root: Node, allow_remote: bool) -> tuple[str, int]:
        if not self.required(fields, "remote", root, "a map"):
            return ("127.0.0.1", 0)
        node, text = fields["remote"], self.text(fields, "remote")
        host, _, port = text.rpartition(":")
        host = host.strip("[]")
        if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
            if isinstance(node.value, str):
                self.bad(node, f"remote is {text!r}: write HOST:PORT, such as 127.0.0.1:7000")
            return ("127.0.0.1", 0)
        if not allow_remote and not _is_loopback(host):
            self.bad(
                node,
                f"{host} is another machine, and OSC asks for no password: write `allow_remote: true` if it shall "
                "be reached, or use 127.0.0.1",
            )
        return host, int(port)

    def _keep_alive(self, fields: Mapping[str, Node]) -> KeepAlive | None:
        if "keep_alive" not in fields:
            return None
        inner = self.table(fields["keep_alive"], "keep_alive", ("every", "send"))
        self.required(inner, "send", fields["keep_alive"], "keep_alive")
        return KeepAlive(self.number(inner, "every", 20, 0.1, 3600), self.messages(inner, "send"))

    def _alive(self, fields: Mapping[str, Node]) -> Alive:
        if "alive" not in fields:
            return Alive()
        node = fields["alive"]
        inner = self.table(node, "alive", ("ping", "every", "silence", "answer", "assumed"))
        ping = self.message(inner["ping"]) if "ping" in inner else None
        every = self.number(inner, "every", 2.0, 0.1, 600)
        answer = (
            tuple(self.address(item) for item in self.items(inner["answer"], "answer")) if "answer" in inner else ()
        )
        silence = self.number(inner, "silence", 4 * every if ping is not None else 0.0, 0, 3600)
        if silence and ping is not None and silence <= every:
            self.bad(inner.get("silence", node), f"silence must be longer than every ({every:g} s)")
        return Alive(ping, every, silence, answer, self.flag(inner, "assumed"))

    def _parameters(self, fields: Mapping[str, Node], root: Node) -> tuple[MapParameter, ...]:
        if not self.required(fields, "parameters", root, "a map"):
            return ()
        defaults = self.table(fields["defaults"], "defaults", PARAMETER_FIELDS) if "defaults" in fields else {}
        node = fields["parameters"]
        if not isinstance(node.value, dict):
            self.bad(node, f"parameters must be a table from paths to what they are, not {node.shape}")
            return ()
        found: dict[str, MapParameter] = {}
        for written, inner in node.value.items():
            place = node.keys[written]
            own = self.table(inner, f"the parameter {written}", PARAMETER_FIELDS) if inner.value is not None else {}
            try:
                expanded = list(expand(written))
            except ValueError as error:
                self.bad_at(place, str(error))
                continue
            for path, index in expanded:
                if len(found) >= MAX_EXPANDED:
                    self.bad_at(place, f"the map stands for more than {MAX_EXPANDED} parameters")
                    return tuple(found.values())
                if path in found:
                    self.bad_at(place, f"{path} is there twice")
                    continue
                before = len(self.problems)
                parameter = read_parameter(self, path, index, {**defaults, **own}, place)
                if parameter is not None:
                    found[path] = parameter
                if len(self.problems) > before:
                    break  # the other numbers have the same mistake
        return tuple(found.values())

    def _commands(self, fields: Mapping[str, Node]) -> tuple[MapCommand, ...]:
        if "commands" not in fields:
            return ()
        node = fields["commands"]
        if not isinstance(node.value, dict) or len(node.value) > MAX_COMMANDS:
            self.bad(node, f"commands must be a table with at most {MAX_COMMANDS} names, not {node.shape}")
            return ()
        found = [self._command(name, inner, node.keys[name]) for name, inner in node.value.items()]
        return tuple(command for command in found if command is not None)

    def _command(self, name: str, node: Node, place: tuple[int, int]) -> MapCommand | None:
        if not _COMMAND.fullmatch(name) or not any(letter.isalnum() for letter in name):
            self.bad_at(place, f"the command {name!r} needs a name of letters, digits, '_', '.' and '/'")
            return None
        what = f"the command {name}"
        known = ("send", "arguments", "description", "effect", "with", "answer", "timeout")
        fields = self.table(node, what, known)
        if not self.required(fields, "send", node, what):
            return None
        arguments, tags = self._with(fields, what)
        names = [argument.name for argument in arguments]
        # A place of a command is filled when it is run: here it is only checked.
        address = fields["send"].value
        self.address(fields["send"], dict.fromkeys(names, "1"))
        layout = self.arguments(fields["arguments"], {}, names=names) if "arguments" in fields else ()
        used = {each.name for each in layout if isinstance(each, Named)}
        used.update(places(address) if isinstance(address, str) else ())
        for argument in arguments:
            if argument.name not in used:
                self.bad(fields["with"], f"{what} never uses its argument {argument.name!r}")
        answer = None
        if "answer" in fields:
            index = {each: f"{{{each}}}" for each in names}
            answer = read_feedback(self, fields["answer"], index, "", (VALUE,))
        effect = self.choice(fields, "effect", "reversible", sorted(EFFECTS - {"code"}))
        return MapCommand(
            Command(name, self.text(fields, "description"), arguments, effect),
            address if isinstance(address, str) else "",
            layout,
            tags,
            answer,
            self.number(fields, "timeout", 2.0, 0.05, 600),
        )

    def _with(self, fields: Mapping[str, Node], what: str) -> tuple[tuple[Argument, ...], dict[str, str]]:
        """Read what a command takes: a table from names to type, description and whether it is required."""
        if "with" not in fields:
            return (), {}
        node = fields["with"]
        if not isinstance(node.value, dict):
            self.bad(node, f"{what}: with must be a table from names to types, not {node.shape}")
            return (), {}
        arguments: list[Argument] = []
        tags: dict[str, str] = {}
        for name, inner in node.value.items():
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
                self.bad_at(node.keys[name], f"the argument {name!r} needs a name of small letters, digits and _")
                continue
            own: dict[str, Any] = {"type": inner}
            if isinstance(inner.value, dict):
                own = self.table(inner, f"the argument {name}", ("type", "description", "required"))
            tag = self.choice(own, "type", "s", tuple("sfihdT"))
            required = self.flag(own, "required", default=True)
            arguments.append(Argument(name, kind_of_tags(tag), required, self.text(own, "description")))
            tags[name] = tag
        return tuple(arguments), tags


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
