"""Secrets in settings: given by reference only, and never shown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightfast.core import redaction

_SECRET_WORDS = {
    *("key", "secret", "token", "password", "passphrase", "credential"),
    *("apikey", "passwd", "pwd", "bearer", "cookie", "authorization"),
}


def resolve_secret(reference: str, environ: Mapping[str, str] | None = None) -> str:
    """Return what `env:NAME` or `file:PATH` holds; `ValueError` says why it holds nothing.

    A file name without a folder is also looked for among the service manager's credentials.
    """
    environ = os.environ if environ is None else environ
    kind, _, name = reference.partition(":")
    if kind == "env" and name:
        if not environ.get(name):
            raise ValueError(f"the environment variable {name} is not set")
        return environ[name]
    if kind == "file" and name:
        path = Path(name).expanduser()
        credentials = environ.get("CREDENTIALS_DIRECTORY", "")
        if credentials and path.parent == Path() and (Path(credentials) / name).is_file():
            path = Path(credentials) / name
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"the file {path} cannot be read: {error}") from error
    raise ValueError('a reference such as "env:NAME" or "file:PATH"')


def is_reference(value: object) -> bool:
    """Say whether *value* points at a secret."""
    return isinstance(value, str) and value.startswith(("env:", "file:"))


def is_secret_name(key: str) -> bool:
    """Say whether the last name of *key* speaks of a secret."""
    words = re.split(r"[_-]", key.rpartition(".")[2].lower())
    return any(word in _SECRET_WORDS or word.removesuffix("s") in _SECRET_WORDS for word in words)


def refuse_plain(key: str, value: Any) -> None:
    """Raise `ValueError` where *value*, or what it holds, is a secret by its name and stands there in plain text."""
    if isinstance(value, list):
        for item in value:
            refuse_plain(key, item)
    elif isinstance(value, dict):
        for name, item in value.items():
            refuse_plain(name, item)
    elif is_secret_name(key) and isinstance(value, str) and value and not is_reference(value):
        raise ValueError('a reference to the secret, "env:NAME" or "file:PATH", not the secret itself')


def holds_reference(value: Any) -> bool:
    """Say whether *value* points at a secret, or holds something that does."""
    if isinstance(value, dict):
        return any(holds_reference(item) for item in value.values())
    return any(holds_reference(item) for item in value) if isinstance(value, list) else is_reference(value)


def resolved(value: Any) -> Any:
    """Return *value* with every reference in it replaced by the secret; `ValueError` says why one cannot be."""
    if isinstance(value, dict):
        return {name: resolved(item) for name, item in value.items()}
    if isinstance(value, list):
        return [resolved(item) for item in value]
    if not is_reference(value):
        return value
    secret = resolve_secret(value)
    redaction.remember(secret)
    return secret
