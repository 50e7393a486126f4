"""The examples that ship with Lightfast, read from the package as they are asked for."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightfast.engine.workflows.records import Workflow

_PACKAGE = "lightfast.engine.workflows.examples"


@functools.cache
def example_names() -> tuple[str, ...]:
    """Return their names, in order."""
    from importlib import resources

    return tuple(
        sorted(
            each.name[: -len(".yaml")] for each in resources.files(_PACKAGE).iterdir() if each.name.endswith(".yaml")
        )
    )


def example_text(name: str) -> str:
    """Return the file of one."""
    from importlib import resources

    return resources.files(_PACKAGE).joinpath(f"{name}.yaml").read_text(encoding="utf-8")


@functools.cache
def example(name: str) -> Workflow | None:
    """Return one, read; `None`: there is none such."""
    if name not in example_names():
        return None
    from lightfast.engine.workflows.form import read_workflow

    workflow, problems = read_workflow(example_text(name), f"{name}.yaml", name=name, example=True)
    if workflow is None:
        raise ValueError(f"the example {name} is wrong: {'; '.join(map(str, problems))}")
    return workflow
