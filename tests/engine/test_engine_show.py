"""The lock and the panic: what they stop, what they let through, and what is left of them after a restart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.support.desk import App, Desk, hello, open_desk, until

from lightfast.context.entry import Event, Set
from lightfast.context.watch import Batch, Bus
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import Denied, FailedPrecondition, InvalidArgument
from lightfast.engine.links.links import Link
from lightfast.engine.show.show import PATH, Show


async def open_show(desk: Desk) -> Show:
    """Open the show of *desk*, with the rooms that can be held."""
    show = await Show.open(desk.store, desk.db, SYSTEM, desk.tasks)
    assert show.panic.join("links", desk.links)
    assert show.panic.join("apps", desk.registry)
    return show


class Room:
    """A room that notes what it is told."""

    def __init__(self, *, broken: bool = False) -> None:
        self.held = ""
        self.broken = broken

    def hold(self, reason: str) -> None:
        if self.broken:
            raise OSError("it is on fire")
        self.held = reason

    def release(self) -> None:
        self.held = ""


async def test_a_locked_show_refuses_by_name_and_says_what_to_do(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        show = await open_show(desk)
        show.guard.check("a link edit")
        await show.lock("client:foh", "opening night")
        with pytest.raises(FailedPrecondition, match=r"a link edit is refused.*client:foh.*opening night") as refused:
            show.guard.check("a link edit")
        assert refused.value.reason == "SHOW_LOCKED"
        assert "lightfast show unlock" in refused.value.message
        with pytest.raises(FailedPrecondition, match="an AI write"):
            show.check_ai()
        await show.lock("client:other")
        assert show.guard.lock is not None
        assert show.guard.lock.by == "client:foh", "the first lock stays"
        await desk.set("/a", 1.0)
        await show.unlock("client:other")
        show.guard.check("a link edit")
        show.check_ai()


async def test_the_show_stands_in_the_context_and_only_the_daemon_writes_it(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        show = await open_show(desk)
        await show.lock("client:foh", "opening night")
        value = desk.entry(PATH).value
        assert isinstance(value, dict)
        assert (value["locked"], value["locked_by"], value["lock_reason"]) == (True, "client:foh", "opening night")
        assert desk.entry(PATH).origin == "client:foh"
        (latest, *_) = (await desk.store.history(PATH)).transactions
        assert latest.label == "show locked: opening night"
        with pytest.raises(Denied):
            await desk.store.apply([Set(PATH, {"locked": False})], origin="client:bad")
        await show.unlock("client:foh")
        value = desk.entry(PATH).value
        assert isinstance(value, dict)
        assert value["locked"] is False


async def test_lock_and_panic_survive_a_restart(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        show = await open_show(desk)
        await desk.set("/a", 1.0)
        await desk.links.create(Link("/a", "/b"))
        await show.lock("client:foh", "opening night")
        show.stop("client:foh", "smoke")
        await show.close()
    async with open_desk(tmp_path, start=False) as desk:
        show = await open_show(desk)  # before the rooms start
        assert "smoke" in desk.links.held
        assert "smoke" in desk.registry.held
        await desk.registry.start()
        await desk.links.start()
        assert show.guard.lock is not None
        await desk.set("/a", 2.0)
        await desk.store.drain()
        await asyncio.sleep(0.05)  # silence cannot be awaited, only listened to
        assert desk.entry("/b").value == 1.0
        await show.release("client:foh")
        await desk.set("/a", 3.0)
        await desk.holds("/b", 3.0)
        await show.unlock("client:foh")
    async with open_desk(tmp_path) as desk:
        show = await open_show(desk)
        assert (show.guard.lock, show.panic.stopped, desk.links.held) == (None, None, "")


async def test_what_was_put_off_follows_at_the_unlock_even_if_one_fails(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        show = await open_show(desk)
        done: list[str] = []

        def broken() -> None:
            raise ValueError("no")

        show.guard.follow(broken)
        show.guard.follow(lambda: done.append("reloaded"))
        await show.lock("client:foh")
        assert "the show is locked by client:foh" in show.guard.why_not()
        assert done == []
        await show.unlock("client:foh")
        assert done == ["reloaded"]
        assert show.guard.why_not() == ""


async def test_one_room_that_cannot_be_held_does_not_keep_the_others(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        show = await open_show(desk)
        good = Room()
        assert show.panic.join("broken", Room(broken=True))
        assert show.panic.join("good", good)
        assert not show.panic.join("no room", object())
        assert show.stop("client:foh", "smoke") == ("broken",)
        assert "smoke" in good.held
        assert desk.links.held
        with pytest.raises(FailedPrecondition, match="smoke"):
            show.check_ai()
        late = Room()
        show.panic.join("late", late)
        assert "smoke" in late.held, "who joins in a panic is held"
        assert await show.recorded(60.0)
        assert await show.release("client:foh") == ()
        assert (good.held, late.held, desk.links.held) == ("", "", "")


async def test_a_panic_while_another_is_released_holds(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        show = await open_show(desk)
        show.stop("client:foh", "first")
        releasing = desk.tasks.start(show.release("client:late"), "release")
        await asyncio.sleep(0)
        show.stop("client:foh", "second")
        await releasing
        await show.close()
        assert show.panic.stopped is not None
        assert "second" in desk.links.held
        value = desk.entry(PATH).value
        assert isinstance(value, dict)
        assert (value["panic"], value["panic_reason"]) == (True, "second")


async def test_a_change_whose_caller_goes_away_is_in_force_as_it_is_on_record(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        show = await open_show(desk)
        changes: list[tuple[Callable[[], Awaitable[object]], str]] = [
            (lambda: show.lock("client:foh", "opening night"), "locked"),
            (lambda: show.unlock("client:foh"), "locked"),
            (lambda: show.release("client:foh"), "panic"),
        ]
        await show.lock("client:foh")
        for change, what in changes:
            for steps in range(12):  # the caller goes away at each step between the question and the answer
                await show.unlock("client:foh")
                await show.release("client:foh")
                if what == "panic":
                    show.stop("client:foh", "smoke")
                    assert await show.recorded(60.0)
                elif change is not changes[0][0]:
                    await show.lock("client:foh")
                caller = asyncio.ensure_future(change())
                for _ in range(steps):
                    await asyncio.sleep(0)
                caller.cancel()
                await asyncio.wait([caller])
                await until(lambda: not [task for task in desk.tasks._tasks if "show" in task.get_name()])
                value = desk.entry(PATH).value
                assert isinstance(value, dict)
                in_force = show.guard.lock is not None, show.panic.stopped is not None
                assert (value["locked"], value["panic"]) == in_force, f"{what} after {steps} steps"
                ((row,),) = await desk.db.query("SELECT value FROM settings WHERE key = 'show'")
                assert (json.loads(row)["lock"] is not None, json.loads(row)["stopped"] is not None) == in_force


async def test_the_reason_of_a_lock_is_bounded(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        show = await open_show(desk)
        with pytest.raises(InvalidArgument, match="501 characters"):
            await show.lock("client:foh", "x" * 501)
        assert show.guard.lock is None


async def test_after_a_panic_no_link_writes_whatever_comes(tmp_path: Path) -> None:
    """Two applications, a two-way link, and a flood: after the panic's own event there is none of a link."""
    async with open_desk(tmp_path) as desk:
        show = await open_show(desk)
        live, blender = App({"song/tempo": 120.0}), App({"song/tempo": 120.0})
        await desk.live(live, hello("i1", "a"))
        await desk.live(blender, hello("i2", "b", name="blender"))
        await desk.links.create(Link("/live/song/tempo", "/blender/song/tempo", two_way=True))
        await desk.links.create(Link("/free/a", "/free/b", two_way=True))
        events: list[Event] = []

        def note(batch: Batch) -> None:
            events.extend(batch.events)

        assert isinstance(desk.store.bus, Bus)
        leave = desk.store.bus.listen(["//"], note)
        flooding = True

        async def flood() -> None:
            number = 0
            while flooding:
                number += 1
                await asyncio.gather(
                    desk.set("/free/a", float(number)),
                    desk.set("/free/b", float(-number)),
                    desk.set("/live/song/tempo", 60.0 + number % 200),
                )

        task = desk.tasks.start(flood(), "flood")
        await until(lambda: sum(event.entry.origin.startswith("link:") for event in events) > 20)
        show.stop("client:foh", "smoke")
        assert await show.recorded(60.0)
        sent = len(blender.wishes) + len(live.wishes)
        seen = len(events)
        await until(lambda: len(events) > seen + 200)
        flooding = False
        await task
        leave()
        at = next(index for index, event in enumerate(events) if event.entry.path == PATH)
        before = [event for event in events[:at] if event.entry.origin.startswith("link:")]
        after = [event for event in events[at:] if event.entry.origin.startswith("link:")]
        assert before
        assert after == []
        assert len(blender.wishes) + len(live.wishes) == sent, "no wish goes out either"
        await show.release("client:foh")
        await desk.set("/free/a", 5.5)
        await desk.holds("/free/b", 5.5)
