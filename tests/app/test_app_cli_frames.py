"""archive add and archive search, for people and for programs, against one real daemon."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.daemon import daemon
from tests.support.mistakes import run
from typer.testing import CliRunner

from lightfast.app.cli.root import root


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("frames")
    with daemon(folder):
        yield folder


def archive(home: Path, *arguments: str, json_lines: bool = False) -> subprocess.CompletedProcess[str]:
    return run("--home", home, *(["--json"] if json_lines else []), "archive", *arguments)


def said(home: Path, *arguments: str) -> str:
    done = archive(home, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_add_and_search(home: Path, tmp_path: Path) -> None:
    first = said(home, "add", "warm light on the cube", "--meta", "mood=calm", "--meta", "level=0.5")
    second = said(home, "add", "cold light", "--kind", "idea", "--time", "2026-01-02 18:00")
    content = tmp_path / "picture.bin"
    content.write_bytes(b"light\x00\xff")
    third = said(home, "add", "--file", str(content), "--kind", "picture")
    assert all(len(one) == 16 for one in (first, second, third))

    assert said(home, "search", "light", "--ids").split() == [first, second]
    assert said(home, "search", "warm", "cube", "--ids") == first
    assert said(home, "search", "cube", "warm", "--phrase", "--ids") == ""
    assert said(home, "search", "cube", "cold", "--any", "--limit", "1", "--ids") == first
    assert said(home, "search", "light", "--before", "2026-02-01", "--ids") == second
    assert said(home, "search", "light", "--after", "2026-02-01", "--ids") == first
    assert said(home, "search", "--kind", "picture", "--ids") == third
    assert "(7 bytes)" in said(home, "search", "--kind", "picture")
    line = said(home, "search", "cold")
    assert second in line
    assert "idea" in line
    assert line.endswith("cold light")
    assert float(said(home, "search", "cold light", "--relevance").split()[0]) > 0

    done = archive(home, "search", "cube", json_lines=True)
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    (hit,) = [hit for message in messages for hit in message.get("hits", [])]
    assert hit["frame"]["metadata"] == {"mood": {"string_value": "calm"}, "level": {"double_value": 0.5}}
    assert messages[-1]["done"] is True


def test_what_goes_wrong(home: Path) -> None:
    nothing = archive(home, "search", "nowhere")
    assert (nothing.returncode, nothing.stdout, nothing.stderr.strip()) == (0, "", "nothing matches")
    reserved = archive(home, "add", "x", "--kind", "history")
    assert (reserved.returncode, "choose another word" in reserved.stderr) == (2, True)


@pytest.mark.parametrize(
    "wrong",
    [
        ["add"],
        ["add", "x", "--meta", "nonsense"],
        ["add", "--file", "/no/such/file"],
        ["search", "x", "--any", "--phrase"],
        ["search", "x", "--after", "someday"],
        ["search", "x", "--limit", "0"],
    ],
)
def test_wrong_usage(wrong: list[str], tmp_path: Path) -> None:
    assert CliRunner().invoke(root, ["--home", str(tmp_path), "archive", *wrong]).exit_code == 2
