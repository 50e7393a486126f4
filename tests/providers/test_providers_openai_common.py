"""What the providers of OpenAI's protocol share: limits, errors, bounds, clients, and answers of any shape."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.emulators import Call, Emulator
from tests.emulators.base import call_of, events
from tests.emulators.openai import OpenAIEmulator
from tests.providers.contract import Case, rig
from tests.providers.test_providers_openai_requests import ASKED

from lightfast.sdk import EmbeddingRequest, Limit, ProviderError, Secret, Session, Usage
from lightfast_providers._common import bounded
from lightfast_providers._common.clients import MOST_CLIENTS, Clients
from lightfast_providers._common.limits import MOST_WAIT, duration, number, openai_limits, retry_after
from lightfast_providers._common.openai_errors import LONGEST, explain
from lightfast_providers._common.openai_text import chat_usage, responses_usage
from lightfast_providers._common.openai_vectors import vectors
from lightfast_providers.compatible.provider import Compatible
from lightfast_providers.compatible.servers import Server
from lightfast_providers.openai.provider import OpenAI

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1.0), ("6m0s", 360.0), ("120ms", 0.12), ("1d2h", 93600.0), ("1.5s", 1.5), ("7", 7.0), ("0", 0.0)],
)
def test_waits_are_read_as_services_write_them(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@given(st.text(max_size=12) | st.floats().map(str))
def test_no_header_makes_a_wait_that_is_none(text: str) -> None:
    for found in (duration(text), retry_after({"retry-after": text}), retry_after({"retry-after-ms": text})):
        assert found == -1.0 or 0.0 <= found <= MOST_WAIT
    assert number(text) == -1.0 or 0.0 <= number(text) < float("inf")


def test_a_date_is_no_wait() -> None:
    assert retry_after({"retry-after": "Fri, 20 Nov 2026 13:00:00 GMT"}) == -1.0
    assert retry_after({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5


def test_limits_that_are_not_told_are_none() -> None:
    assert openai_limits({}) is None
    told = openai_limits({"x-ratelimit-remaining-tokens": "5"})
    assert told is not None
    assert told.limits == (Limit("tokens", 60.0, -1.0, 5.0, -1.0),)


@pytest.mark.parametrize(
    ("status", "error", "kind", "terminal"),
    [
        (400, {"code": "context_length_exceeded"}, "context", False),
        (400, {"code": 400, "type": "exceed_context_size_error"}, "context", False),
        (400, {"message": "This model's maximum context length is 4096 tokens."}, "context", False),
        (400, {"code": "content_policy_violation"}, "filtered", False),
        (400, {"code": "billing_hard_limit_reached"}, "limit", True),
        (400, {"type": "invalid_request_error", "message": "no such field"}, "invalid", False),
        (401, {"code": "invalid_api_key"}, "auth", False),
        (402, {"code": 402, "message": "Insufficient credits"}, "limit", True),
        (403, {"code": "model_not_found"}, "not_found", False),
        (403, {}, "denied", False),
        (404, {}, "not_found", False),
        (408, {}, "timeout", False),
        (429, {"code": "insufficient_quota"}, "limit", True),
        (429, {"message": "Limit 200 requests per day (RPD)"}, "limit", True),
        (429, {"message": "Limit 3 requests per min (RPM)"}, "limit", False),
        (500, {}, "unavailable", False),
        (502, {}, "unavailable", False),
        (503, {"type": "unavailable_error", "message": "Loading model"}, "unavailable", False),
        (503, {"code": "slow_down"}, "overloaded", False),
        (529, {}, "overloaded", False),
        (0, {"code": "server_error"}, "unavailable", False),
        (0, {"code": "image_content_policy_violation"}, "filtered", False),
        (0, {"code": "something new"}, "failed", False),
    ],
)
def test_errors_by_status_and_code(status: int, error: Mapping[str, Any], kind: str, terminal: bool) -> None:
    found = explain("It", Session(), status=status, body={"error": dict(error)}, headers={"retry-after": "3"})
    assert (found.kind, found.terminal) == (kind, terminal)
    assert found.retryable == (kind in {"limit", "overloaded", "unavailable", "timeout"} and not terminal)
    assert found.retry_after == (3.0 if kind in {"limit", "overloaded", "unavailable"} else -1.0)


@given(JSON, st.sampled_from((0, 200, 400, 401, 418, 429, 500, 999)))
def test_any_body_of_an_error_is_explained(body: Any, status: int) -> None:
    found = explain("It", Session(key=Secret("sk-0123456789")), status=status, body=body)
    assert str(found)
    assert "\n" not in str(found)


def test_an_error_is_cut_and_its_key_hidden() -> None:
    key = "sk-abcdefghijklmnop"
    found = explain("It", Session(key=Secret(key)), status=401, body={"message": f"{key} is wrong\n" * 500})
    assert key not in str(found)
    assert len(str(found)) < LONGEST + 200


@given(JSON)
def test_any_usage_is_read(told: Any) -> None:
    assert isinstance(responses_usage(told), Usage)
    assert isinstance(chat_usage(told), Usage)


def test_vectors_that_are_missing_or_twice_are_malformed() -> None:
    with pytest.raises(ProviderError, match="1 vectors came for 2 texts"):
        vectors({"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]}, 2)


class Odd(OpenAIEmulator):
    """Answers everything with what it was given: events, or one object."""

    def __init__(self) -> None:
        super().__init__()
        self.payloads: list[Any] = []

    async def responses(self, request: web.Request) -> Any:
        return self.stream(request, events(self.payloads))

    chat = responses

    async def embeddings(self, request: web.Request) -> Any:
        call_of(request)
        return self.answer(request, self.payloads[0])


EVENT = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(("response.output_text.delta", "response.completed", "error")) | JSON,
        "delta": JSON,
        "response": JSON | st.fixed_dictionaries({"status": st.just("completed"), "usage": JSON}),
        "choices": JSON | st.lists(st.fixed_dictionaries({"delta": JSON, "finish_reason": JSON}), max_size=2),
        "usage": JSON,
        "data": JSON,
        "error": JSON,
    },
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(EVENT, max_size=3), st.sampled_from(("responses", "chat", "embeddings")))
def test_whatever_comes_is_read_or_malformed(payloads: list[Any], way: str) -> None:

    one = Case(
        "odd", Odd, OpenAI if way != "chat" else lambda: Compatible(Server("x", models=("gpt-6-luna",))), request=ASKED
    )
    if way == "embeddings":
        one = dataclasses.replace(one, request=None, embedding=EmbeddingRequest("text-embedding-3-small", ("a",)))

    async def run() -> None:
        async with rig(one) as it:
            it.emulator.payloads = payloads or [{}]  # type: ignore[attr-defined]
            ran = await it.run()  # anything but a ProviderError fails the test
            assert ran.error is not None or ran.steps

    asyncio.run(run())


@pytest.mark.parametrize(
    "garbage",
    [b"data: \xff\xfe\n\n", b"data: " + b"[" * 60_000 + b"\n\n", b'data: "text"\n\n', b"data: 7\n\n"],
    ids=["no-text", "deep", "string", "number"],
)
@pytest.mark.parametrize("way", ["responses", "chat"])
async def test_garbage_in_a_stream_is_malformed(garbage: bytes, way: str) -> None:
    provider = OpenAI if way == "responses" else lambda: Compatible(Server("x", models=("gpt-6-luna",)))
    async with rig(Case("garbage", OpenAIEmulator, provider, request=ASKED)) as it:
        it.emulator.garbage = garbage
        (await it.fail("malformed-mid")).failed("malformed")


class Plain(Emulator):
    """Answers with what the path says."""

    service = "plain"
    needs_key = False

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/{kind}", self.give)]

    def refusal(self, fault: str, call: Call) -> web.Response | None:
        raise NotImplementedError

    async def give(self, request: web.Request) -> Any:
        kind = request.match_info["kind"]
        if kind == "told":
            return web.Response(body=b"x" * 5000)
        if kind == "gzip":
            return web.Response(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
        if kind == "moved":
            raise web.HTTPFound(f"{self.url}/other")
        return self.content(request, b"x" * 5000, "text/plain")


async def test_answers_have_a_bound_and_are_not_compressed() -> None:
    async with Plain() as emulator, bounded.client(httpx2, "It", lambda: 4096) as client:
        for kind in ("told", "counted"):
            with pytest.raises(ProviderError) as caught:
                await client.get(f"{emulator.url}/{kind}")
            assert caught.value.kind == "too_large"
        with pytest.raises(ProviderError) as caught:
            await client.get(f"{emulator.url}/gzip")
        assert caught.value.kind == "malformed"
        assert all(call.headers["Accept-Encoding"] == "identity" for call in emulator.journal)
        await client.get(f"{emulator.url}/moved", headers={"Authorization": "Bearer k"})
        assert not emulator.calls("/other"), "a redirect would carry the key elsewhere"


def test_an_error_that_an_sdk_wraps_is_found() -> None:
    inner, outer = ProviderError("inside", kind="too_large"), RuntimeError("outside")
    outer.__cause__ = ValueError("between")
    outer.__cause__.__context__ = inner
    assert bounded.found_in(outer) is inner
    assert bounded.found_in(ValueError()) is None


async def test_clients_in_use_are_not_closed_to_make_room() -> None:
    made: Iterator[int] = iter(range(1000))
    ended: list[int] = []

    async def end(client: int) -> None:
        ended.append(client)

    clients: Clients[int] = Clients(lambda _: next(made), end)
    with clients.lend(Session("first")) as first:
        for index in range(3 * MOST_CLIENTS):
            with clients.lend(Session(f"account {index}")):
                pass
        await clients.tidy()
        assert first not in ended
        assert len(ended) == 2 * MOST_CLIENTS + 1
        with clients.lend(Session("first")) as again:
            assert again is first
    await clients.close()
    assert sorted(ended) == list(range(3 * MOST_CLIENTS + 1))
    assert len(set(ended)) == len(ended)


def test_clients_differ_by_key_address_and_options() -> None:
    made: list[Session] = []

    async def end(client: int) -> None: ...

    def make(session: Session) -> int:
        made.append(session)
        return len(made)

    clients: Clients[int] = Clients(make, end)
    sessions = [Session("a"), Session("a", Secret("k" * 9)), Session("a", base_url="b"), Session("a", options={"o": 1})]
    for session in [*sessions, *sessions]:
        with clients.lend(session):
            pass
    assert len(made) == len(sessions)


_FIRST = """
import asyncio, sys, threading

class Spy:
    seen = []

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in ("openai", "httpx2"):
            cls.seen.append(threading.current_thread() is threading.main_thread())

sys.meta_path.insert(0, Spy)

from lightfast.sdk import GenerationRequest, ProviderError, Session
from lightfast.sdk.testing import FakeBench
from lightfast_providers.openai.provider import OpenAI

async def main():
    provider = OpenAI()
    request = GenerationRequest("gpt-6-luna", "text", "hi", {}, 1, session=Session(base_url="http://127.0.0.1:9/v1"))
    try:
        [step async for step in provider.generate(request, FakeBench())]
    except ProviderError as error:
        print(error.kind)
    await provider.close()

asyncio.run(main())
assert Spy.seen and not any(Spy.seen), Spy.seen
"""


async def test_the_sdk_is_loaded_off_the_loop() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _FIRST, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert out.decode().strip() == "unavailable"
