"""Pure computing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lightfast.core.errors import FailedPrecondition, LightfastError
from lightfast.engine.operations.built import TEXT, Built, said, schema
from lightfast.sdk import EVERYTHING, Bench, Mistake, OperationCall, Outcome, World


class Compute(Built):
    """Evaluates an expression. The pipeline does it: it alone knows the results that the expression names."""

    name = "value.compute"
    summary = "Compute a value from results, parameters and the context: + - * / % ** and or not in, if else, len min …"
    arguments: ClassVar[Mapping[str, Any]] = schema(
        ("expression",),
        expression=said(TEXT, "The expression, such as `s1.bpm / 2 + params.offset`.", maxLength=4000),
        names={"type": "object", "description": "More names that it may use: values, or references (${step.field})."},
    )
    result: ClassVar[Mapping[str, Any]] = {"description": "What the expression gives."}
    idempotent = True
    pure = True
    acts = False
    quick = True

    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return the paths that the expression reads."""
        from lightfast.engine.programs.expression import compile_expression

        try:
            return compile_expression(str(arguments.get("expression", ""))).reads
        except LightfastError:
            return EVERYTHING

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check the expression."""
        from lightfast.engine.programs.expression import compile_expression

        try:
            compile_expression(str(arguments.get("expression", "")))
        except LightfastError as error:
            return [Mistake(error.reason, error.message, "arguments.expression")]
        return []

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Refuse: what the names in it stand for is known to the pipeline alone."""
        raise FailedPrecondition("value.compute is evaluated where the results are known", reason="CONTROL_FLOW")


COMPUTING = (Compute,)
