"""Recognizes what speaks OSC and answers who asked; what would change its state is never sent.

Ardour is not asked: it would have to be told first where to answer, and that holds for all programs on this machine.
"""

from __future__ import annotations

from lightfast.app.cli.ports.asking import BUDGET, Place, Recognizer, Seen, ask, ask_udp
from lightfast.core.osc import OscError, OscMessage, decode

_END = b"\xc0"


def _message(address: str) -> bytes:
    """Return the datagram of a message without arguments."""
    text = address.encode()
    return text + b"\0" * (4 - len(text) % 4) + b",\0\0\0"


def _read(data: bytes) -> OscMessage | None:
    try:
        messages = decode(data)
    except OscError:
        return None
    return messages[0] if messages else None


def scsynth(budget: float = BUDGET) -> Recognizer:
    """Return what recognizes SuperCollider's server."""

    async def recognize(place: Place) -> Seen | None:
        said = _read(await ask_udp(place, _message("/status"), budget=budget))
        if said is None or said.address != "/status.reply":
            return None
        synths = said.args[2] if len(said.args) > 2 else "?"
        return Seen(f"scsynth answers here, with {synths} synths running")

    return recognize


def abletonosc(reply_port: int, budget: float = BUDGET) -> Recognizer:
    """Return what recognizes AbletonOSC, which always answers to *reply_port*; where that is taken, nobody can ask."""

    async def recognize(place: Place) -> Seen | None:
        try:
            said = _read(await ask_udp(place, _message("/live/test"), reply_port=reply_port, budget=budget))
        except OSError:
            return Seen(
                f"AbletonOSC, if it is it, answers to UDP port {reply_port}, which is taken",
                f"only one program hears AbletonOSC: the one that holds UDP port {reply_port}",
            )
        if said is None or not said.address.startswith("/live/"):
            return None
        return Seen("AbletonOSC answers here", f"it answers to UDP port {reply_port} only: one program can listen")

    return recognize


def qlab(budget: float = BUDGET) -> Recognizer:
    """Return what recognizes QLab, by TCP: each message between two SLIP ENDs."""

    async def recognize(place: Place) -> Seen | None:
        data = await ask(place, _END + _message("/version") + _END, lambda data: data.count(_END) >= 2, budget)
        said = _read(data.strip(_END).replace(b"\xdb\xdc", _END).replace(b"\xdb\xdd", b"\xdb"))
        if said is None or not said.address.startswith("/reply"):
            return None
        return Seen("QLab answers here", "a message reaches every workspace that is open")

    return recognize
