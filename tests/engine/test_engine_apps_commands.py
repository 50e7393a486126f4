"""Commands of applications: they run with progress and a result, and fail by name."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.desk import App, bounded, hello, open_desk, until

from lightfast.core.errors import (
    DeadlineExceeded,
    Denied,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from lightfast.engine.apps.records import Progress, Result

TEMPO = "/live/song/tempo"


async def test_a_command_runs_with_progress_and_result(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        steps = await desk.registry.invoke("live", "render", {"path": "/x", "samples": 4}, 60.0, "client:test", "g1")
        first = asyncio.ensure_future(anext(steps))
        await until(lambda: app.calls)
        (call,) = app.calls
        assert call.arguments == {"path": "/x", "samples": 4.0}
        app.joined.progress(call.call_id, 0.5, "half")
        assert await bounded(first) == Progress(0.5, "half")
        app.turn("song/tempo", 140.0)
        app.joined.result(call.call_id, {"file": "/x"})
        assert [step async for step in steps] == [Result({"file": "/x"})]
        await desk.holds(TEMPO, 140.0)
        (latest, *_) = (await desk.store.history(TEMPO)).transactions
        assert latest.group == "g1", "what a command does joins its group"
        assert app.cancelled == []


async def test_a_command_that_fails_takes_too_long_or_is_left(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App()
        await desk.live(app, hello())
        steps = await desk.registry.invoke("live", "render", {"path": "/x"}, 0.05)
        with pytest.raises(DeadlineExceeded, match=r"/live did not finish 'render' within 0\.05 s"):
            await anext(steps)
        assert app.cancelled == [1]
        steps = await desk.registry.invoke("live", "render", {"path": "/x"})
        failing = asyncio.ensure_future(anext(steps))
        await until(lambda: len(app.calls) == 2)
        app.joined.fail(app.calls[-1].call_id, "no camera")
        with pytest.raises(FailedPrecondition, match="/live could not 'render': no camera"):
            await failing
        steps = await desk.registry.invoke("live", "render", {"path": "/x"})
        leaving = asyncio.ensure_future(anext(steps))
        await until(lambda: len(app.calls) == 3)
        leaving.cancel()
        await asyncio.wait([leaving])
        assert app.cancelled == [1, 3]
        steps = await desk.registry.invoke("live", "render", {"path": "/x"})
        losing = asyncio.ensure_future(anext(steps))
        await until(lambda: len(app.calls) == 4)
        app.joined.lost("it crashed")
        with pytest.raises(Unavailable, match="/live went away during 'render': it crashed"):
            await losing


async def test_a_result_that_is_there_as_the_deadline_strikes_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_desk(tmp_path) as desk:
        app = App()
        await desk.live(app, hello())
        loop = asyncio.get_running_loop()
        time = loop.time
        now = time()
        monkeypatch.setattr(loop, "time", lambda: now)  # a busy machine does not bring the deadline by itself
        steps = await desk.registry.invoke("live", "render", {"path": "/x"}, 0.5)
        step = asyncio.ensure_future(anext(steps))
        while not app.calls:
            await asyncio.sleep(0)
        loop.call_later(0.1, app.joined.result, app.calls[0].call_id, "done")
        now += 0.6  # the loop was busy with something else, and hears of both at once
        monkeypatch.setattr(loop, "time", lambda: max(now, time()))
        assert await bounded(step) == Result("done")
        assert app.cancelled == []


async def test_a_wrong_command_is_refused_by_name(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App()
        await desk.live(app, hello())

        async def refused(
            error: type[Exception], match: str, mount: str, command: str, arguments: object = None
        ) -> None:
            with pytest.raises(error, match=match):
                await desk.registry.invoke(mount, command, arguments, 1.0)  # type: ignore[arg-type]

        await refused(NotFound, "no application at /blender: there are /live", "blender", "render")
        await refused(NotFound, "no command 'rendr': did you mean render", "live", "rendr")
        await refused(InvalidArgument, "missing argument 'path'", "live", "render", {})
        await refused(InvalidArgument, "unknown argument 'pth': did you mean 'path'", "live", "render", {"pth": "x"})
        await refused(
            InvalidArgument, "'path': it must be a value of kind string, not int", "live", "render", {"path": 1}
        )
        await refused(Denied, "set apps.live.allow_code = true", "live", "evaluate", {"text": "1"})
        with pytest.raises(InvalidArgument, match="at most 3600 s"):
            await desk.registry.invoke("live", "render", {"path": "x"}, 1e6)
        await desk.leave(app)
        await refused(Unavailable, "/live is gone: it crashed; start it", "live", "render", {"path": "x"})
        assert app.calls == []


async def test_code_runs_where_the_user_allows_it(tmp_path: Path) -> None:
    async with open_desk(tmp_path, {"live": {"allow_code": True}}) as desk:
        app = App()
        await desk.live(app, hello())
        steps = await desk.registry.invoke("live", "evaluate", {"text": "1"})
        step = asyncio.ensure_future(anext(steps))
        await until(lambda: app.calls)
        app.joined.result(app.calls[0].call_id, None)
        assert await bounded(step) == Result(None)
