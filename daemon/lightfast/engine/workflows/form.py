"""Reads one workflow file: YAML in, a `Workflow` or its problems out. Nothing is run and no file is opened.

name: evening-look
summary: Recalls a scene slowly.
timeout: 5m
on_failure: compensate        # stop (as usual), continue, compensate: take back what was done
parameters:
  scene: string
  seconds: {type: number, default: 8, minimum: 0, maximum: 600, summary: How long it takes.}
steps:
  - id: recall
    op: scene.recall
    arguments: {name: "${params.scene}", morph_s: "${params.seconds}"}
returns: ${recall}
triggers:
  - {on: schedule, cron: "0 18 * * *", parameters: {scene: evening}}
"""

from __future__ import annotations

import hashlib
import re

from lightfast.core.errors import InvalidArgument
from lightfast.engine.programs.references import find
from lightfast.engine.workflows.parameters import read_parameters
from lightfast.engine.workflows.reading import Reading
from lightfast.engine.workflows.records import FileProblem, Place, Workflow
from lightfast.engine.workflows.scope import check_scope
from lightfast.engine.workflows.steps import Steps
from lightfast.engine.workflows.trigger_forms import TriggerReader
from lightfast.sdk.oscmap.document import MapError, compose

LARGEST = 256 << 10
"""The largest file, in bytes."""
NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
"""What the name of a workflow looks like."""
KEYS = ("name", "summary", "parameters", "steps", "returns", "timeout", "on_failure", "triggers")
ON_FAILURE = ("stop", "continue", "compensate")


def version_of(text: str) -> str:
    """Return the version of a file's text: the first 12 digits of its SHA-256."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]


def read_workflow(
    text: str, file: str, *, name: str = "", example: bool = False
) -> tuple[Workflow | None, tuple[FileProblem, ...]]:
    """Return the workflow of a file's *text*, and what is wrong; with anything wrong there is no workflow.

    *name* is what it is called where the file does not say.
    """
    if len(text.encode(errors="surrogatepass")) > LARGEST:
        return None, (FileProblem(1, 1, "WORKFLOW_TOO_LARGE", f"the file is larger than {LARGEST >> 10} KiB"),)
    if not text.strip():
        return None, (FileProblem(1, 1, "WORKFLOW_EMPTY", "the file is empty: a workflow has `name` and `steps`"),)
    try:
        node = compose(text, file)
    except MapError as error:
        return None, tuple(FileProblem(line, column, "YAML_INVALID", what) for line, column, what in error.problems)
    except RecursionError:
        return None, (FileProblem(1, 1, "YAML_INVALID", "it is nested too deep"),)
    reading = Reading()
    table = reading.keys(node, KEYS, "a workflow")
    called = reading.text(table, "name", name, 200)
    if not NAME.fullmatch(called):
        place = table.get("name", node)
        reading.bad(
            place, f"{called!r:.80} is no name: use a-z, 0-9, - and _, beginning with a letter", "WORKFLOW_NAME"
        )
    parameters = read_parameters(table["parameters"], reading) if "parameters" in table else ()
    if "steps" not in table:
        reading.bad(Place(node.line, node.column), "a workflow needs `steps`")
    steps = Steps(reading).read(table["steps"]) if "steps" in table else ()
    returns = reading.text(table, "returns")
    if returns:
        try:
            list(find(returns))
        except InvalidArgument as error:
            reading.bad(table["returns"], error.message, error.reason)
    at = table.get("returns", node)
    check_scope(steps, parameters, returns, reading, Place(at.line, at.column))
    workflow = Workflow(
        name=called,
        summary=reading.text(table, "summary"),
        version=version_of(text),
        file=file,
        text=text,
        parameters=parameters,
        steps=steps,
        returns=returns,
        triggers=TriggerReader(reading, called, parameters).read(table["triggers"]) if "triggers" in table else (),
        timeout=reading.duration(table, "timeout"),
        on_failure=reading.choice(table, "on_failure", ON_FAILURE, "stop"),
        example=example,
    )
    if reading.problems:
        return None, tuple(sorted(reading.problems))
    return workflow, ()
