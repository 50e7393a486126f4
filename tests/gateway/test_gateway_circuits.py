"""Circuit breakers on a clock that stands still."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.routing import made

from lightfast.core.clock import StillClock
from lightfast.core.errors import Cancelled, DeadlineExceeded, Exhausted, Unavailable
from lightfast.gateway.routing.circuits import (
    FAILURES,
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    SERVICE_FAILURES,
    TRIAL_S,
    Circuits,
    State,
)
from lightfast.gateway.routing.verdicts import Verdict, verdict
from lightfast.sdk import PluginError, ProviderError

A, B = "one/a", "one/b"


def opened(clock: StillClock, model: str = A) -> Circuits:
    circuits = Circuits(clock)
    for _ in range(FAILURES):
        circuits.fails(model, service=False)
    return circuits


def test_it_opens_after_failures_in_a_row_and_one_trial_goes_through() -> None:
    clock = StillClock()
    circuits = Circuits(clock)
    for _ in range(FAILURES - 1):
        assert circuits.fails(A, service=False) == ""
        assert circuits.allowed(A)
    circuits.works(A)
    for _ in range(FAILURES - 1):
        circuits.fails(A, service=False)
    assert circuits.state(A) is State.CLOSED
    assert circuits.fails(A, service=False) == A
    assert circuits.state(A) is State.OPEN
    assert not circuits.allowed(A)
    assert circuits.allowed(B)
    clock.advance(FIRST_PAUSE_S - 0.001)
    assert not circuits.allowed(A)
    clock.advance(0.001)
    assert circuits.state(A) is State.HALF_OPEN
    assert [circuits.allowed(A) for _ in range(100)] == [True] + [False] * 99
    circuits.works(A)
    assert circuits.state(A) is State.CLOSED
    assert circuits.allowed(A)


def test_the_pause_doubles_with_every_trial_that_fails_up_to_a_bound() -> None:
    clock = StillClock()
    circuits = opened(clock)
    pause = FIRST_PAUSE_S
    for _ in range(12):
        assert circuits.wait(A) == pytest.approx(pause)
        clock.advance(pause)
        assert circuits.allowed(A)
        assert circuits.fails(A, service=False) == A
        pause = min(LONGEST_PAUSE_S, pause * 2)
    assert pause == LONGEST_PAUSE_S


def test_what_the_service_asks_for_is_kept_but_not_for_ever() -> None:
    clock = StillClock()
    circuits = Circuits(clock)
    for _ in range(FAILURES):
        circuits.fails(A, service=False, retry_after=42.0)
    assert circuits.wait(A) == pytest.approx(42.0)
    other = Circuits(clock)
    for _ in range(FAILURES):
        other.fails(A, service=False, retry_after=1e9)
    assert other.wait(A) == LONGEST_PAUSE_S


def test_a_trial_nobody_heard_of_keeps_others_out_for_a_while_only() -> None:
    clock = StillClock()
    circuits = opened(clock)
    clock.advance(FIRST_PAUSE_S)
    assert circuits.allowed(A)
    clock.advance(TRIAL_S - 0.1)
    assert not circuits.allowed(A)
    clock.advance(0.2)
    assert circuits.allowed(A)
    circuits.undecided(A)  # it was cancelled: the next one is the trial
    assert circuits.allowed(A)
    assert not circuits.allowed(A)


def test_a_service_that_is_down_is_down_for_all_its_models() -> None:
    clock = StillClock()
    circuits = Circuits(clock)
    for number in range(SERVICE_FAILURES):
        circuits.fails(f"one/{number}", service=True)
    assert not circuits.allowed("one/never-used")
    assert circuits.allowed("two/other")
    clock.advance(FIRST_PAUSE_S)
    assert circuits.allowed("one/never-used")
    assert not circuits.allowed("one/0")  # one trial for the whole service
    circuits.works("one/never-used")
    assert circuits.allowed("one/0")


def test_one_model_that_works_keeps_its_service_closed() -> None:
    circuits = Circuits(StillClock())
    for _ in range(SERVICE_FAILURES * 3):
        circuits.fails(A, service=True)
        circuits.works(B)
    assert not circuits.allowed(A)
    assert circuits.allowed(B)


def test_a_probe_that_succeeds_lets_models_be_tried_at_once() -> None:
    clock = StillClock()
    circuits = Circuits(clock)
    for _ in range(SERVICE_FAILURES):
        circuits.fails(A, service=True)
    assert not circuits.may(A)
    circuits.recovered("one")
    assert circuits.state("one") is State.CLOSED
    assert circuits.allowed(A)
    assert not circuits.allowed(A)
    assert circuits.allowed(B)


class Breaker(RuleBasedStateMachine):
    """Against a plain account of what a breaker promises."""

    @initialize()
    def begin(self) -> None:
        self.clock = StillClock()
        self.circuits = Circuits(self.clock)
        self.row = 0
        self.trials = 0
        self.open_until = 0.0

    @property
    def is_open(self) -> bool:
        return self.circuits.state(A) is not State.CLOSED

    @rule()
    def works(self) -> None:
        self.circuits.works(A)
        self.row = self.trials = 0
        assert self.circuits.state(A) is State.CLOSED

    @rule(retry_after=st.floats(0, 1000))
    def fails(self, retry_after: float) -> None:
        before = self.circuits.state(A)
        told = self.circuits.fails(A, service=False, retry_after=retry_after)
        self.row += 1
        if before is State.CLOSED:
            assert bool(told) == (self.row >= FAILURES)
        else:
            assert bool(told) == (before is State.HALF_OPEN)
        if told:
            self.trials = 0
            wait = self.circuits.wait(A)
            assert FIRST_PAUSE_S - 1e-6 <= wait <= LONGEST_PAUSE_S + 1e-6
            self.open_until = self.clock.monotonic() + wait

    @rule(seconds=st.floats(0, 400))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def asks(self) -> None:
        state = self.circuits.state(A)
        might = self.circuits.may(A)
        got = self.circuits.allowed(A)
        assert got == might
        if state is State.CLOSED:
            assert got
        elif state is State.OPEN:
            assert not got
            assert self.clock.monotonic() < self.open_until
        elif got:
            assert not self.circuits.may(A), "a second trial beside the first"

    @precondition(lambda self: self.is_open)
    @rule()
    def gives_up(self) -> None:
        self.circuits.undecided(A)

    @invariant()
    def others_are_not_touched(self) -> None:
        assert self.circuits.may(B)
        assert self.circuits.may("two/a")

    @invariant()
    def it_is_never_open_for_ever(self) -> None:
        assert self.circuits.wait(A) <= max(LONGEST_PAUSE_S, TRIAL_S) + 1e-6


TestBreaker = Breaker.TestCase
TestBreaker.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

KINDS: dict[str, tuple[BaseException, Verdict]] = {
    "unavailable": (ProviderError("x", kind="unavailable"), Verdict.SERVICE),
    "timeout": (ProviderError("x", kind="timeout"), Verdict.SERVICE),
    "overloaded": (ProviderError("x", kind="overloaded"), Verdict.SERVICE),
    "malformed": (ProviderError("x", kind="malformed"), Verdict.MODEL),
    "too large": (ProviderError("x", kind="too_large"), Verdict.MODEL),
    "not found": (ProviderError("x", kind="not_found"), Verdict.MODEL),
    "failed": (ProviderError("x"), Verdict.NOTHING),
    "failed, may work again": (ProviderError("x", retryable=True), Verdict.MODEL),
    "invalid": (ProviderError("x", kind="invalid"), Verdict.NOTHING),
    "filtered": (ProviderError("x", kind="filtered"), Verdict.NOTHING),
    "context": (ProviderError("x", kind="context"), Verdict.NOTHING),
    "limit": (ProviderError("x", kind="limit"), Verdict.NOTHING),
    "auth": (ProviderError("x", kind="auth"), Verdict.NOTHING),
    "denied": (ProviderError("x", kind="denied"), Verdict.NOTHING),
    "a bug": (RuntimeError("x"), Verdict.MODEL),
    "on purpose": (PluginError("x"), Verdict.NOTHING),
    "crashed": (Unavailable("x", reason="PLUGIN_CRASHED"), Verdict.SERVICE),
    "translated": (Unavailable("x", reason="PROVIDER_UNAVAILABLE"), Verdict.SERVICE),
    "our own bound": (Exhausted("x", reason="LIMIT_REACHED"), Verdict.NOTHING),
    "cancelled": (Cancelled("x"), Verdict.NOTHING),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_speaks_against_a_service(name: str) -> None:
    error, expected = KINDS[name]
    assert verdict(made(A, error=error)) is expected


def test_the_cause_says_what_a_translated_error_was() -> None:
    error = Unavailable("one/a failed", reason="ODD")
    error.__cause__ = ProviderError("x", kind="timeout")
    assert verdict(made(A, error=error)) is Verdict.SERVICE


def test_a_deadline_of_the_caller_says_nothing_a_silent_service_fails() -> None:
    late = DeadlineExceeded("late")
    assert verdict(made(A, error=late, first=0.0, took=0.05)) is Verdict.NOTHING
    assert verdict(made(A, error=late, first=2.0, took=60.0)) is Verdict.NOTHING
    assert verdict(made(A, error=late, first=0.0, took=60.0)) is Verdict.SERVICE
    assert verdict(made(A, outcome="cancelled")) is Verdict.NOTHING
    assert verdict(made(A)) is Verdict.WORKS


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["works", "fails", "service", "wait"]), max_size=60))
def test_the_same_news_lead_to_the_same_state(news: list[str]) -> None:
    def play() -> list[object]:
        clock = StillClock()
        circuits = Circuits(clock)
        seen: list[object] = []
        for each in news:
            if each == "works":
                circuits.works(A)
            elif each == "wait":
                clock.advance(3.0)
            else:
                circuits.fails(A, service=each == "service")
            seen.append((circuits.state(A), circuits.wait(A), circuits.allowed(A)))
        return seen

    assert play() == play()
