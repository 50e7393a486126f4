"""Fakes of what listens on the ports of creative applications, with their bad manners: they hang where the real ones do."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from pythonosc.osc_message_builder import OscMessageBuilder

from lightfast.core.osc import decode

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


class Served:
    """A TCP server that counts its connections, and how many are open."""

    def __init__(self) -> None:
        self.port = 0
        self.accepted = 0
        self.open = 0
        self.requests: list[bytes] = []


@asynccontextmanager
async def serving(handle: Callable[[Served, asyncio.StreamReader, asyncio.StreamWriter], Any]) -> AsyncIterator[Served]:
    """Serve *handle* on a free port of this machine."""
    served = Served()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.accepted += 1
        served.open += 1
        try:
            await handle(served, reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            served.open -= 1
            writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()


def bare_json(answers: dict[str, Any], delay: float = 0.0) -> Any:
    """Return a bridge that collects until it has JSON: a NUL, or a second request, and it never has it again."""

    async def handle(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        buffer = b""
        while data := await reader.read(8192):
            buffer += data
            try:
                request = json.loads(buffer)
            except ValueError:
                continue
            served.requests.append(buffer)
            buffer = b""
            await asyncio.sleep(delay)
            kind = request.get("type")
            if kind in answers:
                said = {"status": "success", "result": answers[kind]}
            else:
                said = {"status": "error", "message": f"Unknown command type: {kind}"}
            writer.write(json.dumps(said).encode())
            await writer.drain()

    return handle


def blender_mcp(delay: float = 0.0) -> Any:
    """Return blender-mcp."""
    return bare_json({"get_scene_info": {"name": "Scene", "object_count": 3}}, delay)


def ableton_mcp() -> Any:
    """Return ableton-mcp."""
    return bare_json({"get_script_info": {"name": "AbletonMCP", "script_version": "1.7.0", "protocol_version": 1}})


async def blender_lab(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Wait for a NUL, answer one request, close; after ten seconds without, say so and close."""
    buffer = b""
    try:
        async with asyncio.timeout(10.0):
            while b"\0" not in buffer:
                data = await reader.read(4096)
                if not data:
                    return
                buffer += data
    except TimeoutError:
        writer.write(b'{"status": "error", "message": "Client timed out"}\0')
        return
    request, _, _ = buffer.partition(b"\0")
    served.requests.append(request)
    kind = json.loads(request).get("type")
    writer.write(json.dumps({"status": "error", "message": f"Unknown request type: {kind!r}"}).encode() + b"\0")
    await writer.drain()


async def djeada(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one JSON object a line."""
    while line := await reader.readline():
        served.requests.append(line)
        request = json.loads(line)
        said = {"id": request.get("id"), "success": False, "error": f"unknown command: {request.get('command')}"}
        writer.write(json.dumps(said).encode() + b"\n")
        await writer.drain()


async def silent(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take everything and say nothing."""
    while await reader.read(4096):
        pass


def http(pages: dict[str, tuple[int, str, bytes]]) -> Any:
    """Return a web server with *pages*: status, media type and body by path."""

    async def handle(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        served.requests.append(head)
        path = head.split(b" ")[1].decode()
        status, kind, body = pages.get(path, (404, "text/plain", b"not found"))
        writer.write(
            f"HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        await writer.drain()
        await reader.read()  # it keeps the connection, as some do

    return handle


def obs_socket(*, locked: bool = True) -> Any:
    """Return OBS: it says hello on each WebSocket."""

    async def handle(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        key = lines["Sec-WebSocket-Key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key).digest()).decode()  # as the protocol wants it
        details: dict[str, Any] = {"obsWebSocketVersion": "5.6.3", "rpcVersion": 1}
        if locked:
            details["authentication"] = {"challenge": "c" * 44, "salt": "s" * 44}
        hello = json.dumps({"op": 0, "d": details}).encode()
        length = bytes([len(hello)]) if len(hello) < 126 else b"\x7e" + len(hello).to_bytes(2, "big")
        writer.write(
            f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
            + b"\x81"
            + length
            + hello
        )
        await writer.drain()
        served.requests.append(await reader.read())

    return handle


async def qlab(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one OSC message between two SLIP ENDs."""
    data = b""
    while data.count(b"\xc0") < 2:
        part = await reader.read(4096)
        if not part:
            return  # it left; at the end there is nothing to wait for, and this would go round for ever
        data += part
    (message,) = decode(data.strip(b"\xc0"))
    served.requests.append(message.address.encode())
    said = json.dumps({"address": message.address, "status": "ok", "data": "5.4.4"})
    writer.write(b"\xc0" + osc("/reply" + message.address, said) + b"\xc0")
    await writer.drain()


def osc(address: str, *arguments: Any) -> bytes:
    """Return a datagram."""
    builder = OscMessageBuilder(address)
    for argument in arguments:
        builder.add_arg(argument)
    return bytes(builder.build().dgram)


class Udp(asyncio.DatagramProtocol):
    """A UDP server: *answers* by address; each goes to who asked, or to *reply_port* of that host."""

    def __init__(self, answers: dict[str, bytes], reply_port: int = 0) -> None:
        self.answers = answers
        self.reply_port = reply_port
        self.heard: list[str] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        (message,) = decode(data)
        self.heard.append(message.address)
        if message.address in self.answers:
            self.transport.sendto(self.answers[message.address], (addr[0], self.reply_port or addr[1]))


@asynccontextmanager
async def serving_udp(answers: dict[str, bytes], reply_port: int = 0) -> AsyncIterator[tuple[Udp, int]]:
    """Serve OSC on a free port of this machine."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Udp(answers, reply_port), local_addr=("127.0.0.1", 0)
    )
    try:
        yield server, transport.get_extra_info("sockname")[1]
    finally:
        transport.close()
