"""The contract of a provider that speaks to a service, as tests against the service's emulator.

A test file of a provider names what it can do, in a few lines:

    from tests.emulators.chimes import ChimesEmulator
    from tests.providers.contract import Case, Plugin, contract, plugin_contract

    PLUGIN = Plugin("lightfast_providers.chimes", "chimes", sdk=("chimes_sdk",), install="lightfast[chimes]")
    CASES = (
        Case(
            "text", ChimesEmulator, chimes.Chimes,
            request=GenerationRequest("bell-1", "text", "ring", {}, 1),      # session and defaults are filled in
            answer="ding dong",                                              # what the emulator's answer comes to
            usage=Usage(input_tokens=11, cached_tokens=3, output_tokens=7, requests=1),   # to the token
            without={"filtered": "the service has no policy"},               # a reason for each check left out
        ),
        Case("vectors", ChimesEmulator, chimes.Chimes, embedding=EmbeddingRequest("bell-e", ("a", "b")), …),
    )

    @pytest.mark.parametrize(("check", "case"), contract(CASES))
    async def test_contract(check, case):
        await check(case)

    @pytest.mark.parametrize("check", plugin_contract(PLUGIN))
    async def test_plugin(check):
        await check(PLUGIN)

Each check starts an emulator and a provider of its own and closes both. What the provider must have: an attribute
`most_bytes`, the most bytes of one answer that it reads, which the check `oversize` makes small; and one attempt for
one call: the emulator's journal shows exactly one request (jobs: one `POST`, then polls). What the emulator must
have: the faults 401, 403, 404, 429, 429-terminal, 500, 503, context (text only), filtered in its service's own words
(`Emulator.offers`, `Emulator.refusal`), its 401 repeating the whole key in its message; what one misses is named in
`Case.without`. Faults hit the first request of a call; `Case.faults_on` names a part of the path for those that are
about another one, such as `{"oversize": "/files/"}` for a download. A service with jobs (`jobs=True`) overrides
`Emulator.holds` and `Emulator.cancelled`: while `held`, jobs are made and asked about, but do not end.

The checks themselves are in `checks.py` (answers and failures) and `checks_more.py` (jobs, batches, the plugin).
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.emulators import Call, Emulator

from lightfast.sdk import (
    Artifact,
    BatchAnswer,
    EmbeddingRequest,
    Embeddings,
    GenerationRequest,
    Job,
    Limits,
    Model,
    Provider,
    ProviderError,
    Secret,
    Session,
    TextDelta,
    Usage,
)
from lightfast.sdk.testing import FakeBench, complete_settings

PATIENCE = 30.0
"""Seconds after which a provider that does not end fails its test."""
STALLS = (0.3, 3.0, 20.0)
"""Deadlines for a service that stands still: the next one, where a busy machine has not come to asking by then."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin: its *module*, the name of its provider, the modules of its SDK, and the extra that installs them."""

    module: str
    provider: str
    sdk: tuple[str, ...] = ()
    install: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """One thing a provider can do: a *request*, or an *embedding*; see the module for an example.

    *answer* is the text, or the bytes of the first artifact (`None`: any), *media_type* that of the artifact, *usage*
    all `Usage` steps together. *streams*: text or previews come while the service still works (usual for text).
    *jobs*: the service works on jobs. *limits* are the kinds of `Limit` that a good answer tells, *told* whether a 429
    tells how long to wait. *path* is a part of the path of the request that asks for the answer. *options* go into the
    session. *batch*: what `Provider.batch` is given, with *batch_answers* as (text, error).
    """

    name: str
    emulator: Callable[[], Emulator]
    provider: Callable[[], Provider]
    request: GenerationRequest | None = None
    embedding: EmbeddingRequest | None = None
    answer: str | bytes | None = None
    media_type: str = ""
    usage: Usage | None = None
    streams: bool | None = None
    jobs: bool = False
    limits: frozenset[str] = frozenset()
    told: bool = True
    path: str = ""
    tokens: int = 0
    """What `count_tokens` returns for the request; 0: it is not asked."""
    vectors: tuple[tuple[float, ...], ...] = ()
    batch: Sequence[GenerationRequest] = ()
    batch_answers: tuple[tuple[str, str], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    faults_on: Mapping[str, str] = field(default_factory=dict)
    without: Mapping[str, str] = field(default_factory=dict)

    @property
    def streaming(self) -> bool:
        """Whether parts come before the end."""
        if self.streams is not None:
            return self.streams
        return self.request is not None and self.request.output == "text"

    def __str__(self) -> str:
        return self.name


Check = Callable[[Case], Coroutine[Any, Any, None]]
PluginCheck = Callable[[Plugin], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class Ran:
    """What came of one call: its steps (or `Embeddings`) and the error that ended it."""

    steps: list[Any] = field(default_factory=list)
    error: ProviderError | None = None

    @property
    def text(self) -> str:
        """All text."""
        return "".join(step.text for step in self.steps if isinstance(step, TextDelta))

    @property
    def artifacts(self) -> list[Artifact]:
        """All results."""
        return [step for step in self.steps if isinstance(step, Artifact)]

    @property
    def usage(self) -> Usage:
        """All usage together."""
        total = Usage()
        for step in self.steps:
            total += step if isinstance(step, Usage) else getattr(step, "usage", Usage())
        return total

    @property
    def limits(self) -> frozenset[str]:
        """The kinds of limits that were told."""
        told = [step for step in self.steps if isinstance(step, Limits)]
        told += [step.limits for step in self.steps if isinstance(step, Embeddings) and step.limits]
        return frozenset(limit.kind for each in told for limit in each.limits)

    def failed(self, *kinds: str) -> ProviderError:
        """Return the error, which must be of one of *kinds*."""
        assert self.error is not None, f"it should have failed as {kinds}, and yielded {self.steps!r:.300}"
        assert self.error.kind in kinds, f"it failed as {self.error.kind!r} instead of {kinds}: {self.error}"
        return self.error


class Rig:
    """An emulator, a provider, and what is asked of it."""

    def __init__(self, case: Case, emulator: Emulator, provider: Provider) -> None:
        self.case, self.emulator, self.provider = case, emulator, provider
        self.ran = Ran()

    @property
    def session(self) -> Session:
        """The account."""
        key = self.emulator.key if self.emulator.needs_key else ""
        return Session("default", Secret(key), self.emulator.base_url, dict(self.case.options))

    def model(self, name: str) -> Model:
        """Return a model of the provider."""
        listed = [model for model in self.provider.models() if model.name == name]
        found = listed[0] if listed else self.provider.model(name)
        assert found is not None, f"{self.provider.name} has no model {name!r}"
        return found

    def request(self, base: GenerationRequest | None = None, **changes: Any) -> GenerationRequest:
        """Return the request of the case, complete."""
        base = base or self.case.request
        assert base is not None
        settings = complete_settings(self.model(base.model), base.settings)
        return dataclasses.replace(base, **{"session": self.session, "settings": settings, **changes})

    async def run(self, **changes: Any) -> Ran:
        """Make the call, to its end; *changes* are made to the request."""
        self.ran = Ran()
        async with asyncio.timeout(PATIENCE):
            try:
                async for step in self._steps(changes):
                    self.ran.steps.append(step)
            except ProviderError as error:
                self.ran.error = error
        return self.ran

    async def _steps(self, changes: Mapping[str, Any]) -> AsyncIterator[Any]:
        if self.case.embedding is not None:
            request = dataclasses.replace(self.case.embedding, **{"session": self.session, **changes})
            yield await self.provider.embed(request, FakeBench())
        elif self.case.request is not None:
            async for step in self.provider.generate(self.request(**changes), FakeBench()):
                yield step
        else:
            async for answer in self.provider.batch(
                [self.request(each) for each in self.case.batch], self.session, "", FakeBench()
            ):
                yield answer

    async def fail(self, fault: str, **changes: Any) -> Ran:
        """Make the call while *fault* is set."""
        self.emulator.next(fault, on=self.case.faults_on.get(fault, ""))
        return await self.run(**changes)

    def asked(self) -> list[Call]:
        """Return the requests that asked for the answer."""
        return self.emulator.calls(self.case.path, "POST")


@asynccontextmanager
async def rig(case: Case) -> AsyncIterator[Rig]:
    """Start an emulator and a provider; both are closed in the end."""
    async with case.emulator() as emulator:
        provider = case.provider()
        try:
            yield Rig(case, emulator, provider)
        finally:
            await provider.close()


def contract(cases: Iterable[Case]) -> list[Any]:
    """Return the parameters (check, case) for `pytest.mark.parametrize`."""
    checks = importlib.import_module("tests.providers.checks").CHECKS
    more = importlib.import_module("tests.providers.checks_more").CHECKS
    found = []
    for case in cases:
        names = {check.__name__ for check in (*checks, *more)}
        unknown = set(case.without) - names
        assert not unknown, f"{case.name} leaves out checks that there are none of: {sorted(unknown)}"
        found += [
            pytest.param(check, case, id=f"{case.name}-{check.__name__}")
            for check in (*checks, *more)
            if check.__name__ not in case.without and check.applies(case)
        ]
    return found


def plugin_contract(plugin: Plugin) -> list[Any]:
    """Return the checks of a plugin, for `pytest.mark.parametrize`."""
    checks = importlib.import_module("tests.providers.checks_more").PLUGIN_CHECKS
    return [pytest.param(check, id=f"{plugin.provider}-{check.__name__}") for check in checks]


def applies(when: Callable[[Case], bool]) -> Callable[[Check], Check]:
    """Mark for which cases a check is."""

    def mark(check: Check) -> Check:
        check.applies = when  # type: ignore[attr-defined]
        return check

    return mark


def generates(case: Case) -> bool:
    """Whether the case is a generation."""
    return case.request is not None


def calls(case: Case) -> bool:
    """Whether the case is one call: a generation or an embedding."""
    return case.request is not None or case.embedding is not None


def batched(answers: Iterable[Any]) -> list[BatchAnswer]:
    """Return the answers of a batch, in order."""
    return sorted((each for each in answers if isinstance(each, BatchAnswer)), key=lambda each: each.index)


def job_of(steps: Iterable[Any]) -> str:
    """Return the job that was yielded, or nothing."""
    return next((step.job_id for step in steps if isinstance(step, Job)), "")
