"""An MCP server of the official SDK for tests, in a process of its own: it counts its calls, sleeps, dies, and hangs.

python -m tests.support.mcp_server FOLDER [--http PORT_FILE]
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ImageContent, TextContent, ToolAnnotations

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def server(folder: Path) -> MCPServer:
    """Return a server that writes one letter for each call into a file of the tool's name."""
    made = MCPServer("testing")

    def note(name: str) -> None:
        with (folder / name).open("a") as file:
            file.write("x")

    @made.tool(annotations=ToolAnnotations(read_only_hint=True))
    async def look(key: str, seconds: float = 0.0) -> dict[str, Any]:
        """Look something up."""
        note("look")
        await asyncio.sleep(seconds)
        return {"key": key, "length": len(key), "nothing": None}

    @made.tool(annotations=ToolAnnotations(destructive_hint=False))
    async def add_note(text: str) -> str:
        """Add a note."""
        note("add_note")
        return f"noted {text}"

    @made.tool(name="wipe-all")
    async def wipe_all() -> str:
        """Wipe everything."""
        note("wipe")
        return "wiped"

    @made.tool()
    async def fails(why: str) -> str:
        """Fail."""
        raise ToolError(why)

    @made.tool()
    async def picture() -> list[Any]:
        """Paint."""
        return [TextContent(type="text", text="a pixel"), ImageContent(type="image", data=PIXEL, mime_type="image/png")]

    @made.tool()
    async def dies() -> str:
        """Die at once."""
        os._exit(3)

    @made.tool()
    async def hangs() -> str:
        """Answer never, and nothing else either."""
        import time

        while True:
            time.sleep(1)  # it blocks its own loop

    return made


def main() -> None:
    """Serve over standard input and output, or over HTTP on a free port that is written to a file."""
    folder = Path(sys.argv[1])
    made = server(folder)
    if "--http" not in sys.argv:
        made.run()
        return
    import socket

    import uvicorn

    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    Path(sys.argv[3]).write_text(str(sock.getsockname()[1]))
    config = uvicorn.Config(made.streamable_http_app(), log_level="error")
    asyncio.run(uvicorn.Server(config).serve(sockets=[sock]))


if __name__ == "__main__":
    main()
