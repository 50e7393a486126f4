"""Looks at all ports at once, within one budget, and says what it found."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from lightfast.app.cli.checks import OK, WARN, Finding
from lightfast.app.cli.ports.asking import Place, Seen
from lightfast.app.cli.ports.table import PORTS, Known
from lightfast.core.ports import Holder, holders

BUDGET = 4.5
"""Seconds for all ports together: two questions, one after the other, and some room."""
_ANY = {"0.0.0.0", "::"}  # noqa: S104  # it is looked for, not bound


def survey(own_pid: int = 0, table: Sequence[Known] = PORTS, budget: float = BUDGET) -> list[Finding]:
    """Return what is on the ports of *table*, in its order; *own_pid* is the daemon's process.

    A port that nobody holds gives no finding, and a program that cannot be asked is told by its name.
    """
    found = holders([(known.port, known.kind) for known in table])
    return asyncio.run(_survey([known for known in table if (known.port, known.kind) in found], found, own_pid, budget))


async def _survey(
    table: Sequence[Known], found: dict[tuple[int, str], list[Holder]], own_pid: int, budget: float
) -> list[Finding]:
    looks = [asyncio.ensure_future(_look(known, found[known.port, known.kind], own_pid)) for known in table]
    if looks:
        await asyncio.wait(looks, timeout=budget)
    findings: list[Finding] = []
    for known, look in zip(table, looks, strict=True):
        holder = found[known.port, known.kind][0]
        if look.done() and not look.cancelled() and look.exception() is None:
            findings += look.result()
        else:
            why = "did not answer in time" if not look.done() else f"could not be asked: {look.exception()}"
            findings.append(Finding(WARN, f"{_place(known)}: {holder} {why}", "see whether it hangs or is busy"))
    for look in looks:
        look.cancel()
    await asyncio.gather(*looks, return_exceptions=True)
    return findings


async def _look(known: Known, holding: list[Holder], own_pid: int) -> list[Finding]:
    """Return what there is to say of one port that is held."""
    findings = []
    if len({holder.name for holder in holding}) > 1:
        who = " and ".join(dict.fromkeys(map(str, holding)))
        advice = "end one of them, or give it another port: which of them is reached is chance"
        findings.append(Finding(WARN, f"{_place(known)}: two programs want this port: {who}", advice))
    for holder in {holder.pid: holder for holder in holding}.values():
        if holder.pid and holder.pid == own_pid:
            findings.append(Finding(OK, f"{_place(known)}: the daemon's"))
        else:
            findings.append(await _judge(known, holder))
    return findings


async def _judge(known: Known, holder: Holder) -> Finding:
    seen: Seen | None = None
    if known.recognize is not None:
        try:
            seen = await known.recognize(Place(_host(holder.address), known.port))
        except OSError as error:
            seen = Seen(f"it does not let itself be asked ({error.strerror or error})", known=False)
    held = f"{_place(known)}: {holder}"
    open_to_all = f"; it listens on all interfaces ({holder.address})" if holder.address in _ANY else ""
    by_name = any(name in holder.name.lower() for name in known.names)
    if seen is not None and seen.known:
        warns = bool(open_to_all) and known.kind == "tcp"
        return Finding(WARN if warns else OK, f"{held}: {seen.what}{open_to_all}", seen.advice)
    told = f": {seen.what}" if seen is not None else ""
    if known.recognize is None and by_name:
        return Finding(OK, f"{held}, as expected: {known.who}", known.told)
    if known.shared:
        return Finding(OK, f"{held}{told} ({known.who} would be here)", known.told)
    if known.recognize is not None and seen is None:
        told = f" holds it, and does not answer as {known.who} would"
    elif seen is None:
        told = f" holds it, where {known.who} would be"
    busy = f"if it is {holder.name} itself, see whether it shows a dialog or renders; else " if by_name else ""
    return Finding(WARN, held + told, busy + (known.advice or f"end it, or give {known.who} another port"))


def _place(known: Known) -> str:
    return f"{known.kind} port {known.port}"


def _host(address: str) -> str:
    """Return where a program is reached on this machine that is bound to *address*."""
    if address in {"::", "::1"}:
        return "::1"
    return address if address.startswith("127.") else "127.0.0.1"
