"""An MCP server written by hand for tests: odd schemas, lines that are no messages, tools that come later.

python tests/support/mcp_odd.py MODE FOLDER, where MODE is of plain, garbage, many, changes, slow, deaf
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

PLAIN = {"type": "object"}
ODD: list[dict[str, Any]] = [
    {"name": "plain", "inputSchema": PLAIN},
    {"name": "a-b", "inputSchema": {"type": "object", "properties": {"x y": {"type": ["string", "null"]}, "": {"$ref": "#/$defs/q"}}, "required": None}},
    {"name": "a_b", "inputSchema": {"type": "object", "properties": {"u": {"anyOf": [{"type": "string"}, {"type": "integer"}], "default": 3}, "v": True}, "required": ["u"]}},
    {"name": "Ünïcode " + "x" * 300, "description": "d" * 10_000, "inputSchema": PLAIN},
    {"name": "a-b", "inputSchema": PLAIN},
    {"name": "", "inputSchema": PLAIN},
    {"name": "/lead//x/", "inputSchema": PLAIN},
]  # fmt: skip


def answer(mode: str, folder: Path, method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    """Return what is answered; `None`: nothing is."""
    if method == "initialize":
        found = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {"listChanged": True}}}
        return {"result": {**found, "serverInfo": {"name": "odd", "version": "1"}}}
    if method == "tools/list":
        tools = [{"name": f"t{number}", "inputSchema": PLAIN} for number in range(10_000)] if mode == "many" else ODD
        if (folder / "more").exists():
            tools = [*tools, {"name": "later", "inputSchema": PLAIN}]
        return {"result": {"tools": tools}}
    if method == "tools/call":
        if mode == "slow":
            return None
        return {"result": {"content": [{"type": "text", "text": params["name"]}]}}
    return {"error": {"code": -32601, "message": "unknown"}}


def main() -> None:
    """Serve until the standard input ends, and say so in a file."""
    mode, folder = sys.argv[1], Path(sys.argv[2])
    (folder / "environment").write_text(json.dumps(dict(os.environ)))
    if mode == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (folder / "pid").write_text(str(os.getpid()))
    for line in sys.stdin:
        with (folder / "heard").open("a") as heard:
            heard.write(line)
        if mode == "garbage":
            print("I am a server\n{no json\n\n[]\n123", flush=True)
        message = json.loads(line)
        if "id" in message:
            found = answer(mode, folder, message["method"], message.get("params", {}))
            if found is not None:
                print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **found}), flush=True)
    while mode == "deaf":
        time.sleep(60)
    (folder / "ended").write_text("")


if __name__ == "__main__":
    main()
