"""The half of the timeline that an application follows: wishes for its transport, few and bounded."""

from __future__ import annotations

from collections.abc import Callable

from lightfast.engine.transport.member import Listener, Member
from lightfast.engine.transport.playhead import Playhead
from lightfast.engine.transport.records import Follow, Hands, Options, Standing

CONFIRM_S = 2.0
"""How long an application has to start, stop or take a tempo, in seconds, before it is asked again."""
MAX_TRIES = 3
"""How often it is asked."""
MAX_LOCATES = 5
"""How often in a row it is located before it counts as one that does not hold."""
HOLD_S = 5.0
"""After so many seconds in step, earlier corrections are forgotten."""
SETTLE_S = 0.25
"""How long after it was started or located its position is not measured, in seconds."""
SAMPLES = 3
"""How many reports in a row must say that it is out of step."""
MAX_LATENCY_S = 0.5
"""The greatest delay between the wish for a position and its arrival that is learned and allowed for."""
_TEMPO_NEAR = 1e-3
_DONE = {"start": "started", "stop": "stopped"}


class Follower(Listener):
    """Keeps one application in step. `tick` is called while something is to be done; all times are monotonic seconds.

    One that can be started runs by itself and is located when its phase error exceeds the threshold. One that
    cannot is moved along, at `chase_hz`. *by_hand* is told of a play or stop by hand where hands lead.
    """

    def __init__(
        self,
        member: Member,
        head: Playhead,
        options: Options,
        follow: Follow,
        by_hand: Callable[[bool], None],
    ) -> None:
        self.member = member
        self.follow = follow
        self.standing = Standing.CATCHING_UP
        self.reason = ""
        self.corrections = 0
        self._head = head
        self._options = options
        self._by_hand = by_hand
        self._latency = 0.0
        self._wished: bool | None = None
        self._wished_at = 0.0
        self._confirmed = False
        self._tries = 0
        self._locates = 0
        self._located = -1e9
        self._overruled = 0
        self._relocate = True
        self._reached = False
        self._chased: object = None
        self._tempo: float | None = None
        self._tempo_at = -1e9
        self._refusals = 0
        member.offset, member.folds = follow.offset, True

    @property
    def threshold(self) -> float:
        """Return the phase error that is left alone, in seconds."""
        return max(self._options.threshold_s, 1.5 * self.member.grain)

    def moved(self, *, sought: bool) -> None:
        """Take note that the timeline was started or stopped, or *sought*: also who was given up is asked again."""
        if self.standing in {Standing.BY_HAND, Standing.DEGRADED}:
            self._show(Standing.CATCHING_UP, "")
            self._wished = None
        self._tries = self._locates = self._refusals = self._overruled = 0
        self._reached = False
        if sought:
            self._relocate = True
            self.member.meter.clear()

    def joined(self) -> None:
        """Begin anew: it came back, or its document is another."""
        self._wished, self._tempo, self._confirmed = None, None, False
        self._show(Standing.CATCHING_UP, "")
        self.moved(sought=True)

    def tick(self, now: float) -> bool:
        """Do what is due at *now*; say whether more will be, also while the timeline stands still."""
        member = self.member
        if not member.alive:
            self._show(Standing.AWAY, f"{member.mount} is not joined: it follows when it comes")
            return False
        if self.standing is Standing.AWAY:
            self.joined()
        if self.standing in {Standing.BY_HAND, Standing.DEGRADED}:
            return False
        self._keep_tempo(now)
        if member.can_play:
            busy = self._keep_playing(now)
            if not busy:
                busy = self._keep_position(now) if member.can_locate else self._only_playing()
        elif member.shows_playing:
            busy = self._without_start(now)
        elif member.can_locate:
            busy = self._chase(now)
        else:
            busy = False
            if member.can_set_tempo:
                self._show(Standing.IN_STEP, "")
            else:
                self._show(Standing.CATCHING_UP, f"{member.mount} shows nothing that can be moved")
        return busy

    # Playing.

    def _keep_playing(self, now: float) -> bool:
        want = self._head.playing
        if self._wished is not want:
            self._wished, self._tries = want, 0
            # What it said last may be the answer to what was asked before.
            self._confirmed = self.member.playing is want and not self.member.undecided
            if not self._confirmed:
                self._ask_to_play(want, now)
        elif not self._confirmed and self.member.playing is want and not self.member.undecided:
            self._confirm(now)
        elif not self._confirmed and now - self._wished_at > CONFIRM_S:
            if self.member.playing is want:
                self._confirm(now)
            elif self._tries >= MAX_TRIES:
                self._give_up(f"{self.member.mount} does not {'start' if want else 'stop'}, asked {MAX_TRIES} times")
                return False
            else:
                self._ask_to_play(want, now)
        return not self._confirmed

    def _ask_to_play(self, want: bool, now: float) -> None:
        self._show(Standing.CATCHING_UP, "")
        self._tries += 1
        self._wished_at = now
        if want and self.member.can_locate:
            self._locate(now)
        self.member.play(want)

    def _confirm(self, now: float) -> None:
        self._confirmed, self._tries = True, 0
        self.member.meter.clear()
        self.member.quiet_until = now + SETTLE_S

    def _without_start(self, now: float) -> bool:
        """Keep one in step whose playing is shown, but cannot be set: somebody has to start and stop it there."""
        playing = self._head.playing
        if self.member.playing is not playing:
            do = "start" if playing else "stop"
            self._show(Standing.CATCHING_UP, f"{self.member.mount} cannot be {_DONE[do]} from here: {do} it there")
            return False
        return self._keep_position(now) if self.member.can_locate else self._only_playing()

    def _only_playing(self) -> bool:
        self._show(Standing.IN_STEP, "")
        return False

    # Position.

    def _keep_position(self, now: float) -> bool:
        """Locate it where it is out of step; say whether its place is still to be found while all stands still."""
        playing = self._head.playing
        if self._relocate:
            return self._correct(now, None)
        if playing:
            error = self.member.meter.recent(SAMPLES)
        else:
            position = self.member.position
            error = None if position is None else position - self._head.seconds(now)
        if error is None:
            if not any(name.startswith("position") for name in self.member.has):
                self._show(Standing.IN_STEP, "")
            return False
        if abs(error) <= self.threshold:
            self._reached = True
            if self._locates and now - self._located > HOLD_S:
                self._locates = 0
            if self.reason != "" or self.standing is not Standing.IN_STEP:
                self._show(Standing.IN_STEP, "")
            return False
        pause = CONFIRM_S if self.member.waiting else SETTLE_S
        if not playing and now - self._located < pause:
            return True  # its answer is on the way
        if not playing and self._reached and self._options.hands is not Hands.IGNORE:
            self._show(Standing.BY_HAND, f"{self.member.mount} was moved by hand, {error:+.2f} s")
            return False
        return self._correct(now, error)

    def _correct(self, now: float, error: float | None) -> bool:
        gap = 1.0 / (self._options.chase_hz if error is None else self._options.corrections_hz)
        if now - self._located < gap:
            return True
        if error is not None:
            if self._locates >= MAX_LOCATES:
                self._give_up(
                    f"{self.member.mount} does not hold: {error * 1e3:+.0f} ms off after {MAX_LOCATES} corrections"
                )
                return False
            if self._locates and self._head.playing and abs(error) < MAX_LATENCY_S:
                self._latency = max(-MAX_LATENCY_S, min(MAX_LATENCY_S, self._latency - error))
            self._locates += 1
            self.corrections += 1
        self._show(Standing.CATCHING_UP, "")
        self._locate(now)
        return True

    def _locate(self, now: float) -> None:
        self._relocate = False
        self._located = now
        self.member.meter.clear()
        self.member.quiet_until = now + SETTLE_S
        ahead = self._latency if self._head.playing else 0.0
        self.member.locate(self._head.seconds(now) + ahead)

    def _chase(self, now: float) -> bool:
        """Move along one that cannot play: to where the timeline is, as often as it may."""
        due = now - self._located >= 0.98 / self._options.chase_hz
        value = self.member.value_at(self._head.seconds(now))
        if value == self._chased:
            if not self.member.waiting:
                self._show(Standing.IN_STEP, "")
            return False
        if self._head.playing and self._chased is not None:  # it is always a step behind
            error = self.member.meter.recent(SAMPLES)
            if error is not None:
                near = abs(error) <= self.threshold + 2.0 / self._options.chase_hz
                self._show(Standing.IN_STEP if near else Standing.CATCHING_UP, "")
        if not due or (self.member.waiting and now - self._located < CONFIRM_S):
            return True
        self._chased, self._located, self._relocate = value, now, False
        self.member.locate(self._head.seconds(now))
        return True

    # Tempo.

    def _keep_tempo(self, now: float) -> None:
        want = self._head.tempo
        if not self.follow.tempo or self._tempo == want or not self.member.can_set_tempo:
            return
        if now - self._tempo_at < 1.0 / self._options.chase_hz:
            return
        self._tempo, self._tempo_at = want, now
        held = self.member.tempo
        if held is None or abs(held - want) > _TEMPO_NEAR or self.member.retuning:
            self.member.set_tempo(want)

    # Reports.

    def on_playing(self, playing: bool, time: float) -> None:
        """Take what it says: an answer, or somebody's hand."""
        if playing is self._head.playing:
            if self.standing is Standing.BY_HAND:
                self.moved(sought=True)
            elif self._wished is playing and not self._confirmed and not self.member.undecided:
                self._confirm(time)
            return
        if not self._confirmed or self._wished is not self._head.playing or self.standing is Standing.DEGRADED:
            return  # it has not answered yet
        if self._options.hands is Hands.LEAD:
            self._wished = playing  # it is so already, and need not be asked
            self._by_hand(playing)
            return
        did = "started" if playing else "stopped"
        if self._options.hands is Hands.REPORT:
            self._show(Standing.BY_HAND, f"{self.member.mount} was {did} by hand")
            return
        self._overruled += 1
        if self._overruled > MAX_TRIES:
            self._give_up(f"{self.member.mount} was {did} by hand again and again")
        else:
            self._wished = None

    def on_tempo(self, tempo: float, time: float) -> None:
        """Say so where it has another tempo than it was given."""
        if self._tempo is None or time - self._tempo_at < CONFIRM_S or self.standing is Standing.DEGRADED:
            return
        if abs(tempo - self._tempo) <= _TEMPO_NEAR:
            return
        if self._options.hands is Hands.IGNORE and self._overruled < MAX_TRIES:
            self._overruled += 1
            self._tempo = None
        else:
            self.reason = f"its tempo was set to {tempo:g} by hand"

    def on_position(self, error: float, seconds: float, time: float) -> None:
        """Measure it."""
        if self._head.playing and time >= self.member.quiet_until:
            self.member.meter.add(time, error, error)
        self._refusals = 0

    def on_refused(self, path: str, reason: str) -> None:
        """Give up where it refuses again and again."""
        self._refusals += 1
        if self._refusals >= MAX_TRIES:
            self._give_up(f"{path} is refused: {reason}")

    def _give_up(self, reason: str) -> None:
        self._show(Standing.DEGRADED, reason + "; it is asked again when the timeline plays, stops or seeks")

    def _show(self, standing: Standing, reason: str) -> None:
        self.standing, self.reason = standing, reason
