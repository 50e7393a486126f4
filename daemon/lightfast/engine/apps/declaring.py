"""What an application says of its paths, as declarations of the context."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from lightfast.context.entry import Declaration
from lightfast.context.store import Store
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps.kinds import Kind
from lightfast.sdk import Command, Hello, Parameter


class Known:
    """What is known of an application's paths and commands: from its kind, its hello, and what it said since."""

    def __init__(self, store: Store, tasks: TaskGroup, mount: str, hello: Hello) -> None:
        self.commands: Mapping[str, Command] = {}
        self._store = store
        self._tasks = tasks
        self._mount = mount
        self._hello = hello
        self._parameters: Sequence[Parameter] = hello.parameters
        self._said_itself = False
        self._begun = False
        self._declaring = asyncio.Lock()

    def learn(self, kind: Kind) -> None:
        """Take what a bridge knows of the kind; what the application said itself of its paths holds."""
        commands = (*kind.commands, *self._hello.commands)
        self.commands = {command.name: command for command in commands}
        if not self._said_itself:
            known = {parameter.pattern: parameter for parameter in (*kind.parameters, *self._hello.parameters)}
            self._parameters = tuple(known.values())
            self._again()

    def say(self, parameters: Sequence[Parameter]) -> None:
        """Take what the application says of its paths, in place of all that was known."""
        self._parameters, self._said_itself = parameters, True
        self._again()

    async def begin(self) -> None:
        """Declare what is known; from now on what changes is declared at once."""
        self._begun = True
        await self._declare()

    def end(self) -> None:
        """Declare no more."""
        self._begun = False

    def _again(self) -> None:
        if self._begun:
            self._tasks.start(self._declare(), f"declare {self._mount}")

    async def _declare(self) -> None:
        async with self._declaring:  # what is stale is seen only when the last declaration is in force
            await declare(self._store, self._mount, self._parameters, "app:" + self._mount[1:])


async def declare(store: Store, mount: str, parameters: Sequence[Parameter], owner: str) -> None:
    """Declare *parameters* below *mount*, and take away what *owner* declared before and does not now.

    A conflict policy that somebody declared for one of the patterns stays.
    """
    known = {declaration.pattern: declaration for declaration in store.describe(mount + "//")}
    declarations = [_with_policy(_declaration(mount, parameter, owner), known) for parameter in parameters]
    wanted = {declaration.pattern for declaration in declarations}
    stale = [old.pattern for old in known.values() if old.owner == owner and old.pattern not in wanted]
    await store.declare(declarations, stale, owner=owner)


def _with_policy(declaration: Declaration, known: dict[str, Declaration]) -> Declaration:
    before = known.get(declaration.pattern)
    if before is None or not before.policy:
        return declaration
    return msgspec.structs.replace(declaration, policy=before.policy, owner_hold=before.owner_hold)


def _declaration(mount: str, parameter: Parameter, owner: str) -> Declaration:
    pattern = parameter.pattern
    return Declaration(
        pattern=mount + pattern if pattern.startswith("/") else f"{mount}/{pattern}",
        signal=parameter.signal,
        kind=parameter.kind,
        minimum=parameter.minimum,
        maximum=parameter.maximum,
        unit=parameter.unit,
        access=parameter.access,
        description=parameter.description,
        choices=parameter.choices,
        tolerance=parameter.tolerance,
        owner=owner,
    )
