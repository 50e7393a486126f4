"""The pieces that bridges share: their settings, their pace, and what runs for a session."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from typing import Any

import pytest
from structlog.testing import capture_logs

from lightfast.sdk import BridgeError, Call, Hello
from lightfast.sdk.bridge import AppSession
from lightfast.sdk.pacing import Pacer
from lightfast.sdk.running import Running, apart
from lightfast.sdk.settings import Table, listen_for, pause
from lightfast.sdk.testing import FakeAppSession

KNOWN = ("remote", "name", "poll", "count", "on", "gain")


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        ({"remot": "x"}, r"app\.remot is no setting of this plugin: did you mean 'remote'\?"),
        ({"zzz": 1}, r"app\.zzz is no setting of this plugin: there is remote, name"),
        ({"remote": "localhost"}, r"app\.remote is 'localhost': write HOST:PORT, like 127\.0\.0\.1:9"),
        ({"remote": "h:0"}, "HOST:PORT"),
        ({"remote": "h:65536"}, "HOST:PORT"),
        ({"remote": "h:١"}, "HOST:PORT"),
        ({"name": 3}, r"app\.name is no text"),
        ({"poll": True}, "write seconds, above 0 and at most 3600"),
        ({"poll": 0}, "write seconds"),
        ({"poll": float("nan")}, "write seconds"),
        ({"count": 1.5}, "write a number from 0 to 10"),
        ({"count": 11}, "write a number from 0 to 10"),
        ({"on": "false"}, "write true or false"),
        ({"gain": "1"}, "write a number from 0 to 1"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_right(config: dict[str, Any], wrong: str) -> None:
    with pytest.raises(BridgeError, match=wrong):
        read(config)


def read(config: dict[str, Any]) -> tuple[Any, ...]:
    table = Table("app", config, KNOWN)
    return (
        table.address("remote", ("127.0.0.1", 9)),
        table.text("name"),
        table.seconds("poll", 1.0),
        table.count("count", 0, 0, 10),
        table.flag("on"),
        table.number("gain", 0.5, 0, 1),
    )


def test_what_is_left_out_has_its_default_and_the_daemons_keys_are_let_be() -> None:
    assert read({"enabled": True, "instances": [], "isolated": False}) == (("127.0.0.1", 9), "", 1.0, 0, False, 0.5)
    assert read({"remote": "::1:80", "poll": 2}) == (("::1", 80), "", 2.0, 0, False, 0.5)


def test_only_another_machine_is_listened_for_on_all_interfaces() -> None:
    assert [listen_for(host) for host in ("localhost", "127.0.0.9", "::1", "192.0.2.1", "desk.local")] == [
        "127.0.0.1", "127.0.0.1", "::1", "0.0.0.0", "0.0.0.0",
    ]  # fmt: skip
    assert [pause(attempt, (0.5, 1.0)) for attempt in (0, 1, 2, 1000)] == [0.5, 1.0, 1.0, 1.0]


async def test_the_pacer_keeps_order_and_tells_of_an_overflow_once() -> None:
    sent: list[Any] = []
    pacer = Pacer(lambda *message: sent.append(message[0]), "app", burst=2, every=0.001, bound=3)
    with capture_logs() as logs:
        for number in range(10):
            pacer.send(number)
        assert sent == [0, 1]
        for _ in range(500):
            await asyncio.sleep(0.002)
            if len(sent) == 5:
                break
    assert (sent, pacer.dropped, len(logs)) == ([0, 1, 7, 8, 9], 5, 1)
    pacer.send("after")
    pacer.stop()


def session() -> FakeAppSession:
    return FakeAppSession(Hello("app", "1"), None, "/app")  # type: ignore[arg-type]  # nothing goes back


async def never(_: AppSession, __: Call) -> None:
    await asyncio.Event().wait()


async def test_a_command_is_run_and_can_be_given_up() -> None:
    running, app = Running(), session()

    async def answer(heard: AppSession, call: Call) -> None:
        heard.result(call.call_id, 1)

    async with asyncio.TaskGroup() as group:
        running.group = group
        running.invoke(app, Call(1, "go"), answer, "gone")
        running.invoke(app, Call(2, "go"), never, "gone")
        running.cancel(2)
        running.cancel(3)
    assert (app.results, app.failures) == ({1: 1}, {})
    assert running._calls == {}


async def test_a_command_that_comes_while_the_session_ends_is_refused_and_raises_nothing() -> None:
    """In the moment between the first failure of a group and its end it takes no task any more."""
    running, app = Running(), session()

    async def meanwhile() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            running.invoke(app, Call(1, "go"), never, "the app is gone")
            assert running.begin(never(app, Call(2, "go"))) is None

    async def fail() -> None:
        raise ValueError("it broke")

    async def live() -> None:
        async with asyncio.TaskGroup() as group:
            running.group = group
            group.create_task(meanwhile())
            await asyncio.sleep(0)
            group.create_task(fail())

    with pytest.raises(ExceptionGroup):
        await live()
    running.group = None
    running.invoke(app, Call(3, "go"), never, "the app is gone")
    running.invoke(None, Call(4, "go"), never, "the app is gone")
    assert app.failures == {1: "the app is gone", 3: "the app is gone"}


async def test_a_cancellation_that_comes_while_a_task_of_a_group_fails_is_gone_on_with() -> None:
    """`asyncio.TaskGroup` raises the failure and drops the cancellation, up to Python 3.12."""

    async def fail() -> None:
        raise OSError

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())
            tasks.create_task(asyncio.sleep(60))

    async def work() -> None:
        try:
            await apart(group())
        except* OSError:
            pass
        await asyncio.sleep(60)

    for turns in range(8):
        task = asyncio.ensure_future(work())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task}, timeout=60.0)
        assert task.cancelled(), turns


async def test_what_runs_apart_ends_with_who_waits_for_it() -> None:
    seen: list[str] = []

    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
        return "an answer"

    task = asyncio.ensure_future(apart(stubborn()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=60.0)
    assert task.cancelled()
    assert seen == ["cancelled"]


async def test_a_second_cancellation_reaches_what_runs_apart_and_lost_the_first() -> None:
    async def deaf() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    work = deaf()
    task = asyncio.ensure_future(apart(work))
    for _ in range(2):
        for _ in range(5):
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
    await asyncio.wait({task}, timeout=60.0)
    assert task.cancelled()
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED


async def test_what_runs_apart_answers_and_raises_as_it_does_itself() -> None:
    async def answer() -> int:
        return 7

    async def fail() -> None:
        raise OSError("the reason")

    assert await apart(answer()) == 7
    with pytest.raises(OSError, match="the reason"):
        await apart(fail())
