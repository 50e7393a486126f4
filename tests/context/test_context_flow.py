"""Lanes: who goes first, who takes turns with whom, who is shed, and that background work neither rules nor starves."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightfast.context.flow.flow import QUIET, Flow
from lightfast.context.flow.gate import Gate
from lightfast.context.flow.pulse import Pulse
from lightfast.context.flow.records import Lane, Latency, Limits, lane_named, quantile, upper
from lightfast.core.errors import Exhausted, InvalidArgument

TIGHT = Limits(running=2, share=2, waiting=8, client=4, patience=30.0)


def tight(**how: float) -> Flow:
    return Flow(limits=dict.fromkeys(Lane, TIGHT), **how)


class Late(Pulse):
    """A pulse that says what it is told."""

    late = False

    @property
    def pressed(self) -> bool:
        return self.late


def pressed(flow: Flow, *, yes: bool = True) -> None:
    if not isinstance(flow.pulse, Late):
        flow.pulse = Late(flow.pulse.target)
    flow.pulse.late = yes


async def ticks(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# ---- one lane


async def test_a_lane_with_room_lets_in_at_once() -> None:
    gate = Gate(Lane.INTERACTIVE, TIGHT)
    assert gate.enter("a")
    assert gate.enter("b")
    assert not gate.enter("c")
    gate.leave("a", 0.001)
    assert gate.enter("c")
    assert (gate.admitted, gate.running, gate.latency.count) == (3, 2, 1)


async def test_one_client_leaves_room_for_others() -> None:
    gate = Gate(Lane.INTERACTIVE, Limits(4, 3, 8, 8, 1.0))
    assert [gate.enter("greedy") for _ in range(4)] == [True, True, True, False]
    assert gate.enter("modest")


async def test_clients_take_turns_however_many_calls_they_send() -> None:
    flow = tight()
    first = [await flow.enter(Lane.INTERACTIVE, "x") for _ in range(2)]
    order: list[str] = []

    async def one(client: str, cost: float = 1.0) -> None:
        turn = await flow.enter(Lane.INTERACTIVE, client, cost)
        order.append(client)
        await asyncio.sleep(0)
        turn.leave()

    tasks = [asyncio.ensure_future(one("many")) for _ in range(4)]
    await ticks()
    tasks += [asyncio.ensure_future(one("few")) for _ in range(2)]
    await ticks()
    assert (flow.gates[0].waiting, order) == (6, [])
    for turn in first:
        turn.leave()
    await asyncio.gather(*tasks)
    assert Counter(order[:4]) == {"many": 2, "few": 2}
    assert flow.gates[0].running == flow.gates[0].waiting == 0


async def test_large_calls_cost_more() -> None:
    """For each call that costs 4, a client with small ones gets four."""
    gate = Gate(Lane.STATE, Limits(1, 1, 100, 50, 1.0))
    assert gate.enter("x")
    turns = [("large", gate.wait("large", 4.0)) for _ in range(10)]
    turns += [("small", gate.wait("small", 1.0)) for _ in range(40)]
    gate.leave("x", 0.0)
    served: Counter[str] = Counter()
    for _ in range(20):
        assert gate.next()
        ((client, turn),) = [(client, turn) for client, turn in turns if turn.done()]
        turns.remove((client, turn))
        served[client] += 1
        gate.leave(client, 0.0)
    assert served == {"large": 4, "small": 16}


async def test_a_full_queue_sheds_with_the_lane_and_the_time() -> None:
    flow = tight()
    turns = [await flow.enter(Lane.STATE, "a") for _ in range(2)]
    waiting = [asyncio.ensure_future(flow.enter(Lane.STATE, "a")) for _ in range(4)]
    await ticks()
    with pytest.raises(Exhausted) as caught:
        await flow.enter(Lane.STATE, "a")
    error = caught.value
    assert (error.reason, error.metadata["lane"]) == ("SHED", "state")
    assert error.retry_after is not None
    assert 0.1 <= error.retry_after <= 30.0
    assert error.metadata["retry_after_s"] == f"{error.retry_after:g}"
    others = [asyncio.ensure_future(flow.enter(Lane.STATE, "b")) for _ in range(4)]
    await ticks()
    # The lane is full as well by now: who has least takes the place of the newest of who has most.
    third = asyncio.ensure_future(flow.enter(Lane.STATE, "c"))
    await ticks()
    shed = [task for task in waiting + others if task.done()]
    assert len(shed) == 1
    assert isinstance(shed[0].exception(), Exhausted)
    assert not third.done()
    for task in [*waiting, *others, third]:
        task.cancel()
    await asyncio.gather(*waiting, *others, third, return_exceptions=True)
    for turn in turns:
        turn.leave()
    gate = flow.gates[Lane.STATE]
    assert (gate.waiting, gate.running, gate.refused) == (0, 0, 2)


async def test_who_loses_patience_is_shed() -> None:
    flow = Flow(limits={Lane.SIGNAL: Limits(1, 1, 4, 4, 0.01)})
    turn = await flow.enter(Lane.SIGNAL, "a")
    with pytest.raises(Exhausted) as caught:
        await flow.enter(Lane.SIGNAL, "b")
    assert "has waited for 0.01 s" in caught.value.message
    turn.leave()
    (await flow.enter(Lane.SIGNAL, "b")).leave()


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["enter", "leave", "cancel"]), st.sampled_from([1.0, 3.0])),
        max_size=60,
    )
)
def test_nothing_is_counted_twice_or_forgotten(steps: list[tuple[str, str, float]]) -> None:
    """Whatever comes, leaves or is cancelled: the bounds hold, and in the end everything is empty."""

    async def run() -> None:
        flow = tight()
        gate = flow.gates[Lane.INTERACTIVE]
        tasks: list[asyncio.Task[object]] = []
        for client, what, cost in steps:
            if what == "enter":
                tasks.append(asyncio.ensure_future(flow.enter(Lane.INTERACTIVE, client, cost)))
                await asyncio.sleep(0)
            elif what == "leave":
                for task in tasks:
                    if task.done() and not task.cancelled() and task.exception() is None and task.result().holding:  # type: ignore[attr-defined]
                        task.result().leave()  # type: ignore[attr-defined]
                        break
            elif tasks:
                tasks[len(tasks) // 2].cancel()
            assert gate.running <= TIGHT.running
            assert gate.waiting <= TIGHT.waiting
        for _ in range(200):
            await ticks(2)
            for task in tasks:
                if task.done() and not task.cancelled() and task.exception() is None:
                    task.result().leave()  # type: ignore[attr-defined]
            if all(task.done() for task in tasks):
                break
        assert all(task.done() for task in tasks)
        assert (gate.running, gate.waiting, gate._held, gate._queues, list(gate._active)) == (0, 0, {}, {}, [])

    asyncio.run(run())


# ---- background work


async def test_background_work_runs_while_all_is_calm() -> None:
    flow = Flow()
    done = 0
    for _ in range(20):
        async with flow.background():
            done += 1
    assert (done, flow.gates[Lane.BACKGROUND].running) == (20, 0)


async def test_background_work_side_by_side_only_while_nobody_interacts(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = Flow()
    most = 0

    async def work() -> None:
        nonlocal most
        async with flow.background():
            most = max(most, flow.gates[Lane.BACKGROUND].running)
            await ticks()

    await asyncio.gather(*[work() for _ in range(10)])
    assert most == 4
    most = 0
    for name in ("QUIET", "LONGEST_REST"):  # however slow the machine is: it is still the same while
        monkeypatch.setattr(f"lightfast.context.flow.flow.{name}", 1e6)
    (await flow.enter(Lane.INTERACTIVE, "a")).leave()
    await asyncio.gather(*[work() for _ in range(10)])
    assert most == 1


async def test_background_work_is_held_back_but_never_starved() -> None:
    """Under pressure that does not end every worker gets on, and they share alike."""
    flow = Flow(floor=0.5)
    pressed(flow)
    done: Counter[str] = Counter()
    enough = asyncio.Event()

    async def worker(name: str) -> None:
        while not enough.is_set():
            async with flow.background(name=name):
                done[name] += 1
                if sum(done.values()) >= 12:
                    enough.set()

    async with asyncio.timeout(60):
        await asyncio.gather(*[worker(name) for name in ("verify", "demote", "cluster")])
    assert max(done.values()) - min(done.values()) <= 2


async def test_under_pressure_calls_of_the_background_wait_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightfast.context.flow.flow.LONGEST_REST", 1e6)
    flow = tight(floor=0.001)
    pressed(flow)
    async with flow.background():  # the floor is used up by this
        await asyncio.sleep(0.01)
    waiting = asyncio.ensure_future(flow.enter(Lane.BACKGROUND, "a"))
    await ticks(20)
    assert not waiting.done()
    for lane in (Lane.INTERACTIVE, Lane.STATE, Lane.SIGNAL):
        (await flow.enter(lane, "a")).leave()
    pressed(flow, yes=False)
    async with asyncio.timeout(60):
        (await waiting).leave()


async def test_background_work_in_the_midst_of_interactive_calls_rests_and_alone_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A loop that is never late does not show that both share the processor."""
    now = 100.0
    monkeypatch.setattr("lightfast.context.flow.flow.monotonic", lambda: now)
    flow = tight(floor=0.25)
    pressed(flow, yes=False)
    gate = flow.gates[Lane.BACKGROUND]

    async def step(seconds: float, *, met: bool) -> float:
        nonlocal now
        async with flow.background():
            if met:
                (await flow.enter(Lane.INTERACTIVE, "a")).leave()
            now += seconds
        return flow._delay(gate, now)

    (await flow.enter(Lane.INTERACTIVE, "a")).leave()
    assert await step(0.01, met=False) == 0, "somebody interacts, but nobody came meanwhile"
    assert await step(0.01, met=True) > 0
    now += 0.031
    assert flow._delay(gate, now) == 0, "its rest is over"
    assert await step(0.3, met=True) > 0
    now += QUIET + 0.001
    assert flow._delay(gate, now) == 0, "nobody has interacted for a while: it need not rest to the end"


async def test_a_turn_within_a_turn_takes_its_place() -> None:
    """A call of the background lane whose work asks for turns of its own does not wait for itself."""
    flow = Flow()
    (await flow.enter(Lane.INTERACTIVE, "a")).leave()  # so that there is one turn at a time
    async with asyncio.timeout(60):
        turn = await flow.enter(Lane.BACKGROUND, "a")
        for _ in range(3):
            async with flow.background(name="inner"):
                assert flow.gates[Lane.BACKGROUND].running == 1
        turn.leave()
        async with flow.background():
            async with flow.background():
                assert flow.gates[Lane.BACKGROUND].running == 1
            assert flow.gates[Lane.BACKGROUND].running == 1
    assert flow.gates[Lane.BACKGROUND].running == 0


async def test_a_turn_that_hangs_does_not_keep_all_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightfast.context.flow.flow.LONGEST_REST", 0.02)
    flow = Flow()
    (await flow.enter(Lane.INTERACTIVE, "a")).leave()
    hangs = await flow.enter(Lane.BACKGROUND, "hangs")
    async with asyncio.timeout(60):
        async with asyncio.TaskGroup() as group:
            group.create_task(_step(flow))
    hangs.leave()


async def _step(flow: Flow) -> None:
    async with flow.background():
        return


async def test_the_pulse_feels_a_loop_that_is_late_and_rests_when_nobody_asks() -> None:
    pulse = Pulse(0.001)
    pulse.join()
    for _ in range(50):
        begin = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() - begin < 0.005:
            pass
        await asyncio.sleep(0)
    assert pulse.pressed
    pulse.leave()
    while pulse._timer is not None:
        await asyncio.sleep(0.005)
    assert pulse.lag == 0.0


# ---- words and numbers


def test_lanes_have_names() -> None:
    assert [lane_named(lane.word) for lane in Lane] == list(Lane)
    with pytest.raises(InvalidArgument, match="interactive, state, signal, background"):
        lane_named("express")


@given(st.lists(st.floats(1e-6, 1000.0), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_quantiles_are_upper_bounds_within_a_fifth(samples: list[float], share: float) -> None:
    latency = Latency()
    for sample in samples:
        latency.note(sample)
    exact = sorted(samples)[max(0, -int(-share * len(samples) // 1) - 1)]
    found = latency.quantile(share)
    assert found <= upper(127)
    assert exact <= found * 1.0001 or found == upper(127)
    assert found <= (exact * 1e6 + 1) * 2**0.25 / 1e6 * 1.0001
    assert quantile(latency.counts, share) == found
