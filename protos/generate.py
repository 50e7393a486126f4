"""Write the Python stubs of `daemon/lightfast/api` from the files beside this one.

Run `python protos/generate.py` after a change of a .proto file and commit what it
writes. With a folder as its argument it writes there instead, which is how the test
that keeps the stubs fresh compares.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

PROTOS = Path(__file__).resolve().parent
STUBS = PROTOS.parent / "daemon"


def generate(target: Path = STUBS) -> None:
    """Compile every .proto file into *target*; exit with protoc's status if it fails."""
    from grpc_tools import protoc

    # Named by full path, so that it works in a virtual environment nobody activated.
    scripts = Path(sys.executable).parent
    target.mkdir(parents=True, exist_ok=True)
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={PROTOS}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
            f"--python_out={target}",
            f"--grpc_python_out={target}",
            f"--mypy_out=quiet:{target}",
            f"--mypy_grpc_out=quiet,only_async:{target}",
            *[str(path) for path in sorted(PROTOS.rglob("*.proto"))],
        ]
    )
    if status:
        sys.exit(status)
    for stub in target.rglob("*_pb2_grpc.py*"):
        if "Servicer_to_server" not in stub.read_text(encoding="utf-8"):
            stub.unlink()  # a file without a service leaves an empty stub


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else STUBS)
