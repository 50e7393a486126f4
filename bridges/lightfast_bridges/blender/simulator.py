"""A stand-in for Blender: the real link protocol to a real daemon, with a scene of plain values behind it."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightfast.sdk import Simulator
from lightfast_bridges.blender import surface
from lightfast_bridges.blender.scene import RefusedError, Scene
from lightfast_link import endpoints
from lightfast_link.client import Event, LinkClient
from lightfast_link.messages import Call, Wish
from lightfast_link.tcp import TcpTransport

CLOSE_S = 2.0
"""The longest that saying goodbye may take."""


class BlenderSimulator(Simulator):
    """A Blender without Blender; it joins the daemon of this machine, and does not pretend to render.

    What is seen of it is compared with a real Blender. What it does otherwise:

    * it has no renderer, no files, no undo and no playback, and says so when asked for them;
    * a light or a camera that is made has no path below `lights` or `cameras` of its own, but a color it is made in;
    * the factory scene has no material `Dots Stroke`, which some versions of Blender have.
    """

    name = "blender"
    description = "Joins the daemon as a Blender with the factory scene; has no renderer and no files"
    default_listen = ("127.0.0.1", 0)

    def __init__(self, home: str = "", mount_name: str = "") -> None:
        """*home* is the daemon's folder, empty for the usual one; *mount_name* what it is called."""
        self._home = home
        self._mount_name = mount_name
        self.scene = Scene()

    async def run(self, listen: tuple[str, int], reply_port: int, ready: Callable[[tuple[str, int]], None]) -> None:
        """Stay joined until cancelled. It calls the daemon, so *listen* is not used; *ready* gets the daemon's door."""
        loop = asyncio.get_running_loop()
        news = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(news.set)

        client = LinkClient(self._transport, self._hello(), wake=wake).start()
        told = False
        try:
            while True:
                news.clear()
                for event in client.poll():
                    self._take(client, event)
                    if event[0] == "welcome" and not told:
                        told = True
                        transport = self._transport()
                        ready((transport.host, transport.port))
                if not client.wait(0):
                    await news.wait()
        finally:
            await asyncio.to_thread(client.close, CLOSE_S)

    def _hello(self) -> dict[str, Any]:
        return {
            "app": "blender",
            "app_version": "simulator",
            "name": self._mount_name,
            "instance_id": f"blender-simulator-{os.getpid()}-{uuid.uuid4().hex[:8]}",
            "document_id": f"blender-simulator-{self._mount_name or 'blender'}",
            "generation": 0,
            "pid": os.getpid(),
            "simulator": True,
            "parameters": surface.raw()["parameters"],
            "commands": surface.raw()["commands"],
            "capabilities": ["rename", "simulator"],
        }

    def _transport(self) -> TcpTransport:
        doors = endpoints.find(self._home or None)
        host, _, port = str(doors["link_tcp"]).rpartition(":")
        key = bytes.fromhex(Path(str(doors["link_key_file"])).read_text(encoding="ascii").strip())
        return TcpTransport(host, int(port), key)

    def _take(self, client: LinkClient, event: Event) -> None:
        if event[0] in {"welcome", "resync"}:
            client.report(self.scene.changes())
            client.synced()
        elif event[0] == "apply":
            for wish in event[1]:
                self._apply(client, wish)
        elif event[0] == "command":
            self._run(client, event[1])

    def _apply(self, client: LinkClient, wish: Wish) -> None:
        try:
            if wish.moved_from:
                client.report(self.scene.rename(wish.moved_from, wish.path))
                held = None
            else:
                held = self.scene.set(wish.path, wish.value)
        except RefusedError as refused:
            if not wish.signal:
                client.rejected(wish.id, str(refused))
        else:
            if not wish.signal:
                client.settled(wish.id, held)
            elif held is not None:  # a signal is not answered: Blender tells what it has become
                client.report([self.scene.told(wish.path)])
            if also := self.scene.follows(wish.path):
                client.report(also)

    def _run(self, client: LinkClient, call: Call) -> None:
        try:
            result, changes = self.scene.run(call.command, call.arguments)
        except RefusedError as refused:
            client.error(call.id, str(refused))
        except TypeError as error:
            client.error(call.id, f"{call.command} cannot take these arguments: {error}")
        else:
            client.report(changes)
            client.result(call.id, result)
