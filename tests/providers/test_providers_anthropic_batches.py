"""Claude's Message Batches, and that the official SDK reads all that the emulator says."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic import AsyncAnthropic
from tests.emulators.anthropic import Anthropic as Emulator
from tests.providers.contract import Case, batched, rig

from lightfast.sdk import GenerationRequest, Job, Progress, Usage
from lightfast_providers.anthropic import Anthropic, batches


def provider() -> Anthropic:
    return Anthropic(polls=(0.005, 0.005))


REQUESTS = tuple(GenerationRequest("claude-opus-5-5", "text", f"Question {index}", {}, index) for index in range(4))
CASE = Case("batch", Emulator, provider, batch=REQUESTS)


async def test_each_request_has_its_own_fate() -> None:
    async with rig(CASE) as it:
        emulator: Any = it.emulator
        error = {"type": "error", "error": {"type": "invalid_request_error", "message": "too many images"}}
        emulator.results = {
            "r1": {"type": "errored", "error": {**error, "request_id": "req_1"}},
            "r2": {"type": "canceled"},
            "r3": {"type": "expired"},
        }
        ran = await it.run()
        assert isinstance(ran.steps[0], Job)
        assert [step for step in ran.steps if isinstance(step, Progress)]
        answers = batched(ran.steps)
        assert [each.index for each in answers] == [0, 1, 2, 3]
        assert answers[0].text == "The sea is wide."
        assert answers[0].usage == Usage(
            4321, 57, cached_tokens=4000, cache_write_tokens=300, reasoning_tokens=44, requests=1
        )
        assert "too many images" in answers[1].error
        assert "cancelled" in answers[2].error
        assert "24 hours" in answers[3].error
        assert not any(each.text or each.usage.requests for each in answers[1:])
        made = emulator.calls("/batches", "POST")[0].json["requests"]
        assert [each["params"]["messages"][0]["content"] for each in made] == [each.prompt for each in REQUESTS]
        assert not any("stream" in each["params"] for each in made)


async def test_a_result_that_is_missing_is_told() -> None:
    async with rig(CASE) as it:
        ran = await it.run()
        job = next(step.job_id for step in ran.steps if isinstance(step, Job))
        more = (*REQUESTS, REQUESTS[0])
        steps = [step async for step in it.provider.batch(more, it.session, job, None)]  # type: ignore[arg-type]
        assert batched(steps)[4].error == "the service told no result of it"


async def test_the_sdk_reads_every_answer_of_the_emulator_strictly() -> None:
    async with (
        Emulator() as emulator,
        AsyncAnthropic(
            api_key=emulator.key, base_url=emulator.base_url, max_retries=0, _strict_response_validation=True
        ) as client,
    ):
        message: Any = {"role": "user", "content": "What is the sea?"}
        asked: Any = {"model": "claude-opus-5-5", "max_tokens": 100, "messages": [message]}
        whole = await client.messages.create(**asked)
        async with client.messages.stream(**asked) as stream:
            text = "".join([piece async for piece in stream.text_stream])
            final = await stream.get_final_message()
        assert text == "The sea is wide."
        assert final.usage == whole.usage
        assert [block.type for block in final.content] == ["thinking", "text"] == [b.type for b in whole.content]
        del asked["max_tokens"]
        assert (await client.messages.count_tokens(**asked)).input_tokens == 13
        assert len([each async for each in client.models.list()]) == 4
        request: Any = {"custom_id": "r0", "params": {**asked, "max_tokens": 5}}
        batch = await client.messages.batches.create(requests=[request])
        assert (await client.messages.batches.cancel(batch.id)).processing_status == "canceling"
        states = [(await client.messages.batches.retrieve(batch.id)).processing_status for _ in range(2)]
        assert states == ["canceling", "ended"]
        results = [each async for each in await client.messages.batches.results(batch.id)]
        assert results[0].result.type == "succeeded"


@pytest.mark.parametrize("fault", ["disconnect", "stall"])
async def test_a_batch_whose_identity_was_lost_is_not_made_again(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "CALL_S", 2.0)
    async with rig(CASE) as it:
        ran = await it.fail(fault)
        assert ran.error is not None
        assert ran.error.kind in {"unavailable", "timeout"}
        assert not ran.error.retryable
        await it.emulator.stop()
        assert (await it.run()).failed("unavailable").retryable  # nobody was there: nothing was made


async def test_a_question_about_a_batch_that_fails_is_asked_again() -> None:
    async with rig(CASE) as it:
        for fault in ("500", "disconnect"):
            it.emulator.next(fault, on="/batches/")
        ran = await it.run()
        assert ran.error is None
        assert not [each.error for each in batched(ran.steps) if each.error]
