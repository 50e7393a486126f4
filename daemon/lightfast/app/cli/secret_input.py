"""How a secret reaches the command line: asked for, from a file, or from systemd; never a flag or the environment."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

import typer


def ask(prompt: str, file: Path | None, *, twice: bool = False, credential: bool = True) -> str:
    """Return a secret: from *file* (its owner's alone), else from systemd's credential, else typed, unseen."""
    if file is not None:
        return _read(file, checked=True)
    from lightfast.security.sealing.vault import CREDENTIAL  # it takes long to load, and few commands ask

    folder = os.environ.get("CREDENTIALS_DIRECTORY", "") if credential else ""
    if folder and (found := Path(folder) / CREDENTIAL).is_file():
        return _read(found, checked=False)
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{prompt}: there is no terminal to ask on: give --secret-file FILE (mode 0600)")
    secret = getpass.getpass(f"{prompt}: ")
    if twice and getpass.getpass(f"{prompt}, again: ") != secret:
        raise typer.BadParameter("the two were not the same")
    return secret


def _read(file: Path, *, checked: bool) -> str:
    from lightfast.security.sealing.vault import read_secret_file

    try:
        return read_secret_file(file, checked=checked)
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}") from None
