"""What is reported about a loss that the application has not heard of yet: the daemon has not seen it, and that is said."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.link import App, RecordingRegistry, eventually, link_server, tcp_door

from lightfast_link.messages import Change


def held_back(app: App) -> Any:
    """Let the main thread of *app* take nothing until what is returned is called: it is busy."""
    take, app.client.inbox.take = app.client.inbox.take, lambda limit: []  # type: ignore[method-assign]

    def go_on() -> None:
        app.client.inbox.take = take  # type: ignore[method-assign]

    return go_on


@pytest.mark.parametrize("back", [False, True], ids=["away", "back already"])
async def test_what_is_reported_before_the_loss_was_heard_of_is_unseen(back: bool) -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (door, host, port):
        with App.tcp(host, port) as app:
            await app.until("welcome")
            app.client.synced()
            await eventually(lambda: registry.sessions[0].synced_count)
            go_on = held_back(app)
            registry.sessions[0].channel.close("the daemon is stopping")
            if not back:
                await door.stop()
            await eventually(app.client.inbox.ready.is_set)
            app.client.report([Change("a", 1), Change("b", 2)])
            if back:  # the next session has it all acknowledged: it will be judged by the generation of before
                await eventually(lambda: len(registry.changes) == 2)
                await eventually(lambda: not app.client.outbox._inflight)
            go_on()
            assert (await app.until("lost"))[2] == 2


async def test_a_session_that_nobody_saw_takes_nothing_off_the_loss_before_it() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port) as app:
            await app.until("welcome")
            go_on = held_back(app)
            registry.sessions[0].channel.close("the first loss")
            await eventually(app.client.inbox.ready.is_set)
            app.client.report([Change("a", 1)])
            await eventually(lambda: len(registry.changes) == 1 and not app.client.outbox._inflight)
            registry.sessions[1].channel.close("the second loss")
            await eventually(lambda: len(registry.sessions) == 3 and app.client.state == "live")
            go_on()
            assert (await app.until("lost"))[2] == 1
            await app.until("welcome", 2)
            assert [event[0] for event in app.events] == ["welcome", "lost", "welcome"]
            # Taken and heard of: the next loss counts anew.
            registry.sessions[2].channel.close("the third loss")
            assert (await app.until("lost", 2))[2] == 0


async def test_a_full_report_after_a_new_hello_is_not_told_under_the_old_one() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port) as app:
            await app.until("welcome")
            touch, app.client._touch = app.client._touch, lambda: None  # type: ignore[method-assign]  # its thread sleeps
            app.client.rehello(generation=9)
            app.client.report([Change("a", 1)])
            app.client.synced()
            app.client._touch = touch  # type: ignore[method-assign]
            touch()
            await app.until("welcome", 2)
            app.client.report([Change("a", 1)])
            app.client.synced()
            await eventually(lambda: registry.sessions[1].synced_count)
            assert registry.sessions[0].synced_count == 0
            assert [session.hello.generation for session in registry.sessions] == [3, 9]
