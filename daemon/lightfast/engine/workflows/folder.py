"""The folder with workflows: reads what changed, and keeps the last good version of each file."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lightfast.core.errors import AlreadyExists, Unavailable
from lightfast.engine.workflows.files import SUFFIXES
from lightfast.engine.workflows.form import LARGEST, read_workflow, version_of
from lightfast.engine.workflows.records import FileProblem, Listed, Workflow
from lightfast.engine.workflows.workflows import MOST_FILES


@dataclass(frozen=True, slots=True)
class Held:
    """One file: *version* of its text as it is now, *good* the version that is used, *problems* of the text now."""

    file: Path
    version: str
    good: Workflow | None
    problems: tuple[FileProblem, ...] = ()


def scan(folder: Path, known: Mapping[Path, Held], kept: Mapping[str, str]) -> dict[Path, Held]:
    """Read the files of *folder*; those that are as they were in *known* are not parsed again.

    *kept* are the last good texts by file, for those that are wrong now. Blocks.
    """
    found: dict[Path, Held] = {}
    try:
        files = sorted(each for each in folder.iterdir() if each.suffix in SUFFIXES and not each.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return found
    for file in files[:MOST_FILES]:
        found[file] = _read(file, known.get(file), kept.get(file.name))
    for file in files[MOST_FILES:]:
        found[file] = Held(file, "", None, (_problem(f"there are more than {MOST_FILES} files: this one is not read"),))
    return found


def _read(file: Path, before: Held | None, kept: str | None) -> Held:
    good = before.good if before is not None else None
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            return Held(file, "", good, (_problem("it is no plain file"),))
        with file.open("rb") as stream:
            text = stream.read(LARGEST + 1).decode()
    except OSError as error:
        return Held(file, "", good, (_problem(f"it cannot be read: {error.strerror}"),))
    except UnicodeDecodeError as error:
        return Held(file, "", good, (_problem(f"it is no UTF-8, from byte {error.start + 1} on"),))
    version = version_of(text)
    if before is not None and before.version == version:
        return before
    workflow, problems = read_workflow(text, file.name, name=file.stem)
    if workflow is not None:
        return Held(file, version, workflow)
    if good is None and kept is not None:
        good, _ = read_workflow(kept, file.name, name=file.stem)
    return Held(file, version, good, problems)


def _problem(message: str) -> FileProblem:
    return FileProblem(1, 1, "WORKFLOW_UNREADABLE", message)


def put(folder: Path, name: str, text: str, *, replace: bool) -> None:
    """Write a file whole or not at all; the same text again changes nothing. Blocks.

    Raises `AlreadyExists` (WORKFLOW_THERE) where another text is there, unless it may be replaced, and `Unavailable`
    where the folder cannot be written.
    """
    path = folder / f"{name}.yaml"
    data = text.encode()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.is_file() and path.stat().st_size <= LARGEST and path.read_bytes() == data:
            return
        if path.exists() and not replace:
            raise AlreadyExists(
                f"there is another workflow {name} already: give it another name, or say that it may be replaced",
                reason="WORKFLOW_THERE",
                metadata={"name": name},
            )
        descriptor, part = tempfile.mkstemp(prefix=f".{name}.", suffix=".part", dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(descriptor)
            Path(part).replace(path)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Unavailable(
            f"the folder with workflows cannot be written: {error.strerror}", reason="WORKFLOW_FOLDER"
        ) from None


def by_name(held: Mapping[Path, Held]) -> tuple[dict[str, Workflow], list[Listed]]:
    """Return the workflows by name, and all files as they are listed; of two with one name the first is used."""
    used: dict[str, Workflow] = {}
    listed: list[Listed] = []
    for file, each in held.items():
        good, problems = each.good, each.problems
        if good is not None and good.name in used:
            taken = used[good.name].file
            twice = FileProblem(1, 1, "WORKFLOW_NAME_TAKEN", f"the name {good.name} is taken by {taken}: change one")
            good, problems = None, (*problems, twice)
        if good is not None:
            used[good.name] = good
        listed.append(Listed(each.good.name if each.good is not None else file.stem, str(file), good, problems))
    return used, listed
