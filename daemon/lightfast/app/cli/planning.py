"""plan, do: from what somebody wants to a program, and to what happened."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from lightfast.app.cli.following import follow, show_plan, state_of
from lightfast.app.cli.session import CURRENT, EXIT_FAILED, EXIT_USAGE, fail, say, table
from lightfast.core.errors import InvalidArgument

app = typer.Typer()
_TIMEOUT = 120.0
_PROGRAMS = {".yaml", ".yml", ".json", ".lf", ".txt"}
Model = Annotated[str, typer.Option(help="The model or alias that plans; 'grammar' asks none.")]
Project = Annotated[str, typer.Option(help="The project its cost is booked to.")]
Quoted = Annotated[
    list[Path] | None, typer.Option("--quote", help="A file that is only quoted: it can ask for nothing.")
]
NoOptimize = Annotated[bool, typer.Option("--no-optimize", help="Leave the rewrites out.")]


@app.command()
def plan(
    what: Annotated[
        str, typer.Argument(metavar="INTENT|FILE", help="What you want, a file with a program, or -.")
    ] = "",
    model: Model = "",
    project: Project = "",
    quote: Quoted = None,
    no_optimize: NoOptimize = False,
    yaml: Annotated[bool, typer.Option("--yaml", help="Print the program in YAML, to edit and to run.")] = False,
    kinds: Annotated[bool, typer.Option("--operations", help="List what programs are made of.")] = False,
) -> None:
    """Show what would be done, and run nothing."""
    if kinds:
        CURRENT.call("EngineService.ListOperationKinds", {}, _kinds, _TIMEOUT)
        return
    if not what.strip():
        raise typer.BadParameter('say what you want: lightfast plan "set the tempo to 128"')
    text = _program(what)
    if text is None and Path(what).suffix in _PROGRAMS and not any(map(str.isspace, what)):
        raise typer.BadParameter(f"there is no file {what}")
    if text is None:
        fields = {
            "intent": what, "model": model, "project": project, "quoted": _quotes(quote), "no_optimize": no_optimize,
        }  # fmt: skip
        name = "EngineService.Plan"
    else:
        name = "EngineService.Validate" if no_optimize else "EngineService.Optimize"
        fields = {"program": {"text": text}}
    found = CURRENT.call(name, fields, lambda message: _shown(message["plan"], yaml=yaml), _TIMEOUT)
    if _mistakes(found["plan"]):
        raise typer.Exit(EXIT_USAGE)


def _program(what: str) -> str | None:
    """Return the program of a file, or `None`: *what* are words."""
    if what == "-":
        return sys.stdin.buffer.read().decode()
    try:
        path = Path(what)
        found = path.read_bytes() if path.is_file() else None
    except (OSError, ValueError):
        return None
    try:
        return None if found is None else found.decode()
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{what} is not valid UTF-8 at byte {error.start}: convert it first") from None


def _quotes(files: Iterable[Path] | None) -> list[str]:
    try:
        return [file.read_text(encoding="utf-8") for file in files or ()]
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"what is quoted is not valid UTF-8 at byte {error.start}: convert it first") from None
    except OSError as error:
        raise typer.BadParameter(f"{error.filename} cannot be quoted: {error.strerror}") from None


def _mistakes(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in found.get("problems", []) if not each.get("warning")]


def _shown(found: dict[str, Any], *, yaml: bool = False) -> None:
    if yaml:
        print(found.get("yaml", ""), end="")
        return
    show_plan(found)
    about(found)


def about(found: dict[str, Any]) -> None:
    """Say who planned, how sure it is, what the reviewer said, which effects it has."""
    for attempt in found.get("attempts", []):
        fail(f"did not plan: {attempt}")
    if found.get("planner"):
        say(f"planned by {found['planner']}, confidence {float(found.get('confidence', 0.0)):.2f}")
    if found.get("review"):
        say(f"review: {found['review']}")
    effects = [each.removeprefix("EFFECT_").lower() for each in found.get("effects", [])]
    if effects:
        say(f"effects: {', '.join(effects)}")
    if found.get("untrusted"):
        say("text of others had a part in it: it raises no privilege")


def _kinds(found: dict[str, Any]) -> None:
    table(
        ("OPERATION", "EFFECTS", "POOL", "FROM", ""),
        (
            (
                each["name"],
                ", ".join(one.removeprefix("EFFECT_").lower() for one in each.get("effects", [])),
                each.get("pool", ""),
                each.get("plugin", ""),
                each.get("summary", ""),
            )
            for each in found.get("operations", [])
        ),
        "There are no operations.",
    )


@dataclass
class _Seen:
    """What went by of a run."""

    run_id: str = ""
    state: str = ""
    wrong: bool = False
    assets: dict[str, str] = field(default_factory=dict)

    def watch(self, messages: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Pass on the messages of a run, and note what counts at the end."""
        for message in messages:
            event = message.get("event", {})
            if "run" in event:
                self.run_id, self.state = event["run"]["run_id"], state_of(event["run"])
            self.wrong = self.wrong or bool(_mistakes(message.get("plan", {})))
            if "step" in event:
                for asset in _assets(event["step"].get("result")):
                    self.assets.setdefault(asset, event["step"]["step_id"])
            yield message
            if "plan" in message and not CURRENT.as_json:
                about(message["plan"])


def _assets(value: Any) -> Iterator[str]:
    """Yield the SHA-256 of the assets in a value in proto JSON."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name == "sha256" and isinstance(each, str):
                yield each
            else:
                yield from _assets(each)
    elif isinstance(value, list):
        for each in value:
            yield from _assets(each)


@app.command("do")
def do(
    intent: Annotated[str, typer.Argument(help="What you want, in words.")],
    dry: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    model: Model = "",
    project: Project = "",
    max_cost: Annotated[float, typer.Option(help="What it may cost at most, in USD.", min=0.0)] = 0.0,
    compensate: Annotated[bool, typer.Option("--compensate", help="Where it fails, take back what was done.")] = False,
    no_optimize: NoOptimize = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for an approval that somebody else gives.")] = False,
) -> None:
    """Plan what you want, show it, ask where it must be approved, do it, and say how to take it back."""
    if not intent.strip():
        raise typer.BadParameter('say what you want: lightfast do "set the tempo to 128"')
    fields: dict[str, Any] = {
        "intent": intent, "dry_run": dry, "model": model, "project": project, "max_cost_usd": max_cost,
        "compensate": compensate, "no_optimize": no_optimize, "request_id": "" if dry else uuid.uuid4().hex,
    }  # fmt: skip
    seen = _Seen()
    with CURRENT.client(_TIMEOUT) as client:
        try:
            code = follow(seen.watch(client.stream_json("EngineService.Run", fields)), wait=wait)
        except InvalidArgument:
            if not seen.wrong or CURRENT.as_json:
                raise
            fail("nothing was done: say it in other words")
            raise typer.Exit(EXIT_USAGE) from None
    if seen.run_id and not CURRENT.as_json:
        for sha256, step in seen.assets.items():
            say(f"asset of {step}: {sha256}")
        if seen.state in {"SUCCEEDED", "FAILED", "CANCELLED"}:
            say(f"take it back: lightfast runs rollback {seen.run_id}")
    raise typer.Exit(code if code in {0, EXIT_FAILED} else EXIT_FAILED)
