"""workflow, triggers: what is in the files, starting it, and why triggers fired."""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lightfast.app.cli import literal
from lightfast.app.cli.session import CURRENT, EXIT_FAILED, arguments_told, fail, say, table
from lightfast.app.cli.times import local

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightfast.engine.workflows.records import FileProblem

workflow = typer.Typer(
    no_args_is_help=True, help="Workflows from YAML files: lightfast workflow run poster-from-colours width=512."
)
triggers = typer.Typer(no_args_is_help=True, help="What starts workflows by itself, and why it did or did not.")
_TIMEOUT = 60.0


@workflow.command("list")
def list_workflows() -> None:
    """List the workflows, and what is wrong in their files."""
    CURRENT.call("JobService.ListWorkflows", {}, _listed)


def _listed(found: dict[str, Any]) -> None:
    rows = [
        (
            each["name"],
            each.get("version", "-"),
            "example" if each.get("example") else Path(each.get("file", "")).name,
            str(len(each.get("problems", []))) if each.get("problems") else "",
            each.get("summary", ""),
        )
        for each in found.get("workflows", [])
    ]
    table(
        ("WORKFLOW", "VERSION", "FILE", "PROBLEMS", ""), rows, "No workflows: make one with 'lightfast workflow new'."
    )
    for each in found.get("workflows", []):
        for problem in each.get("problems", []):
            fail(f"{each.get('file', '')}:{problem.get('line', 1)}:{problem.get('column', 1)}: {problem['message']}")


@workflow.command()
def show(name: Annotated[str, typer.Argument(help="The workflow.")]) -> None:
    """Show one: its parameters, and its file."""

    def render(found: dict[str, Any]) -> None:
        for each in found.get("workflows", []):
            say(f"{each['name']}  version {each.get('version', '-')}  {each.get('file', '')}")
            for key, schema in json.loads(each.get("parameters_schema") or "{}").get("properties", {}).items():
                usual = f" = {json.dumps(schema['default'], ensure_ascii=False)}" if "default" in schema else ""
                say(f"  {key}: {schema.get('type', 'any')}{usual}  {schema.get('description', '')}".rstrip())
            say("")
            say(each.get("yaml", "").rstrip())

    CURRENT.call("JobService.ListWorkflows", {"name": name}, render)


@workflow.command()
def check(
    file: Annotated[str, typer.Argument(help="A YAML file; - reads the input.")],
) -> None:
    """Check a file and say what is wrong, with lines; the operations too where a daemon runs."""
    from lightfast.engine.workflows.form import LARGEST, read_workflow

    try:
        if file == "-":
            text, name = sys.stdin.read(LARGEST + 1), "workflow"
        else:
            path = Path(file)
            with path.open("rb") as stream:
                text, name = stream.read(LARGEST + 1).decode(), path.stem
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    found, problems = read_workflow(text, file, name=name)
    asked = False
    if found is not None and (book := _book()) is not None:
        from lightfast.engine.workflows.semantics import problems_of

        asked, problems = True, problems_of(found, book)
    _tell(file, problems, found.name if found is not None else "", asked=asked)


def _tell(file: str, problems: Sequence[FileProblem], name: str, *, asked: bool) -> None:
    if CURRENT.as_json:
        keys = ("line", "column", "reason", "message")
        print(json.dumps({"problems": [dict(zip(keys, each, strict=True)) for each in problems]}, ensure_ascii=False))
    else:
        for each in problems:
            fail(f"{file}:{each}")
    if problems:
        raise typer.Exit(EXIT_FAILED)
    if not CURRENT.as_json:
        say(f"{name} is right" + ("" if asked else "; no daemon runs, so its operations were not looked at"))


class _Known:
    """An operation as a running daemon tells of it."""

    def __init__(self, schema: str) -> None:
        self.arguments = json.loads(schema or "{}")


class _Book:
    """The operations of a running daemon: as much of an `OperationBook` as a check of a file needs."""

    def __init__(self, found: list[dict[str, Any]]) -> None:
        self._found = {each["name"]: _Known(each.get("arguments_schema", "")) for each in found}

    def find(self, name: str) -> Any:
        """Return one, or `None`."""
        return self._found.get(name)

    def names(self) -> list[str]:
        """Return the names, in order."""
        return sorted(self._found)

    def plugin(self, name: str) -> str:  # it is not told
        """Return nothing."""
        return ""


def _book() -> _Book | None:
    from lightfast.core.errors import LightfastError

    try:
        with CURRENT.client() as client:
            found = client.call_json("EngineService.ListOperationKinds", {}, 5.0)
    except (LightfastError, OSError):
        return None
    return _Book(found.get("operations", []))


@workflow.command()
def run(
    name: Annotated[str, typer.Argument(help="The workflow.")],
    parameters: Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]...")] = None,
    project: Annotated[str, typer.Option(help="What its cost is booked to.")] = "",
    dry: Annotated[bool, typer.Option("--dry-run", help="Only check it and show its program.")] = False,
) -> None:
    """Start a workflow: lightfast workflow run poster-from-colours title='a storm' width=512."""
    with arguments_told():
        given = literal.parse_named(parameters or [])
    fields = {
        "name": name,
        "parameters": given,
        "project": project,
        "dry_run": dry,
        "request_id": "" if dry else uuid.uuid4().hex,
    }

    def render(found: dict[str, Any]) -> None:
        if dry:
            say(found.get("yaml", "").rstrip())
        else:
            say(f"{found['run_id']}  {name} version {found['version']}")
            say(f"follow it: lightfast runs watch {found['run_id']}")

    CURRENT.call("JobService.RunWorkflow", fields, render, _TIMEOUT)


@workflow.command()
def new(
    name: Annotated[str, typer.Argument(help="A name: a-z, 0-9, - and _.")],
    example: Annotated[str, typer.Option("--from", help="The example to begin with.")] = "",
    folder: Annotated[Path | None, typer.Option(help="Where; the folder of the daemon by default.")] = None,
) -> None:
    """Make a file to begin with; a running daemon takes it at once."""
    from lightfast.core.paths import find
    from lightfast.engine.workflows.form import NAME
    from lightfast.engine.workflows.shelf import example_names, example_text

    if not NAME.fullmatch(name):
        raise typer.BadParameter(f"{name!r} is no name: use a-z, 0-9, - and _, beginning with a letter")
    if example and example not in example_names():
        raise typer.BadParameter(f"there is no example {example!r}; there is {', '.join(example_names())}")
    text = example_text(example).replace(f"name: {example}\n", f"name: {name}\n", 1) if example else _BEGIN.format(name)
    where = folder or find(CURRENT.home).config / "workflows"
    path = where / f"{name}.yaml"
    try:
        where.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise typer.BadParameter(f"{path} is there already") from None
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written: {error.strerror}") from None
    CURRENT.show({"file": str(path)}, lambda found: say(found["file"]))


_BEGIN = """\
name: {0}
summary: What it does, in one sentence.
parameters:
  text: {{type: string, default: hello}}
steps:
  - id: shown
    op: context.set
    arguments: {{path: /show/text, value: "${{params.text}}"}}
returns: ${{shown}}
"""


@triggers.command("list")
def list_triggers() -> None:
    """List the triggers, and how often each fired."""

    def render(found: dict[str, Any]) -> None:
        rows = [
            (
                each["name"],
                each.get("kind", ""),
                each.get("fired", "0"),
                each.get("held_back", "0"),
                local(each.get("last_time", "")),
                each.get("disabled") or each.get("summary", ""),
            )
            for each in found.get("triggers", [])
        ]
        table(("TRIGGER", "ON", "FIRED", "HELD BACK", "LAST", ""), rows, "No triggers.")

    CURRENT.call("JobService.ListTriggers", {}, render)


@triggers.command()
def trace(
    name: Annotated[str, typer.Argument(help="The trigger; without one, all.")] = "",
    limit: Annotated[int, typer.Option(help="How many.", min=1, max=1000)] = 50,
) -> None:
    """Show why triggers fired or did not, the newest first."""

    def render(found: dict[str, Any]) -> None:
        rows = [
            (
                local(each.get("time", "")),
                each["trigger"],
                "fired" if each.get("fired") else "held back",
                each.get("run_id", ""),
                each.get("reason", ""),
            )
            for each in found.get("firings", [])
        ]
        table(("TIME", "TRIGGER", "", "RUN", "WHY"), rows, "Nothing happened that a trigger waits for.")

    CURRENT.call("JobService.ListFirings", {"trigger": name, "limit": limit}, render)
