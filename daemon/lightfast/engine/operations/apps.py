"""The commands of applications, as an operation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from lightfast.core.errors import FailedPrecondition, LightfastError, Unavailable
from lightfast.engine.apps.bridges import REMOTE
from lightfast.engine.apps.calls import BEGUN, check_arguments
from lightfast.engine.apps.records import AppState, Progress, Result
from lightfast.engine.operations.built import TEXT, UNKNOWN, Built, is_open, said, schema
from lightfast.engine.operations.built import within as bounded
from lightfast.engine.operations.paths import fit, real
from lightfast.engine.operations.unmaking import undoing
from lightfast.engine.programs.allowing import check_effects
from lightfast.engine.programs.near import did_you_mean
from lightfast.sdk import EVERYTHING, Bench, Command, Effect, Mistake, OperationCall, Outcome, World
from lightfast_link.value import Value

if TYPE_CHECKING:
    from lightfast.engine.apps.session import Session

KEYED = "keyed"
"""The capability of an application that does a thing once for one key."""
_EFFECTS = {
    "read": Effect.READ,
    "reversible": Effect.REVERSIBLE,
    "destructive": Effect.DESTRUCTIVE,
    "code": Effect.DESTRUCTIVE,
}
_BACK_S = 30.0
"""How long an application that had begun a command has to come back after a restart of the daemon, in seconds."""
_LOOK_S = 0.1
_SHARE = 0.8
"""How much of the time that is left may go by until an application that left is back, and has answered."""


@dataclass(slots=True)
class _Noted:
    """A bench that remembers what was kept: with a note a command may have happened. *keyed*: it can be asked again."""

    bench: Bench
    note: str
    keyed: bool = False

    async def read(self, paths: Sequence[str] = (), pattern: str = "") -> Mapping[str, Any]:
        """Return values of the context."""
        return await self.bench.read(paths, pattern)

    async def keep(self, note: str) -> None:
        """Keep a note."""
        await self.bench.keep(note)
        self.note = note

    def progress(self, fraction: float, message: str = "") -> None:
        """Tell how far it is."""
        self.bench.progress(fraction, message)


class AppCommand(Built):
    """Runs a command of an application."""

    name = "app.command"
    summary = "Run a command of a connected application: its own verbs, such as create_object of /blender."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        ("app", "command"),
        app=said(TEXT, "The mount of the application, such as /blender.", pattern="^/"),
        command=said(TEXT, "The name of the command."),
        arguments={"type": "object", "description": "Its arguments, by name."},
    )
    result: ClassVar[Mapping[str, Any]] = {"description": "What the command returns."}
    pool = "application"
    possible_effects = frozenset((Effect.READ, Effect.REVERSIBLE, Effect.DESTRUCTIVE, Effect.NETWORK))

    def effects(self, arguments: Mapping[str, Any], world: World) -> frozenset[Effect]:
        """Return what the command says of itself; the worst where nothing is known of it."""
        try:
            far = _is_far(self.rooms.registry.session(str(arguments.get("app", ""))))
        except LightfastError:
            far = False
        return _effects(_command(arguments, world), far=far)

    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return all of the application: what a command looks at is not known."""
        return self._all(arguments)

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return all of the application, unless the command only reads."""
        command = _command(arguments, self.rooms.world) if self.rooms.world is not None else None
        return () if command is not None and command.effect == "read" else self._all(arguments)

    def _all(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        app = arguments.get("app")
        return EVERYTHING if is_open(app) or not isinstance(app, str) else (app, app.rstrip("/") + "//")

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check application, command and arguments."""
        app, name = arguments.get("app"), arguments.get("command")
        if is_open(app) or is_open(name):
            told = "which command is run cannot be a reference: what it would do could not be checked"
            return [Mistake("COMMAND_UNKNOWN", told, "arguments.command")]
        if app not in world.mounts():
            told = f"there is no application at {app}{did_you_mean(str(app), world.mounts())}"
            return [Mistake("APP_UNKNOWN", told, "arguments.app")]
        commands = world.commands(str(app))
        if name not in commands:
            told = f"{app} has no command {name!r}{did_you_mean(str(name), commands)}"
            return [Mistake("COMMAND_UNKNOWN", told, "arguments.command")]
        return _check_arguments(commands[str(name)], arguments.get("arguments", {}))

    def repeatable(self, arguments: Mapping[str, Any], world: World) -> bool:
        """Say whether the command only reads or sets a state, or the application does it once for one key."""
        command = _command(arguments, world)
        if command is not None and _is_harmless(command):
            return True
        try:
            session = self.rooms.registry.session(str(arguments.get("app", "")))
        except LightfastError:
            return False
        return KEYED in session.hello.capabilities

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Run it. The key of the call goes along; what came of an earlier attempt is not done again.

        Where the application leaves while it is at it, one that keeps keys is asked again when it is back; of another
        it cannot be known, unless doing it once more does no harm.
        """
        noted = _Noted(bench, call.note)
        end = asyncio.get_running_loop().time() + call.deadline_s
        try:
            return await self._run(call, noted)
        except Unavailable as error:
            if BEGUN not in error.metadata or not noted.note:
                raise
            left = end - asyncio.get_running_loop().time()
            again = replace(call, note=noted.note, deadline_s=max(0.1, left * _SHARE))
            found = await self.recover(again, bench) if noted.keyed and not call.note else None
            if found is None:
                raise FailedPrecondition(
                    f"{error.message}: whether it was done cannot be known",
                    reason=UNKNOWN,
                    metadata={"mount": call.arguments["app"], "step": call.step_id},
                ) from None
            return found

    async def _run(self, call: OperationCall, bench: _Noted) -> Outcome:
        app, name = call.arguments["app"], call.arguments["command"]
        session = await self._session(call) if call.note else self.rooms.registry.session(app)
        bench.keyed = KEYED in session.hello.capabilities
        command = session.commands.get(name)
        # What is run is this command, whatever was checked before it waited for its place in the pool.
        check_effects(call.step_id, f"{name} of {app}", _effects(command, far=_is_far(session)), call.effects)
        harmless = command is not None and _is_harmless(command)
        if call.note and not harmless:
            self._check_same(session, call)
        if not harmless:
            await bench.keep(json.dumps({"instance": session.hello.instance_id}))
        given = await self._given(call, command)
        value: Value | None = None
        async with bounded(call.deadline_s, f"{app} {name}"):
            running = await self.rooms.registry.invoke(
                app, name, given, min(call.deadline_s, 3600.0), call.origin, call.group, call.key
            )
            async with aclosing(running) as steps:
                async for step in steps:
                    match step:
                        case Progress():
                            bench.progress(step.fraction, step.message)
                        case Result():
                            value = step.value
        undo, stuck = (None, "") if command is None else undoing(app, command, given, value)
        return Outcome(value, undo=undo, stuck=stuck)

    async def recover(self, call: OperationCall, bench: Bench) -> Outcome | None:
        """Wait for the application to come back, and ask it with the key; `None` where it cannot tell."""
        if not call.note:  # it was noted before it was sent, so it was not sent
            return await self.perform(call, bench)
        try:
            session = await self._session(call)
            command = session.commands.get(call.arguments["command"])
            if KEYED not in session.hello.capabilities and not (command is not None and _is_harmless(command)):
                return None
            return await self.perform(call, bench)
        except LightfastError as error:
            if error.reason in {UNKNOWN, "APP_GONE"}:
                return None
            raise

    async def _session(self, call: OperationCall) -> Session:
        """Return the session of the application, which may have to come back first."""
        app, registry = call.arguments["app"], self.rooms.registry
        patience = min(_BACK_S, call.deadline_s)
        try:
            async with asyncio.timeout(patience):
                while True:
                    try:
                        if registry.get(app).state in {AppState.LIVE, AppState.DEGRADED}:
                            return registry.session(app)
                    except Unavailable:
                        pass  # it went away just now
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            told = f"{app} did not come back within {patience:g} s, and had begun {call.arguments['command']!r}"
            raise Unavailable(told, reason="APP_GONE", metadata={"mount": app}) from None

    def _check_same(self, session: Session, call: OperationCall) -> None:
        """Raise where another instance is there now than the one that had begun, or it keeps no keys."""
        same = json.loads(call.note).get("instance") == session.hello.instance_id
        if same and KEYED in session.hello.capabilities:
            return
        why = "keeps no record of what it did" if same else "was restarted since"
        raise FailedPrecondition(
            f"{session.mount} had begun {call.arguments['command']!r} and {why}: whether it was done cannot be known",
            reason=UNKNOWN,
            metadata={"mount": session.mount, "step": call.step_id},
        )

    async def _given(self, call: OperationCall, command: Command | None) -> dict[str, Value]:
        """Return the arguments as values: JSON has no vectors."""
        given = await real(self.rooms, dict(call.arguments.get("arguments", {})))
        kinds = {} if command is None else {argument.name: argument for argument in command.arguments}
        return {name: fit(value, kinds.get(name)) for name, value in given.items()}


def _command(arguments: Mapping[str, Any], world: World) -> Command | None:
    app, name = arguments.get("app"), arguments.get("command")
    if not isinstance(app, str) or not isinstance(name, str):
        return None
    found: Command | None = world.commands(app).get(name)
    return found


def _effects(command: Command | None, *, far: bool) -> frozenset[Effect]:
    effect = Effect.DESTRUCTIVE if command is None else _EFFECTS.get(command.effect, Effect.DESTRUCTIVE)
    return frozenset((effect, Effect.NETWORK)) if far else frozenset((effect,))


def _is_far(session: Session) -> bool:
    """Say whether the application is known to run on another machine."""
    return REMOTE in session.hello.capabilities


def _is_harmless(command: Command) -> bool:
    return command.effect == "read" or command.idempotent


def _check_arguments(command: Command, given: Any) -> list[Mistake]:
    """Check what is known of the arguments already: of one that is a reference, only its name."""
    if not isinstance(given, Mapping):
        return [Mistake("ARGUMENT_INVALID", "the arguments are a map, by name", "arguments.arguments")]
    kinds = {argument.name: argument for argument in command.arguments}
    known = {}
    for name, value in given.items():
        if not is_open(value):
            try:
                known[name] = fit(value, kinds.get(name))
            except LightfastError as error:
                return [Mistake("ARGUMENT_INVALID", error.message, f"arguments.arguments.{name}")]
    unresolved = {name for name, value in given.items() if is_open(value)}
    unknown = unresolved - kinds.keys()
    if unknown:
        known[min(unknown)] = ""
    try:
        arguments = tuple(each for each in command.arguments if each.name not in unresolved)
        check_arguments(Command(command.name, command.description, arguments, command.effect), known)
    except LightfastError as error:
        return [Mistake(error.reason, error.message, f"arguments.{error.field or 'arguments'}")]
    return []


APPS = (AppCommand,)
