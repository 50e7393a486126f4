"""generate: making texts, images, films and sounds."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer

from lightfast.app.cli import literal
from lightfast.app.cli.made import Shown
from lightfast.app.cli.session import CURRENT, arguments_told

app = typer.Typer()

_USES = ("off", "exact", "semantic", "refresh")
_SHA256 = 64


@app.command()
def generate(
    output: Annotated[
        str, typer.Argument(help="What to make: text, image, video, audio (a sound; speech and music: by --model).")
    ],
    prompt: Annotated[str, typer.Argument(help="What it should be; with --template an argument of it.")] = "",
    model: Annotated[str, typer.Option(help="provider/model or an alias; see 'lightfast models'.")] = "",
    to: Annotated[str, typer.Option(help="Place the result at this path of the context.")] = "",
    save: Annotated[Path | None, typer.Option("--save", "--out", help="Write the result to this file.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed makes the same thing.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="name=value; may be repeated.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds it may take.")] = 300.0,
    source: Annotated[
        list[str] | None, typer.Option(help="A file, or the SHA-256 of an asset, to start from; may be repeated.")
    ] = None,
    system: Annotated[str, typer.Option(help="What the model is to keep to.")] = "",
    schema: Annotated[Path | None, typer.Option(help="A file with a JSON Schema that the answer must fit.")] = None,
    max_tokens: Annotated[int, typer.Option(help="The most tokens of the answer.", min=0)] = 0,
    fallback: Annotated[
        list[str] | None, typer.Option(help="Go on with this model or alias where one fails; may be repeated.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Only this model will do.")] = False,
    cache: Annotated[str, typer.Option(help="Kept answers: off, exact, semantic, or refresh.")] = "",
    project: Annotated[str, typer.Option(help="Who pays.")] = "",
    run: Annotated[str, typer.Option(help="The run it belongs to.")] = "",
    max_cost: Annotated[float, typer.Option(help="The most it may cost, in US dollars.", min=0.0)] = 0.0,
    yes_unpriced: Annotated[
        bool, typer.Option("--yes-unpriced", "--price-consent", help="Also where no price is known.")
    ] = False,
    template: Annotated[str, typer.Option(help="A prompt template, name or name@version.")] = "",
    arg: Annotated[list[str] | None, typer.Option(help="name=value for the template; may be repeated.")] = None,
    window: Annotated[
        list[str] | None, typer.Option(help="A pattern of the context that goes along; may be repeated.")
    ] = None,
) -> None:
    """Generate a text, an image, a clip or a sound."""
    if cache and cache not in _USES:
        raise typer.BadParameter(f"--cache {cache}: use {', '.join(_USES)}")
    fields: dict[str, Any] = {
        "output": output,
        "prompt": prompt,
        "model": model,
        "target_path": to,
        "timeout": f"{timeout}s",
        "request_id": uuid.uuid4().hex,
        "system": system,
        "max_output_tokens": str(max_tokens),
        "fallbacks": fallback or [],
        "strict": strict,
        "project": project,
        "run": run,
        "max_cost_usd": max_cost,
        "price_consent": yes_unpriced,
        "template": template,
    }
    if cache:
        fields["cache"] = f"CACHE_USE_{cache.upper()}"
    if seed is not None:
        fields["seed"] = str(seed)
    if schema is not None:
        fields["schema"] = _text_of(schema, "--schema")
    if window:
        fields["window"] = {"patterns": window}
    with arguments_told():
        fields["settings"] = literal.parse_named(setting or [])
        fields["arguments"] = literal.parse_named(arg or [])
    if save is not None and not (save.absolute().parent.is_dir() and os.access(save.absolute().parent, os.W_OK)):
        raise typer.BadParameter(f"--save {save}: {save.absolute().parent} is no folder that you may write to")
    with CURRENT.client() as client:
        fields["sources"] = [_source(client, each) for each in source or []]
        with Shown(client, save) as shown:
            try:
                for message in client.stream_json("GenerationService.Generate", fields, timeout + 5):
                    shown.take(message)
            except KeyboardInterrupt:  # it would go on, and cost, with nobody waiting for it
                shown.cancel()
                raise


def _text_of(file: Path, option: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise typer.BadParameter(f"{option} {file} cannot be read: {why}") from None


def _source(client: Any, given: str) -> str:
    """Return the SHA-256 of an asset: the one that is named, or that of a file that is stored now."""
    if len(given) == _SHA256 and all(char in "0123456789abcdef" for char in given):
        return given
    import mimetypes

    file = Path(given)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"--source {given} cannot be read: {error.strerror or error}") from None
    media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return str(client.write_asset(content, media_type, file.name).sha256)
