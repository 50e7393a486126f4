"""Sound made offline: a score is played by a server of its own, faster than real time, into a WAV file."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightfast.sdk import Argument, BridgeError, Command, MissingDependency
from lightfast.sdk.osc import OscError, encode
from lightfast_bridges.supercollider.synthdef import names_of

INSTALL = "apt-get install --no-install-recommends supercollider-server"
FORMATS = {"int16": 2, "int24": 3, "int32": 4, "float": 4}
MAX_SECONDS = 3600.0
MAX_BYTES = 512 << 20
MAX_MESSAGES = 100_000
MAX_SAMPLES = 1 << 28
"""The most samples of all buffers of a score: a GiB of memory."""
MAX_RATE = 768_000
LOOK = 0.25
"""Seconds between two looks at how far it is."""
HEADER = 44
ALLOWED = frozenset(
    (
        *("s_new", "g_new", "p_new", "n_set", "n_setn", "n_fill", "n_run", "n_map", "n_mapn", "n_mapa", "n_mapan"),
        *("n_free", "n_before", "n_after", "n_order", "g_head", "g_tail", "g_freeAll", "g_deepFree", "s_noid"),
        *("c_set", "c_setn", "c_fill", "b_alloc", "b_set", "b_setn", "b_fill", "b_gen", "b_zero", "b_free"),
    )
)
"""What a score may say: nothing that opens files, loads code or reaches out."""
COMMAND = Command(
    "render",
    "Play a score offline, and return the sound as a WAV file.",
    (
        Argument("score", "list", True, "Lists of a time, a command and its arguments: [0.5, 's_new', 'a', 7, 0, 0]."),
        Argument("synthdefs", "list", False, "The synth definitions it needs: bytes, or assets."),
        Argument("duration", "double", False, "In seconds; up to the last command where it is left out."),
        Argument("sample_rate", "int", False, "48000 where it is left out."),
        Argument("channels", "int", False, "2 where it is left out."),
        Argument("format", "string", False, f"One of {', '.join(FORMATS)}; int16 where it is left out."),
        Argument("name", "string", False, "A name for the file."),
    ),
    "read",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Score:
    """A score that was checked; *bundles* are its commands with their times in seconds."""

    bundles: tuple[tuple[float, bytes], ...]
    duration: float
    rate: int
    channels: int
    layout: str

    @classmethod
    def of(cls, given: Mapping[str, Any], definitions: Sequence[bytes]) -> Score:
        """Return the score of a command's arguments; raise `ValueError` that says what is wrong where."""
        events = given["score"]
        if len(events) > MAX_MESSAGES:
            raise ValueError(f"the score has {len(events)} commands, the most is {MAX_MESSAGES}")
        bundles = [(0.0, _definition(one)) for one in definitions]
        bundles += sorted((_event(event, f"score[{index}]") for index, event in enumerate(events)), key=_time)
        _check_buffers(events)
        last = bundles[-1][0] if bundles else 0.0
        duration = float(given.get("duration", last))
        rate, channels = int(given.get("sample_rate", 48_000)), int(given.get("channels", 2))
        layout = str(given.get("format", "int16"))
        if not 0 < duration <= MAX_SECONDS:
            raise ValueError(f"duration is {duration:g} s: it must be above 0 and at most {MAX_SECONDS:g}")
        if not 8000 <= rate <= MAX_RATE or not 1 <= channels <= 64:
            raise ValueError(f"{rate} Hz, {channels} channels: use 8000 to {MAX_RATE} Hz and 1 to 64 channels")
        if layout not in FORMATS:
            raise ValueError(f"format is {layout!r}: use one of {', '.join(FORMATS)}")
        if duration * rate * channels * FORMATS[layout] > MAX_BYTES:
            raise ValueError(f"the sound would have more than {MAX_BYTES >> 20} MiB: make it shorter")
        return cls(tuple(bundles), duration, rate, channels, layout)

    def file(self) -> bytes:
        """Return the score as the server reads it: bundles, each after its size."""
        out = bytearray()
        for time, message in (*self.bundles, (self.duration, encode("/c_set", 0, 0.0))):
            if time > self.duration:
                break
            bundle = b"#bundle\0" + struct.pack(">Qi", int(time * (1 << 32)), len(message)) + message
            out += struct.pack(">i", len(bundle)) + bundle
        # The end goes last, also where later commands were cut off.
        if self.bundles and self.bundles[-1][0] > self.duration:
            message = encode("/c_set", 0, 0.0)
            bundle = b"#bundle\0" + struct.pack(">Qi", int(self.duration * (1 << 32)), len(message)) + message
            out += struct.pack(">i", len(bundle)) + bundle
        return bytes(out)

    @property
    def size(self) -> int:
        """Return how many bytes the sound will have."""
        return HEADER + round(self.duration * self.rate) * self.channels * FORMATS[self.layout]


def _time(pair: tuple[float, bytes]) -> float:
    return pair[0]


def _definition(data: bytes) -> bytes:
    names_of(data)
    return encode("/d_recv", data)


def _check_buffers(events: Sequence[Any]) -> None:
    """Raise `ValueError` where the buffers of a score would not fit; what it frees does not count."""
    samples = 0
    for index, (_, command, *arguments) in enumerate(events):
        if command.removeprefix("/") != "b_alloc":
            continue
        number, frames, channels = (*arguments[:3], 1)[:3] if len(arguments) > 1 else (0, 0, 1)
        whole = type(number) is type(frames) is type(channels) is int and number >= 0 and frames > 0 and channels > 0
        samples += frames * channels if whole else MAX_SAMPLES + 1
        if samples > MAX_SAMPLES:
            raise ValueError(
                f"score[{index}]: b_alloc takes a number, frames and channels; all buffers together may have "
                f"{MAX_SAMPLES} samples"
            )


def _event(event: Any, where: str) -> tuple[float, bytes]:
    if not isinstance(event, list | tuple) or len(event) < 2:
        raise ValueError(f"{where} must be a list of a time, a command and its arguments")
    time, command, *arguments = event
    if isinstance(time, bool) or not isinstance(time, int | float) or not 0 <= time <= MAX_SECONDS:
        raise ValueError(f"{where}: the time is {time!r:.40}, it must be seconds from 0 to {MAX_SECONDS:g}")
    name = command.removeprefix("/") if isinstance(command, str) else ""
    if name not in ALLOWED:
        raise ValueError(f"{where}: a score may not say {command!r:.40}: it may say {', '.join(sorted(ALLOWED))}")
    for argument in arguments:
        simple = isinstance(argument, list) and all(isinstance(one, int | float) for one in argument)
        finite = isinstance(argument, int | float) and not isinstance(argument, bool) and math.isfinite(argument)
        if not (simple or finite or isinstance(argument, str)):
            raise ValueError(
                f"{where}: {argument!r:.40} is no argument of a score: use numbers, words, lists of numbers"
            )
    try:
        return float(time), encode(f"/{name}", *arguments)
    except OscError as error:
        raise ValueError(f"{where}: {error}") from None


async def run(program: str, score: Score, *, timeout: float, progress: Callable[[float], None]) -> bytes:
    """Return the WAV file that *score* makes; raise `BridgeError` or `ValueError` with what went wrong."""
    found = shutil.which(program)
    if found is None:
        raise MissingDependency(program, INSTALL)
    with tempfile.TemporaryDirectory(prefix="lightfast-sc-") as folder:
        source, target = Path(folder) / "score.osc", Path(folder) / "sound.wav"
        await asyncio.to_thread(lambda: source.write_bytes(score.file()))
        line = [found, "-o", str(score.channels), "-i", "0", "-D", "0", "-R", "0", "-P", folder, "-m", "65536"]
        line += ["-N", str(source), "_", str(target), str(score.rate), "WAV", score.layout]
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *line, cwd=folder, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                env={"PATH": os.environ.get("PATH", ""), "HOME": folder, "LANG": "C.UTF-8"},
            )  # fmt: skip
        try:
            async with asyncio.timeout(timeout):
                await _follow(process, target, score.size, progress)
        except TimeoutError:
            raise BridgeError(f"it took longer than {timeout:g} s: give it a longer timeout") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        said = log.read_text(encoding="utf-8", errors="replace")
        _judge(process.returncode, said, target)
        return await asyncio.to_thread(target.read_bytes)


async def _follow(
    process: asyncio.subprocess.Process, target: Path, size: int, progress: Callable[[float], None]
) -> None:
    ended = asyncio.ensure_future(process.wait())
    try:
        while not ended.done():
            await asyncio.wait((ended,), timeout=LOOK)
            made = target.stat().st_size if target.is_file() else 0
            progress(min(made / size, 1.0))
    finally:
        ended.cancel()


def _judge(code: int | None, said: str, target: Path) -> None:
    """Raise `BridgeError` where the server did not do what the score says."""
    for line in said.splitlines():
        if "SynthDef" in line and "not found" in line:
            raise BridgeError(f"{line.removeprefix('*** ERROR: ').strip()}: give it in synthdefs")
        if line.startswith(("*** ERROR: Couldn't", "exception in GraphDef_Recv", "Command line parse failed")):
            raise BridgeError(f"scsynth could not render: {line.strip()}")
    if code != 0 or not target.is_file():
        tail = " / ".join(said.strip().splitlines()[-3:])
        raise BridgeError(f"scsynth ended with {code} and made no sound: {tail[:400]}")
