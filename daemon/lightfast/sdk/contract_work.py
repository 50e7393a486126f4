"""What of the contract of operations and types of jobs can be seen without running anything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lightfast.sdk.contract import PluginMistake, check_name
from lightfast.sdk.operation import POOLS, Effect, JobType, Operation

_OPERATION = re.compile(r"[a-z][a-z0-9_]{0,31}(\.[a-z][a-z0-9_]{0,31}){1,3}")


def check_operation(operation: Operation) -> None:
    """Check the name, the schemas, the pool and the effects of an operation; raise `PluginMistake`."""
    name: Any = getattr(operation, "name", None)  # from a plugin: may be anything
    if not isinstance(name, str) or not _OPERATION.fullmatch(name):
        raise PluginMistake(f"the name of an operation is {name!r:.80}: use words joined by '.', such as 'light.fade'")
    where = f"the operation {name}"
    if not isinstance(getattr(operation, "summary", None), str) or not operation.summary:
        raise PluginMistake(f"{where} has no summary: say in one sentence what it does")
    _check_schema(getattr(operation, "arguments", None), f"{where} has arguments")
    if operation.pool not in POOLS:
        raise PluginMistake(f"{where} has the pool {operation.pool!r:.80}: use one of {', '.join(POOLS)}")
    effects: Any = operation.possible_effects
    if not effects or not all(isinstance(effect, Effect) for effect in effects):
        known = ", ".join(f"Effect.{effect.name}" for effect in Effect)
        raise PluginMistake(f"{where} has the possible_effects {effects!r:.80}: use a frozenset of {known}")
    _check_seconds(operation.timeout, where)


def check_job_type(job_type: JobType) -> None:
    """Check the name, the schema and the bounds of a type of jobs; raise `PluginMistake`."""
    check_name(getattr(job_type, "name", None), "the name of a type of jobs")
    where = f"the type of jobs {job_type.name}"
    if not isinstance(getattr(job_type, "summary", None), str) or not job_type.summary:
        raise PluginMistake(f"{where} has no summary: say in one sentence what it does")
    _check_schema(job_type.payload, f"{where} has a payload")
    most: Any = job_type.max_attempts
    if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= 100:
        raise PluginMistake(f"{where} has the max_attempts {most!r:.80}: use a number from 1 to 100")
    _check_seconds(job_type.timeout, where)


def _check_schema(schema: Any, what: str) -> None:
    if not isinstance(schema, Mapping) or schema.get("type") != "object":
        raise PluginMistake(f"{what} that are no JSON Schema of type object: {schema!r:.80}")


def _check_seconds(seconds: Any, where: str) -> None:
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds <= 86_400:
        raise PluginMistake(f"{where} has the timeout {seconds!r:.80}: use seconds, more than 0 and at most 86400")
