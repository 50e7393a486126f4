"""The checks of a provider's answers and failures; `contract.py` says how they are used."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import AsyncIterator
from functools import partial

from tests.emulators import Emulator
from tests.providers.contract import PATIENCE, STALLS, Case, Check, Rig, applies, calls, generates, job_of, rig

from lightfast.sdk import Artifact, Embeddings, Finish, Limits, ProviderError
from lightfast.sdk.contract import check_models
from lightfast.sdk.generation import BatchAnswer, BatchStep
from lightfast.sdk.testing import FakeBench

SMALL = 150_000
"""Bytes that the check of oversize allows an answer."""
SLACK = 8 * 1024 * 1024
"""What may lie in the buffers of both ends beyond that."""


@applies(calls)
async def shape(case: Case) -> None:
    """Models, settings and capabilities are in order, and the model of the case is among them."""
    async with rig(case) as it:
        check_models(it.provider)
        name = (case.request or case.embedding).model  # type: ignore[union-attr]
        model = it.model(name)
        output = case.request.output if case.request else "embedding"
        assert output in model.outputs, f"{name} makes {model.outputs}, not {output}"
        assert model.description, f"{name} has no description"
        assert it.provider.description
        if case.jobs:
            assert "jobs" in model.capabilities
        if case.tokens:
            assert "count_tokens" in model.capabilities
        if output == "text" and case.streaming:
            assert "stream" in model.capabilities, f"{name} streams: say so"


@applies(calls)
async def answers(case: Case) -> None:
    """The answer comes, whole, by one request that bears the key; the usage is right to the token."""
    async with rig(case) as it:
        ran = await it.run()
        assert ran.error is None, f"it failed: {ran.error}"
        if case.embedding is not None:
            (found,) = ran.steps
            assert isinstance(found, Embeddings)
            assert len(found.vectors) == len(case.embedding.texts)
            for one, expected in zip(found.vectors, case.vectors, strict=False):
                assert len(one) == len(expected)
                assert all(abs(a - b) < 1e-5 for a, b in zip(one, expected, strict=True))
        elif isinstance(case.answer, str):
            assert ran.text == case.answer
            assert not ran.artifacts
        else:
            assert ran.artifacts, f"no artifact among {ran.steps!r:.300}"
            first = ran.artifacts[0]
            assert first.content
            if case.answer is not None:
                assert first.content == case.answer
            kind = case.media_type or f"{case.request.output if case.request else ''}/"
            assert first.media_type.startswith(kind), f"it is {first.media_type}, not {kind}"
        _once(it)
        if case.usage is not None:
            assert ran.usage == case.usage
        assert case.limits <= ran.limits, f"it told of {sorted(ran.limits)}, not of {sorted(case.limits)}"
        _finished(case, ran.steps)


def _finished(case: Case, steps: list[object]) -> None:
    reasons = [step.reason for step in steps if isinstance(step, Finish)]
    if case.request is not None and case.request.output == "text" and "stream" not in case.without:
        assert reasons in (["stop"], []), f"a whole text ended as {reasons}"


def _once(it: Rig) -> None:
    """One attempt makes one request: the retries of the SDK are off."""
    asked = it.asked()
    assert len(asked) == 1, f"{len(asked)} requests for one attempt: {[call.path for call in asked]}"


@applies(lambda case: case.streaming)
async def stream(case: Case) -> None:
    """Parts come while the service is still at work."""
    async with rig(case) as it:
        it.emulator.hold()
        task = asyncio.ensure_future(it.run())
        try:
            await it.emulator.until(lambda: _parts(it), "the first part of a held answer")
            assert not task.done()
        finally:
            it.emulator.release()
            ran = await task
        assert ran.error is None, f"it failed: {ran.error}"
        if isinstance(case.answer, str):
            assert ran.text == case.answer


def _parts(it: Rig) -> list[object]:
    return [step for step in it.ran.steps if not isinstance(step, Limits)]


@applies(calls)
async def cancel(case: Case) -> None:
    """A cancelled call ends at once; the service sees the connection close, or is told to end the job."""
    async with rig(case) as it:
        it.emulator.hold()
        task = asyncio.ensure_future(it.run())
        if case.jobs:
            await it.emulator.until(lambda: job_of(it.ran.steps), "the job")
        elif case.streaming:
            await it.emulator.until(lambda: _parts(it), "the first part")
        else:
            await it.emulator.until(it.asked, "the request")
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            async with asyncio.timeout(PATIENCE):
                await task
        assert task.cancelled(), "it swallowed its cancellation"
        if case.jobs:
            job = job_of(it.ran.steps)
            await it.provider.cancel(it.session, job)
            assert it.emulator.cancelled(job), "the service was not told to end the job"
        else:
            await it.emulator.until(lambda: it.asked()[0].closed, "the end of the connection")
        it.emulator.release()


@applies(lambda case: case.streaming)
async def let_go(case: Case) -> None:
    """An iterator that is closed early closes the connection."""
    async with rig(case) as it:
        it.emulator.hold()
        steps = it.provider.generate(it.request(), FakeBench())
        async with asyncio.timeout(PATIENCE):
            async for step in steps:
                if not isinstance(step, Limits):
                    break
            await steps.aclose()  # type: ignore[attr-defined]
        if not case.jobs:
            await it.emulator.until(lambda: it.asked()[0].closed, "the end of the connection")
        it.emulator.release()


@applies(calls)
async def timeout(case: Case) -> None:
    """A service that does not answer is a timeout."""
    for seconds in STALLS:
        async with rig(case) as it:
            error = (await it.fail("stall", timeout=seconds)).failed("timeout")
            assert error.retryable
            for call in it.emulator.journal:
                if call.fault == "stall":
                    await it.emulator.until(partial(getattr, call, "closed"), "the end of the connection")
                    return
    raise AssertionError("the service was not asked")


@applies(lambda case: case.streaming)
async def timeout_mid(case: Case) -> None:
    """A stream that stands still is a timeout, after its parts were passed on."""
    for seconds in STALLS:
        async with rig(case) as it:
            (await it.fail("stall-mid", timeout=seconds)).failed("timeout")
            if _parts(it):
                return
    raise AssertionError("what had come was not passed on")


def _refused(fault: str, *kinds: str, retryable: bool) -> Check:
    @applies(calls)
    async def check(case: Case) -> None:
        async with rig(case) as it:
            error = (await it.fail(fault)).failed(*kinds)
            assert error.retryable is retryable, f"{kinds}: retryable is {error.retryable}"
            assert len(str(error)) < 2000
            _hidden(error, it.emulator)
            if not case.jobs and not case.faults_on.get(fault):
                _once(it)

    check.__name__ = f"status_{fault}".replace("-", "_")
    check.__doc__ = f"The fault {fault} is an error of the kind {' or '.join(kinds)}."
    return check


@applies(calls)
async def status_429(case: Case) -> None:
    """A 429 is a limit, with what the service says of it; the SDK does not try again by itself."""
    async with rig(case) as it:
        error = (await it.fail("429")).failed("limit")
        assert error.retryable
        assert not error.terminal
        if case.told:
            assert error.retry_after == it.emulator.retry_after
        assert error.limits is None or isinstance(error.limits, Limits)
        if case.limits:
            assert isinstance(error.limits, Limits), "the error has none of the limits that its answer told"
            assert case.limits <= {limit.kind for limit in error.limits.limits}
        if not case.faults_on.get("429"):
            _once(it)


@applies(calls)
async def status_429_terminal(case: Case) -> None:
    """A limit that waiting does not help is terminal."""
    async with rig(case) as it:
        error = (await it.fail("429-terminal")).failed("limit")
        assert error.terminal
        assert not error.retryable


@applies(calls)
async def malformed(case: Case) -> None:
    """An answer that cannot be read is malformed, be it broken JSON or a web page."""
    async with rig(case) as it:
        for fault in ("malformed", "content-type"):
            it.emulator.journal.clear()
            error = (await it.fail(fault)).failed("malformed")
            assert "\n" not in str(error)
            _hidden(error, it.emulator)


@applies(lambda case: case.streaming and generates(case))
async def malformed_mid(case: Case) -> None:
    """Nonsense in the middle of a stream is malformed."""
    async with rig(case) as it:
        (await it.fail("malformed-mid")).failed("malformed")


@applies(calls)
async def disconnect(case: Case) -> None:
    """A connection that ends without an answer is unavailable, and so is one where nobody listens."""
    async with rig(case) as it:
        error = (await it.fail("disconnect")).failed("unavailable")
        assert error.retryable
        await it.emulator.stop()
        error = (await it.run()).failed("unavailable")
        _hidden(error, it.emulator)


@applies(calls)
async def disconnect_mid(case: Case) -> None:
    """One that ends in the middle is unavailable, too; what had come was passed on."""
    async with rig(case) as it:
        ran = await it.fail("disconnect-mid")
        ran.failed("unavailable")
        if case.streaming:
            assert _parts(it), "what had come was not passed on"


@applies(calls)
async def oversize(case: Case) -> None:
    """An answer beyond the bound is refused before it is whole."""
    async with rig(case) as it:
        assert it.provider.most_bytes > 1024 * 1024, "the bound of every answer"  # type: ignore[attr-defined]
        it.provider.most_bytes = SMALL  # type: ignore[attr-defined]
        (await it.fail("oversize")).failed("too_large")
        call = next(call for call in it.emulator.journal if call.fault == "oversize")
        await it.emulator.until(lambda: call.done, "the end of the connection")
        assert call.closed, "the connection was not closed"
        assert call.sent < SMALL + SLACK, f"{call.sent} bytes were read"


@applies(generates)
async def filtered(case: Case) -> None:
    """What the service's policy stops is filtered: an error, or the reason of the end."""
    async with rig(case) as it:
        ran = await it.fail("filtered")
        ended = [step.reason for step in ran.steps if isinstance(step, Finish)]
        if ran.error is None:
            assert ended == ["filtered"], f"it ended as {ended} with {ran.steps!r:.300}"
        else:
            assert not ran.failed("filtered").retryable
        assert not [step for step in ran.steps if isinstance(step, Artifact)]


@applies(lambda case: case.request is not None and case.request.output == "text")
async def context(case: Case) -> None:
    """A request beyond the window is of the kind context."""
    async with rig(case) as it:
        assert not (await it.fail("context")).failed("context").retryable


@applies(calls)
async def key_hidden(case: Case) -> None:
    """The key is in no error, whatever the service says."""
    async with rig(case) as it:
        error = (await it.fail("401")).failed("auth")
        _hidden(error, it.emulator)


def _hidden(error: ProviderError, emulator: Emulator) -> None:
    if not emulator.needs_key:
        return
    shown = "".join(traceback.format_exception(error)) + repr(error) + str(error.args) + repr(error.limits)
    assert emulator.key not in shown, "the key shows in an error"


@applies(calls)
async def closes(case: Case) -> None:
    """`close` gives back every connection, also twice and before any use."""
    async with rig(case) as it:
        await case.provider().close()
        await it.run()
        await it.provider.close()
        await it.emulator.until(lambda: not it.emulator.connections, "the end of all connections")
        await it.provider.close()


@applies(lambda case: bool(case.tokens))
async def counts(case: Case) -> None:
    """Tokens are counted by the service."""
    async with rig(case) as it:
        assert await it.provider.count_tokens(it.request()) == case.tokens


@applies(lambda case: bool(case.batch))
async def batches(case: Case) -> None:
    """A batch yields its job first and an answer for each request, also when it is taken up again."""
    async with rig(case) as it:
        ran = await it.run()
        assert ran.error is None, f"it failed: {ran.error}"
        job = job_of(ran.steps)
        assert job, "no job"
        for steps in (ran.steps, [step async for step in _again(it, job)]):
            found = sorted((step for step in steps if isinstance(step, BatchAnswer)), key=lambda each: each.index)
            assert [each.index for each in found] == list(range(len(case.batch)))
            for one, (text, error) in zip(found, case.batch_answers, strict=True):
                assert one.text == text
                assert error in one.error
                assert bool(one.error) == bool(error)
        assert len(it.asked()) == 1, "the batch was made twice"


def _again(it: Rig, job: str) -> AsyncIterator[BatchStep]:
    return it.provider.batch([it.request(each) for each in it.case.batch], it.session, job, FakeBench())


@applies(lambda case: bool(case.batch))
async def batch_cancel(case: Case) -> None:
    """A batch that is cancelled is cancelled at the service."""
    async with rig(case) as it:
        it.emulator.hold()
        task = asyncio.ensure_future(it.run())
        await it.emulator.until(lambda: job_of(it.ran.steps), "the job")
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        job = job_of(it.ran.steps)
        await it.provider.cancel(it.session, job)
        assert it.emulator.cancelled(job), "the service was not told to end the batch"


CHECKS: tuple[Check, ...] = (
    *(shape, answers, stream, cancel, let_go, timeout, timeout_mid),
    _refused("401", "auth", retryable=False),
    _refused("403", "denied", retryable=False),
    _refused("404", "not_found", retryable=False),
    *(status_429, status_429_terminal),
    _refused("500", "unavailable", "overloaded", retryable=True),
    _refused("503", "unavailable", "overloaded", retryable=True),
    *(malformed, malformed_mid, disconnect, disconnect_mid, oversize, filtered, context, key_hidden, closes),
    *(counts, batches, batch_cancel),
)
