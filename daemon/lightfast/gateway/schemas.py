"""JSON schemas that answers must fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from lightfast.core.errors import InvalidArgument
from lightfast.sdk import ProviderError

MOST_SCHEMA = 64 * 1024
"""The longest schema, in characters."""
_SHOWN = 3
"""So many mistakes of an answer are told."""


class AnswerSchema:
    """A JSON Schema (any draft) as *text*; *parsed* is what a provider is given.

    References lead only into the schema itself: nothing is fetched.
    """

    def __init__(self, text: str) -> None:
        """Raise `InvalidArgument` (SCHEMA_INVALID) for what is no schema."""
        import jsonschema_rs

        if len(text) > MOST_SCHEMA:
            raise _invalid(f"it has {len(text)} characters, the most is {MOST_SCHEMA}")
        try:
            parsed = json.loads(text)
            if not isinstance(parsed, dict):
                raise _invalid("it must be a JSON object")
            self._check = jsonschema_rs.validator_for(parsed, retriever=_nothing, mask="the value")
        except (ValueError, RecursionError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
            place = "/".join(str(part) for part in getattr(error, "instance_path", ()))
            raise _invalid((f"at /{place}: " if place else "") + str(getattr(error, "message", error))) from None
        self.text = text
        self.parsed: Mapping[str, Any] = parsed

    def check(self, answer: str) -> None:
        """Raise a `ProviderError` of kind `malformed`, which may be tried again, where *answer* does not fit."""
        try:
            value = json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise _unfit(f"it is no JSON: {error}") from None
        mistakes = self._mistakes(value)
        if mistakes:
            raise _unfit("; ".join(mistakes))

    def mistakes(self, text: str) -> list[str]:
        """Return what is wrong with a JSON text, the first few; `ValueError` where it is none."""
        return self._mistakes(json.loads(text))

    def _mistakes(self, value: Any) -> list[str]:
        found = []
        for mistake in self._check.iter_errors(value):
            place = "/".join(str(part) for part in mistake.instance_path)
            found.append(f"at /{place}: {mistake.message:.200}")
            if len(found) == _SHOWN:
                break
        return found


def _nothing(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is elsewhere: give the whole schema")


def _invalid(why: str) -> InvalidArgument:
    return InvalidArgument(f"the schema is none: {why:.500}", field="schema", reason="SCHEMA_INVALID")


def _unfit(why: str) -> ProviderError:
    return ProviderError(
        f"its answer does not fit the schema: {why}", kind="malformed", retryable=True, reason="ANSWER_UNFIT"
    )
