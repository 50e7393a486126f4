"""Async tests without a plugin, and one rule for real applications."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Generator, Iterator

import pytest
import structlog

TIMEOUT = float(os.environ.get("LIGHTFAST_TEST_TIMEOUT", "60"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test in a loop of its own, within a bound."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    limit = pyfuncitem.get_closest_marker("limit")
    seconds = max(TIMEOUT, limit.args[0]) if limit else TIMEOUT
    arguments = {name: pyfuncitem.funcargs[name] for name in wanted if name in pyfuncitem.funcargs}

    async def bounded() -> None:
        async with asyncio.timeout(seconds):
            await pyfuncitem.obj(**arguments)

    asyncio.run(bounded())
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a real-application test into a failure where the applications are required."""
    report = yield
    if report.skipped and item.get_closest_marker("real_app") and os.environ.get("LIGHTFAST_REQUIRE_APPS"):
        report.outcome = "failed"
        report.longrepr = f"a real application is required, but this was skipped: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def _fresh_log() -> Iterator[None]:
    """Take back what a test set up for logging: it may hold on to the captured streams of that test."""
    yield
    structlog.reset_defaults()
