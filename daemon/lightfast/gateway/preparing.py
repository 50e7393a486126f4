"""Checks a call, and makes the order from it: before anything is started, and before anything is paid."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lightfast.context.entry import Set
from lightfast.core.errors import FailedPrecondition, InvalidArgument, LightfastError, NotFound
from lightfast.core.ids import new_id
from lightfast.core.tokens import Estimate
from lightfast.gateway.calls import CACHE_USES, DEFAULT_TIMEOUT, MAX_TIMEOUT, GenerateCall, ModelRecord
from lightfast.gateway.catalog import trouble
from lightfast.gateway.leash import kept_to
from lightfast.gateway.order import Candidate, Order
from lightfast.gateway.ports import Asked, Load, Payer
from lightfast.gateway.schemas import AnswerSchema
from lightfast.gateway.settings import complete
from lightfast_link.path import check_path
from lightfast_link.value import Asset

if TYPE_CHECKING:
    from lightfast.gateway.rooms import Rooms
    from lightfast.storage.assets import AssetRecord

MAX_PROMPT = 128 * 1024
"""The longest prompt, in characters."""
MAX_TEXTS = 4 * 1024 * 1024
"""The most that the prompt, the system text and the messages may be together, in characters."""
MAX_MESSAGES = 1000
MAX_NAME = 200
"""The longest name of a project or a run, in characters."""
MAX_FALLBACKS = 16
MAX_SOURCE_BYTES = 256 * 1024 * 1024
"""The most that the sources of one request may hold together, in bytes."""
_ROLES = ("user", "assistant", "system")
_ESTIMATE = Estimate()


async def prepare(
    rooms: Rooms, call: GenerateCall, origin: str, settled: Callable[[], Awaitable[None]] | None
) -> Order:
    """Return the order; raise what the request is wrong in. An unknown model waits until plugins have *settled*."""
    timeout = _check_timeout(call.timeout)
    began = rooms.clock.monotonic()
    if call.template:
        if rooms.prompts is None:
            raise FailedPrecondition("there are no prompt templates here: leave `template` out", reason="NO_PROMPTS")
        call = await rooms.prompts.prepare(call)
    _check(call)
    schema = AnswerSchema(call.schema) if call.schema else None
    base = _load(call)
    records = await _records(rooms, call, base, settled)
    output = call.output or records[0].model.outputs[0]
    candidates = [_candidate(call, record, output, base) for record in records]
    _refuse_unfit(candidates)
    if output == "text" and not (call.prompt.strip() or call.messages or call.sources):
        raise InvalidArgument("there is nothing to answer: the prompt is empty", field="prompt")
    await _fit_first(rooms, call, candidates)
    described = [await rooms.blobs.get(sha256) for sha256 in call.sources]
    for candidate in candidates if described else ():
        weights = tuple((asset.media_type, asset.size) for asset in described)
        candidate.load = replace(candidate.load, sources=weights)
    if call.target_path:
        await _check_target(rooms, call.target_path, output, origin)
    order = Order(
        operation_id=call.operation_id or new_id("op"),
        call=call,
        origin=origin,
        output=output,
        seed=secrets.randbits(31) if call.seed is None else call.seed,
        timeout=timeout,
        deadline=began + timeout,
        candidates=candidates,
        payer=Payer(call.project, origin, call.run),
        sources=await contents(rooms, described) if described else (),
        source_types=tuple(asset.media_type for asset in described),
        schema=schema,
    )
    if rooms.answers is not None:
        order.asked = _asked(order)
    return order


async def contents(rooms: Rooms, described: Sequence[AssetRecord]) -> tuple[bytes, ...]:
    """Return the contents of assets; raise `InvalidArgument` where they are too much together."""
    total = sum(asset.size for asset in described)
    if total > MAX_SOURCE_BYTES:
        raise InvalidArgument(
            f"the sources hold {total} bytes, the most is {MAX_SOURCE_BYTES}: use fewer or smaller ones",
            field="sources",
        )
    return tuple(
        [b"".join([chunk async for chunk in rooms.blobs.read(each.sha256, 0, each.size)]) for each in described]
    )


async def fit(rooms: Rooms, call: GenerateCall, candidate: Candidate) -> None:
    """Fit *call* into the window of a model, once; raise where it is too long for it."""
    if candidate.fitted is not None:
        return
    if rooms.prompts is None:
        if call.window is not None:
            raise FailedPrecondition("context cannot be packed here: leave `window` out", reason="NO_PROMPTS")
        return
    fitted = candidate.fitted = await rooms.prompts.fit(call, candidate.record)
    most = candidate.load.most_output_tokens or fitted.most_output_tokens
    candidate.load = replace(candidate.load, input_tokens=fitted.tokens, most_output_tokens=most)


async def _fit_first(rooms: Rooms, call: GenerateCall, candidates: list[Candidate]) -> None:
    """Fit the first that can be: what is asked depends on it."""
    for candidate in candidates:
        if candidate.unfit is not None:
            continue
        try:
            await fit(rooms, call, candidate)
        except LightfastError as error:
            candidate.unfit = error
        else:
            break
    _refuse_unfit(candidates)


def _refuse_unfit(candidates: list[Candidate]) -> None:
    if all(each.unfit is not None for each in candidates) and candidates[0].unfit is not None:
        raise candidates[0].unfit


async def _records(
    rooms: Rooms, call: GenerateCall, load: Load, settled: Callable[[], Awaitable[None]] | None
) -> list[ModelRecord]:
    try:
        return await _find(rooms, call, load)
    except NotFound:
        if settled is None:
            raise
        await settled()
        return await _find(rooms, call, load)


async def _find(rooms: Rooms, call: GenerateCall, load: Load) -> list[ModelRecord]:
    needs = {name for name, wanted in (("schema", call.schema), ("system", call.system)) if wanted}
    if rooms.candidates is not None:
        described = [await rooms.blobs.get(sha256) for sha256 in call.sources]
        found = await rooms.candidates.ordered(
            call.model,
            call.output,
            fallbacks=call.fallbacks,
            strict=call.strict,
            needs=frozenset(needs),
            load=load,
            sources=tuple(asset.media_type.partition("/")[0] for asset in described),
            leash=call.leash,
        )
        if not found:
            raise NotFound(f"no model here can do this: see 'lightfast models {call.output}'", reason="NO_MODEL")
        return found
    catalog = rooms.catalog
    records = [catalog.match(call)]
    for name in () if call.strict else call.fallbacks:
        record = catalog.match(GenerateCall(name, call.output or records[0].model.outputs[0]))
        if record not in records and not trouble(catalog.provider(record.provider)):
            records.append(record)
    if call.leash is not None:
        records = kept_to(call.leash, records, rooms)
    able = [record for record in records if needs <= set(record.model.capabilities)]
    if not able:
        lacks = ", ".join(sorted(needs - set(records[0].model.capabilities)))
        raise InvalidArgument(f"{records[0].name} is not able to: {lacks}", reason="NOT_CAPABLE", field="model")
    return able


def _candidate(call: GenerateCall, record: ModelRecord, output: str, base: Load) -> Candidate:
    """Fill in the settings of a model; one that they do not fit says so when it is its turn."""
    most = call.max_output_tokens or record.model.max_output_tokens
    candidate = Candidate(record, Load(base.input_tokens, most, base.characters, output, base.settings, base.sources))
    try:
        candidate.settings = complete(record.model.settings, call.settings, record.name)
        if call.sources and not set(record.model.inputs) - {"text"}:
            raise InvalidArgument(f"{record.name} takes no sources, only a prompt", field="sources")
    except LightfastError as error:
        candidate.unfit = error
    else:
        if candidate.settings != base.settings:
            candidate.load = replace(candidate.load, settings=candidate.settings)
    return candidate


def _load(call: GenerateCall) -> Load:
    """Return how much the texts alone are, by an estimate that leans high."""
    texts = [call.prompt, call.system, *(message.text for message in call.messages)]
    tokens = sum(_ESTIMATE.count(text) for text in texts if text)
    return Load(tokens, call.max_output_tokens, sum(map(len, texts)), call.output, call.settings)


def _asked(order: Order) -> Asked:
    call = order.call
    first = next(each for each in order.candidates if each.unfit is None)
    fitted = first.fitted.call if first.fitted is not None else call
    return Asked(
        model=first.record.name,
        output=order.output,
        prompt=fitted.prompt,
        system=fitted.system,
        messages=tuple((message.role, message.text) for message in fitted.messages),
        schema=call.schema,
        settings=first.settings,
        sources=tuple(call.sources),
        seed=call.seed,
        max_output_tokens=call.max_output_tokens,
    )


async def _check_target(rooms: Rooms, path: str, output: str, origin: str) -> None:
    """Refuse a target where the result could not be placed before the work is done, not after."""
    try:
        check_path(path)
    except ValueError as error:
        raise InvalidArgument(str(error), field="target_path") from None
    sample = "" if output == "text" else Asset("", f"{output}/*", "0" * 64, 0)
    await rooms.store.apply([Set(path, sample)], origin=origin, validate_only=True)


def _check(call: GenerateCall) -> None:
    prompt = call.prompt
    if len(prompt) > MAX_PROMPT:
        raise InvalidArgument(f"the prompt has {len(prompt)} characters, the most is {MAX_PROMPT}", field="prompt")
    if len(call.messages) > MAX_MESSAGES:
        raise InvalidArgument(f"{len(call.messages)} messages: the most is {MAX_MESSAGES}", field="messages")
    for message in call.messages:
        if message.role not in _ROLES:
            raise InvalidArgument(
                f"a message has the role {message.role!r:.40}: use {', '.join(_ROLES)}", field="messages.role"
            )
    total = len(prompt) + len(call.system) + sum(len(message.text) for message in call.messages)
    if total > MAX_TEXTS:
        raise InvalidArgument(f"the texts have {total} characters, the most is {MAX_TEXTS}", field="messages")
    if len(call.fallbacks) > MAX_FALLBACKS:
        raise InvalidArgument(f"{len(call.fallbacks)} fallbacks: the most is {MAX_FALLBACKS}", field="fallbacks")
    if call.cache not in CACHE_USES:
        raise InvalidArgument(
            f"the cache is used {call.cache!r:.40}: use {', '.join(filter(None, CACHE_USES))}", field="cache"
        )
    if call.max_output_tokens < 0:
        raise InvalidArgument(
            f"at most {call.max_output_tokens} tokens: use 1 or more, or 0 for the model's own bound",
            field="max_output_tokens",
        )
    for field, name in (("project", call.project), ("run", call.run)):
        if len(name) > MAX_NAME or not name.isprintable():
            raise InvalidArgument(
                f"the {field} {name!r:.60} is no name: at most {MAX_NAME} characters that can be printed", field=field
            )
    if not 0 <= call.max_cost_usd < float("inf"):
        raise InvalidArgument(f"it may cost {call.max_cost_usd:g} USD: use 0 or more", field="max_cost_usd")


def _check_timeout(timeout: float) -> float:
    if timeout == 0:
        return DEFAULT_TIMEOUT
    if not 0 < timeout <= MAX_TIMEOUT:
        raise InvalidArgument(f"the timeout is {timeout:g} s: use more than 0 and at most 86400", field="timeout")
    return timeout
