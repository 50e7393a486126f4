"""The process that is a peer of Ableton Link: the only place where its library, aalink, is loaded.

It talks JSON, one object a line. It says `{"joined": {...}}` once, then what it holds whenever that changes, and
the beat twenty times a second while it plays; an answer to a wish carries its `id`. It takes `{"id", "tempo"}` and
`{"id", "playing"}`. It ends when its input ends: with its parent, however that went.

Joining leaves the session's tempo alone. A new peer may drag a session along when it joins too soon after it was made
(aalink's issue 7), so it waits; and it first hears what the tempo is, comes with that, and puts it back should it
have changed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Any

from lightfast_bridges.abletonlink.hear import ear, tempo_of

HEAR_S = 1.2
"""How long it listens for a session before it joins, in seconds: peers speak four times a second."""
READY_S = 0.6
"""Seconds between making the peer and joining; less than half a second may move the session's tempo."""
CHECK_S = 2.0
"""How long after joining the tempo is checked, in seconds."""
LOOK_S = 0.05
"""Seconds between two looks at what it holds."""
NEAR = 0.01
"""Beats per minute that a tempo may differ and count as the same."""


class Ear:
    """Knows the tempo that others said last."""

    def __init__(self) -> None:
        self.tempo: float | None = None
        self._sock = ear()
        asyncio.get_running_loop().add_reader(self._sock, self._read)

    def _read(self) -> None:
        for _ in range(64):
            try:
                datagram = self._sock.recv(1024)
            except (BlockingIOError, InterruptedError):
                return
            found = tempo_of(datagram)
            if found is not None:
                self.tempo = found

    def close(self) -> None:
        """Hear no more."""
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()


class Peer:
    """One peer."""

    def __init__(self, tempo: float, quantum: float, start_stop: bool) -> None:
        from aalink import Link

        self.link: Any = Link(tempo)
        self.link.quantum = quantum
        self.link.start_stop_sync_enabled = start_stop
        self._said: dict[str, Any] = {}

    async def join(self, heard: Ear | None) -> dict[str, Any]:
        """Join the session, or begin one; return what became of its tempo."""
        await asyncio.sleep(READY_S)
        link = self.link
        if heard is not None and heard.tempo is not None and abs(heard.tempo - link.tempo) > NEAR:
            link.tempo = heard.tempo  # it was changed meanwhile; nobody hears this yet
        own, expected = link.tempo, heard.tempo if heard is not None else None
        if heard is not None:
            heard.close()  # from now on it would hear itself
        link.enabled = True
        restored = False
        deadline = time.monotonic() + CHECK_S
        while expected is not None and not restored and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_S)
            if link.num_peers and abs(link.tempo - expected) > NEAR and abs(link.tempo - own) <= NEAR:
                link.tempo = expected
                restored = True
        return {"session_tempo": expected, "tempo": link.tempo, "peers": link.num_peers, "restored": restored}

    def held(self) -> dict[str, Any]:
        """Return what it holds."""
        link = self.link
        return {
            "tempo": round(link.tempo, 3),
            "playing": bool(link.playing),
            "peers": int(link.num_peers),
            "quantum": float(link.quantum),
        }

    def news(self) -> dict[str, Any]:
        """Return what changed, and the beat while it plays."""
        held = self.held()
        found = {name: value for name, value in held.items() if self._said.get(name) != value}
        self._said = held
        if held["playing"]:
            found |= {"beat": self.link.beat, "phase": self.link.phase}
        if found:
            found["time"] = time.time_ns()
        return found

    def obey(self, wish: dict[str, Any]) -> dict[str, Any]:
        """Do what is wished; return the answer."""
        if "tempo" in wish:
            self.link.tempo = float(wish["tempo"])
        if "playing" in wish:
            self.link.playing = bool(wish["playing"])
        return {"id": wish.get("id", 0), **self.held()}


def say(message: dict[str, Any]) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def listen() -> Ear | None:
    """Listen for a session; without multicasts there is none to hear."""
    try:
        heard = Ear()
    except (OSError, NotImplementedError):
        return None
    await asyncio.sleep(HEAR_S)
    return heard


async def run(arguments: argparse.Namespace) -> None:
    """Join, and be a peer until the input ends."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=1 << 16)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    heard = await listen()
    found = heard.tempo if heard is not None else None
    peer = Peer(found if found is not None else arguments.tempo, arguments.quantum, arguments.start_stop)
    say({"joined": await peer.join(heard)})
    reading = asyncio.ensure_future(lines.readline())
    while True:
        done, _ = await asyncio.wait([reading], timeout=LOOK_S)
        if done:
            line = reading.result()
            if not line:
                return
            say(peer.obey(json.loads(line)))
            reading = asyncio.ensure_future(lines.readline())
        news = peer.news()
        if news:
            say(news)


def main() -> None:
    """Run the peer."""
    parser = argparse.ArgumentParser(description="A peer of Ableton Link that talks JSON lines.")
    parser.add_argument("--tempo", type=float, default=120.0, help="the tempo of a session that it begins")
    parser.add_argument("--quantum", type=float, default=4.0, help="beats in a bar")
    parser.add_argument("--start-stop", action="store_true", help="share play and stop")
    try:
        asyncio.run(run(parser.parse_args()))
    except (BrokenPipeError, KeyboardInterrupt):
        return
    except Exception as error:  # noqa: BLE001  # whatever it is, the parent is to hear of it
        say({"error": f"{type(error).__name__}: {error}"})
        sys.exit(1)


if __name__ == "__main__":
    main()
