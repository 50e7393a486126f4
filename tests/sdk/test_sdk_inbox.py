"""The inbox of a bridge: to the session of the moment, and awake when the application speaks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from lightfast.sdk import OscMessage
from lightfast.sdk.inbox import Inbox
from lightfast.sdk.testing import FakeBridgeHost

ONE: OscMessage = ("/one", "", ())
LONG = 3600.0


class Session:
    def __init__(self) -> None:
        self.heard: list[OscMessage] = []

    def receive(self, messages: Sequence[OscMessage]) -> None:
        self.heard += messages


async def test_messages_go_to_the_session_of_the_moment_and_are_counted() -> None:
    inbox: Inbox[Session] = Inbox()
    first, second = Session(), Session()
    inbox.receive([ONE])
    inbox.session = first
    inbox.receive([ONE, ONE])
    inbox.session = second
    inbox.receive([ONE])
    assert (len(first.heard), len(second.heard), inbox.count) == (2, 1, 4)


async def test_a_word_of_the_application_ends_the_rest_but_not_an_older_one() -> None:
    inbox: Inbox[Session] = Inbox()
    inbox.session = session = Session()
    inbox.receive([ONE])
    resting = asyncio.ensure_future(inbox.rest(FakeBridgeHost(), LONG))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not resting.done()
    inbox.receive([ONE])
    async with asyncio.timeout(60):
        await resting
    assert session.heard == [ONE], "who rests has no session"


async def test_who_rests_asleep_waits_for_the_time() -> None:
    inbox: Inbox[Session] = Inbox()
    resting = asyncio.ensure_future(inbox.rest(FakeBridgeHost(), LONG, awake=False))
    await asyncio.sleep(0)
    inbox.receive([ONE])
    for _ in range(10):
        await asyncio.sleep(0)
    assert not resting.done()
    resting.cancel()
    await asyncio.wait({resting}, timeout=60.0)
    assert resting.cancelled()
    async with asyncio.timeout(60):
        await inbox.rest(FakeBridgeHost(), 0.0, awake=False)
