"""Claude's messages point by point: what is sent, what the counts come to, how answers end and what errors mean."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.emulators.anthropic import Anthropic as Emulator
from tests.providers.contract import Case, Ran, rig

from lightfast.sdk import Finish, GenerationRequest, Limit, Limits, Message, Session, TextDelta, Usage
from lightfast.sdk.testing import FakeBench
from lightfast_providers._common.bounded import TOLD
from lightfast_providers.anthropic import Anthropic
from lightfast_providers.anthropic.models import LISTED, named
from lightfast_providers.anthropic.requests import Counts, Seam

REQUEST = GenerationRequest("claude-opus-5-5", "text", "What is the sea?", {}, 1)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"depth": {"type": "integer", "minimum": 1}},
    "required": ["depth"],
}
CASE = Case("messages", Emulator, Anthropic, request=REQUEST)
SPENT = 10 * 86400.0 + 11 * 3600.0
"""From 20 November 2026, 13:00, to 1 December, both UTC."""


async def asked(emulated: dict[str, Any] | None = None, **changes: Any) -> tuple[Ran, Any]:
    """Return what came of a request with *changes*, and its body."""
    async with rig(CASE) as it:
        for name, value in (emulated or {}).items():
            setattr(it.emulator, name, value)
        ran = await it.run(**changes)
        return ran, it.emulator.journal[-1].json


async def failed(fault: str) -> Ran:
    async with rig(CASE) as it:
        return await it.fail(fault)


async def test_a_plain_request_asks_for_the_longest_answer_and_nothing_more() -> None:
    ran, body = await asked()
    assert body == {
        "model": "claude-opus-5-5",
        "max_tokens": 128_000,
        "messages": [{"role": "user", "content": "What is the sea?"}],
        "stream": True,
    }
    assert [type(step) for step in ran.steps] == [Limits, *[TextDelta] * 3, Usage, Finish]
    assert "think" not in ran.text


async def test_nothing_is_told_about_this_machine() -> None:
    async with rig(CASE) as it:
        await it.run()
        assert it.emulator.journal
        for call in it.emulator.journal:
            assert [name for name in call.headers if name.lower() in TOLD or "stainless-os" in name.lower()] == []


async def test_a_conversation_with_sources() -> None:
    _, body = await asked(
        system="Be brief.",
        messages=(Message("user", "Hello."), Message("system", "Rhyme."), Message("assistant", "Yes?")),
        sources=(b"\x89PNG", b"%PDF-1.7", "naïve".encode()),
        source_types=("image/png", "application/pdf", "text/markdown; charset=utf-8"),
        max_output_tokens=900_000,
    )
    assert body["system"] == "Be brief.\n\nRhyme."
    assert body["max_tokens"] == 128_000
    assert body["messages"][:2] == [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Yes?"}]
    picture, document, text, prompt = body["messages"][2]["content"]
    encoded = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(b"\x89PNG").decode()}
    assert picture == {"type": "image", "source": encoded}
    assert (document["type"], document["source"]["media_type"]) == ("document", "application/pdf")
    assert text["source"] == {"type": "text", "media_type": "text/plain", "data": "naïve"}
    assert prompt == {"type": "text", "text": "What is the sea?"}


async def test_a_conversation_that_the_assistant_begins() -> None:
    ran, body = await asked(messages=(Message("assistant", "Welcome."),))
    assert ran.error is None
    assert [each["role"] for each in body["messages"]] == ["user", "assistant", "user"]


async def test_a_source_that_claude_cannot_read_is_not_sent() -> None:
    async with rig(CASE) as it:
        error = (await it.run(sources=(b"RIFF",), source_types=("audio/wav",))).failed("invalid")
        assert "audio/wav" in str(error)
        assert not it.emulator.journal


async def test_large_sources_are_encoded_on_the_bench() -> None:
    bench = FakeBench()
    async with rig(CASE) as it:
        for size, runs in ((10, 0), (2 << 20, 1)):
            request = it.request(sources=(b"x" * size,), source_types=("image/png",))
            assert [step async for step in it.provider.generate(request, bench)]
            assert bench.runs == runs


async def test_settings_reach_the_service() -> None:
    _, body = await asked(settings={"effort": "low", "stop": ["END"], "cache_ttl": "1h"}, system="Be brief.")
    mark = {"type": "ephemeral", "ttl": "1h"}
    assert body["system"] == [{"type": "text", "text": "Be brief.", "cache_control": mark}]
    assert (body["output_config"], body["stop_sequences"]) == ({"effort": "low"}, ["END"])
    _, body = await asked(settings={"cache_ttl": "5m"})
    assert body["cache_control"] == {"type": "ephemeral", "ttl": "5m"}
    _, body = await asked(settings={"cache_ttl": "off"})
    assert "cache_control" not in body


async def test_a_schema_constrains_the_answer() -> None:
    _, body = await asked(schema=SCHEMA, settings={"effort": "low"})
    wanted = body["output_config"]["format"]
    assert wanted["type"] == "json_schema"
    assert wanted["schema"]["required"] == ["depth"]
    assert wanted["schema"]["additionalProperties"] is False
    assert "minimum: 1" in wanted["schema"]["properties"]["depth"]["description"]  # it knows no such bound
    assert body["output_config"]["effort"] == "low"
    assert "minimum" in SCHEMA["properties"]["depth"]  # ours is untouched


async def test_a_beginning_is_continued_where_the_model_can() -> None:
    old = GenerationRequest("claude-haiku-4-5", "text", "What is the sea?", {}, 1, prefix="The sea \n")
    ran, body = await asked({"pieces": [" ", "\n is", " wide."]}, model=old.model, prefix=old.prefix)
    assert body["messages"][-1] == {"role": "assistant", "content": "The sea"}  # trailing space would be refused
    assert ran.text == " is wide."
    ran, body = await asked({"pieces": ['": 3}']}, model=old.model, prefix='{"depth', schema=SCHEMA)
    assert "output_config" not in body  # a beginning and a format exclude each other
    assert '"depth"' in body["system"]
    assert ran.text == '": 3}'


async def test_newer_models_do_not_say_they_continue() -> None:
    can = {model.name for model in LISTED if "continue" in model.capabilities}
    assert can == {"claude-haiku-4-5", "claude-opus-4-5", "claude-sonnet-4-5"}
    ran, _ = await asked(prefix="The sea")
    assert "prefill" in str(ran.failed("invalid"))


@pytest.mark.parametrize(
    ("said", "reason"),
    [("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("pause_turn", "stop")],
)
async def test_how_an_answer_ends(said: str, reason: str) -> None:
    ran, _ = await asked({"stop_reason": said})
    assert ran.steps[-1] == Finish(reason)


async def test_a_full_window_is_a_length_after_text_and_too_much_context_without() -> None:
    async with rig(CASE) as it:
        emulator: Any = it.emulator
        assert (await it.fail("window")).steps[-1] == Finish("length")
        emulator.pieces = []
        (await it.fail("window")).failed("context")


async def test_a_refusal_is_paid_for() -> None:
    ran = await failed("refusal-begun")
    error = ran.failed("filtered")
    assert "bio" in str(error)
    assert not error.retryable
    assert ran.text == "The sea is wide."
    assert ran.usage.output_tokens == 57
    assert not [step for step in ran.steps if isinstance(step, Finish)]


async def test_an_error_in_the_middle_of_a_stream() -> None:
    ran = await failed("overloaded-mid")
    assert ran.failed("overloaded").retryable
    assert ran.text == "The sea "
    assert ran.usage == Usage(4321, 1, cached_tokens=4000, cache_write_tokens=300, requests=1)  # what was told so far


@pytest.mark.parametrize(
    ("fault", "kind", "terminal"),
    [
        ("billing", "limit", True),
        ("413", "context", False),
        ("timeout", "timeout", False),
        ("hold", "denied", False),
        ("blocked", "filtered", False),
        ("invalid", "invalid", False),
        ("overloaded", "overloaded", False),
    ],
)
async def test_what_errors_mean(fault: str, kind: str, terminal: bool) -> None:
    error = (await failed(fault)).failed(kind)
    assert error.terminal is terminal
    assert str(error).startswith("Anthropic ")


async def test_a_429_tells_each_limit_by_the_clock_of_the_service() -> None:
    error = (await failed("429")).failed("limit")
    assert isinstance(error.limits, Limits)
    assert Limit("output_tokens", 60.0, 100_000.0, 0.0, 30.0) in error.limits.limits
    assert Limit("requests", 60.0, 1000.0, 999.0, 30.0) in error.limits.limits
    bare = (await failed("429-none")).failed("limit")
    assert (bare.retry_after, bare.limits, bare.retryable) == (-1.0, None, True)


async def test_spent_money_comes_back_with_the_month() -> None:
    error = (await failed("429-terminal")).failed("limit")
    assert (error.terminal, error.retryable, error.retry_after) == (True, False, SPENT)
    assert isinstance(error.limits, Limits)
    assert error.limits.limits == (Limit("spend", 30 * 86400.0, remaining=0.0, reset_after=SPENT),)


async def test_only_the_key_of_the_account_is_sent_and_only_where_the_account_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-the-environment")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    async with rig(CASE) as it:
        assert (await it.run()).error is None
        sent = it.emulator.journal[0].headers
        assert sent["Authorization"] == f"Bearer {it.emulator.key}"
        assert sent["anthropic-version"] == "2026-10-21"


async def test_the_tokens_of_a_schema_are_counted_with_it() -> None:
    async with rig(CASE) as it:
        await it.provider.count_tokens(it.request(schema=SCHEMA, system="Be brief."))
        body = it.emulator.journal[-1].json
    assert set(body) == {"model", "messages", "system", "output_config"}


# --- models ---


async def test_the_longest_answer_of_a_model_nobody_knows_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.emulators.anthropic.MODELS", ("claude-sonnet-6",))
    async with rig(CASE) as it:
        for most, sent in ((0, 32_000), (300_000, 300_000)):
            await it.run(model="claude-sonnet-6", max_output_tokens=most)
            assert it.emulator.journal[-1].json["max_tokens"] == sent
        await it.provider.discover(it.session)  # now it is known
        await it.run(model="claude-sonnet-6", max_output_tokens=300_000)
        assert it.emulator.journal[-1].json["max_tokens"] == 256_000


async def test_the_models_of_an_account_come_with_their_ends() -> None:
    async with rig(CASE) as it:
        found = await it.provider.discover(it.session)
    assert found is not None
    by_name = {model.name: model for model in found}
    assert set(by_name) == {"claude-sonnet-6", "claude-haiku-4-5", "claude-sonnet-4-5"}  # none that is retired
    new = by_name["claude-sonnet-6"]
    assert (new.context_tokens, new.max_output_tokens, new.description) == (2_000_000, 256_000, "Claude Sonnet 6.")
    assert "continue" not in new.capabilities
    assert new.settings["properties"]["effort"]["enum"] == ["low", "medium", "high"]
    assert "effort" not in by_name["claude-haiku-4-5"].settings["properties"]
    old = by_name["claude-sonnet-4-5"]
    assert (old.deprecation_date, old.retirement_date) == ("2026-08-01", "2026-11-30")
    assert "continue" in old.capabilities


def test_every_listed_model_has_a_price_and_the_window_of_the_price_list() -> None:
    from genai_prices import data_snapshot

    prices = data_snapshot.get_snapshot()
    for model in LISTED:
        _, found = prices.find_provider_model(model.name, None, "anthropic", None)
        assert (found.id, found.context_window) == (model.name, model.context_tokens)


def test_names_with_a_date_are_the_model_without() -> None:
    dated = named("claude-haiku-4-5-20251001")
    assert dated is not None
    assert (dated.price_name, dated.max_output_tokens, dated.tags) == ("claude-haiku-4-5", 64_000, ())
    unknown = named("claude-sonnet-9")
    assert unknown is not None
    assert unknown.max_output_tokens == 0
    assert named("gpt-5") is None


def test_a_session_of_another_key_has_another_client() -> None:
    provider = Anthropic()
    with (
        provider._clients.lend(Session("a", base_url="http://127.0.0.1:9")) as one,
        provider._clients.lend(Session("a", base_url="http://127.0.0.1:9")) as same,
        provider._clients.lend(Session("b", base_url="http://127.0.0.1:9")) as other,
    ):
        assert one is same
        assert one is not other
        assert (one.max_retries, other.max_retries) == (0, 0)


# --- arithmetic ---


class Told:
    """Counts as the SDK has them."""

    def __init__(self, **counts: int | None) -> None:
        for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"):
            setattr(self, name, counts.get(name))
        self.output_tokens_details = None


COUNT = st.one_of(st.none(), st.integers(0, 10**7))


@given(st.lists(st.tuples(COUNT, COUNT, COUNT, COUNT), min_size=1, max_size=6))
def test_later_counts_replace_earlier_ones_and_the_cache_is_included(
    told: list[tuple[int | None, int | None, int | None, int | None]],
) -> None:
    counts = Counts()
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    last = dict.fromkeys(names, 0)
    for each in told:
        values = dict(zip(names, each, strict=True))
        counts.take(Told(**values))
        last |= {name: value for name, value in values.items() if value is not None}
    usage = counts.usage() or Usage()
    assert usage.input_tokens == sum(last[name] for name in names[:3])
    assert usage.output_tokens == last["output_tokens"]
    assert (usage.cached_tokens, usage.cache_write_tokens) == (last[names[2]], last[names[1]])


@given(st.text(" \na", max_size=6), st.text(" \na", max_size=8), st.data())
def test_the_seam_takes_back_only_the_white_space_it_was_not_given(prefix: str, text: str, data: Any) -> None:
    whole = Seam(prefix).join(text)
    cut = data.draw(st.integers(0, len(text)))
    seam = Seam(prefix)
    assert seam.join(text[:cut]) + seam.join(text[cut:]) == whole
    assert text.endswith(whole)
    tail = prefix[len(prefix.rstrip()) :] if prefix.strip() else ""
    assert tail.startswith(text[: len(text) - len(whole)])
