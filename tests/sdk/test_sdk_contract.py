"""The contract suites find what they promise to find."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from lightfast.sdk import (
    Artifact,
    Bridge,
    BridgeHost,
    Command,
    EmbeddingRequest,
    Embeddings,
    Finding,
    Finish,
    GenerationRequest,
    Job,
    Limit,
    Limits,
    Model,
    Parameter,
    Preview,
    Progress,
    Provider,
    Step,
    TextDelta,
    Usage,
    Workbench,
)
from lightfast.sdk.testing import ContractBroken, FakeBench, check_bridge, check_provider
from lightfast.sdk.testing.bridges import check_diagnosis

MODEL = Model("one", outputs=("text",), description="one")


class Good(Provider):
    name = "good"
    description = "keeps the contract"
    offered = MODEL

    def models(self) -> Sequence[Model]:
        return [self.offered]

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        yield Progress(-1, "working")
        await asyncio.sleep(0)
        yield TextDelta(await bench.run(str.upper, request.prompt))


class Blocking(Good):
    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        time.sleep(0.3)
        yield TextDelta("late")


class Chancy(Good):
    offered = Model("one", outputs=("text",), description="one", procedural=True)

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        yield TextDelta(str(random.random()))


class Deaf(Good):
    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            raise RuntimeError("not now") from None
        yield TextDelta("done")


class Endless(Good):
    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        await asyncio.Event().wait()
        yield TextDelta("never")


class Vectors(Good):
    offered = Model("one", outputs=("embedding",), description="one")

    def __init__(self, vectors: tuple[tuple[float, ...], ...]) -> None:
        self.vectors = vectors

    async def embed(self, request: EmbeddingRequest, bench: Workbench) -> Embeddings:
        return Embeddings(self.vectors)


def yielding(*steps: Any, outputs: tuple[str, ...] = ("text",)) -> Provider:
    class Yielding(Good):
        offered = Model("one", outputs=outputs, description="one")

        async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
            await asyncio.sleep(0)
            for step in steps:
                yield step

    return Yielding()


async def test_a_good_provider_passes() -> None:
    steps = await check_provider(Good(), most_blocked=60.0)  # a machine that stands still is not its fault
    assert steps["one"][-1] == TextDelta("A RED CIRCLE")


@pytest.mark.parametrize(
    ("provider", "said"),
    [
        (Blocking(), "held the event loop for"),
        (Chancy(), "made two different things with the same seed"),
        (Deaf(), "answered its cancellation with RuntimeError"),
        (Endless(), "was not done after 0.5 s"),
        (yielding(), "ended without an Artifact or a TextDelta"),
        (yielding(7, TextDelta("x")), "yielded 7, which is no step"),
        (yielding(Progress(1.5), TextDelta("x")), r"yielded Progress\(1.5\)"),
        (yielding(Preview("image/png", bytes(300_000)), TextDelta("x")), "a preview of 300000 bytes"),
        (yielding(Artifact("audio/wav", b"x"), outputs=("image",)), "was asked for image and made 'audio/wav'"),
        (yielding(Artifact("image/png", b""), outputs=("image",)), "an empty artifact"),
        (yielding(Artifact("image/png", b"x", settings={"a": object()}), outputs=("image",)), "no JSON"),
        (yielding(Job(""), TextDelta("x")), "a Job without an identity"),
        (yielding(Finish("tired"), TextDelta("x")), r"yielded Finish\('tired'\): use of stop"),
        (yielding(Limits((Limit("wishes", 60.0),)), TextDelta("x")), "told a limit of 'wishes'"),
        (yielding(Usage(output_tokens=-1), TextDelta("x")), "a Usage with output_tokens = -1"),
        (yielding(Usage(5, 5, cached_tokens=6), TextDelta("x")), "used 6 cached_tokens of 5 input_tokens"),
        (yielding(TextDelta(b"x")), "a TextDelta of bytes"),  # type: ignore[arg-type]
        (Vectors(((1.0,),)), "made 1 vectors of 3 texts"),
        (Vectors(((1.0,), (1.0, 2.0), (1.0,))), "vectors of different lengths"),
        (yielding(TextDelta("x"), outputs=("smell",)), r"has the outputs \('smell',\)"),
    ],
)
async def test_a_broken_promise_is_found(provider: Provider, said: str) -> None:
    with pytest.raises(ContractBroken, match=said):
        await check_provider(
            provider,
            timeout=0.5 if isinstance(provider, Endless) else 60.0,
            most_blocked=0.2 if isinstance(provider, Blocking) else 60.0,
        )


class Shape(Bridge):
    kind = "shape"
    title = "Shape"
    link = True

    def __init__(self, parameters: Sequence[Parameter] = (), commands: Sequence[Command] = ()) -> None:
        self._parameters, self._commands = parameters, commands

    def parameters(self) -> Sequence[Parameter]:
        return self._parameters

    def commands(self) -> Sequence[Command]:
        return self._commands

    async def run(self, host: BridgeHost) -> None:
        raise AssertionError("a bridge of the link is not run")


@pytest.mark.parametrize(
    ("bridge", "said"),
    [
        (Shape([Parameter("/absolute")]), "must be relative to the mount"),
        (Shape([Parameter("a/[b")]), "is no pattern"),
        (Shape([Parameter("a", kind="float")]), "has the kind 'float'"),
        (Shape([Parameter("a", minimum=2.0, maximum=1.0)]), "the range 2.0 to 1.0"),
        (Shape([Parameter("a", access="x")]), "has the access 'x'"),
        (Shape(commands=[Command("go", effect="fun")]), "has the effect 'fun'"),
        (Shape(commands=[Command("go"), Command("go")]), "has the command 'go' twice"),
    ],
)
async def test_a_misshapen_bridge_is_found(bridge: Bridge, said: str) -> None:
    with pytest.raises(ContractBroken, match=said):
        await check_bridge(bridge)


async def test_a_bridge_that_raises_without_its_application_is_found() -> None:
    class Fragile(Shape):
        link = False

        async def run(self, host: BridgeHost) -> None:
            raise OSError("nobody there")

    with pytest.raises(ContractBroken, match="does not bear a missing application: OSError"):
        await check_bridge(Fragile())


async def test_a_loop_that_stands_still_hides_no_bridge_that_raises() -> None:
    """Its end, and the end of the time there is for a word of it, are then heard of in one turn."""

    class Late(Shape):
        link = False

        async def run(self, host: BridgeHost) -> None:
            time.sleep(0.2)
            raise OSError("nobody there")

    with pytest.raises(ContractBroken, match="does not bear a missing application: OSError"):
        await check_bridge(Late(), patience=0.1)


async def test_the_fake_bench_works_off_the_loop() -> None:
    import threading

    bench = FakeBench()
    assert await bench.run(threading.get_ident) != threading.get_ident()
    assert bench.runs == 1


class Diagnosing(Bridge):
    kind = "diagnosing"
    title = "Diagnosing"

    def __init__(self, found: Any) -> None:
        self.found = found

    async def diagnose(self, config: Mapping[str, Any]) -> Sequence[Finding]:
        if callable(self.found):
            await self.found()
        return self.found  # type: ignore[no-any-return]

    async def run(self, host: BridgeHost) -> None:
        host.absent("never there")
        await asyncio.Event().wait()


async def _hang() -> None:
    await asyncio.Event().wait()


async def _raise() -> None:
    raise OSError("no such device")


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (_hang, "took longer than 0.05 s: bound every wait"),
        (_raise, "what is wrong is a finding, not an exception"),
        ([Finding("bad", "x", "y", "z")], "gave the level 'bad': use one of ok, note, warning, error"),
        ([Finding("error", "x", "y")], "without a remedy"),
        ([Finding("ok", "", "y")], "without a subject"),
        ([Finding("ok", "x", "")], "does not say how it stands"),
        (["x"], "which is no Finding"),
    ],
)
async def test_a_diagnosis_that_breaks_its_promises(found: Any, text: str) -> None:
    with pytest.raises(ContractBroken) as caught:
        await check_diagnosis(Diagnosing(found), {}, deadline=0.05)
    assert text in str(caught.value)


async def test_a_good_diagnosis_passes() -> None:
    await check_bridge(Diagnosing([Finding("ok", "port", "free"), Finding("error", "port", "taken", "end it")]))
