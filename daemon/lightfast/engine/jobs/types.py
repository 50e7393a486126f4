"""The types of jobs there are, and the check of what a job is to work on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightfast.core.errors import AlreadyExists, InvalidArgument
from lightfast.sdk import JobType
from lightfast_link.value import Value, to_plain

if TYPE_CHECKING:
    from lightfast.gateway.schemas import AnswerSchema

MOST_PAYLOAD = 256 << 10
"""The longest payload, in characters of JSON; larger things are assets."""


@dataclass(slots=True)
class _Known:
    job_type: JobType
    plugin: str
    schema: AnswerSchema | None = None


class Types:
    """Handlers by the name of their type."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def add(self, job_type: JobType, plugin: str) -> None:
        """Offer a type; raises `AlreadyExists` (JOB_TYPE_TAKEN)."""
        there = self._known.get(job_type.name)
        if there is not None:
            owner = f"by the plugin {there.plugin}" if there.plugin else "by Lightfast"
            raise AlreadyExists(
                f"jobs of the type {job_type.name!r} are done {owner}: give it another name", reason="JOB_TYPE_TAKEN"
            )
        self._known[job_type.name] = _Known(job_type, plugin)

    def remove(self, job_type: JobType) -> bool:
        """Offer it no more; say whether it was there."""
        there = self._known.get(job_type.name)
        if there is None or there.job_type is not job_type:
            return False
        del self._known[job_type.name]
        return True

    def find(self, name: str) -> JobType | None:
        """Return the handler of a type."""
        there = self._known.get(name)
        return None if there is None else there.job_type

    def all(self) -> Iterable[tuple[JobType, str]]:
        """Return the handlers with their plugins, ordered by name."""
        return [(self._known[name].job_type, self._known[name].plugin) for name in sorted(self._known)]

    def check(self, name: str, payload: Mapping[str, Value]) -> JobType:
        """Return the handler; raise `InvalidArgument`: JOB_TYPE_UNKNOWN, JOB_PAYLOAD."""
        there = self._known.get(name)
        if there is None:
            known = ", ".join(sorted(self._known)) or "none"
            raise InvalidArgument(
                f"there is no type of jobs called {name!r:.80}: use one of {known}",
                field="type",
                reason="JOB_TYPE_UNKNOWN",
            )
        text = json.dumps(to_plain(dict(payload)))
        if len(text) > MOST_PAYLOAD:
            raise InvalidArgument(
                f"the payload has {len(text)} characters, the most is {MOST_PAYLOAD}: store an asset and name it",
                field="payload",
                reason="JOB_PAYLOAD",
            )
        if there.schema is None:
            from lightfast.gateway.schemas import AnswerSchema

            there.schema = AnswerSchema(json.dumps(to_plain(dict(there.job_type.payload))))
        mistakes = there.schema.mistakes(text)
        if mistakes:
            raise InvalidArgument(
                f"the payload of {name} does not fit: {'; '.join(mistakes)}", field="payload", reason="JOB_PAYLOAD"
            )
        return there.job_type
