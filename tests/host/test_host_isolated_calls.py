"""What else is asked of a provider in a child process: probes, vectors, counts, the end of a job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.plugins import until

from lightfast.core.secret import Secret
from lightfast.host.plugins import PluginHost
from lightfast.sdk import (
    Condition,
    EmbeddingRequest,
    Finish,
    GenerationRequest,
    Job,
    Limit,
    Limits,
    Message,
    Price,
    Provider,
    ProviderError,
    Session,
    TextDelta,
    Usage,
)

SOURCE = """
import asyncio, json
from lightfast.sdk import (
    Condition, Embeddings, Finish, Job, Limit, Limits, Model, Price, Provider, ProviderError, TextDelta, Usage, hookimpl
)


class Worker(Provider):
    name = "worker"
    description = "works elsewhere"
    needs_key = True
    key_names = ("WORKER_KEY",)
    tiers = {"free": (("requests", 60.0, 3.0),)}
    price_provider = "works"

    def models(self):
        return [Model("any", outputs=("text",), capabilities=("stream", "batch", "jobs"), context_tokens=100,
                      prices=(Price("input_token", 0.5, "here", "2026-01-01"),), limits=(("requests", 60.0, 5.0),))]

    async def generate(self, request, bench):
        yield Job("job-" + request.job)
        yield Limits((Limit("requests", 60.0, 10.0, 9.0, 1.5),), 2.5, "usd")
        shown = [request.system, request.prefix, request.schema, [m.role + m.text for m in request.messages],
                 request.session.account, request.session.key.reveal() == "sk-planted-0123456789",
                 dict(request.session.options), request.max_output_tokens, request.idempotency_key]
        yield TextDelta(json.dumps(shown))
        yield Usage(5, 6, 0.25, reasoning_tokens=2, seconds=1.5)
        yield Finish("stop")
        if request.prompt == "fail":
            raise ProviderError("slow down, " + request.session.key.reveal(), kind="limit", retry_after=7.5,
                                terminal=True, limits=Limits((), 0.0))

    async def embed(self, request, bench):
        return Embeddings(tuple((float(len(text)), 1.0) for text in request.texts), Usage(len(request.texts)))

    async def count_tokens(self, request):
        return len(request.prompt)

    async def probe(self, session):
        if session.account == "slow":
            await asyncio.Event().wait()
        if not session.key:
            raise ProviderError("no key", kind="auth")
        return Condition("fine", Limits((), 4.5), 60.0)

    async def discover(self, session):
        return [Model("found", outputs=("text",), settings={"properties": {"a": {"type": "integer"}}})]

    async def cancel(self, session, job):
        with open(job, "w") as mark:
            mark.write(session.account)


@hookimpl
def lightfast_providers(config):
    return [Worker()]
"""
SESSION = Session("first", Secret("sk-planted-0123456789"), "http://there", {"organization": "o"})


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No child is given up because the machine is slow."""
    monkeypatch.setattr("lightfast.host.process.LOAD_TIMEOUT", 120.0)
    monkeypatch.setattr("lightfast.host.process.CANCEL_TIMEOUT", 60.0)


@asynccontextmanager
async def worker(tmp_path: Path) -> AsyncIterator[Provider]:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "work.py").write_text(SOURCE)
    host = PluginHost({"work": {"isolated": True}}, folder, found=())
    await host.start()
    await host.settled()
    try:
        yield host.providers()[0]
    finally:
        await host.close()


def request(prompt: str = "x", **fields: Any) -> GenerationRequest:
    return GenerationRequest("any", "text", prompt, {}, 7, session=SESSION, **fields)


async def test_what_a_provider_is_comes_across(tmp_path: Path) -> None:
    async with worker(tmp_path) as provider:
        assert (provider.needs_key, provider.key_names, provider.price_provider) == (True, ("WORKER_KEY",), "works")
        assert provider.tiers == {"free": (("requests", 60.0, 3.0),)}
        (model,) = provider.models()
        assert (model.capabilities, model.context_tokens) == (("stream", "jobs"), 100)  # batches are not offered
        assert model.prices == (Price("input_token", 0.5, "here", "2026-01-01"),)
        assert model.limits == (("requests", 60.0, 5.0),)


async def test_all_of_a_request_and_all_steps_come_across(tmp_path: Path) -> None:
    async with worker(tmp_path) as provider:
        order = request(
            job="7",
            system="be brief",
            prefix="so far",
            schema={"type": "object"},
            messages=(Message("user", "hi"),),
            max_output_tokens=9,
            idempotency_key="k",
        )
        steps = [step async for step in provider.generate(order, None)]  # type: ignore[arg-type]
        assert steps == [
            Job("job-7"),
            Limits((Limit("requests", 60.0, 10.0, 9.0, 1.5),), 2.5, "usd"),
            TextDelta(
                '["be brief", "so far", {"type": "object"}, ["userhi"], "first", true, {"organization": "o"}, 9, "k"]'
            ),
            Usage(5, 6, 0.25, reasoning_tokens=2, seconds=1.5),
            Finish("stop"),
        ]


async def test_all_of_an_error_comes_across_but_the_key(tmp_path: Path) -> None:
    async with worker(tmp_path) as provider:
        with pytest.raises(ProviderError) as caught:
            _ = [step async for step in provider.generate(request("fail"), None)]  # type: ignore[arg-type]
        error = caught.value
        assert (error.kind, error.retry_after, error.terminal, error.retryable) == ("limit", 7.5, True, False)
        assert error.limits == Limits((), 0.0)
        assert "planted" not in str(error)


async def test_calls_are_answered(tmp_path: Path) -> None:
    async with worker(tmp_path) as provider:
        found = await provider.embed(EmbeddingRequest("any", ("ab", "c"), session=SESSION), None)  # type: ignore[arg-type]
        assert (found.vectors, found.usage) == (((2.0, 1.0), (1.0, 1.0)), Usage(2))
        assert await provider.count_tokens(request("12345")) == 5
        assert await provider.probe(SESSION) == Condition("fine", Limits((), 4.5), 60.0)
        with pytest.raises(ProviderError, match="no key") as caught:
            await provider.probe(Session())
        assert caught.value.kind == "auth"
        discovered = await provider.discover(SESSION)
        assert discovered is not None
        assert [(model.name, model.settings) for model in discovered] == [
            ("found", {"properties": {"a": {"type": "integer"}}})
        ]


async def test_the_end_of_a_job_reaches_the_child(tmp_path: Path) -> None:
    async with worker(tmp_path) as provider:
        mark = tmp_path / "mark"
        await provider.cancel(SESSION, str(mark))
        assert mark.read_text() == "first"


async def test_calls_are_bounded_in_time_and_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with worker(tmp_path) as provider:
        plugin: Any = provider._plugin  # type: ignore[attr-defined]
        with pytest.raises(ProviderError, match="probe was not done after") as caught:
            await plugin.call("worker", "probe", 0.1, session={**_packed(), "account": "slow"})
        assert caught.value.kind == "timeout"
        await until(lambda: not plugin._child._jobs, "the end of the call that was given up")
        monkeypatch.setattr("lightfast.host.process.MOST_CALL", 2)
        slow = [
            asyncio.ensure_future(plugin.call("worker", "probe", 30.0, session={**_packed(), "account": "slow"}))
            for _ in range(2)
        ]
        await until(lambda: len(plugin._child._jobs) == 2, "two calls under way")
        with pytest.raises(ProviderError, match="2 calls are under way already"):
            await provider.probe(SESSION)
        for each in slow:
            each.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        await until(lambda: not plugin._child._jobs, "the end of the calls")
        assert (await provider.probe(SESSION)).message == "fine"


def _packed() -> dict[str, Any]:
    from lightfast.host.pipe import pack_session

    return pack_session(SESSION)
