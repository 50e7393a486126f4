"""What ComfyUI says while it works: events and previews of its WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

from lightfast.sdk import Preview, Progress, ProviderError, Secret
from lightfast_providers._common.offloop import loaded
from lightfast_providers._common.rest import is_loopback
from lightfast_providers.comfyui.workflows import Workflow

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

MOST_FRAME = 16 * 1024 * 1024
_FORMATS = {1: "image/jpeg", 2: "image/png"}
_PREVIEW, _PREVIEW_WITH_METADATA = 1, 4


class Channel:
    """The WebSocket of one client id; it is opened anew when it broke, and silence is no news."""

    def __init__(self, base_url: str, client_id: str, key: Secret) -> None:
        scheme, _, rest = base_url.partition("://")
        self._url = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/ws?{urlencode({'clientId': client_id})}"
        self._proxy: Literal[True] | None = None if is_loopback(base_url) else True
        self._headers = {"Authorization": f"Bearer {key.reveal()}"} if key else {}
        self._socket: ClientConnection | None = None

    async def open(self) -> bool:
        """Connect, if it is not; say whether it is now. Without it the state is asked for instead."""
        if self._socket is not None:
            return True
        await loaded("websockets.asyncio.client")
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        try:
            self._socket = await connect(
                self._url,
                additional_headers=self._headers,
                max_size=MOST_FRAME,
                open_timeout=5,
                close_timeout=1,
                proxy=self._proxy,
            )
            # Only who says this first gets previews that name their prompt.
            await self._socket.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
        except (WebSocketException, OSError, TimeoutError):
            await self.close()
            return False
        return True

    async def heard(self, patience: float) -> str | bytes | None:
        """Return the next message; `None` when none came within *patience* seconds."""
        from websockets.exceptions import WebSocketException

        if not await self.open():
            await asyncio.sleep(patience)
            return None
        assert self._socket is not None  # noqa: S101 — just opened
        try:
            async with asyncio.timeout(patience):
                return await self._socket.recv()
        except TimeoutError:
            return None
        except (WebSocketException, OSError):
            await self.close()
            await asyncio.sleep(min(patience, 0.5))
            return None

    async def close(self) -> None:
        """Close it."""
        socket, self._socket = self._socket, None
        if socket is not None:
            with contextlib.suppress(Exception):
                await socket.close()


class Watch:
    """Follows one prompt through the events; *over* once it has ended, one way or the other."""

    def __init__(self, prompt_id: str, workflow: Workflow) -> None:
        self.prompt_id = prompt_id
        self.over = False
        self._workflow = workflow
        self._total = max(len(workflow.nodes), 1)
        self._done: set[str] = set()
        self._current = ""
        self._part = 0.0

    def take(self, message: str | bytes) -> Progress | Preview | None:
        """Take a message in; return what there is to tell. Raises `ProviderError` where it ended badly."""
        if isinstance(message, bytes):
            return self._picture(message)
        try:
            event = json.loads(message)
            kind, data = event["type"], event.get("data") or {}
        except (ValueError, KeyError, TypeError, AttributeError):
            return None  # extensions send what they like
        if not isinstance(data, dict) or data.get("prompt_id") != self.prompt_id:
            return None
        return self._event(str(kind), data)

    def _event(self, kind: str, data: Mapping[str, Any]) -> Progress | None:
        if kind == "execution_error":
            raise failure(data)
        if kind == "execution_interrupted":
            raise interrupted()
        if kind == "executing":
            if data.get("node") is None:
                self.over = True
                return None
            self._go_on(str(data["node"]))
        elif kind == "execution_cached":
            self._done.update(map(str, data.get("nodes") or ()))
        elif kind == "progress":
            if data.get("node") is not None and str(data["node"]) != self._current:
                self._go_on(str(data["node"]))
            self._part = _share(data)
        elif kind == "progress_state":
            self._states(data.get("nodes") or {})
        elif kind == "execution_success":
            self.over = True
            return None
        else:
            return None
        return Progress(self._fraction(), self._workflow.kind_of(self._current) or "working")

    def _go_on(self, node: str) -> None:
        if self._current:
            self._done.add(self._current)
        self._current, self._part = node, 0.0

    def _states(self, nodes: Mapping[str, Any]) -> None:
        for node, state in nodes.items():
            if not isinstance(state, dict):
                continue
            if state.get("state") == "finished":
                self._done.add(str(node))
            elif state.get("state") == "running":
                self._current, self._part = str(node), _share(state)

    def _fraction(self) -> float:
        done = len(self._done - {self._current})
        return max(0.0, min((done + self._part) / self._total, 0.99))

    def _picture(self, message: bytes) -> Preview | None:
        """Return a preview: type, then format (1) or the length of the metadata (4), all u32 big-endian."""
        if len(message) < 8:
            return None
        kind, number = struct.unpack(">II", message[:8])
        if kind == _PREVIEW and number in _FORMATS:
            return Preview(_FORMATS[number], message[8:])
        if kind != _PREVIEW_WITH_METADATA or len(message) < 8 + number:
            return None
        try:
            about = json.loads(message[8 : 8 + number])
        except ValueError:
            return None
        if not isinstance(about, dict) or about.get("prompt_id", self.prompt_id) != self.prompt_id:
            return None
        return Preview(str(about.get("image_type") or "image/jpeg"), message[8 + number :])


def _share(data: Mapping[str, Any]) -> float:
    try:
        return max(0.0, min(float(data["value"]) / float(data["max"]), 1.0))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return 0.0


def failure(data: Mapping[str, Any]) -> ProviderError:
    """Return the error of an `execution_error`: the node and what it said. To ask again changes nothing."""
    where = f"node {data.get('node_id', '?')} ({data.get('node_type', '?')})"
    said = " ".join(str(data.get("exception_message", "it says nothing")).split())[:300]
    memory = "OutOfMemory" in str(data.get("exception_type", "")) or "out of memory" in said.lower()
    kind = "overloaded" if memory else "failed"
    return ProviderError(f"ComfyUI failed at {where}: {said}", kind=kind, retryable=False)


def interrupted() -> ProviderError:
    """Return the error of a prompt that somebody ended in ComfyUI."""
    return ProviderError("it was interrupted in ComfyUI", kind="failed", retryable=False)
