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


KINDS = ("credential", "keyring", "file", "env")
"""What a reference may point at; the keys of AI services are looked for in this order."""
_EXAMPLE = 'a reference such as "credential:openai", "keyring:openai", "file:/path/to/key" or "env:NAME"'


def parse_reference(text: str) -> tuple[str, str]:
    """Return the kind and the name of a reference; `ValueError` without the text, which may be a secret."""
    kind, colon, name = text.partition(":")
    if not colon or kind not in KINDS or not name or name != name.strip():
        raise ValueError(f"{_EXAMPLE}, not the secret itself")
    if kind == "credential" and ("/" in name or "\\" in name or name in {".", ".."}):
        raise ValueError("credential:NAME to be the name of a credential, not a path")
    return kind, name


def check_references(value: Any) -> tuple[str, ...]:
    """Check a list of references to secrets; `ValueError` does not repeat what was given."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list | tuple) or not all(isinstance(one, str) for one in given):
        raise ValueError(f"a list, each {_EXAMPLE}")
    for one in given:
        parse_reference(one)
    if len(set(given)) != len(given):
        raise ValueError("each reference only once")
    return tuple(given)


def resolve_secret(reference: str, environ: Mapping[str, str] | None = None) -> str:
    """Return what `env:NAME`, `file:PATH` or `credential:NAME` holds; `ValueError` says why it holds nothing.

    A file name without a folder is also looked for among the service manager's credentials. A keyring may ask its
    user, for as long as it likes: it is not for settings that are read at the start.
    """
    environ = os.environ if environ is None else environ
    kind, _, name = reference.partition(":")
    if kind == "env" and name:
        if not environ.get(name):
            raise ValueError(f"the environment variable {name} is not set")
        return environ[name]
    if kind == "keyring" and name:
        raise ValueError('"credential:NAME" or "file:PATH": keyring:NAME can only be one of the `keys` of a provider')
    if kind == "credential" and name:
        folder = environ.get("CREDENTIALS_DIRECTORY", "")
        if not folder:
            raise ValueError(f"there is no credential {name}: the service manager has handed over none")
        kind, name = "file", str(Path(folder) / parse_reference(reference)[1])
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
    return isinstance(value, str) and value.startswith(tuple(f"{kind}:" for kind in KINDS))


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
