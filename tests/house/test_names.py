"""Small rules of the house that no linter knows."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("daemon", "plugins", "bridges", "tests", "protos")
GENERATED = "daemon/lightfast/api/v1/"
CEILING = 400
TEST_CEILING = 550


def tracked() -> list[Path]:
    """Return the files that are, or would be, in the repository."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout: clone the repository to run this test")
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )  # fmt: skip
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def texts() -> dict[str, str]:
    """Return the tracked text files by their names."""
    found = {}
    for path in tracked():
        try:
            found[str(path.relative_to(ROOT))] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


def package_indexes() -> set[str]:
    """Return the hosts and folders that this machine installs packages from."""
    sources = [value for name, value in os.environ.items() if re.fullmatch(r"(PIP|UV)_\w*(INDEX|LINKS)\w*", name)]
    pip = subprocess.run(
        ["python3", "-m", "pip", "config", "list"], capture_output=True, text=True, timeout=60, check=False
    ).stdout
    sources += re.findall(r"(?:index-url|find-links)='([^']*)'", pip)
    found = set()
    for url in " ".join(sources).replace(",", " ").split():
        parts = urlsplit(url)
        found.add(parts.hostname or parts.path)
    return found - {""}


def test_no_path_of_a_machine_is_written_down() -> None:
    machine = re.compile("|".join("/" + name + "/" for name in ("work", "root")))
    found = [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if machine.search(line)
    ]
    assert found == []


def test_no_package_index_is_written_down() -> None:
    hosts = package_indexes()
    flags = re.compile(r"^\s*--?(?:index-url|extra-index-url|find-links|i|f)\b", re.MULTILINE)
    for name, text in texts().items():
        assert not [host for host in hosts if host in text], name
        if name.startswith("requirements/"):
            assert not flags.search(text), name


def test_files_are_small_enough_to_read() -> None:
    long = {
        name: lines
        for name, text in texts().items()
        if name.endswith(".py") and name.startswith(OURS) and not name.startswith(GENERATED)
        if (lines := text.count("\n")) > (TEST_CEILING if name.startswith("tests/") else CEILING)
    }
    assert long == {}


def test_every_package_says_what_it_is() -> None:
    silent = [
        name
        for name, text in texts().items()
        if name.endswith("__init__.py") and name.startswith(OURS) and not name.startswith(GENERATED)
        if not ast.get_docstring(ast.parse(text))
    ]
    assert silent == []


def test_test_files_have_names_of_their_own() -> None:
    names = [Path(name).name for name in texts() if name.startswith("tests/") and Path(name).name.startswith("test_")]
    assert sorted(names) == sorted(set(names))
