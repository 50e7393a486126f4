"""A command with a key is done once, however often it is asked for, over lost connections and other daemons."""

from __future__ import annotations

from typing import Any

from tests.support.link import App, RecordingRegistry, eventually, link_server, tcp_door

from lightfast import sdk
from lightfast_link import keys
from lightfast_link.keys import KEYED, Keys


def call(number: int, key: str = "run-1/s1") -> sdk.Call:
    return sdk.Call(number, "make", {"what": "cube"}, 30.0, key)


async def test_a_key_that_was_done_is_answered_and_not_done_again() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port) as app:
            await app.until("welcome")
            (session,) = registry.sessions
            assert KEYED in session.hello.capabilities
            session.channel.invoke(call(1))
            asked = (await app.until("command"))[1]
            assert (asked.command, asked.key) == ("make", "run-1/s1")
            app.client.result(asked.id, {"name": "Cube"})
            await eventually(lambda: session.results == [(1, {"name": "Cube"})])

            session.channel.invoke(call(2))
            await eventually(lambda: session.results == [(1, {"name": "Cube"}), (2, {"name": "Cube"})])
            session.channel.invoke(call(3, "run-1/s2"))
            await app.until("command", 2)
            assert [event[1].key for event in app.events if event[0] == "command"] == ["run-1/s1", "run-1/s2"]
            assert app.client.status()["counters"]["repeated_calls"] == 1


async def test_a_failure_is_not_kept_and_without_a_key_nothing_is() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port) as app:
            await app.until("welcome")
            (session,) = registry.sessions
            for number, key in ((1, "k"), (2, "k"), (3, ""), (4, "")):
                session.channel.invoke(call(number, key))
                asked = (await app.until("command", number))[1]
                if number == 1:
                    app.client.error(asked.id, "no room")
                else:
                    app.client.result(asked.id, number)
                await eventually(lambda number=number: len(session.results) + len(session.failed) == number)  # type: ignore[misc]
            assert session.failed == [(1, "no room")]
            assert session.results == [(2, 2), (3, 3), (4, 4)]


async def test_one_under_way_answers_the_next_session() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port) as app:
            await app.until("welcome")
            registry.sessions[0].channel.invoke(call(1))
            asked = (await app.until("command"))[1]
            registry.sessions[0].channel.close("the daemon is stopping")
            await app.until("welcome", 2)
            registry.sessions[1].channel.invoke(call(7))
            await eventually(lambda: app.client.status()["counters"].get("repeated_calls") == 1)
            app.client.result(asked.id, "done")
            await eventually(lambda: registry.sessions[1].results == [(7, "done")])
            assert len([event for event in app.events if event[0] == "command"]) == 1


async def test_one_that_was_done_while_nobody_was_there_is_told_to_who_asks_again() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port) as app:
            await app.until("welcome")
            registry.sessions[0].channel.invoke(call(1))
            asked = (await app.until("command"))[1]
            registry.sessions[0].channel.close("the daemon is stopping")
            await app.until("lost")
            app.client.result(asked.id, "done")
            await app.until("welcome", 2)
            registry.sessions[1].channel.invoke(call(1))
            await eventually(lambda: registry.sessions[1].results == [(1, "done")])


async def test_one_that_the_application_never_saw_is_done_when_it_is_asked_for_again() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port) as app:
            await app.until("welcome")
            inbox = app.client.inbox
            held: list[Any] = []
            take, inbox.take = inbox.take, lambda limit: held  # type: ignore[method-assign]
            registry.sessions[0].channel.invoke(call(1))
            await eventually(inbox.ready.is_set)
            registry.sessions[0].channel.close("the daemon is stopping")
            await eventually(lambda: app.client.status()["sessions"] == 2)
            inbox.take = take  # type: ignore[method-assign]
            registry.sessions[1].channel.invoke(call(1))
            asked = (await app.until("command"))[1]
            app.client.result(asked.id, "done")
            await eventually(lambda: registry.sessions[1].results == [(1, "done")])


def test_the_oldest_results_are_let_go() -> None:
    kept = Keys()
    for number in range(keys.MAX_RESULTS + 5):
        kept.begin(number, f"k{number}")
        kept.end(number, {"value": number})
    assert kept.found("k4") is None
    assert kept.found("k5") == {"value": 5}
    large = "x" * (keys.MAX_SIZE // 2)
    for number in range(3):
        kept.begin(number, f"large{number}")
        kept.end(number, {"value": large})
    assert kept.found("k100") is None
    assert kept.found("large1") is None
    assert kept.found("large2") is not None
    assert kept.under_way("large2") == 0
