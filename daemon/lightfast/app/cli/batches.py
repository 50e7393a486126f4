"""embed, batch: vectors of texts, and many requests as one operation that lasts."""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer

from lightfast.app.cli import literal
from lightfast.app.cli.session import CURRENT, asks_for_percent, fail, say

app = typer.Typer()
batch = typer.Typer(no_args_is_help=True, help="Hand many requests over as one operation that lasts.")

Project = Annotated[str, typer.Option(help="Who pays: the budget of this project counts.")]
Consent = Annotated[bool, typer.Option("--yes-unpriced", "--price-consent", help="Also where no price is known.")]
_FIELDS = ("prompt", "system", "messages", "schema", "settings", "max_output_tokens", "seed")
_MOST_BYTES = 4 << 20


@app.command()
def embed(
    texts: Annotated[list[str] | None, typer.Argument(help="The texts; - reads one a line from the input.")] = None,
    model: Annotated[str, typer.Option(help="provider/model; see 'lightfast models'.")] = "",
    dimensions: Annotated[int, typer.Option(min=0, help="The size of the vectors, where the model can shorten.")] = 0,
    project: Project = "",
    consent: Consent = False,
    timeout: Annotated[float, typer.Option(help="Seconds it may take.")] = 60.0,
) -> None:
    """Turn texts into vectors, one a line: lightfast embed 'warm light' 'cold light' --model openai/…."""
    wanted = [line for line in sys.stdin.read().splitlines() if line.strip()] if texts == ["-"] else texts or []
    if not wanted:
        raise typer.BadParameter("there is no text: give some, or - to read them from the input")
    fields = {
        "texts": wanted,
        "model": model,
        "dimensions": dimensions,
        "project": project,
        "price_consent": consent,
        "timeout": f"{timeout}s",
    }

    def render(found: dict[str, Any]) -> None:
        for vector in found.get("vectors", []):
            say(json.dumps(vector.get("values", [])))
        usage = found.get("usage", {})
        fail(
            f"{usage.get('model', '')}  {usage.get('input_tokens', 0)} tokens  {_money(usage)}"
            + (f"  saved ${usage['saved_usd']:.6f}" if usage.get("saved_usd") else "")
        )

    CURRENT.call("GenerationService.Embed", fields, render, timeout + 5)


@batch.command()
def submit(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.jsonl",
            help="A request a line: a JSON string (the prompt), or an object with prompt, system, messages, schema,"
            " settings, max_output_tokens and seed.",
        ),
    ],
    model: Annotated[str, typer.Option(help="provider/model or an alias, for all of them.")],
    project: Project = "",
    consent: Consent = False,
) -> None:
    """Submit a batch; at the service where the model has batches, else it is worked through by the daemon."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file} cannot be read: {error}") from None
    if len(text.encode()) > _MOST_BYTES:
        raise typer.BadParameter(f"{file} is larger than {_MOST_BYTES} bytes: split it")
    requests = [_request(at, line) for at, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not requests:
        raise typer.BadParameter(f"{file} holds no request")
    fields = {
        "model": model,
        "requests": requests,
        "project": project,
        "price_consent": consent,
        "request_id": uuid.uuid4().hex,
    }

    def render(found: dict[str, Any]) -> None:
        operation = found["operation"]
        say(f"{operation['operation_id']}  {len(requests)} requests to {operation['model']}")
        if operation.get("note"):
            fail(operation["note"])

    CURRENT.call("GenerationService.SubmitBatch", fields, render, 60.0)


@batch.command()
def show(
    operation_id: Annotated[str, typer.Argument(help="As 'batch submit' has printed it.")],
    save: Annotated[Path | None, typer.Option(help="Write the answers to this file, one a line as JSON.")] = None,
) -> None:
    """Show how a batch goes, and its answers."""

    def render(found: dict[str, Any]) -> None:
        operation = found["operation"]
        _head(operation)
        for at, answer in enumerate(operation.get("answers", []), 1):
            if answer.get("error"):
                say(f"{at}: failed: {answer['error']}")
            elif answer.get("text"):
                say(f"{at}: {answer['text']}")

    found = CURRENT.call("GenerationService.GetOperation", {"operation_id": operation_id}, render)
    if save is not None:
        lines = [
            json.dumps({"text": answer.get("text", ""), "error": answer.get("error", "")}, ensure_ascii=False)
            for answer in found["operation"].get("answers", [])
        ]
        try:
            save.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        except OSError as error:
            raise typer.BadParameter(f"--save {save}: {error.strerror}") from None
        fail(f"written to {save}")


@batch.command()
def cancel(operation_id: Annotated[str, typer.Argument(help="As 'batch submit' has printed it.")]) -> None:
    """Cancel a batch, at its service, too."""
    CURRENT.call(
        "GenerationService.CancelOperation",
        {"operation_id": operation_id},
        lambda found: _head(found["operation"]),
        30.0,
    )


def _head(operation: dict[str, Any]) -> None:
    state = operation["state"].removeprefix("OPERATION_STATE_").lower()
    percent = asks_for_percent(operation.get("fraction", 0.0)).strip()
    usage = operation.get("usage", {})
    say(
        f"{operation['operation_id']}  {state}  {percent}  {operation['model']}"
        f"  {usage.get('input_tokens', 0)} + {usage.get('output_tokens', 0)} tokens  {_money(usage)}"
    )
    for name in ("note", "error"):
        if operation.get(name):
            fail(operation[name])


def _money(usage: dict[str, Any]) -> str:
    basis = usage.get("cost_basis", "")
    return "free" if basis == "free" else f"${usage.get('cost_usd', 0.0):.6f}" + (" ?" if basis == "unknown" else "")


def _request(at: int, line: str) -> dict[str, Any]:
    """Return the proto JSON of one line."""
    try:
        given = json.loads(line)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(f"line {at} is no JSON: {error}") from None
    if isinstance(given, str):
        return {"prompt": given}
    if not isinstance(given, dict) or set(given) - set(_FIELDS):
        raise typer.BadParameter(f"line {at} is neither a text nor an object of {', '.join(_FIELDS)}")
    fields = dict(given)
    if isinstance(fields.get("schema"), dict):
        fields["schema"] = json.dumps(fields["schema"])
    settings = fields.get("settings", {})
    if not isinstance(settings, dict):
        raise typer.BadParameter(f"line {at}: settings is an object")
    if settings:
        fields["settings"] = {name: literal.parse(json.dumps(value)) for name, value in settings.items()}
    return fields
