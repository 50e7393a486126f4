"""The stubs are what the .proto files say, and the .proto files are in order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(sys.executable).parent


def test_stubs_are_fresh(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "protos" / "generate.py", tmp_path], check=True, timeout=300)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*_pb2*")}
    kept = {
        path.relative_to(ROOT / "daemon"): path.read_bytes()
        for path in (ROOT / "daemon" / "lightfast" / "api").rglob("*_pb2*")
        if path.suffix in {".py", ".pyi"}
    }
    assert made
    different = sorted(str(path) for path in made.keys() | kept.keys() if made.get(path) != kept.get(path))
    assert not different, "run: python protos/generate.py"


def test_protos_lint() -> None:
    buf = SCRIPTS / "buf"
    if not buf.exists():
        pytest.skip("buf is not installed: pip install buf-bin")
    found = subprocess.run([buf, "lint"], cwd=ROOT / "protos", capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
