"""Recognizes what speaks HTTP or WebSocket: TouchDesigner's bridges, Resolume, Companion, OSCQuery, OBS."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from typing import Any

from lightfast.app.cli.ports.asking import BUDGET, Place, Recognizer, Seen, ask, parsed

_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Page:
    """One HTTP answer; *headers* have lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body as JSON, `None` where it is none."""
        return parsed(self.body)


async def get(place: Place, path: str, budget: float = BUDGET, **headers: str) -> Page | None:
    """Return the answer to one GET, as far as it came; `None` where what answers is no HTTP."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {place.host}:{place.port}", "Accept: application/json, text/html, */*"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += [] if headers else ["Connection: close"]
    answer = await ask(place, ("\r\n".join(lines)).encode() + _HEAD_END, _is_whole, budget)
    head, _, body = answer.partition(_HEAD_END)
    first, *rest = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if not first.startswith("HTTP/1.") or len(words) < 2 or not words[1].isdigit():
        return None
    pairs = (line.partition(":") for line in rest)
    return Page(int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}, body)


def _is_whole(data: bytes) -> bool:
    head, end, body = data.partition(_HEAD_END)
    if not end:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = line.partition(b":")[2].strip()
            return length.isdigit() and len(body) >= int(length)
        if line.startswith(b"content-type:") and b"event-stream" in line:
            return True  # it would never end
    if head.startswith(b"HTTP/1.1 101"):
        return len(body) >= 2 and len(body) >= sum(_frame(body))
    return False


def _frame(frames: bytes) -> tuple[int, int]:
    """Return where the content of the first WebSocket frame begins, and its length; a server's are not masked."""
    length = frames[1] & 0x7F
    size = {126: 2, 127: 8}.get(length, 0)
    return 2 + size, int.from_bytes(frames[2 : 2 + size], "big") if size else length


def touchdesigner(budget: float = BUDGET) -> Recognizer:
    """Return what recognizes the REST bridges inside TouchDesigner."""

    async def recognize(place: Place) -> Seen | None:
        page = await get(place, "/api/td/server/td", budget)
        if page is None:
            return None
        said = page.json
        if isinstance(said, dict) and {"success", "data"} <= said.keys():
            return Seen("the REST bridge of touchdesigner-mcp answers here", "use 127.0.0.1, never localhost")
        return Seen(f"an HTTP server answers here (status {page.status}), not the bridge that is known", known=False)

    return recognize


def tdmcp(budget: float = BUDGET) -> Recognizer:
    """Return what recognizes Derivative's own MCP server."""

    async def recognize(place: Place) -> Seen | None:
        page = await get(place, "/mcp", budget)
        if page is None:
            return None
        if page.status == 401:
            return Seen("TouchDesigner's MCP server answers here, and asks who you are", "sign its client in first")
        if page.status in {200, 400, 403, 405, 406}:
            return Seen("TouchDesigner's MCP server answers here", "use 127.0.0.1, never localhost")
        return Seen(f"an HTTP server answers here (status {page.status}), but no MCP server", known=False)

    return recognize


def resolume(budget: float = BUDGET) -> Recognizer:
    """Return what recognizes Resolume's web server."""

    async def recognize(place: Place) -> Seen | None:
        page = await get(place, "/api/v1/product", budget)
        said = page.json if page is not None else None
        if isinstance(said, dict) and str(said.get("name", "")) in {"Arena", "Avenue"}:
            version = ".".join(str(said.get(part, "?")) for part in ("major", "minor", "micro"))
            return Seen(f"Resolume {said['name']} {version} answers here")
        return None if page is None else Seen(f"an HTTP server (status {page.status}), not Resolume's", known=False)

    return recognize


def companion(budget: float = BUDGET) -> Recognizer:
    """Return what recognizes Companion's own pages."""

    async def recognize(place: Place) -> Seen | None:
        page = await get(place, "/", budget)
        if page is None:
            return None
        if b"companion" in page.body.lower():
            return Seen("Companion answers here", "it asks for no password: keep it from other machines")
        return Seen(f"an HTTP server (status {page.status}), not Companion's", known=False)

    return recognize


def oscquery(budget: float = BUDGET) -> Recognizer:
    """Return what recognizes an OSCQuery server."""

    async def recognize(place: Place) -> Seen | None:
        page = await get(place, "/?HOST_INFO", budget)
        said = page.json if page is not None else None
        if isinstance(said, dict) and "EXTENSIONS" in said:
            where = f", OSC on {said['OSC_TRANSPORT']} {said['OSC_PORT']}" if "OSC_PORT" in said else ""
            return Seen(f"the OSCQuery server {said.get('NAME', 'without a name')!r} answers here{where}")
        return None if page is None else Seen(f"an HTTP server (status {page.status}), no OSCQuery", known=False)

    return recognize


def obs(budget: float = BUDGET) -> Recognizer:
    """Return what recognizes OBS, which says hello on each WebSocket before anything is sent."""

    async def recognize(place: Place) -> Seen | None:
        key = base64.b64encode(os.urandom(16)).decode()
        wish = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec_WebSocket_Key": key,
            "Sec_WebSocket_Version": "13",
        }
        page = await get(place, "/", budget, **wish)
        if page is None:
            return None
        hello = _first_text(page.body) if page.status == 101 else None
        details = hello.get("d") if isinstance(hello, dict) else None
        if not isinstance(details, dict) or "obsWebSocketVersion" not in details:
            return Seen(f"an HTTP server (status {page.status}), not OBS", known=False)
        locked = "authentication" in details
        advice = "give the bridge its password" if locked else "set a password in OBS: Tools, WebSocket Server Settings"
        return Seen(f"OBS answers here (obs-websocket {details['obsWebSocketVersion']})", advice)

    return recognize


def _first_text(frames: bytes) -> Any:
    """Return the JSON of the first WebSocket frame."""
    if len(frames) < 2:
        return None
    start, length = _frame(frames)
    return parsed(frames[start : start + length])
