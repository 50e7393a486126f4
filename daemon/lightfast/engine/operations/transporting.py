"""Operations on the timeline. What it was before is kept first, so that it can be taken back, also by a restart."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lightfast.core.errors import InvalidArgument
from lightfast.engine.operations.built import Built, is_open, missing, needed, said, schema
from lightfast.engine.operations.built import within as bounded
from lightfast.engine.transport.playhead import MAX_TEMPO, MIN_TEMPO
from lightfast.engine.transport.transport import Transport
from lightfast.sdk import Bench, Effect, Mistake, OperationCall, Outcome, Undoing, World

_NUMBER: Mapping[str, Any] = {"type": ["number", "string"]}


class _Timeline(Built):
    possible_effects = frozenset((Effect.REVERSIBLE,))
    pool = "application"
    idempotent = True
    arguments: ClassVar[Mapping[str, Any]] = schema()
    result: ClassVar[Mapping[str, Any]] = {"type": "object", "description": "playing, position (s), beats, tempo."}

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return the timeline."""
        return ("/transport//",)

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check that there is a timeline."""
        return missing(self.rooms.transport, "a timeline")

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Do it, and say what takes it back."""
        transport = needed(self.rooms.transport, "a timeline")
        before: Mapping[str, Any] = json.loads(call.note) if call.note else _now(transport)
        if not call.note:
            await bench.keep(json.dumps(before))
        async with bounded(call.deadline_s, self.name):
            await self.act(transport, call.arguments)
        return Outcome(_now(transport), undo=self.back(before))

    async def act(self, transport: Transport, arguments: Mapping[str, Any]) -> None:
        """Do it."""
        raise NotImplementedError

    def back(self, before: Mapping[str, Any]) -> Undoing | None:
        """Return what brings the timeline back to how it was."""
        raise NotImplementedError


def _now(transport: Transport) -> dict[str, Any]:
    record = transport.record()
    return {
        "playing": record.playing,
        "position": record.position,
        "beats": record.beats,
        "tempo": record.tempo,
    }


class Play(_Timeline):
    """Plays."""

    name = "transport.play"
    summary = "Let the timeline play."

    async def act(self, transport: Transport, arguments: Mapping[str, Any]) -> None:
        """Play."""
        await transport.play()

    def back(self, before: Mapping[str, Any]) -> Undoing | None:
        """Stop, unless it played already."""
        return None if before["playing"] else Undoing("transport.stop", {})


class Stop(_Timeline):
    """Stops."""

    name = "transport.stop"
    summary = "Stop the timeline."

    async def act(self, transport: Transport, arguments: Mapping[str, Any]) -> None:
        """Stop."""
        await transport.play(playing=False)

    def back(self, before: Mapping[str, Any]) -> Undoing | None:
        """Play again, unless it stood."""
        return Undoing("transport.play", {}) if before["playing"] else None


class Tempo(_Timeline):
    """Sets the tempo."""

    name = "transport.tempo"
    summary = "Set the tempo of the timeline."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        ("bpm",), bpm=said(_NUMBER, "Beats per minute.", minimum=MIN_TEMPO, maximum=MAX_TEMPO)
    )

    async def act(self, transport: Transport, arguments: Mapping[str, Any]) -> None:
        """Set it."""
        await transport.set_tempo(float(arguments["bpm"]))

    def back(self, before: Mapping[str, Any]) -> Undoing | None:
        """Set what it was."""
        return Undoing("transport.tempo", {"bpm": before["tempo"]})


class Seek(_Timeline):
    """Moves."""

    name = "transport.seek"
    summary = "Go to a place of the timeline, given in seconds, beats, frames or as a timecode."
    arguments: ClassVar[Mapping[str, Any]] = {
        **schema(
            seconds=said(_NUMBER, "Seconds from the beginning."),
            beats=said(_NUMBER, "Beats from the beginning."),
            frames={"type": ["integer", "string"], "description": "Frames from the beginning."},
            timecode={"type": "string", "description": "Such as 00:01:30:12."},
        ),
        "minProperties": 1,
        "maxProperties": 1,
    }

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check that exactly one is given."""
        if len(arguments) != 1 and not is_open(arguments):
            return [Mistake("ARGUMENT_INVALID", "give exactly one of seconds, beats, frames and timecode")]
        return super().check(arguments, world)

    async def act(self, transport: Transport, arguments: Mapping[str, Any]) -> None:
        """Go there."""
        match arguments:
            case {"seconds": seconds}:
                await transport.seek(seconds=float(seconds))
            case {"beats": beats}:
                await transport.seek(beats=float(beats))
            case {"frames": frames}:
                await transport.seek(frames=int(frames))
            case {"timecode": timecode}:
                await transport.seek(timecode=timecode)
            case _:
                raise InvalidArgument("give exactly one of seconds, beats, frames and timecode")

    def back(self, before: Mapping[str, Any]) -> Undoing | None:
        """Go back to where it was."""
        return Undoing("transport.seek", {"seconds": before["position"]})


TRANSPORTING = (Play, Stop, Tempo, Seek)
