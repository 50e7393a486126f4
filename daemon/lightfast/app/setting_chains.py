"""Checks of settings that name chains of models."""

from __future__ import annotations

import re
from typing import Any

_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_MODEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}/[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_OUTPUTS = ("text", "image", "audio", "video")
_EXPECTED = 'lists of models and aliases by name, for example {fast = ["provider/model", "cheap"]}'
_MOST = 32

Chains = tuple[tuple[str, tuple[str, ...]], ...]


def chains(value: Any) -> Chains:
    """Check aliases: a name, and the chain it leads to."""
    found = _chains(value)
    for name, _ in found:
        if not _ALIAS.fullmatch(name):
            raise ValueError(f"a name of lower-case letters, digits, '-' and '_', not {name!r}")
    return found


def fallback_chains(value: Any) -> Chains:
    """Check what is fallen back on, by what is made."""
    found = _chains(value)
    for name, _ in found:
        if name not in _OUTPUTS:
            raise ValueError(f"one of {', '.join(_OUTPUTS)}, not {name!r}")
    return found


def _chains(value: Any) -> Chains:
    if isinstance(value, tuple):  # it was checked before
        return value
    if not isinstance(value, dict):
        raise ValueError(_EXPECTED)  # noqa: TRY004  # the one error of a check
    found = []
    for name, chain in value.items():
        if not isinstance(chain, list) or not chain or not all(isinstance(each, str) for each in chain):
            raise ValueError(f"{_EXPECTED}; {name} is not one")
        if len(chain) > _MOST:
            raise ValueError(f"at most {_MOST} members; {name} has {len(chain)}")
        for each in chain:
            if not _MODEL.fullmatch(each) and not _ALIAS.fullmatch(each):
                raise ValueError(f"provider/model or an alias, not {each!r}")
        found.append((name, tuple(chain)))
    return tuple(found)
