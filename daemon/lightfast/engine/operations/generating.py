"""Operations that generate: text, pictures, films and sounds.

Each generation has an identity made from the key of the call. It is kept before anything is sent, and its row in the
gateway is on the disk by then: whoever comes again with the key is told what became of it. A job at a service is
waited for, not paid again; what a dead daemon had sent without a job, and that costs money, is unknown.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any, ClassVar

from lightfast.core.errors import FailedPrecondition, LightfastError, NotFound, Unavailable
from lightfast.engine.operations.built import PATH, TEXT, UNKNOWN, Built, is_open, said, schema
from lightfast.engine.operations.built import within as bounded
from lightfast.engine.operations.choosing import (
    Choice,
    effects_of,
    effects_within,
    leash_of,
    told,
    upper_cost,
    wrong_model,
)
from lightfast.engine.operations.paths import asset_id, check_writable, each, single
from lightfast.gateway.calls import GenerateCall, StepFallback, StepProgress, StepUsage
from lightfast.gateway.operations import TEXT_KEPT
from lightfast.gateway.operations import Operation as Record
from lightfast.gateway.operations import OperationState as State
from lightfast.gateway.ports import Load
from lightfast.gateway.preparing import MAX_PROMPT
from lightfast.gateway.resuming import ENDED
from lightfast.sdk import Bench, ContextChange, Effect, Mistake, OperationCall, Outcome, TextDelta, World
from lightfast_link.value import Asset, Value, check_value

_TAIL = 200
"""So many characters of a text that grows are shown as progress."""
_LOOK_S = (0.05, 1.0)
"""How long to wait before looking again at a job that was taken up: at first, and at most, in seconds."""

_COMMON: Mapping[str, Mapping[str, Any]] = {
    "prompt": said(TEXT, "What to make.", minLength=1),
    "model": said(TEXT, "provider/model or an alias (fast, best, cheap, local); none: what is here."),
    "settings": {"type": "object", "description": "Settings of the model, by name."},
    "sources": {
        "type": ["array", "string"],
        "items": {"type": ["string", "object"]},
        "maxItems": 64,
        "description": "Assets to start from, as asset:SHA256 or references.",
    },
    "seed": {"type": ["integer", "string"], "description": "The seed; none: one is chosen and told."},
    "path": said(PATH, "Where the result goes in the context; none: nowhere."),
}


class _Generate(Built):
    output: ClassVar[str]
    pool = "media"
    possible_effects = frozenset((Effect.REVERSIBLE, Effect.SPEND, Effect.NETWORK))
    keyed = True
    result: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "description": "asset, seed, model; assets where there are several.",
    }

    def effects(self, arguments: Mapping[str, Any], world: World) -> frozenset[Effect]:
        """Return what it does with the models that may be used."""
        return effects_of(Choice.of(self.output, arguments, self.rooms), world)

    def effects_within(
        self, arguments: Mapping[str, Any], world: World, allowed: frozenset[Effect]
    ) -> frozenset[Effect]:
        """Return what it does with those of the models that bring about no more than *allowed*."""
        return effects_within(Choice.of(self.output, arguments, self.rooms), world, allowed)

    def about(self, arguments: Mapping[str, Any], world: World) -> str:
        """Return the models."""
        return told(Choice.of(self.output, arguments, self.rooms), world)

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return where the result goes."""
        return single(arguments["path"]) if "path" in arguments else ()

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check the model, and where the result goes."""
        found = wrong_model(Choice.of(self.output, arguments, self.rooms), world)
        if "path" in arguments:
            found += check_writable(arguments["path"], world, "arguments.path")
        return found

    def cost(self, arguments: Mapping[str, Any], world: World) -> float | None:
        """Return the most it costs, with the dearest of the models that may be used."""
        choice = Choice.of(self.output, arguments, self.rooms)
        if arguments.get("sources") or is_open(arguments.get("settings")):
            return 0.0 if Effect.SPEND not in effects_of(choice, world) else None
        texts = (arguments.get("prompt", ""), arguments.get("system", ""))
        size = MAX_PROMPT if is_open(texts) else sum(map(len, texts))
        settings = arguments.get("settings", {})
        return upper_cost(choice, Load(size, 0, size, self.output, settings), world)

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Generate; what an earlier attempt has begun is looked for first."""
        tries = _tries(call.note)
        record = await self._record(_identity(call.key, tries))
        if record is not None and record.state is State.RUNNING:
            record = await self._waited(record, call, bench)
        if record is not None:
            if record.state is State.SUCCEEDED:
                return self._outcome(call, _of_record(record))
            self._refuse_unknown(record, call)
            tries += 1  # it has failed, or was cancelled: with another identity it begins anew
        return await self._generate(call, bench, tries)

    async def _record(self, operation_id: str) -> Record | None:
        try:
            return await self.rooms.gateway.operation(operation_id)
        except NotFound:
            return None

    def _refuse_unknown(self, record: Record, call: OperationCall) -> None:
        """Raise where it cannot be known what a dead daemon has sent, and it would be paid again."""
        if record.error != ENDED or record.job_id or not self._spends(record):
            return
        raise FailedPrecondition(
            f"the daemon died while {record.model} worked on it, and {record.model} knows no jobs: whether it was made"
            " and paid cannot be known",
            reason=UNKNOWN,
            metadata={"operation_id": record.operation_id, "step": call.step_id},
        )

    def _spends(self, record: Record) -> bool:
        from lightfast.engine.operations.world import HouseWorld

        model = HouseWorld(self.rooms).model(record.model)
        return model is None or not (model.free or model.local)

    async def _waited(self, record: Record, call: OperationCall, bench: Bench) -> Record:
        """Wait for a job that was taken up: the gateway asks the service, and it is not paid again."""
        gateway, pause, over = self.rooms.gateway, _LOOK_S[0], False
        try:
            async with bounded(call.deadline_s, self.name):
                while not over:
                    bench.progress(record.fraction, f"waiting for {record.model}")
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, _LOOK_S[1])
                    record = await gateway.operation(record.operation_id)
                    over = record.state is not State.RUNNING
        finally:
            if not over and not gateway.stopping:
                await gateway.cancel(record.operation_id)
        return record

    async def _generate(self, call: OperationCall, bench: Bench, tries: int) -> Outcome:
        identity = _identity(call.key, tries)
        await bench.keep(json.dumps({"operation": identity, "tries": tries}))
        made = _Made()
        wanted = self._call(call, identity)
        async with (
            bounded(call.deadline_s, self.name),
            aclosing(self.rooms.gateway.generate(wanted, call.origin)) as steps,  # type: ignore[type-var]
        ):
            async for step in steps:
                made.take(step.kind, bench)
        return self._outcome(call, made)

    def _call(self, call: OperationCall, identity: str) -> GenerateCall:
        given = call.arguments
        choice = Choice.of(self.output, given, self.rooms)
        seed, form = given.get("seed"), given.get("schema")
        return GenerateCall(
            model=choice.model,
            output=self.output,
            prompt=given["prompt"],
            settings=given.get("settings", {}),
            sources=tuple(asset_id(source) for source in each(given.get("sources"))),
            seed=None if seed is None else int(seed),
            timeout=min(call.deadline_s, 86_400.0),
            group=call.group,
            system=given.get("system", ""),
            schema=form if isinstance(form, str) else "" if form is None else json.dumps(form),
            max_output_tokens=int(given.get("max_tokens", 0)),
            strict=choice.exact,
            project=call.project,
            run=call.run_id,
            max_cost_usd=call.budget_usd,
            operation_id=identity,
            leash=leash_of(call.effects),
        )

    def _outcome(self, call: OperationCall, made: _Made) -> Outcome:
        value = self._value(call, made)
        path = call.arguments.get("path")
        placed = made.placed()
        changes = (ContextChange("set", path, placed),) if path and placed is not None else ()
        return Outcome(value, changes, cost_usd=made.cost_usd)

    def _value(self, call: OperationCall, made: _Made) -> Value:
        if not made.assets:
            raise Unavailable(f"{made.model} made nothing", reason="NOTHING_MADE")
        found: dict[str, Any] = {"asset": made.assets[0], "seed": made.seed, "model": made.model}
        if len(made.assets) > 1:
            found["assets"] = list(made.assets)
        return found

    async def recover(self, call: OperationCall, bench: Bench) -> Outcome | None:
        """Do it again with the key, which finds what there is; `None` where that cannot be known."""
        try:
            return await self.perform(call, bench)
        except LightfastError as error:
            if error.reason == UNKNOWN:
                return None
            raise


class _Made:
    """What came of a generation."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.assets: list[Asset] = []
        self.model = ""
        self.seed = 0
        self.cost_usd = 0.0

    def take(self, step: Any, bench: Bench) -> None:
        """Take one step in, and tell how far it is."""
        match step:
            case StepProgress():
                self.model, self.seed = step.model, step.seed
                bench.progress(step.fraction, step.message)
            case TextDelta():
                self.text.append(step.text)
                bench.progress(-1.0, "".join(self.text[-_TAIL:])[-_TAIL:])
            case Asset():
                self.assets.append(step)
            case StepFallback():
                self.model = step.to_model
                if step.restarted:
                    self.text, self.assets = [], []
                bench.progress(-1.0, f"{step.from_model} failed, {step.to_model} goes on")
            case StepUsage():
                self.cost_usd = step.cost_usd
                self.model = step.model or self.model
            case _:
                bench.progress(-1.0, "a preview came")

    def placed(self) -> Value | None:
        """Return what goes into the context: the asset, a list of several, or the text."""
        if self.assets:
            return self.assets[0] if len(self.assets) == 1 else list(self.assets)
        return "".join(self.text) or None


def _of_record(record: Record) -> _Made:
    if len(record.text) >= TEXT_KEPT:
        raise FailedPrecondition(
            f"{record.model} had made a text of more than {TEXT_KEPT} characters when the daemon died, of which only"
            " the beginning was kept",
            reason=UNKNOWN,
            metadata={"operation_id": record.operation_id},
        )
    made = _Made()
    made.text, made.assets = [record.text], list(record.assets)
    made.model, made.seed, made.cost_usd = record.model, record.seed, record.cost_usd
    return made


class Text(_Generate):
    """Makes text."""

    name = "generate.text"
    summary = "Have a language model write text, or fill in a JSON Schema."
    output = "text"
    pool = "provider"
    timeout = 300.0
    arguments: ClassVar[Mapping[str, Any]] = schema(
        ("prompt",),
        **_COMMON,
        system=said(TEXT, "How the model is to behave."),
        schema={"type": ["object", "string"], "description": "A JSON Schema that the answer must fit."},
        max_tokens={"type": "integer", "minimum": 1, "description": "How long the answer may be, in tokens."},
    )
    result: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "description": "text, model; json: the answer, where a schema was given.",
    }

    def cost(self, arguments: Mapping[str, Any], world: World) -> float | None:
        """Return the most it costs."""
        most = arguments.get("max_tokens")
        if not isinstance(most, int) or arguments.get("sources"):
            return super().cost(arguments, world)
        texts = (arguments.get("prompt", ""), arguments.get("system", ""))
        size = MAX_PROMPT if is_open(texts) else sum(map(len, texts))
        return upper_cost(Choice.of(self.output, arguments, self.rooms), Load(size, most, size, self.output), world)

    def _value(self, call: OperationCall, made: _Made) -> Value:
        text = "".join(made.text)
        found: dict[str, Any] = {"text": text, "model": made.model}
        if "schema" in call.arguments:
            data = _without_nulls(json.loads(text))
            if data is not None:
                found["json"] = check_value(data, "json")
        return found


class Image(_Generate):
    """Makes a picture."""

    name = "generate.image"
    summary = "Make a picture from a prompt, or from a picture and a prompt."
    output = "image"
    timeout = 600.0
    arguments: ClassVar[Mapping[str, Any]] = schema(("prompt",), **_COMMON)


class Video(_Generate):
    """Makes a film."""

    name = "generate.video"
    summary = "Make a film from a prompt, or from pictures and a prompt."
    output = "video"
    timeout = 3600.0
    arguments: ClassVar[Mapping[str, Any]] = schema(("prompt",), **_COMMON)


class Audio(_Generate):
    """Makes sound."""

    name = "generate.audio"
    summary = "Make sound from a prompt: music, an effect, or speech."
    output = "audio"
    timeout = 1800.0
    arguments: ClassVar[Mapping[str, Any]] = schema(("prompt",), **_COMMON)


def _identity(key: str, tries: int) -> str:
    """Return the identity of a generation: always the same for one key and the number of those that failed before."""
    return "op-" + hashlib.sha256(f"{key}#{tries}".encode()).hexdigest()[:32]


def _without_nulls(data: Any) -> Any:
    """Return *data* without what the context has no value for: fields that are null go, items are empty maps."""
    if isinstance(data, dict):
        return {name: _without_nulls(item) for name, item in data.items() if item is not None}
    if isinstance(data, list):
        return [{} if item is None else _without_nulls(item) for item in data]
    return data


def _tries(note: str) -> int:
    return int(json.loads(note)["tries"]) if note else 0


GENERATING = (Text, Image, Video, Audio)
