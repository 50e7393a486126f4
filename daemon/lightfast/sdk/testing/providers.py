"""The contract of a provider."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

from lightfast.sdk.contract import PluginMistake, check_models
from lightfast.sdk.generation import (
    Artifact,
    EmbeddingRequest,
    Finish,
    GenerationRequest,
    Job,
    Limits,
    Preview,
    Progress,
    Session,
    Step,
    TextDelta,
    Usage,
)
from lightfast.sdk.provider import Model, Provider
from lightfast.sdk.testing.errors import ContractBroken, require
from lightfast.sdk.testing.fakes import FakeBench
from lightfast_link.value import Value

PREVIEW_BYTES = 256 * 1024
FINISHES = ("stop", "length", "filtered", "schema")
LIMITS = ("requests", "tokens", "input_tokens", "output_tokens", "concurrency", "spend")
INCLUDED = {
    "cached_tokens": "input_tokens",
    "cache_write_tokens": "input_tokens",
    "audio_input_tokens": "input_tokens",
    "image_input_tokens": "input_tokens",
    "reasoning_tokens": "output_tokens",
    "audio_output_tokens": "output_tokens",
    "image_output_tokens": "output_tokens",
}
"""Counts that are part of another one."""


def complete_settings(model: Model, settings: Mapping[str, Value] | None = None) -> dict[str, Value]:
    """Return *settings* with the defaults of *model* filled in, as the daemon does."""
    properties: Mapping[str, Any] = model.settings.get("properties", {})
    defaults = {name: rule["default"] for name, rule in properties.items() if "default" in rule}
    return {**defaults, **(settings or {})}


async def check_provider(
    provider: Provider,
    *,
    prompts: Mapping[str, str] | None = None,
    settings: Mapping[str, Mapping[str, Value]] | None = None,
    sources: tuple[bytes, ...] | Mapping[str, tuple[bytes, ...]] = (),
    source_types: Mapping[str, tuple[str, ...]] | None = None,
    session: Session | None = None,
    deterministic: Collection[str] | None = None,
    timeout: float = 60.0,
    most_blocked: float = 0.5,
) -> dict[str, list[Step]]:
    """Run a provider through its contract; return the steps of each model. Raises `ContractBroken`.

    *prompts*, *settings* and *source_types* are by model (usual prompt: `a red circle`), *sources* too where models
    need different ones; *session* is the account of every request. Models that make only vectors are asked for some.
    *deterministic* names the models
    whose results must be the same for the same seed (usual: the procedural ones). Times in seconds:
    *timeout* is for each generation, *most_blocked* how long the loop may stand still.
    """
    try:
        models = check_models(provider)
    except PluginMistake as mistake:
        raise ContractBroken(str(mistake)) from None
    require(models, f"the provider {provider.name} has no model: a provider without one cannot be used")
    require(provider.description, f"the provider {provider.name} has no description: say what it is, for a person")
    seen: dict[str, list[Step]] = {}
    try:
        for model in models:
            what = f"{provider.name}/{model.name}"
            require(model.description, f"{what} has no description: say what it makes, for a person")
            account = session or Session()
            if model.outputs == ("embedding",):
                await _check_vectors(provider, model, account, what, timeout)
                continue
            order = GenerationRequest(
                model.name,
                model.outputs[0],
                (prompts or {}).get(model.name, "a red circle"),
                complete_settings(model, (settings or {}).get(model.name)),
                11,
                sources.get(model.name, ()) if isinstance(sources, Mapping) else sources,
                (source_types or {}).get(model.name, ()),
                session=account,
            )
            async with _moving(what, most_blocked):
                steps = await _steps(provider, order, what, timeout)
            check_steps(steps, order.output, what)
            must_repeat = model.procedural if deterministic is None else model.name in deterministic
            if must_repeat:
                again = await _steps(provider, order, what, timeout)
                require(
                    _results(steps) == _results(again),
                    f"{what} made two different things with the same seed: take all chance from request.seed",
                )
            await _check_cancellation(provider, order, what)
            seen[model.name] = steps
    finally:
        async with asyncio.timeout(timeout):
            await provider.close()
    return seen


def check_steps(steps: list[Step], output: str, what: str) -> None:
    """Check the steps of one finished generation of *output* (`image`, …)."""
    for step in steps:
        match step:
            case Progress():
                require(
                    step.fraction == -1 or 0 <= step.fraction <= 1,
                    f"{what} yielded Progress({step.fraction}): use 0 to 1, or -1 where it is not known",
                )
            case Preview():
                size = len(step.content)
                require(size <= PREVIEW_BYTES, f"{what} yielded a preview of {size} bytes: the most is {PREVIEW_BYTES}")
                require("/" in step.media_type, f"{what} yielded a preview without a media type")
            case Artifact():
                _check_artifact(step, output, what)
            case TextDelta():
                text: Any = step.text
                require(isinstance(text, str), f"{what} yielded a TextDelta of {type(text).__name__}: give it a text")
            case Usage():
                _check_usage(step, what)
            case Job():
                require(step.job_id, f"{what} yielded a Job without an identity")
            case Finish():
                require(
                    step.reason in FINISHES, f"{what} yielded Finish({step.reason!r}): use of {', '.join(FINISHES)}"
                )
            case Limits():
                for limit in step.limits:
                    require(limit.kind in LIMITS, f"{what} told a limit of {limit.kind!r}: use of {', '.join(LIMITS)}")
            case _:
                raise ContractBroken(f"{what} yielded {step!r:.80}, which is no step: see lightfast.sdk.Step")
    require(_results(steps), f"{what} ended without an Artifact or a TextDelta")


def _check_usage(usage: Usage, what: str) -> None:
    for name in Usage.__dataclass_fields__:
        value = getattr(usage, name)
        require(value is None or value >= 0, f"{what} yielded a Usage with {name} = {value!r}: use 0 or more")
    for part, of in INCLUDED.items():
        have, whole = getattr(usage, part), getattr(usage, of)
        require(
            have <= whole, f"{what} used {have} {part} of {whole} {of}: the parts are included in the whole, add them"
        )


async def _check_vectors(provider: Provider, model: Model, session: Session, what: str, timeout: float) -> None:
    texts = ("a red circle", "a blue square", "a red circle")
    try:
        async with asyncio.timeout(timeout):
            made = await provider.embed(EmbeddingRequest(model.name, texts, session=session), FakeBench())
    except TimeoutError:
        raise ContractBroken(f"{what} was not done after {timeout:g} s") from None
    require(len(made.vectors) == len(texts), f"{what} made {len(made.vectors)} vectors of {len(texts)} texts")
    sizes = {len(vector) for vector in made.vectors}
    require(len(sizes) == 1 and 0 not in sizes, f"{what} made vectors of different lengths: {sorted(sizes)}")
    _check_usage(made.usage, what)


def _check_artifact(artifact: Artifact, output: str, what: str) -> None:
    content: Any = artifact.content
    require(isinstance(content, bytes), f"{what} yielded an artifact whose content is no bytes")
    require(content, f"{what} yielded an empty artifact")
    kind = artifact.media_type.partition("/")[0]
    require(kind == output, f"{what} was asked for {output} and made {artifact.media_type!r}")
    try:
        json.dumps(dict(artifact.settings))
    except (TypeError, ValueError) as error:
        raise ContractBroken(f"{what} has artifact settings that are no JSON: {error}") from None


def _results(steps: list[Step]) -> list[Step | str]:
    text = "".join(step.text for step in steps if isinstance(step, TextDelta))
    return [*[step for step in steps if isinstance(step, Artifact)], *([text] if text else [])]


async def _steps(provider: Provider, order: GenerationRequest, what: str, timeout: float) -> list[Step]:
    try:
        async with asyncio.timeout(timeout):
            return [step async for step in provider.generate(order, FakeBench())]
    except TimeoutError:
        raise ContractBroken(f"{what} was not done after {timeout:g} s") from None


async def _check_cancellation(provider: Provider, order: GenerationRequest, what: str) -> None:
    """Cancel a generation before its first step is taken; it must end by that, soon."""

    async def consume() -> None:
        async for _ in provider.generate(order, FakeBench()):
            await asyncio.sleep(0)

    task = asyncio.ensure_future(consume())
    await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=5.0)
    require(done, f"{what} did not end within 5 s of its cancellation: let CancelledError pass")
    if not task.cancelled() and (error := task.exception()) is not None:
        raise ContractBroken(f"{what} answered its cancellation with {error!r}: let CancelledError pass") from error


@asynccontextmanager
async def _moving(what: str, most: float) -> AsyncIterator[None]:
    """Raise `ContractBroken` if the loop stood still for more than *most* seconds inside."""
    loop = asyncio.get_running_loop()
    last, longest, handle = loop.time(), 0.0, None

    def tick() -> None:
        nonlocal last, longest, handle
        now = loop.time()
        longest = max(longest, now - last)
        last = now
        handle = loop.call_later(0.01, tick)

    tick()
    try:
        yield
    finally:
        tick()
        if handle is not None:
            handle.cancel()
    require(
        longest <= most,
        f"{what} held the event loop for {longest:.2f} s: give blocking work to bench.run",
    )
