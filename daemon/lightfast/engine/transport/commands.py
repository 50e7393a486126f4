"""Play, stop, seek, tempo: done at once where the daemon leads, else asked of the leader, with a deadline."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from lightfast.core.clock import Clock
from lightfast.core.errors import FailedPrecondition, InvalidArgument, LightfastError, OutOfBounds, Unavailable
from lightfast.engine.transport.lead import Lead
from lightfast.engine.transport.playhead import MAX_TEMPO, MIN_TEMPO, Playhead
from lightfast.engine.transport.team import Team
from lightfast.engine.transport.timecode import FrameRate, seconds_at

LEADER_S = 2.0
"""How long a leader has to do what it is asked to, in seconds."""
UNASKED_S = 7.0
"""How long our own disk may take to write that down before the leader is asked; a client's deadline is 10 s."""
MAX_POSITION_S = 31_536_000.0
"""The furthest position one can go to: a year."""
_NEAR_S = 0.3
_LOOK_S = 0.05


class Commands:
    """Carries out what is asked. *changed* is told `playing`, `tempo` or `seek` when the daemon did it itself."""

    def __init__(
        self, head: Playhead, team: Team, clock: Clock, rate: Callable[[], FrameRate], changed: Callable[[str], None]
    ) -> None:
        self._head = head
        self._team = team
        self._clock = clock
        self._rate = rate
        self._changed = changed
        self._asked: dict[str, float] = {}

    async def play(self, playing: bool) -> None:
        """Play, or stop."""
        lead, head = self._team.lead, self._head
        if lead is not None and (lead.member.shows_playing or _has(lead, "position")):
            member = lead.member
            # What was asked before may still be on its way: it would come true after all.
            if member.playing is playing and head.playing is playing and not member.undecided:
                return
            if not member.can_play:
                raise _not_writable(lead, "play and stop")
            lead.refused = ""
            member.play(playing)

            def done() -> bool:
                return head.playing is playing and not member.undecided

            await self._answered(lead, "playing", playing, done, "start" if playing else "stop")
        elif playing is not head.playing:
            (head.play if playing else head.stop)(self._clock.monotonic())
            self._changed("playing")

    async def seek(self, seconds: float | None, beats: float | None, frames: int | None, timecode: str | None) -> None:
        """Go to exactly one of them."""
        target = self._target(seconds, beats, frames, timecode)
        lead, head = self._team.lead, self._head
        if lead is None or not _has(lead, "position"):
            now = self._clock.monotonic()
            if beats is not None:
                head.seek_beats(now, beats)
            else:
                head.seek(now, target)
            self._changed("seek")
            return
        if not lead.member.can_locate:
            raise _not_writable(lead, "be moved")
        lead.refused = ""
        begun = self._clock.monotonic()
        lead.member.locate(target)
        near = max(_NEAR_S, 1.5 * lead.member.grain)

        def there() -> bool:
            now = self._clock.monotonic()
            gone = now - begun if head.playing else 0.0
            return -near < head.seconds(now) - target < gone + near

        await self._answered(lead, "position", target, there, "go there")

    async def set_tempo(self, tempo: float) -> None:
        """Set the tempo in beats per minute."""
        if not MIN_TEMPO <= tempo <= MAX_TEMPO:
            raise OutOfBounds(f"{tempo:g} bpm is out of range: {MIN_TEMPO:g} to {MAX_TEMPO:g}", field="tempo")
        lead, head = self._team.lead, self._head
        if lead is None or lead.member.tempo is None:
            if tempo != head.tempo:
                head.set_tempo(self._clock.monotonic(), tempo)
                self._changed("tempo")
            return
        member = lead.member
        if math.isclose(tempo, head.tempo, rel_tol=1e-6) and not member.retuning:
            return
        if not member.can_set_tempo:
            raise _not_writable(lead, "take a tempo")
        lead.refused = ""
        member.set_tempo(tempo)

        def done() -> bool:
            return abs(head.tempo - tempo) < 0.01 and not member.retuning

        await self._answered(lead, "tempo", tempo, done, f"take {tempo:g} bpm")

    def _target(self, seconds: float | None, beats: float | None, frames: int | None, timecode: str | None) -> float:
        given: dict[str, float] = {}
        if seconds is not None:
            given["position"] = seconds
        if beats is not None:
            given["beats"] = beats * 60.0 / self._head.tempo
        if frames is not None:
            given["frames"] = float(frames / self._rate().exact)
        if timecode is not None:
            given["timecode"] = seconds_at(self._rate(), timecode)
        if len(given) != 1:
            raise InvalidArgument("give exactly one of position, beats, frames and timecode", field="target")
        ((name, target),) = given.items()
        if not 0.0 <= target <= MAX_POSITION_S:
            raise OutOfBounds(f"{name}: {target:g} s lies outside the timeline, which begins at 0", field=name)
        return target

    async def _answered(self, lead: Lead, name: str, value: float, done: Callable[[], bool], what: str) -> None:
        """Wait until the leader did what it was asked, or somebody asked for another *value* since.

        Raises what became of it otherwise. The time that our own disk takes is not the leader's, and has a bound of its
        own. Both are counted by looks: where our own loop stands still, what came meanwhile is read before it counts.
        """
        self._asked[name] = value
        unasked_s, leader_s = UNASKED_S, LEADER_S
        while not done() and self._asked[name] == value:
            if self._team.lead is not lead:
                raise Unavailable(
                    f"{lead.member.mount} led and went away before it could {what}: try again",
                    reason="LEADER_GONE",
                    metadata={"mount": lead.member.mount},
                    retry_after=1.0,
                )
            if lead.refused or leader_s <= 0.0:
                raise _not_done(lead, what)
            if unasked_s <= 0.0:
                raise _not_asked(lead, what)
            if lead.member.unasked:
                unasked_s -= _LOOK_S
            else:
                leader_s -= _LOOK_S
            await asyncio.sleep(_LOOK_S)


def _has(lead: Lead, name: str) -> bool:
    return any(one.rstrip("*") == name for one in lead.member.has)


def _not_done(lead: Lead, what: str) -> LightfastError:
    mount = lead.member.mount
    if lead.refused:
        return FailedPrecondition(f"{mount} leads and refused to {what}: {lead.refused}", reason="LEADER_REFUSED")
    return Unavailable(
        f"{mount} leads and did not {what} within {LEADER_S:g} s: look at it, or let the daemon lead with "
        "`lightfast transport lead internal`",
        reason="LEADER_SILENT",
        metadata={"mount": mount},
    )


def _not_asked(lead: Lead, what: str) -> Unavailable:
    mount = lead.member.mount
    return Unavailable(
        f"{mount} leads and could not be asked to {what}: the daemon has not written that down within {UNASKED_S:g} s, "
        "so its disk is slow or stuck; it is asked once it is written: look whether it was done before you try again",
        reason="LEADER_NOT_ASKED",
        metadata={"mount": mount},
        retry_after=1.0,
    )


def _not_writable(lead: Lead, what: str) -> FailedPrecondition:
    mount = lead.member.mount
    return FailedPrecondition(
        f"{mount} leads and cannot {what} from here: do it there, or let the daemon lead with "
        "`lightfast transport lead internal`",
        reason="LEADER_NOT_WRITABLE",
        metadata={"mount": mount},
    )
