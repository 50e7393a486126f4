"""archive unlock, lock, rotate: the private frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lightfast.app.cli import secret_input
from lightfast.app.cli.progress import Bar
from lightfast.app.cli.session import CURRENT, say

app = typer.Typer()
SLOW_S = 60.0

SecretFile = Annotated[
    Path | None, typer.Option("--secret-file", help="A file with the secret that only you can read (mode 0600).")
]


@app.command()
def unlock(
    secret_file: SecretFile = None,
    minutes: Annotated[float, typer.Option("--for", help="How many minutes; by default until the daemon stops.")] = 0.0,
    new: Annotated[bool, typer.Option("--new", help="Choose the secret of an archive that has none yet.")] = False,
) -> None:
    """Open the private frames; the secret is asked for, or comes from --secret-file or systemd's credential."""
    prompt = "New secret of the private frames" if new else "Secret of the private frames"
    fields: dict[str, Any] = {"secret": secret_input.ask(prompt, secret_file, twice=new), "create": new}
    if minutes:
        fields["ttl"] = f"{minutes * 60:.9f}s"

    def render(message: dict[str, Any]) -> None:
        until = f" until {message['expire_time']}" if "expire_time" in message else ""
        say(f"unlocked{until}: {message.get('private_frames', 0)} private frames")

    CURRENT.call("MemoryService.Unlock", fields, render, SLOW_S)


@app.command()
def lock() -> None:
    """Close the private frames: they can be neither read nor searched."""
    CURRENT.call("MemoryService.Lock", {}, lambda _: say("locked"))


@app.command()
def rotate(
    secret_file: SecretFile = None,
    new_secret_file: Annotated[
        Path | None, typer.Option("--new-secret-file", help="A file with the secret to come (mode 0600).")
    ] = None,
) -> None:
    """Change the secret of the private frames; a backup made before still opens with the old one."""
    fields = {
        "secret": secret_input.ask("Secret of the private frames", secret_file),
        "new_secret": secret_input.ask("New secret", new_secret_file, twice=True, credential=False),
    }
    with CURRENT.client() as client, Bar("keys", CURRENT) as bar:
        for message in client.stream_json("MemoryService.RotateSecret", fields):
            bar.at(int(message.get("done_keys", 0)), int(message.get("total_keys", 0)))
            if CURRENT.as_json:
                CURRENT.show(message, lambda _: None)
    if not CURRENT.as_json:
        say("the new secret opens the private frames from now on, and the old one no more")
