"""Windows that are never too full, and counts that never lean low."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.routing import Still, made

from lightfast.context.entry import Set
from lightfast.context.store import Store
from lightfast.context.views.views import Views
from lightfast.core.clock import StillClock
from lightfast.core.errors import FailedPrecondition, InvalidArgument
from lightfast.core.tasks import TaskGroup
from lightfast.core.tokens import Estimate
from lightfast.gateway.calls import GenerateCall, ModelRecord, Window
from lightfast.gateway.catalog import Catalog
from lightfast.gateway.ports import Fitted
from lightfast.gateway.prompts.counting import LEAST_TOKENS, SURE, Counters
from lightfast.gateway.prompts.room import PromptRoom
from lightfast.gateway.prompts.windows import Exact, Pack, Packed, count, fit
from lightfast.sdk import GenerationRequest, Message, Model, ProviderError, Usage
from lightfast.storage.database import Database


class Strict:
    """Counts every character as a token: nothing hides."""

    name = "strict"

    def count(self, text: str) -> int:
        return len(text)


def record_of(window: int, most: int = 0, *capabilities: str) -> ModelRecord:
    model = Model("a", ("text",), context_tokens=window, max_output_tokens=most, capabilities=capabilities)
    return ModelRecord("one/a", "one", model)


async def entries(patterns: Sequence[str], budget: int, model: str, purpose: str) -> Packed:
    """Pack lines as a view does, each of ten tokens, and leave out what has no place."""
    lines = [f"/a/{number:03} = {number:01}\n"[:10] for number in range(100)]
    fitting = lines[: budget // 10]
    return Packed("".join(fitting), len(lines) - len(fitting))


async def greedy(patterns: Sequence[str], budget: int, model: str, purpose: str) -> Packed:
    """Break its budget: what it says it takes is not what it takes."""
    return Packed("x" * (budget * 2), 0)


def talk(*lengths: int) -> tuple[Message, ...]:
    """Return a conversation of turns that are told apart by their place."""
    return tuple(
        Message("user" if place % 2 == 0 else "assistant", f"{place:02}".ljust(length, "."))
        for place, length in enumerate(lengths)
    )


async def test_what_fits_stays_as_it_is() -> None:
    call = GenerateCall("one/a", prompt="p" * 100, system="s" * 50, messages=talk(10, 10))
    fitted = await fit(call, record_of(1000, 200), Strict(), None)
    assert fitted.call == call
    assert (fitted.left_out, fitted.omitted, fitted.context) == (0, 0, "")
    assert fitted.tokens == count(call, Strict())
    assert fitted.estimate == count(call, Estimate())
    assert fitted.most_output_tokens == 200
    assert (await fit(call, record_of(1000), Strict(), None)).most_output_tokens == 0  # nobody bounds the answer


async def test_the_oldest_turns_go_first_and_the_system_stays() -> None:
    messages = (Message("system", "rules"), *talk(100, 100, 100, 100, 100))
    call = GenerateCall("one/a", prompt="p" * 100, messages=messages, max_output_tokens=200)
    fitted = await fit(call, record_of(650), Strict(), None)
    assert [message.text[:2] for message in fitted.call.messages] == ["ru", "04"]
    assert fitted.left_out == 4  # what is left does not begin with an answer
    assert fitted.tokens + 200 <= 650


async def test_the_answer_that_nobody_asked_for_gives_way_before_it_is_refused() -> None:
    call = GenerateCall("one/a", prompt="p" * 1500)
    fitted = await fit(call, record_of(2000, 2000), Strict(), None)
    assert 256 <= fitted.most_output_tokens < 500
    wish = GenerateCall("one/a", prompt="p" * 1500, max_output_tokens=500)
    with pytest.raises(FailedPrecondition) as caught:
        await fit(wish, record_of(2000, 2000), Strict(), None)
    assert caught.value.reason == "CONTEXT_TOO_LONG"
    assert "takes 1516 tokens and one/a has room for 1480 of its 2000" in caught.value.message
    assert "500 are kept for the answer, as was asked" in caught.value.message
    assert "it is 36 too long" in caught.value.message
    assert caught.value.metadata == {"model": "one/a", "tokens": "1516", "over": "36"}


async def test_the_service_that_counts_closer_has_the_last_word() -> None:
    call = GenerateCall("one/a", prompt="p" * 3000)
    asked: list[str] = []

    def exact(tokens: int | None) -> Exact:
        async def told(call: GenerateCall, record: ModelRecord) -> int | None:
            asked.append(record.name)
            return tokens

        return told

    assert (await fit(call, record_of(2000), Strict(), None, exact(900))).call.prompt == call.prompt
    with pytest.raises(FailedPrecondition, match="takes 1800 tokens"):
        await fit(call, record_of(2000), Strict(), None, exact(1800))
    with pytest.raises(FailedPrecondition, match="takes 3016 tokens"):
        await fit(call, record_of(2000), Strict(), None, exact(None))
    await fit(GenerateCall("one/a", prompt="short"), record_of(2000), Strict(), None, exact(1))
    assert len(asked) == 3  # it is asked only where that decides


async def test_context_takes_what_is_left_and_stands_before_the_prompt() -> None:
    call = GenerateCall("one/a", prompt="What is it?", window=Window(("//",)))
    fitted = await fit(call, record_of(1000, 100), Strict(), entries)
    assert fitted.call.window is None
    assert fitted.call.prompt == f"{fitted.context}\n\nWhat is it?"
    assert fitted.context.count("/a/") > 50
    assert fitted.omitted == 100 - fitted.context.count("/a/")
    assert fitted.tokens + 100 <= 1000
    bound = GenerateCall("one/a", prompt="What is it?", window=Window(("//",), 120))
    small = await fit(bound, record_of(1000, 100), Strict(), entries)
    assert 0 < small.context_tokens <= 120
    unknown = await fit(bound, record_of(0), Strict(), entries)
    assert 0 < unknown.context_tokens <= 120
    assert (await fit(call, record_of(1000, 100), Strict(), greedy)).tokens + 100 <= 1000
    with pytest.raises(InvalidArgument, match="may take -1 tokens"):
        await fit(GenerateCall(prompt="x", window=Window((), -1)), record_of(100), Strict(), entries)


async def test_context_is_packed_again_where_the_service_counts_more_than_the_estimate() -> None:
    call = GenerateCall("one/a", prompt="What is it?", window=Window(("//",)))
    counted: list[int] = []

    async def threefold(call: GenerateCall, record: ModelRecord) -> int:
        counted.append(3 * len(call.prompt))
        return counted[-1]

    async def endless(call: GenerateCall, record: ModelRecord) -> int:
        return 10_000

    fitted = await fit(call, record_of(1000, 100), Strict(), entries, threefold)
    assert fitted.context.count("/a/") > 5
    assert fitted.omitted == 100 - fitted.context.count("/a/")
    assert 3 * len(fitted.call.prompt) == counted[-1] <= 1000 - 100
    none = await fit(call, record_of(200, 50), Strict(), entries, endless)
    assert (none.context, none.call.prompt) == ("", call.prompt)
    counted.clear()
    await fit(call, record_of(100_000, 100), Strict(), entries, threefold)
    assert counted == []  # far from the bound nobody is asked


@settings(max_examples=200, deadline=None)
@given(
    window=st.integers(50, 3000),
    most=st.integers(0, 3000),
    asked=st.integers(0, 500),
    prompt=st.integers(0, 2500),
    system=st.integers(0, 300),
    turns=st.lists(st.integers(2, 400), max_size=12),
    rules=st.integers(0, 2),
    context=st.sampled_from([None, entries, greedy]),
    bound=st.integers(0, 500),
)
def test_never_over_the_window(
    window: int,
    most: int,
    asked: int,
    prompt: int,
    system: int,
    turns: list[int],
    rules: int,
    context: Pack | None,
    bound: int,
) -> None:
    import asyncio

    messages = (*(Message("system", "r" * 20) for _ in range(rules)), *talk(*turns))
    call = GenerateCall(
        "one/a",
        prompt="p" * prompt,
        system="s" * system,
        messages=messages,
        max_output_tokens=asked,
        window=Window(("//",), bound) if context is not None else None,
    )
    record = record_of(window, most)
    try:
        fitted: Fitted = asyncio.run(fit(call, record, Strict(), context))
    except FailedPrecondition:
        least = count(GenerateCall(prompt=call.prompt, system=call.system), Strict())
        wanted = min(asked, most or asked) if asked else 0
        # It is refused only where what must stay is too much, with what is kept for the shortest answer.
        assert least + 28 * rules + (wanted or 256) + max(16, window // 50 + 1) > window
        return
    taken = count(fitted.call, Strict())
    assert taken == fitted.tokens
    assert taken + (min(asked, most or asked) if asked else 0) <= window
    assert fitted.most_output_tokens + taken <= window
    assert fitted.context_tokens <= (bound or window)
    kept = list(fitted.call.messages)
    assert len(kept) + fitted.left_out == len(messages)
    spoken = [message for message in kept if message.role != "system"]
    assert spoken == list(messages[len(messages) - len(spoken) :]) or not spoken
    assert sum(message.role == "system" for message in kept) == rules
    if fitted.left_out and spoken:
        assert spoken[0].role == "user"
    assert fitted.call.prompt.endswith(call.prompt)


def test_the_correction_follows_what_services_count_and_never_leans_low() -> None:
    counters = Counters()
    text = "warm light on the cube " * 60
    plain = Estimate().count(text)
    assert counters.counter("one/a").count(text) == plain
    assert counters.counter("one/a").name == "estimate"

    def learn(model: str, estimate: int, actual: int, **fields: int) -> None:
        counters.learn(made(model, usage=Usage(input_tokens=actual, **fields), estimate=estimate))

    learn("one/a", 1000, 1300)
    learn("one/a", 1000, 900)
    assert counters.factor("one/a") == pytest.approx(1.3)
    assert counters.counter("one/a").count(text) >= plain * 1.3
    assert counters.counter("one/a").name == "estimate x 1.30"
    for _ in range(SURE - 1):
        learn("two/b", 1000, 700)
    assert counters.factor("two/b") == 1.0  # not sure yet
    learn("two/b", 1000, 800)
    assert counters.factor("two/b") == pytest.approx(0.8)
    learn("three/c", LEAST_TOKENS - 1, 900)
    counters.learn(made("three/c", usage=Usage(input_tokens=900)))
    counters.learn(made("three/c", error=RuntimeError("x"), usage=Usage(input_tokens=900), estimate=200))
    learn("three/c", 1000, 9000, image_input_tokens=9000)
    assert counters.models() == ["one/a", "two/b"]
    learn("odd/d", 1000, 10**9)
    assert counters.factor("odd/d") == 4.0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0.5, 3.9), min_size=1, max_size=64))
def test_what_was_seen_is_never_undercounted(ratios: list[float]) -> None:
    counters = Counters()
    for ratio in ratios:
        counters.learn(made("one/a", usage=Usage(input_tokens=int(1000 * ratio)), estimate=1000))
    assert all(math.ceil(1000 * counters.factor("one/a")) >= int(1000 * ratio) for ratio in ratios)


class Counting(Still):
    """Counts by itself, or fails."""

    trouble: Exception | None = None
    asked = 0

    async def count_tokens(self, request: GenerationRequest) -> int:
        self.asked += 1
        if self.trouble is not None:
            raise self.trouble
        return len(request.prompt.split()) + len(request.messages)


async def test_a_service_counts_once_and_the_estimate_stands_in(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db", clock=StillClock())
    async with TaskGroup("test") as tasks:
        catalog = Catalog()
        provider = Counting("one", [Model("a", ("text",), capabilities=("count_tokens",)), Model("b", ("text",))])
        catalog.add(provider, "ones", provider.models())
        room = PromptRoom(db, StillClock(), tasks, catalog)
        call = GenerateCall("one/a", prompt="one two three", messages=(Message("user", "x"),))
        for _ in range(3):
            counted = await room.count(call, catalog.named("one/a"))
            assert (counted.tokens, counted.counter) == (4, "one")
        assert provider.asked == 1
        other = await room.count(GenerateCall("one/a", prompt="one two"), catalog.named("one/a"))
        assert (other.tokens, provider.asked) == (2, 2)
        plain = await room.count(call, catalog.named("one/b"))
        assert (plain.tokens, plain.counter) == (count(call, Estimate()), "estimate")
        for trouble in (ProviderError("no"), RuntimeError("bug"), TimeoutError()):
            provider.trouble = trouble
            failed = await room.count(GenerateCall(prompt=f"new {trouble!r}"), catalog.named("one/a"))
            assert failed.counter == "estimate"
        assert (await room.count(call, None)).counter == "estimate"
        await room.close()
    await db.close()


class NoDialects:
    def dialect(self, mount: str) -> None:
        return None

    def mounts(self) -> Sequence[str]:
        return ()


async def test_real_views_are_packed_with_the_counter_of_the_model(tmp_path: Path) -> None:
    clock = StillClock()
    db = await Database.open(tmp_path / "store.db", clock=clock)
    store = await Store.open(db, clock=clock)
    async with TaskGroup("test") as tasks:
        await store.apply([Set(f"/desk/lamp{n:02}/level", n / 10) for n in range(40)], origin="test")
        room = PromptRoom(db, clock, tasks, Catalog())
        views = Views(store, clock, NoDialects(), None, room.counter)
        room.views = lambda: views
        for _ in range(2):
            room.attempted(made("one/a", usage=Usage(input_tokens=2000), estimate=1000))
        call = GenerateCall("one/a", prompt="How bright is lamp07?", window=Window(("/desk//",)))
        whole = await room.fit(call, record_of(8000, 500))
        assert whole.context.count("/desk/lamp") == 40
        assert whole.omitted == 0
        tight = await room.fit(call, record_of(1400, 500))
        assert 0 < tight.context.count("/desk/lamp") < 40
        assert tight.omitted == 40 - tight.context.count("/desk/lamp")
        assert tight.context.split("\n")[1].startswith("/desk/lamp07/level = 0.7")  # what matters comes first
        assert count(tight.call, room.counter("one/a")) == tight.tokens <= 1400 - 256
        assert room.counter("one/a").name == "estimate x 2.00"
        with pytest.raises(InvalidArgument):
            await room.fit(GenerateCall("one/a", prompt="x", window=Window(("[",))), record_of(8000))
        await room.close()
    await store.close()
    await db.close()
