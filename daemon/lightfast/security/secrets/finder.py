"""Finds the keys of a provider: where the settings say, else in the usual places."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from lightfast.core.config_secrets import parse_reference
from lightfast.core.errors import LightfastError
from lightfast.core.secret import Secret
from lightfast.security.secrets.keyring_door import KeyringDoor
from lightfast.security.secrets.places import Stamp, check_name, clean, credential_path, read_file, stamp

log = structlog.get_logger("lightfast.secrets")


@dataclass(frozen=True, slots=True)
class FoundKey:
    """One key, and the reference it is from, such as `env:OPENAI_API_KEY`."""

    source: str
    secret: Secret


@dataclass(slots=True)
class Found:
    """What was found: the *keys*, and what is wrong with the places that hold none although they should.

    *watched* are the files that were looked at, also those that are not there: when one changes, look again.
    """

    keys: list[FoundKey] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    watched: list[tuple[Path, Stamp | None]] = field(default_factory=list)

    def changed(self) -> bool:
        """Say whether one of the files is another one now."""
        return any(stamp(path) != before for path, before in self.watched)


class KeyFinder:
    """Looks for keys in the folder *folder* (one file for each provider), the keyring, *environ*.

    Nothing is kept here, and nothing is looked for before it is asked for.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str] | None = None, door: KeyringDoor | None = None) -> None:
        self.folder = folder
        self._environ = os.environ if environ is None else environ
        self._door = door or KeyringDoor()
        self._warned = False

    async def close(self) -> None:
        """Let the keyring go."""
        await self._door.close()

    async def find(
        self, provider: str, references: Sequence[str] = (), key_names: Sequence[str] = (), *, keyring: bool = True
    ) -> Found:
        """Return the keys of *references*; without those the first there is of `usual`, of *keyring* or without it.

        A place that is refused, a file that others can read, is a problem and no key.
        """
        found = Found()
        for reference in references or self.usual(provider, key_names, keyring=keyring):
            before = len(found.problems)
            key = await self._look(reference, found, needed=bool(references))
            if key is not None:
                found.keys.append(FoundKey(reference, Secret(key)))
                if not references:
                    for problem in found.problems:
                        log.warning("a key was passed over", provider=provider, why=problem, taken=reference)
                    break
            elif references and len(found.problems) == before:
                found.problems.append(f"there is no key at {reference}")
        if any(key.source.startswith("env:") for key in found.keys) and not self._warned:
            self._warned = True
            log.warning(
                "a key is taken from the environment, which other programs of this user can read: see 'lightfast key"
                " set'",
                provider=provider,
            )
        return found

    def usual(self, provider: str, key_names: Sequence[str], *, keyring: bool = True) -> list[str]:
        """Return the references that are tried in turn where the settings name none."""
        check_name(provider)
        return [
            *([f"credential:{provider}"] if self._environ.get("CREDENTIALS_DIRECTORY") else []),
            *([f"keyring:{provider}"] if keyring else []),
            f"file:{self.folder / provider}",
            *(f"env:{name}" for name in key_names),
        ]

    async def _look(self, reference: str, found: Found, *, needed: bool) -> str | None:
        kind, name = parse_reference(reference)
        try:
            match kind:
                case "env":
                    text = self._environ.get(name, "")
                    return clean(text, f"the environment variable {name}") if text else None
                case "keyring":
                    text = await self._door.get(name) or ""
                    return clean(text, reference) if text else None
                case "credential":
                    path = credential_path(name, self._environ)
                    if path is None:
                        found.problems.append(
                            f"there is no credential {name}: the service manager has handed over none; add"
                            f" LoadCredential={name}:FILE to its unit"
                        )
                        return None
                    found.watched.append((path, stamp(path)))
                    return read_file(path, checked=False)
                case _:
                    path = Path(name).expanduser()
                    found.watched.append((path, stamp(path)))
                    return read_file(path)
        except LightfastError as error:
            if needed or error.reason != "NO_KEYRING":  # a machine without one is nothing to speak of
                found.problems.append(error.message)
            return None
