"""The room where text is spoken, by the eSpeak NG of this machine where there is one."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Mapping
from typing import Any

from lightfast.sdk import (
    Artifact,
    GenerationRequest,
    MissingDependency,
    Model,
    Progress,
    ProviderError,
    Step,
    Workbench,
)
from lightfast_providers.studio.common import file_name, real, whole

PROGRAM = "espeak-ng"
GENERATOR = "studio (eSpeak NG: formant synthesis, no learned model)"
LONGEST = 20_000
"""The longest text, in characters."""
MOST_BYTES = 256 << 20
GONE_S = 5.0
"""How long a killed process may take to be gone, in seconds; then it is left to the system."""

SPEECH: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "voice": {
            "type": "string",
            "default": "en",
            "maxLength": 40,
            "description": "A language or a voice of eSpeak NG: en, en-us, de, fr, es, it, ja, en+f3 and many more.",
        },
        "speed": {
            "type": "integer",
            "minimum": 80,
            "maximum": 450,
            "default": 165,
            "description": "In words a minute.",
        },
        "pitch": {"type": "number", "minimum": 0, "maximum": 99, "default": 50.0, "description": "How high, 0 to 99."},
    },
}

MODELS = (
    Model(
        "speech",
        outputs=("audio",),
        description=(
            "Speaks the prompt with eSpeak NG, where that is installed (Debian: apt install espeak-ng; macOS: brew"
            " install espeak-ng): formant synthesis, no learned model."
        ),
        settings=SPEECH,
        procedural=True,
        free=True,
        tags=("speech",),
    ),
)


async def make(request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
    """Speak; the program runs as a process of its own and ends with the generation."""
    del bench
    program = shutil.which(PROGRAM)
    if program is None:
        raise MissingDependency("eSpeak NG", "apt install espeak-ng (macOS: brew install espeak-ng)")
    text = request.prompt.strip()
    if not text:
        raise ProviderError("there is nothing to say: the prompt is empty", kind="invalid")
    if len(text) > LONGEST:
        raise ProviderError(f"the text has {len(text)} characters, the most is {LONGEST}", kind="invalid")
    voice = str(request.settings["voice"])
    if voice.startswith("-") or not all(each.isalnum() or each in "-+_/ ()" for each in voice):
        raise ProviderError(f"the voice {voice!r} is none: see espeak-ng --voices", kind="invalid")
    yield Progress(0.0, f"speaking with the voice {voice}")
    options = ["-v", voice, "-s", str(whole(request.settings, "speed")), "-p", f"{real(request.settings, 'pitch'):.0f}"]
    content = await _spoken([program, *options, "-b", "1", "--stdout", "--stdin"], text)
    yield Artifact("audio/wav", content, f"{file_name(request)}.wav", {"generator": GENERATOR, "voice": voice})


async def _spoken(command: list[str], text: str) -> bytes:
    """Return the WAV that *command* writes for *text*; the process is gone when this ends, however it ends."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        content, told = await process.communicate(text.encode())
    finally:
        if process.returncode is None:
            await _ended(process)
    if process.returncode or not content.startswith(b"RIFF"):
        said = told.decode(errors="replace").strip() or f"it ended with {process.returncode}"
        raise ProviderError(f"eSpeak NG does not speak: {said:.300}", kind="invalid")
    if len(content) > MOST_BYTES:
        raise ProviderError(f"the speech has {len(content)} bytes: use a shorter text", kind="too_large")
    return _measured(content)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Kill *process* and wait until it is gone; what it has still said is read away.

    A full pipe that nobody reads hides its end from asyncio, which then waits for it for ever.
    """
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GONE_S):
            for stream in (process.stdout, process.stderr):
                while stream is not None and await stream.read(1 << 20):
                    pass
            await process.wait()


def _measured(content: bytes) -> bytes:
    """Return a WAV file whose header tells its length; one written to a pipe cannot know it beforehand."""
    at = content.find(b"data", 12)
    if at < 0:
        return content
    size = len(content) - at - 8
    head = content[:4] + (len(content) - 8).to_bytes(4, "little") + content[8 : at + 4]
    return head + size.to_bytes(4, "little") + content[at + 8 :]
