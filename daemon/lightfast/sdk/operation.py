"""What an operation is: one kind of instruction that programs are made of.

The daemon brings the usual ones (`context.set`, `app.command`, `generate.image`); a plugin adds its own through
the hook `lightfast_operations`. An operation declares what it reads and writes, so that the pipeline knows what may
overlap; what it may do, so that a person is asked where it matters; and how it is taken back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from lightfast_link.value import Value

POOLS = ("context", "provider", "application", "media", "archive")
"""The pools that operations run in; a full one never keeps another waiting."""

EVERYTHING = ("//",)
"""Reads or writes that cannot be told before: such an instruction overlaps with no other."""


class Effect(StrEnum):
    """What an instruction does beyond reading the context; one may have several."""

    READ = "read"
    REVERSIBLE = "reversible"
    DESTRUCTIVE = "destructive"
    SPEND = "spend"
    NETWORK = "network"


ASKING = frozenset((Effect.DESTRUCTIVE, Effect.SPEND, Effect.NETWORK))
"""The effects that a person must approve."""
HARMLESS = frozenset((Effect.READ, Effect.REVERSIBLE))
"""The effects that nobody needs to approve."""


@dataclass(frozen=True, slots=True)
class ContextChange:
    """One change of the context that an instruction brings about when it is written back.

    *kind* is `set`, `merge`, `delete` or `move` (then *value* is left out, and *source* is where it comes from).
    """

    kind: str
    path: str
    value: Value | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Undoing:
    """How one instruction is taken back: another operation with its arguments."""

    operation: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an instruction brought.

    *value* is its result, for later instructions; *changes* are committed with it, as one transaction; *undo* takes
    back what it did outside the context (changes of the context are taken back by the store); *stuck* says why that
    cannot be; *cost_usd* is what it cost. *revision* is set where the operation committed by itself.
    """

    value: Value | None = None
    changes: tuple[ContextChange, ...] = ()
    undo: Undoing | None = None
    stuck: str = ""
    cost_usd: float = 0.0
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong with an instruction before it runs.

    *reason* is a stable name such as PATH_UNKNOWN, *field* where it is (`arguments.path`); a *warning* keeps nothing
    from running.
    """

    reason: str
    message: str
    field: str = ""
    warning: bool = False


@dataclass(frozen=True, slots=True)
class OperationCall:
    """One instruction at work. All its references are resolved.

    *key* is the same each time this instruction of this run is tried, also by a restarted daemon: whoever is given it
    twice does the thing once. *note* is what the operation has kept by `Bench.keep` when it was tried before.
    *deadline_s* is how long it may take; *budget_usd* what it may cost at most, 0: what the budgets say. *effects* are
    those that this instruction was checked for, and that were approved where they had to be: it must not do more.
    """

    run_id: str
    step_id: str
    key: str
    arguments: Mapping[str, Any]
    origin: str = ""
    group: str = ""
    project: str = ""
    note: str = ""
    attempt: int = 1
    deadline_s: float = 60.0
    budget_usd: float = 0.0
    effects: frozenset[Effect] = HARMLESS


class Bench(Protocol):
    """What an operation may use while it works."""

    async def read(self, paths: Sequence[str] = (), pattern: str = "") -> Mapping[str, Value]:
        """Return values of the context by path; a path that holds nothing is left out."""

    async def keep(self, note: str) -> None:
        """Keep *note* on the disk before going on: a restarted daemon gives it back, to go on where this ended.

        A job's identity at a service is kept so before it is first asked about.
        """

    def progress(self, fraction: float, message: str = "") -> None:
        """Tell how far it is, 0 to 1; -1 where that is not known. Never waits."""


class World(Protocol):
    """What is there, for checks before anything runs. No method waits."""

    def value(self, path: str) -> Value | None:
        """Return the value of the context at *path*; `None`: nothing, or not in memory."""

    def has(self, path: str) -> bool:
        """Say whether there is an entry at *path*."""

    def declared(self, path: str) -> Any:
        """Return the declaration that holds for *path*, with `kind`, `minimum`, `maximum`, `access`; or `None`."""

    def mounts(self) -> Sequence[str]:
        """Return the mounts of applications that were seen, such as `/blender`."""

    def commands(self, mount: str) -> Mapping[str, Any]:
        """Return the commands of an application by name, each a `lightfast.sdk.Command`; empty: there is none such."""

    def models(self, output: str) -> Sequence[Any]:
        """Return the models that make *output*: each with `name`, `local`, `free`, `available`, `aliases`."""

    def scenes(self) -> Sequence[str]:
        """Return the names of scenes."""

    def workflows(self) -> Mapping[str, Any]:
        """Return the workflows by name, each with `summary`, `parameters_schema` and `program(parameters)`."""


class Operation(ABC):
    """One kind of instruction.

    *arguments* and *result* are JSON Schemas; a string argument may hold references (`${step.field}`), which are
    resolved before it runs. *idempotent*: it may be done twice without harm. *keyed*: what it drives honors the key of
    the call, so that doing it again with the same key does nothing again. *pure*: it only computes on its arguments,
    so it can be left out, moved and folded.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    arguments: ClassVar[Mapping[str, Any]]
    result: ClassVar[Mapping[str, Any]] = {}
    pool: ClassVar[str] = "context"
    possible_effects: ClassVar[frozenset[Effect]] = frozenset((Effect.READ,))
    """All that an instruction of this kind may do; `effects` says which of it one does."""
    idempotent: ClassVar[bool] = False
    keyed: ClassVar[bool] = False
    pure: ClassVar[bool] = False
    acts: ClassVar[bool] = True
    """Whether performing it changes anything, in the context or outside. `False`: it only reads, computes or waits, and
    what it changes are the `changes` of its outcome; then it may be performed again until it is committed."""
    quick: ClassVar[bool] = False
    """Whether it waits for nothing but the context, so that many may be performed one after the other at once."""
    timeout: ClassVar[float] = 60.0
    """How long one may take where the instruction does not say, in seconds."""

    def effects(self, arguments: Mapping[str, Any], world: World) -> frozenset[Effect]:
        """Return what this one would do; references in *arguments* are not resolved yet.

        Asked again right before it is performed, with the references resolved: where it would do more by then than it
        was checked for, it is not performed.
        """
        return self.possible_effects

    def effects_within(
        self, arguments: Mapping[str, Any], world: World, allowed: frozenset[Effect]
    ) -> frozenset[Effect]:
        """Return what this one would do when it keeps to *allowed* as far as it can; references are resolved.

        Only for those that have a choice, and make it in `perform` by `OperationCall.effects`.
        """
        return self.effects(arguments, world)

    def about(self, arguments: Mapping[str, Any], world: World) -> str:
        """Return what it would be done with, for whoever approves it (`a model`); empty: the arguments say it."""
        return ""

    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return paths and patterns this one reads; called again when the references are resolved."""
        return ()

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return paths and patterns this one writes, in the context or through an application."""
        return ()

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Return what is wrong beyond the schema: a path that is not there, a command nobody has."""
        return ()

    def cost(self, arguments: Mapping[str, Any], world: World) -> float | None:
        """Return the upper bound of what this one costs in USD; `None`: it has none."""
        return 0.0

    def repeatable(self, arguments: Mapping[str, Any], world: World) -> bool:
        """Say whether this one may be done again with the same key: without harm, or without doing it twice.

        Asked when it may be tried again, and when a restarted daemon finds it begun; references are resolved then.
        """
        return self.idempotent or self.keyed

    @abstractmethod
    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Do it. Raise a `LightfastError`-like error with a `reason`; cancelling ends what it drives, too."""

    async def recover(self, call: OperationCall, bench: Bench) -> Outcome | None:
        """Find out what became of a call that a dead daemon had started, from its key and note.

        Return its outcome, wait for it if it still goes on, or raise as it failed. `None`: that cannot be known, and
        a person is asked. Called only for those that are not `repeatable`.
        """
        return None


class JobBench(Protocol):
    """What a job may use while it works."""

    job_id: str
    attempt: int
    requester: str

    def progress(self, fraction: float, message: str = "") -> None:
        """Tell how far it is, 0 to 1; -1 where that is not known. It is a heartbeat, too. Never waits."""

    def log(self, text: str) -> None:
        """Add a line to the job's log. Never waits."""

    async def keep(self, note: str) -> None:
        """Keep *note* on the disk: the next attempt is given it."""

    @property
    def note(self) -> str:
        """What an earlier attempt has kept."""


class JobType(ABC):
    """One type of durable jobs; a plugin brings its own through the hook `lightfast_job_types`.

    A job runs at least once: where a daemon dies in it, it is taken again, with what it kept.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    payload: ClassVar[Mapping[str, Any]] = {"type": "object"}
    """The JSON Schema of the payload."""
    max_attempts: ClassVar[int] = 3
    timeout: ClassVar[float] = 300.0
    """How long one attempt may take, in seconds."""

    @abstractmethod
    async def run(self, payload: Mapping[str, Value], bench: JobBench) -> Value | None:
        """Do it and return the result; raise to have it tried again, `Fatal`-like errors (`retryable = False`) not."""
