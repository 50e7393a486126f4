"""Finds plugins: entry points of the group `lightfast`, and `*.py` in the drop-in folder.

Nothing is imported here, and one stale entry point never hides the others.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

log = structlog.get_logger("lightfast.host")

GROUP = "lightfast"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plugin that was found but not loaded: either *module* (an entry point) or *path* (a drop-in)."""

    name: str
    source: str
    version: str = ""
    module: str = ""
    path: Path | None = None
    digest: str = ""


def entry_points(found: Iterable[importlib.metadata.EntryPoint] | None = None) -> list[Candidate]:
    """Return the installed plugins by name; of two with one name the first found is kept, and it is said."""
    candidates: dict[str, Candidate] = {}
    for point in importlib.metadata.entry_points(group=GROUP) if found is None else found:
        if point.name in candidates:
            if candidates[point.name].module != point.value:  # an editable install lists itself twice
                log.warning("two plugins have one name", plugin=point.name, kept=candidates[point.name].module)
            continue
        version = point.dist.version if point.dist else ""
        candidates[point.name] = Candidate(point.name, f"entry point {point.value}", version, module=point.value)
    return [candidates[name] for name in sorted(candidates)]


def drop_in(path: Path) -> Candidate | None:
    """Return the plugin in the file *path*, or `None` where there is none (gone, hidden, another suffix).

    The digest of its content is its version.
    """
    if path.suffix != ".py" or not path.stem.isidentifier() or path.stem.startswith("_"):
        return None
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
    return Candidate(path.stem, str(path), digest[:8], path=path, digest=digest)


def drop_ins(folder: Path) -> list[Candidate]:
    """Return the plugins in *folder*, ordered by name."""
    found = (drop_in(path) for path in sorted(folder.glob("*.py")))
    return [candidate for candidate in found if candidate is not None]


def hooks_in_source(candidate: Candidate) -> tuple[str, ...]:
    """Return the names of the hooks that a plugin's source defines, without running it.

    For the record of a plugin that could not be imported; empty where the source cannot be had.
    """
    path = candidate.path
    try:
        if path is None:
            spec = importlib.util.find_spec(candidate.module.partition(":")[0])
            path = Path(spec.origin) if spec is not None and spec.origin else None
        tree = ast.parse(path.read_text(encoding="utf-8")) if path is not None else None
    except (ImportError, ValueError, OSError, SyntaxError):
        return ()
    nodes = tree.body if tree is not None else []
    return tuple(
        node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("lightfast_")
    )
