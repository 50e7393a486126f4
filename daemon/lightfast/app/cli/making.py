"""generate, models, assets: making things and getting them out."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer

from lightfast.app.cli import literal
from lightfast.app.cli.session import CURRENT, arguments_told, asks_for_percent, fail, say, table

app = typer.Typer()


@app.command()
def generate(
    output: Annotated[str, typer.Argument(help="What to make: image, audio, text, video.")],
    prompt: str,
    model: Annotated[str, typer.Option(help="provider/model; see 'lightfast models'.")] = "",
    to: Annotated[str, typer.Option(help="Place the result at this path of the context.")] = "",
    save: Annotated[Path | None, typer.Option(help="Write the result to this file.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed makes the same thing.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="name=value; may be repeated.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds it may take.")] = 300.0,
) -> None:
    """Generate an image, a sound, a clip or a text."""
    fields: dict[str, Any] = {
        "output": output,
        "prompt": prompt,
        "model": model,
        "target_path": to,
        "timeout": f"{timeout}s",
        "request_id": uuid.uuid4().hex,
    }
    if seed is not None:
        fields["seed"] = str(seed)
    with arguments_told():
        fields["settings"] = literal.parse_named(setting or [])
    if save is not None and not (save.absolute().parent.is_dir() and os.access(save.absolute().parent, os.W_OK)):
        raise typer.BadParameter(f"--save {save}: {save.absolute().parent} is no folder that you may write to")
    with CURRENT.client() as client:
        for message in client.stream_json("GenerationService.Generate", fields, timeout + 5):
            CURRENT.show(message, _step)
            if save is not None and "asset" in message:
                save.write_bytes(client.read_asset(message["asset"]["sha256"]))
                fail(f"written to {save}")


def _step(message: dict[str, Any]) -> None:
    if "progress" in message:
        progress = message["progress"]
        fail(f"{asks_for_percent(progress.get('fraction', 0.0))} {progress.get('message', '')}")
    elif "text_delta" in message:
        typer.echo(message["text_delta"], nl=False)
    elif "asset" in message:
        asset = message["asset"]
        say(f"{asset['uri']}  {asset.get('media_type')}  {asset.get('size')} bytes  {asset.get('file_path', '')}")


@app.command()
def models(output: Annotated[str, typer.Argument(help="Only models that make this.")] = "") -> None:
    """List the models of all providers."""
    CURRENT.call(
        "GenerationService.ListModels",
        {"output": output},
        lambda found: table(
            ("MODEL", "MAKES", ""),
            (
                (item["name"], ", ".join(item.get("outputs", [])), item.get("description", ""))
                for item in found.get("models", [])
            ),
            "No model can be used; see 'lightfast plugins'.",
        ),
    )
