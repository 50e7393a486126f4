"""The server over HTTP: every answer within a time, every body within a size, and no redirection followed."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from lightfast_bridges.oscquery.errors import TroubleError
from lightfast_bridges.oscquery.nodes import Tree, parse, read_tree

MAX_TREE = 8 << 20
"""The most bytes of a tree."""
MAX_ANSWER = 256 << 10
"""The most bytes of any other answer."""
TREE_S = 20.0
ANSWER_S = 5.0
_OPEN = 4


@dataclass(frozen=True, slots=True)
class HostInfo:
    """What is used of HOST_INFO. Hosts that it names are not: only the server's own is spoken to."""

    name: str
    listens: bool
    osc_port: int
    udp: bool
    ws_port: int
    ours: bool


class Remote:
    """One server at *url*, such as `http://127.0.0.1:5678`."""

    def __init__(self, url: str) -> None:
        """Raise `TroubleError` for what is no such address."""
        try:
            parts = urlsplit(url if "://" in url else "http://" + url)
            host, port = parts.hostname or "", parts.port or 80
        except ValueError:
            host, port, parts = "", 0, urlsplit("")
        if parts.scheme != "http" or not host or parts.path not in ("", "/"):
            raise TroubleError(f"{url!r:.100} is no OSCQuery server: write http://HOST:PORT")
        self.host, self.port = host, port
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._http: Any = None

    async def open(self) -> None:
        """Load the library, off the loop, and get ready to ask."""
        httpx = await asyncio.to_thread(__import__, "httpx")
        self._http = httpx.AsyncClient(
            timeout=ANSWER_S,
            limits=httpx.Limits(max_connections=_OPEN),
            trust_env=False,
            follow_redirects=False,
            headers={"accept-encoding": "identity", "accept": "application/json"},
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._http is not None:
            await self._http.aclose()

    async def _get(self, path: str, most: int, seconds: float) -> bytes:
        import httpx

        gathered: list[bytes] = []
        length = 0
        try:
            async with asyncio.timeout(seconds), self._http.stream("GET", self.url + path) as answer:
                if answer.status_code != 200:
                    raise TroubleError(f"{self.url}{path[:100]} answers with status {answer.status_code}")
                async for chunk in answer.aiter_raw():
                    length += len(chunk)
                    if length > most:
                        raise TroubleError(f"{self.url}{path[:100]} answers with more than {most >> 10} KiB")
                    gathered.append(chunk)
        except TimeoutError:
            raise TroubleError(f"{self.url} did not answer within {seconds:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise TroubleError(f"{self.url} cannot be asked: {str(error) or type(error).__name__}") from None
        return b"".join(gathered)

    async def host_info(self) -> HostInfo:
        """Ask what it says of itself; raise `TroubleError`."""
        found = parse(await self._get("/?HOST_INFO=1", MAX_ANSWER, ANSWER_S), "its HOST_INFO")
        extensions = found.get("EXTENSIONS")
        own = found.get("LIGHTFAST")
        name = found.get("NAME")
        return HostInfo(
            name=name.strip()[:64] if isinstance(name, str) else "",
            listens=isinstance(extensions, dict) and extensions.get("LISTEN") is True,
            osc_port=_port(found.get("OSC_PORT"), self.port),
            udp=found.get("OSC_TRANSPORT", "UDP") != "TCP",
            ws_port=_port(found.get("WS_PORT"), self.port),
            ours=isinstance(own, dict) and own.get("PROCESS") == f"{socket.gethostname()}:{os.getpid()}",
        )

    async def tree(self) -> Tree:
        """Read the whole tree; raise `TroubleError`."""
        content = await self._get("/", MAX_TREE, TREE_S)
        return await asyncio.to_thread(read_tree, content)

    async def value(self, address: str) -> Any:
        """Ask for one value, as JSON; raise `TroubleError`."""
        path = quote(address, safe="/") + "?VALUE"
        return parse(await self._get(path, MAX_ANSWER, ANSWER_S), "its VALUE").get("VALUE")


def _port(found: Any, default: int) -> int:
    valid = isinstance(found, int) and not isinstance(found, bool) and 0 < found < 65_536
    return found if valid else default
