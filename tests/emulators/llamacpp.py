"""The real llama.cpp server, in a process of its own, with the random model of `tinygguf`.

    with llamacpp(tmp_path) as base_url: ...

The process prints its address and ends with its standard input, so that it never outlives a test.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.emulators import tinygguf
from tests.support.children import watched

WINDOW = 512
"""Tokens of one request: less than the model was made for, so that a test can go beyond."""
SLOTS = 2
START_S = 120.0
"""How long it may take to start, in seconds."""
_REPOSITORY = Path(__file__).parents[2]


@contextmanager
def llamacpp(folder: Path, *, embedding: bool = False, window: int = WINDOW, ascii_only: bool = False) -> Iterator[str]:
    """Start it and yield the base URL; *embedding* switches vectors on, *window* is in tokens.

    *ascii_only* is that of `tinygguf.write`.
    """
    path = folder / "tiny-random.gguf"
    tinygguf.write(path, context=max(window, tinygguf.CONTEXT), ascii_only=ascii_only)
    command = [sys.executable, "-m", "tests.emulators.llamacpp", str(path), "embedding" if embedding else "text"]
    command.append(str(window))
    with (folder / "llama.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=_REPOSITORY, text=True
        )
    try:
        assert process.stdout is not None
        said: Any = None
        with watched(process, "llama.cpp", START_S):
            for line in process.stdout:  # the library prints, too
                if line.startswith("{"):
                    said = json.loads(line)
                    break
        assert said is not None, (
            f"llama.cpp did not start within {START_S:g} s:\n{(folder / 'llama.log').read_text()[-2000:]}"
        )
        yield said["url"] + "/v1"
    finally:
        process.kill()
        process.communicate(timeout=20)


def _serve(path: str, kind: str, window: str) -> None:
    import xllamacpp

    wanted: Any = xllamacpp.CommonParams()
    wanted.model.path = path
    wanted.n_ctx = int(window) * SLOTS
    wanted.n_parallel = SLOTS
    wanted.cpuparams.n_threads = 1
    wanted.warmup = False
    wanted.hostnames = ["127.0.0.1"]
    wanted.port = 0
    wanted.embedding = kind == "embedding"
    if wanted.embedding:
        wanted.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server: Any = xllamacpp.Server(wanted)
    print(json.dumps({"url": server.listening_address}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
