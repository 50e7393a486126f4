"""The contract of a bridge."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from lightfast.sdk.bridge import Bridge, Call, Hello, Parameter, Wish
from lightfast.sdk.contract import PluginMistake, check_bridge_shape, check_command, check_parameter
from lightfast.sdk.diagnosis import Finding
from lightfast.sdk.simulator import Simulator
from lightfast.sdk.testing.errors import ContractBroken, require
from lightfast.sdk.testing.fakes import FakeAppSession, FakeBridgeHost
from lightfast_link.path import check_path, compile_pattern
from lightfast_link.value import Value, check_value, close, kind_of

LEVELS = ("ok", "note", "warning", "error")
DIAGNOSIS_S = 5.0
"""Seconds a bridge has to say what is wrong."""
Configure = Callable[[tuple[str, int], int], Mapping[str, Any]]
"""From the address a simulator listens on and the port it answers to, to the bridge's table."""


async def check_bridge(
    bridge: Bridge,
    *,
    config: Mapping[str, Any] | None = None,
    simulator: Simulator | None = None,
    configure: Configure | None = None,
    reply_port: int = 0,
    wish: tuple[str, Value] | None = None,
    patience: float = 10.0,
) -> FakeAppSession | None:
    """Run a bridge through its contract. Raises `ContractBroken`.

    Without a *simulator* only its shape is checked, that its diagnosis gives findings in time, and that it bears
    the application's absence (with the table *config*, which should lead to where nothing answers). With one,
    *configure* turns the address it listens on and *reply_port* into the bridge's table; the bridge must then join
    it, report, answer *wish* (a path and a value that the application takes), and refuse an unknown command. The
    session is returned.
    A bridge with `link = True` does not run by itself.
    """
    try:
        check_bridge_shape(bridge)
    except PluginMistake as mistake:
        raise ContractBroken(str(mistake)) from None
    require(bridge.title, f"bridge {bridge.kind} has no title: say what a person calls the application")
    await check_diagnosis(bridge, config or {})
    if bridge.link:
        return None
    await _check_absence(bridge, config or {}, patience)
    if simulator is None:
        return None
    async with _served(simulator, reply_port, patience) as address:
        table = configure(address, reply_port) if configure is not None else {}
        host = FakeBridgeHost(table)
        async with _running(bridge, host) as task:
            return await _check_joined(bridge, host, task, wish, patience)


async def check_diagnosis(bridge: Bridge, config: Mapping[str, Any], deadline: float = DIAGNOSIS_S) -> None:
    """Check that a bridge says what it finds within *deadline* seconds, as findings of known levels with remedies."""
    what = f"the diagnosis of bridge {bridge.kind}"
    looking = asyncio.ensure_future(bridge.diagnose(config))
    done, _ = await asyncio.wait({looking}, timeout=deadline)
    if not done:
        looking.cancel()
        await asyncio.wait({looking}, timeout=5.0)
        raise ContractBroken(f"{what} took longer than {deadline:g} s: bound every wait in it")
    try:
        findings = looking.result()
    except Exception as error:
        raise ContractBroken(f"{what} raised {error!r}: what is wrong is a finding, not an exception") from error
    for finding in findings:
        require(isinstance(finding, Finding), f"{what} gave {finding!r}, which is no Finding")
        require(finding.level in LEVELS, f"{what} gave the level {finding.level!r}: use one of {', '.join(LEVELS)}")
        require(finding.subject, f"{what} gave a finding without a subject: name what was looked at")
        require(finding.what, f"{what} gave a finding about {finding.subject} that does not say how it stands")
        good = finding.level in {"ok", "note"} or finding.remedy
        require(good, f"{what} says {finding.what!r} without a remedy: say what to do about it")


async def _check_absence(bridge: Bridge, config: Mapping[str, Any], patience: float) -> None:
    """Without the application the bridge goes on looking, and ends when it is told to."""
    host = FakeBridgeHost(config)
    async with _running(bridge, host) as task:
        try:
            await host.until(lambda: host.absences or host.sessions or task.done(), "word of it", min(2.0, patience))
        except TimeoutError:
            return  # it may look for longer than that
        if task.done() and (error := task.exception()) is not None:
            raise ContractBroken(f"bridge {bridge.kind} does not bear a missing application: {error!r}") from error


async def _check_joined(
    bridge: Bridge, host: FakeBridgeHost, task: asyncio.Task[None], wish: tuple[str, Value] | None, patience: float
) -> FakeAppSession:
    what = f"bridge {bridge.kind}"
    try:
        await host.until(lambda: host.sessions or task.done(), f"a hello of {what}", patience)
        if task.done():
            task.result()
        session = host.sessions[0]
        check_hello(session.hello, bridge.kind)
        await session.until(lambda: session.syncs, f"the end of the first report of {what}", patience)
        check_reports(session, what)
        if wish is not None:
            await _check_wish(session, wish, what, patience)
        session.channel.invoke(Call(1, "no_such_command_at_all"))
        await session.until(lambda: 1 in session.failures, f"the refusal of an unknown command by {what}", patience)
    except TimeoutError as error:
        raise ContractBroken(str(error)) from None
    return session


def check_hello(hello: Hello, kind: str) -> None:
    """Check what a bridge says of an application that it joins."""
    require(hello.kind == kind, f"bridge {kind} said hello for the kind {hello.kind!r}")
    require(hello.instance_id, f"bridge {kind} said hello without an instance id: two instances would be one")
    try:
        for parameter in hello.parameters:
            check_parameter(parameter, f"the hello of {kind}")
        for command in hello.commands:
            check_command(command, f"the hello of {kind}")
    except PluginMistake as mistake:
        raise ContractBroken(str(mistake)) from None


def check_reports(session: FakeAppSession, what: str) -> None:
    """Check that what was reported are values under declared paths, of the declared kinds."""
    require(session.changes, f"{what} reported nothing before it was in step")
    for change in session.changes:
        try:
            check_path("/m/" + change.path)
            if change.value is not None:
                check_value(change.value, change.path)
        except ValueError as error:
            raise ContractBroken(f"{what} reported what the context cannot hold: {error}") from None
    for problem in misdeclared(session):
        raise ContractBroken(f"{what} reported {problem}")


def misdeclared(session: FakeAppSession, *, ranges: bool = False) -> list[str]:
    """Return which reported values are not as they are declared: path and kind, and with *ranges* range and choices.

    A report out of range is no mistake of a bridge where the application itself holds such a value.
    """
    known = [(compile_pattern("/m/" + parameter.pattern), parameter) for parameter in session.declared]
    found: dict[str, None] = {}
    for change in session.changes if known else ():
        if change.value is None or change.moved_from:
            continue
        of_it = [parameter for pattern, parameter in known if pattern.matches("/m/" + change.path)]
        if not of_it:
            found[f"{change.path}, which no parameter declares"] = None
        elif not any(_of_kind(parameter, change.value) for parameter in of_it):
            kinds = " or ".join(dict.fromkeys(parameter.kind for parameter in of_it))
            found[f"{change.path} = {change.value!r:.60}, which is declared {kinds}"] = None
        elif ranges and not any(_in_range(parameter, change.value) for parameter in of_it):
            found[f"{change.path} = {change.value!r:.60}, which is out of its declared range or choices"] = None
    return list(found)


def _of_kind(parameter: Parameter, value: Value) -> bool:
    return not parameter.kind or kind_of(value) == parameter.kind


def _in_range(parameter: Parameter, value: Value) -> bool:
    if parameter.choices and isinstance(value, str) and value not in parameter.choices:
        return False
    low = -math.inf if parameter.minimum is None else parameter.minimum
    high = math.inf if parameter.maximum is None else parameter.maximum
    numbers = value if isinstance(value, tuple) else (value,)
    return all(low <= one <= high for one in numbers if type(one) in {int, float})  # type: ignore[operator]


async def _check_wish(session: FakeAppSession, wish: tuple[str, Value], what: str, patience: float) -> None:
    path, value = wish
    session.channel.apply([Wish(7, path, value, revision=1)])
    await session.until(
        lambda: 7 in session.settled or 7 in session.rejected, f"the answer of {what} to a wish", patience
    )
    require(7 in session.settled, f"{what} rejected the wish {path} = {value!r}: {session.rejected.get(7)}")
    held = session.settled[7]
    require(held is None or close(held, value, 1e-4), f"{what} settled {path} = {value!r} as {held!r}")


@asynccontextmanager
async def _served(simulator: Simulator, reply_port: int, patience: float) -> AsyncIterator[tuple[str, int]]:
    bound: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
    host = simulator.default_listen[0]
    task = asyncio.ensure_future(simulator.run((host, 0), reply_port, bound.set_result))
    try:
        async with asyncio.timeout(patience):
            waiting: set[asyncio.Future[Any]] = {bound, task}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield bound.result()
    finally:
        await _ended(task, f"the simulator {simulator.name}")


@asynccontextmanager
async def _running(bridge: Bridge, host: FakeBridgeHost) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.ensure_future(bridge.run(host))
    task.add_done_callback(lambda _: host.wake())
    try:
        yield task
    finally:
        await _ended(task, f"bridge {bridge.kind}")
        host.close()


async def _ended(task: asyncio.Task[None], what: str) -> None:
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=5.0)
    require(done, f"{what} did not end within 5 s of its cancellation: let CancelledError pass")
