"""Commands: the server's own verbs, checked before they are sent, and answered when they are carried out."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightfast.sdk import Argument, Asset, BridgeError, Call, Command, Undo, Value
from lightfast_bridges.supercollider import render
from lightfast_bridges.supercollider.synthdef import names_of

if TYPE_CHECKING:
    from lightfast_bridges.supercollider.server import Server

Run = Callable[["Server", Mapping[str, Any], Call], Awaitable[Value | None]]

ACTIONS = ("addToHead", "addToTail", "addBefore", "addAfter", "addReplace")
FORMATS = {"int16": 16, "int24": 24, "int32": 32, "float": 32}
MAX_DATAGRAM = 60_000
LONGEST = 10.0
"""The most seconds the server has to carry a command out."""
DEFAULT_GROUP = 1
_NUMBERS = itertools.count(1000)

_ID = Argument("id", "int", True, "The number of the node.")
_NEW = Argument("id", "int", False, "A number for it; chosen where it is left out.")
_WHERE = (
    Argument("action", "string", False, f"Where: {', '.join(ACTIONS)}; addToHead where it is left out."),
    Argument("target", "int", False, "The group or node that is relative to; the default group."),
)
_CONTROLS = Argument("controls", "map", False, "Controls by name: a number, a list of them, or a bus like c7 or a3.")
_BUFFER = Argument("buffer", "int", True, "Its number, from 0.")
_ROWS = (
    Command("s_new", "Start a synth and return its number.",
            (Argument("definition", "string", True, "The name of its synth definition."), _NEW, *_WHERE, _CONTROLS),
            undo=Undo("n_free", {"id": "$result"})),
    Command("g_new", "Make a group and return its number.", (_NEW, *_WHERE),
            undo=Undo("n_free", {"id": "$result"})),
    Command("n_set", "Set controls of a synth, or of all synths in a group.", (_ID, _CONTROLS), idempotent=True),
    Command("n_map", "Let a control follow a control bus; -1 lets it go.",
            (_ID, Argument("control", "string", True), Argument("bus", "int", True)), idempotent=True),
    Command("n_run", "Pause a node, or let it go on.", (_ID, Argument("on", "bool", True)), idempotent=True),
    Command("n_free", "End a node.", (_ID,), "destructive"),
    Command("n_order", "Move nodes to a place in the tree, in this order.",
            (Argument("ids", "list", True, "Their numbers."), *_WHERE), "destructive"),
    Command("g_freeAll", "End everything in a group.", (_ID,), "destructive"),
    Command("g_deepFree", "End all synths in a group and the groups in it.", (_ID,), "destructive"),
    Command("d_recv", "Load synth definitions and return their names.",
            (Argument("definition", "", True, "The bytes of the file, or an asset that holds them."),),
            "destructive"),
    Command("d_free", "Forget a synth definition.", (Argument("name", "string", True),), "destructive"),
    Command("c_set", "Set a control bus.", (Argument("bus", "int", True), Argument("value", "double", True)),
            idempotent=True),
    Command("c_get", "Return the value of a control bus, and follow it from then on.",
            (Argument("bus", "int", True),), "read"),
    Command("b_alloc", "Allocate a buffer, filled with zeros.",
            (_BUFFER, Argument("frames", "int", True), Argument("channels", "int", False, "1 where left out.")),
            undo=Undo("b_free", {"buffer": "$arguments.buffer"})),
    Command("b_allocRead", "Allocate a buffer and read a sound file into it.",
            (_BUFFER, Argument("file", "asset", True), Argument("start", "int", False, "Its first frame to read."),
             Argument("frames", "int", False, "How many; all where left out.")),
            undo=Undo("b_free", {"buffer": "$arguments.buffer"})),
    Command("b_zero", "Fill a buffer with zeros.", (_BUFFER,), "destructive"),
    Command("b_free", "Free a buffer.", (_BUFFER,), "destructive"),
    Command("b_query", "Return the frames, channels and sample rate of a buffer.", (_BUFFER,), "read"),
    Command("b_write", "Return the contents of a buffer as a WAV file.",
            (_BUFFER, Argument("format", "string", False, f"One of {', '.join(FORMATS)}; int16 where left out.")),
            "read"),
    render.COMMAND,
)  # fmt: skip
COMMANDS: tuple[Command, ...] = _ROWS


async def run(server: Server, call: Call) -> Value | None:
    """Run one command and return its result.

    Raises `ValueError` for wrong arguments, `RefusedError` with the server's reason, `NoAnswerError` for silence.
    """
    found = _RUNS.get(call.command)
    if found is None:
        raise ValueError(f"scsynth has no command {call.command!r} here: there are {', '.join(_RUNS)}")
    for argument in next(row for row in _ROWS if row.name == call.command).arguments:
        if argument.required and argument.name not in call.arguments:
            raise ValueError(f"{call.command} needs {argument.name}: {argument.description}")
    return await found(server, call.arguments, call)


def _seconds(call: Call) -> float:
    return min(call.timeout, LONGEST)


def _where(server: Server, given: Mapping[str, Any]) -> tuple[int, int]:
    action = given.get("action", ACTIONS[0])
    if action not in ACTIONS:
        raise ValueError(f"action is {action!r}: use one of {', '.join(ACTIONS)}")
    default = DEFAULT_GROUP if DEFAULT_GROUP in server.mirror.nodes else 0
    return ACTIONS.index(action), int(given.get("target", default))


def _number(server: Server, given: Mapping[str, Any]) -> int:
    """Return the number of a new node, by the custom of clients: our number among them, then a count."""
    if "id" in given:
        if not 0 < given["id"] < 1 << 31:
            raise ValueError(f"id is {given['id']}: nodes of clients have numbers from 1")
        return int(given["id"])
    while (number := ((server.client & 31) << 26) + next(_NUMBERS)) in server.mirror.nodes:
        pass
    return number


def _controls(given: Mapping[str, Any]) -> list[Any]:
    out: list[Any] = []
    for name, value in given.get("controls", {}).items():
        mapped = isinstance(value, str) and value[:1] in {"c", "a"} and value[1:].isdigit()
        if not mapped and not all(_is_number(one) for one in (value if isinstance(value, list | tuple) else [value])):
            raise ValueError(f"controls.{name} is {value!r:.40}: write a number, a list of them, or a bus like c7")
        out.append(int(name) if name.isdigit() else name)
        out.append(
            [float(one) for one in value] if isinstance(value, list | tuple) else value if mapped else float(value)
        )
    return out


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _began(address: str, number: int) -> Callable[[str, Sequence[Any]], bool]:
    return lambda heard, said: heard == address and said[:1] == (number,)


def _done(address: str, *more: int) -> Callable[[str, Sequence[Any]], bool]:
    return lambda heard, said: heard == "/done" and tuple(said[: 1 + len(more)]) == (address, *more)


async def _s_new(server: Server, given: Mapping[str, Any], call: Call) -> Value | None:
    number, (action, target) = _number(server, given), _where(server, given)
    arguments = (given["definition"], number, action, target, *_controls(given))
    await server.asker.order("/s_new", *arguments, timeout=_seconds(call), done=_began("/n_go", number))
    return number


async def _g_new(server: Server, given: Mapping[str, Any], call: Call) -> Value | None:
    number, (action, target) = _number(server, given), _where(server, given)
    done = _began("/n_go", number)
    await server.asker.order("/g_new", number, action, target, timeout=_seconds(call), done=done)
    return number


async def _n_set(server: Server, given: Mapping[str, Any], call: Call) -> Value | None:
    await server.asker.order("/n_set", given["id"], *_controls(given), timeout=_seconds(call))
    return None


async def _n_map(server: Server, given: Mapping[str, Any], call: Call) -> Value | None:
    await server.asker.order("/n_map", given["id"], given["control"], given["bus"], timeout=_seconds(call))
    return None


async def _n_run(server: Server, given: Mapping[str, Any], call: Call) -> Value | None:
    await server.asker.order("/n_run", given["id"], int(given["on"]), timeout=_seconds(call))
    return None


async def _n_free(server: Server, given: Mapping[str, Any], call: Call) -> Value | None:
    if given["id"] == 0:
        raise ValueError("the root group cannot be freed: g_freeAll ends what is in it")
    await server.asker.order("/n_free", given["id"], timeout=_seconds(call))
    return None


async def _n_order(server: Server, given: Mapping[str, Any], call: Call) -> Value | None:
    ids = given["ids"]
    if not ids or not all(type(one) is int for one in ids):
        raise ValueError("ids must be a list of node numbers")
    action, target = _where(server, given)
    if action > 3:
        raise ValueError("n_order cannot replace: use one of the other actions")
    await server.asker.order("/n_order", action, target, *ids, timeout=_seconds(call))
    return None


def _plain(address: str) -> Run:
    async def send(server: Server, given: Mapping[str, Any], call: Call) -> Value | None:
        await server.asker.order(address, given["id"], timeout=_seconds(call))
        return None

    return send


async def _d_recv(server: Server, given: Mapping[str, Any], call: Call) -> Value | None:
    data = await definition_of(server, given["definition"])
    names = names_of(data)
    if len(data) <= MAX_DATAGRAM:
        await server.asker.order("/d_recv", data, timeout=_seconds(call), done=_done("/d_recv"))
        return list(names)
    with _folder(server, "a synth definition of this size") as folder:
        path = Path(folder) / "definitions.scsyndef"
        path.write_bytes(data)
        await server.asker.order("/d_load", str(path), timeout=_seconds(call), done=_done("/d_load"))
    return list(names)


async def definition_of(server: Server, given: Value) -> bytes:
    """Return the bytes of a synth definition that was given itself, or as an asset."""
    if isinstance(given, bytes):
        return given
    if isinstance(given, Asset):
        return await server.host.load_asset(given.sha256)
    raise ValueError("a synth definition is given as bytes, or as an asset that holds them")


def _folder(server: Server, what: str) -> tempfile.TemporaryDirectory[str]:
    """Return a folder that only this user may enter, for a file that the server and we hand each other."""
    if not server.settings.local:
        raise BridgeError(f"{what} takes a server on this machine, which opens the same files")
    return tempfile.TemporaryDirectory(prefix="lightfast-sc-")


async def _d_free(server: Server, given: Mapping[str, Any], call: Call) -> Value | None:
    await server.asker.order("/d_free", given["name"], timeout=_seconds(call))
    return None


async def _c_set(server: Server, given: Mapping[str, Any], call: Call) -> Value | None:
    await server.asker.order("/c_set", given["bus"], float(given["value"]), timeout=_seconds(call))
    return None


async def _c_get(server: Server, given: Mapping[str, Any], call: Call) -> Value | None:
    bus = given["bus"]
    said = await server.asker.order("/c_get", bus, timeout=_seconds(call), done=_began("/c_set", bus))
    server.mirror.follow(bus)
    server.mirror.report([(f"buses/{bus}", float(said[1]))])
    return float(said[1])


def _buffer(server: Server, given: Mapping[str, Any]) -> int:
    """Return the number of a buffer; beyond the last one the server writes where it should not."""
    number, most = given["buffer"], server.settings.max_buffers
    if not 0 <= number < most:
        raise ValueError(f"buffer is {number}: the server has {most} (max_buffers of [plugins.supercollider])")
    return int(number)


async def _b_alloc(server: Server, given: Mapping[str, Any], call: Call) -> Value | None:
    number, frames, channels = _buffer(server, given), given["frames"], given.get("channels", 1)
    if not 0 < frames <= 1 << 28 or not 0 < channels <= 1024 or frames * channels > 1 << 28:
        raise ValueError(f"{frames} frames of {channels} channels: at most {1 << 28} samples, at least one")
    done = _done("/b_alloc", number)
    await server.asker.order("/b_alloc", number, frames, channels, timeout=_seconds(call), done=done)
    return await _look(server, number)


async def _b_alloc_read(server: Server, given: Mapping[str, Any], call: Call) -> Value | None:
    number = _buffer(server, given)
    with _folder(server, "b_allocRead") as folder:
        path = Path(folder) / "sound"
        await asyncio.to_thread(path.write_bytes, await server.host.load_asset(given["file"].sha256))
        arguments = (number, str(path), max(0, given.get("start", 0)), max(0, given.get("frames", 0)))
        done = _done("/b_allocRead", number)
        await server.asker.order("/b_allocRead", *arguments, timeout=_seconds(call), done=done)
    return await _look(server, number)


async def _b_write(server: Server, given: Mapping[str, Any], call: Call) -> Value | None:
    number, layout = _buffer(server, given), given.get("format", "int16")
    if layout not in FORMATS:
        raise ValueError(f"format is {layout!r}: use one of {', '.join(FORMATS)}")
    with _folder(server, "b_write") as folder:
        path = Path(folder) / "buffer.wav"
        done = _done("/b_write", number)
        await server.asker.order("/b_write", number, str(path), "wav", layout, timeout=_seconds(call), done=done)
        if not path.is_file():
            raise BridgeError("scsynth wrote no file: it may belong to another user, who cannot enter our folder")
        data = await asyncio.to_thread(path.read_bytes)
        return await server.host.save_asset(f"buffer-{number}.wav", "audio/wav", data)


def _buffer_order(address: str) -> Run:
    async def send(server: Server, given: Mapping[str, Any], call: Call) -> Value | None:
        number = _buffer(server, given)
        await server.asker.order(address, number, timeout=_seconds(call), done=_done(address, number))
        await _look(server, number)
        return None

    return send


async def _b_query(server: Server, given: Mapping[str, Any], call: Call) -> Value | None:
    return await _look(server, _buffer(server, given))


async def _look(server: Server, number: int) -> dict[str, Value]:
    said = await server.asker.ask("/b_query", number, test=_began("/b_info", number))
    return {"frames": int(said[1]), "channels": int(said[2]), "sampleRate": float(said[3])}


async def _render(server: Server, given: Mapping[str, Any], call: Call) -> Value | None:
    definitions = [await definition_of(server, one) for one in given.get("synthdefs", [])]
    score = await asyncio.to_thread(render.Score.of, given, definitions)

    def progress(fraction: float) -> None:
        server.progress(call.call_id, fraction, f"{score.duration:g} s of sound")

    data = await render.run(server.settings.program, score, timeout=call.timeout, progress=progress)
    return await server.host.save_asset(str(given.get("name") or "render.wav"), "audio/wav", data)


_RUNS: dict[str, Run] = {
    "s_new": _s_new, "g_new": _g_new, "n_set": _n_set, "n_map": _n_map, "n_run": _n_run, "n_free": _n_free,
    "n_order": _n_order, "g_freeAll": _plain("/g_freeAll"), "g_deepFree": _plain("/g_deepFree"),
    "d_recv": _d_recv, "d_free": _d_free, "c_set": _c_set, "c_get": _c_get,
    "b_alloc": _b_alloc, "b_allocRead": _b_alloc_read, "b_zero": _buffer_order("/b_zero"),
    "b_free": _buffer_order("/b_free"), "b_query": _b_query, "b_write": _b_write, "render": _render,
}  # fmt: skip
