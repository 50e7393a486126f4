"""Circuit breakers: who failed again and again is left alone for a while, then tried once.

A circuit is closed (everything goes through), open (nothing does) or half-open: after a pause one trial may go through.
If that works the circuit closes, if not the next pause is twice as long.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum

from lightfast.core.clock import Clock

FAILURES = 5
"""So many failures in a row open the circuit of a model."""
SERVICE_FAILURES = 8
"""So many in a row, over all its models, open that of a provider."""
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 300.0
TRIAL_S = 60.0
"""A trial of which nothing was heard for so long no longer keeps others out."""
FAILING = "it failed again and again"
"""What is said of one that is left alone."""
MOST_CIRCUITS = 4096
"""Beyond so many, the one that was told of least lately is forgotten."""


class State(StrEnum):
    """How a circuit stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(slots=True)
class Circuit:
    """One circuit; times are those of the monotonic clock, in seconds. *threshold* failures in a row open it."""

    threshold: int
    failures: int = 0
    pause: float = 0.0
    until: float = 0.0
    """An open one may be tried from then on."""
    trial: float | None = None
    """When the trial under way began."""
    opened: int = 0
    """How often it opened."""

    def state(self, now: float) -> State:
        """Return how it stands."""
        if not self.pause:
            return State.CLOSED
        return State.HALF_OPEN if now >= self.until else State.OPEN

    def may(self, now: float) -> bool:
        """Say whether a request may go through now; takes nothing."""
        state = self.state(now)
        if state is State.HALF_OPEN:
            return self.trial is None or now - self.trial >= TRIAL_S
        return state is State.CLOSED

    def take(self, now: float) -> None:
        """Let one through; where it is half-open that is the trial."""
        if self.pause:
            self.trial = now

    def works(self) -> None:
        """Close it: something worked."""
        self.failures, self.pause, self.until, self.trial = 0, 0.0, 0.0, None

    def fails(self, now: float, retry_after: float = 0.0) -> bool:
        """Count a failure; say whether it opened, or opened anew.

        What fails while it is open was sent before it opened and changes nothing.
        """
        self.failures += 1
        state = self.state(now)
        if state is State.OPEN or (state is State.CLOSED and self.failures < self.threshold):
            return False
        longer = min(LONGEST_PAUSE_S, self.pause * 2) if self.pause else FIRST_PAUSE_S
        self.pause = longer
        self.until = now + max(longer, min(retry_after, LONGEST_PAUSE_S))
        self.trial = None
        self.opened += 1
        return True

    def undecided(self) -> None:
        """Give a trial back that says nothing: the next one is."""
        self.trial = None


class Circuits:
    """The circuits of the models, `provider/model`, and of the providers. A model is as open as either of its two."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: OrderedDict[str, Circuit] = OrderedDict()

    def allowed(self, model: str) -> bool:
        """Say whether a request to *model* may go through now, and let it: a half-open one is then on trial."""
        now = self._clock.monotonic()
        held = self._of(model)
        if not all(circuit.may(now) for circuit in held):
            return False
        for circuit in held:
            circuit.take(now)
        return True

    def may(self, model: str) -> bool:
        """Say whether `allowed` would; takes nothing."""
        now = self._clock.monotonic()
        return all(circuit.may(now) for circuit in self._of(model))

    def state(self, model: str) -> State:
        """Return how `provider/model`, or a provider, stands: the worst of the circuits in its way."""
        if not self._held:
            return State.CLOSED
        now = self._clock.monotonic()
        states = {circuit.state(now) for circuit in self._of(model)}
        return next((state for state in (State.OPEN, State.HALF_OPEN) if state in states), State.CLOSED)

    def wait(self, model: str) -> float:
        """Return in how many seconds *model* may be tried; 0: now."""
        now = self._clock.monotonic()
        waits = [0.0]
        for circuit in self._of(model):
            waits.append(max(0.0, circuit.until - now) if circuit.pause else 0.0)
            if circuit.pause and circuit.trial is not None:
                waits.append(max(0.0, circuit.trial + TRIAL_S - now))
        return max(waits)

    def works(self, model: str) -> None:
        """Close both circuits of *model*."""
        for circuit in self._of(model):
            circuit.works()

    def fails(self, model: str, *, service: bool, retry_after: float = 0.0) -> str:
        """Count a failure of *model*, and of its whole *service*; return which name's circuit opened, or nothing."""
        now = self._clock.monotonic()
        provider = model.partition("/")[0]
        opened = ""
        if self._circuit(model, FAILURES).fails(now, retry_after):
            opened = model
        if service:
            if self._circuit(provider, SERVICE_FAILURES).fails(now, retry_after):
                opened = provider
        elif provider in self._held:
            self._held[provider].undecided()
        return opened

    def undecided(self, model: str) -> None:
        """Give a trial back of which nothing was learned."""
        for circuit in self._of(model):
            circuit.undecided()

    def recovered(self, provider: str) -> None:
        """Take in that a probe found *provider* working: its models may be tried at once, one by one."""
        now = self._clock.monotonic()
        for name, circuit in self._held.items():
            if name == provider:
                circuit.works()
            elif name.startswith(provider + "/") and circuit.pause:
                circuit.until = min(circuit.until, now)

    def down(self) -> dict[str, State]:
        """Return the names whose circuit is not closed."""
        now = self._clock.monotonic()
        states = {name: circuit.state(now) for name, circuit in self._held.items()}
        return {name: state for name, state in states.items() if state is not State.CLOSED}

    def opened(self) -> dict[str, int]:
        """Return how often each circuit opened."""
        return {name: circuit.opened for name, circuit in self._held.items() if circuit.opened}

    def forget(self, provider: str) -> None:
        """Let go of a provider that leaves, and of its models."""
        for name in [name for name in self._held if name == provider or name.startswith(provider + "/")]:
            del self._held[name]

    def _of(self, model: str) -> list[Circuit]:
        if not self._held:
            return []
        held = [self._held.get(model)]
        provider, slash, _ = model.partition("/")
        if slash:
            held.append(self._held.get(provider))
        return [circuit for circuit in held if circuit is not None]

    def _circuit(self, name: str, threshold: int) -> Circuit:
        circuit = self._held.get(name)
        if circuit is None:
            circuit = self._held[name] = Circuit(threshold)
            if len(self._held) > MOST_CIRCUITS:
                self._held.popitem(last=False)
        self._held.move_to_end(name)
        return circuit
