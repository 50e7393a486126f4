"""Async tests without a plugin, and one rule for real applications."""

from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
import os
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests.support import looping
from tests.support.alarm import bounded

from lightfast.core import log

# No example has a deadline of Hypothesis, wherever the tests run: a machine that is busy is no mistake.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# Before anybody imports numpy: on a busy machine threads of OpenBLAS wait for each other in loops, which takes thirteen
# times the work, from everybody else, too.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

TIMEOUT = float(os.environ.get("LIGHTFAST_TEST_TIMEOUT", "180"))
BLOCKED_S = 480.0
"""After so long a test that blocks is woken; below `faulthandler_timeout`, which ends the whole worker."""


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the tests themselves out of the collector's sight: looking at all of them stops everything for a second."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test in a loop of its own, within a bound."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    seconds = max(TIMEOUT, _limit(pyfuncitem))
    arguments = {name: pyfuncitem.funcargs[name] for name in wanted if name in pyfuncitem.funcargs}

    async def within() -> None:
        async with asyncio.timeout(seconds):
            await pyfuncitem.obj(**arguments)

    looping.run(within())
    return True


def _limit(item: pytest.Item) -> float:
    limit = item.get_closest_marker("limit")
    return float(limit.args[0]) if limit else 0.0


def _unblocked(item: pytest.Item, when: str) -> AbstractContextManager[None]:
    return bounded(max(BLOCKED_S, 2 * _limit(item)), f"the {when} of {item.nodeid}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Wake what blocks, so that it says where."""
    with _unblocked(item, "setup"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Wake what blocks, so that it says where."""
    with _unblocked(item, "call"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Wake what blocks, so that it says where."""
    with _unblocked(item, "teardown"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a required real-application test into a failure; show what the daemons of a failed test said."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        report.sections += [(f"the end of {file}", text) for file, text in _logs(item.funcargs.get("tmp_path"))]
    if report.skipped and item.get_closest_marker("real_app") and os.environ.get("LIGHTFAST_REQUIRE_APPS"):
        report.outcome = "failed"
        report.longrepr = f"a real application is required, but this was skipped: {report.longrepr}"
    return report


def _logs(folder: object) -> list[tuple[Path, str]]:
    """Return the ends of the logs below *folder*, where processes of a test write."""
    if not isinstance(folder, Path):
        return []
    files = itertools.islice(folder.rglob("*.log"), 8)
    return [(file, file.read_text(encoding="utf-8", errors="replace")[-4_000:]) for file in files if file.is_file()]


@pytest.fixture(autouse=True)
def _fresh_log() -> Iterator[None]:
    """Take back what a test set up for logging: it may hold on to the captured streams of that test."""
    yield
    log.reset()
