"""workflow check and new: what works without a daemon."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from lightfast.app.cli.root import root


def call(tmp_path: Path, *words: str, text: str = "") -> tuple[int, str]:
    done = CliRunner().invoke(root, ["--home", str(tmp_path), *words], input=text)
    return done.exit_code, done.output


def test_a_file_is_checked_with_lines(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("name: bad\nsteps:\n  - {id: a, op: context.set, whn: x}\n")
    code, said = call(tmp_path, "workflow", "check", str(file))
    assert code == 1
    assert f"{file}:3:" in said
    assert "did you mean 'when'" in said
    code, said = call(tmp_path, "--json", "workflow", "check", "-", text="name: bad\n")
    assert code == 1
    assert json.loads(said)["problems"][0]["line"] == 1
    code, said = call(tmp_path, "workflow", "check", str(tmp_path / "none.yaml"))
    assert code == 2


def test_a_new_file_is_right_and_no_file_is_written_over(tmp_path: Path) -> None:
    code, said = call(tmp_path, "workflow", "new", "mine")
    path = tmp_path / "config" / "workflows" / "mine.yaml"
    assert (code, Path(said.strip())) == (0, path)
    assert call(tmp_path, "workflow", "check", str(path))[0] == 0
    assert call(tmp_path, "workflow", "new", "mine")[0] == 2
    assert call(tmp_path, "workflow", "new", "poster", "--from", "poster-from-colours")[0] == 0
    assert path.with_name("poster.yaml").read_text().startswith("name: poster\n")
    assert call(tmp_path, "workflow", "new", "../x")[0] == 2
    assert call(tmp_path, "workflow", "new", "x", "--from", "nothing")[0] == 2
