"""Counts again, from what emulated services heard, what the gateway says it did: limits, money, calls, memory."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.support.ai_crowd import LIMITS, MODELS, PRICES, Asked, Crowd
from tests.support.ai_weather import Heard, tokens

from lightfast.core.errors import DeadlineExceeded

OURS = ("lightfast", "lightfast_providers", "httpx2", "openai", "anthropic", "_asyncio")
"""Whose objects are counted."""
REFUSED = frozenset(("429", "500", "503", "overloaded", "timeout", "context", "invalid", "blocked", "disconnect"))
"""Faults of which nothing is paid, for nothing has come."""


def check_limits(crowd: Crowd) -> list[str]:
    """Return where more was asked of a key than the settings allow."""
    wrong = []
    for name, service in crowd.services.items():
        of_key: dict[str, list[Heard]] = defaultdict(list)
        for heard in service.heard:
            of_key[heard.key].append(heard)
        limits = LIMITS[name]
        for key, calls in of_key.items():
            together = max(heard.together for heard in calls)
            if together > limits.at_once:
                wrong.append(f"{name} {key[-3:]}: {together} at once, {limits.at_once} are allowed")
            if limits.a_day and len(calls) > limits.a_day:
                wrong.append(f"{name} {key[-3:]}: {len(calls)} in a day, {limits.a_day} are allowed")
    return wrong


def check_single_flight(crowd: Crowd, everybody: Sequence[Asked], calm: set[int]) -> list[str]:
    """Return the calm requests, each asked by several, that were answered by other than one call of all services.

    One that nobody got an answer to, for there was no place or no money, was not sent at all; one whose time was over,
    on a busy machine, once at most.
    """
    calls = Counter(heard.name for service in crowd.services.values() for heard in service.heard)
    answered = Counter(asked.name for asked in everybody if asked.last is not None)
    asked_by = Counter(asked.name for asked in everybody)
    late = {asked.name for asked in everybody if isinstance(asked.error, DeadlineExceeded)}
    return [
        f"#{name}: {asked_by[name]} asked, {answered[name]} were answered, by {calls[name]} calls"
        for name in sorted(calm)
        if calls[name] != bool(answered[name]) and not (name in late and calls[name] == 1)
    ]


def billed(service: str, name: int) -> int:
    """Return what a service bills for the answer to a request, in nano-dollars."""
    (into, out), (price_in, price_out) = tokens(name), PRICES[service]
    return into * price_in + out * price_out


async def check_money(crowd: Crowd, everybody: Sequence[Asked], budget_usd: float) -> list[str]:
    """Return where the ledger, the budget or the sums of usage differ from what the services have billed."""
    costs, db = crowd.house.accounts.costs, crowd.house.db
    wrong: list[str] = []
    sums = {found.group["model"]: found for found in await costs.usage(["model"])}  # writes what is on its way first
    rows = await db.query(
        "SELECT operation_id, model, failures, nano, input_tokens, output_tokens FROM cost_ledger WHERE saved = 0"
    )
    if left := await db.query("SELECT hold_id, operation_id FROM cost_holds"):
        wrong.append(f"held for ever: {left}")
    if costs.held_nano:
        wrong.append(f"{costs.held_nano} are held, and nothing is under way")
    who = {asked.operation: asked for asked in everybody if asked.operation}
    made: dict[tuple[str, int], list[tuple[int, ...]]] = defaultdict(list)
    for operation, model, *counts in rows:
        if operation not in who:
            wrong.append(f"{operation} was booked, and nobody asked")
            continue
        made[model, who[operation].name].append(tuple(map(int, counts)))
    restless = {asked.name for asked in everybody if asked.brief or asked.leaves_after >= 0}
    for service, model in MODELS.items():
        wrong += _check_rows(crowd.services[service].heard, service, model, made, restless)
        booked = [row for (other, _), found in made.items() if other == model for row in found]
        found = sums.get(model)
        told = (found.nano, found.requests, found.usage.input_tokens, found.usage.output_tokens) if found else (0,) * 4
        counted = (sum(r[1] for r in booked), len(booked), sum(r[2] for r in booked), sum(r[3] for r in booked))
        if told != counted:
            wrong.append(f"{model}: the usage is {told}, the rows have {counted}")
    total = sum(int(row[3]) for row in rows)
    for state in await costs.budgets():
        if (state.spent, state.held) != (total, 0):
            wrong.append(f"the budget has counted {state.spent} and holds {state.held}, {total} were booked")
        if state.spent > state.budget.limit:
            wrong.append(f"{state.spent} of {state.budget.limit} were spent")
    if budget_usd and not await costs.budgets():
        wrong.append("there is no budget")
    return wrong


def _check_rows(
    heard: Sequence[Heard],
    service: str,
    model: str,
    made: dict[tuple[str, int], list[tuple[int, ...]]],
    restless: set[int],
) -> list[str]:
    """Compare the rows of each request with the calls for it: what is whole is booked to the token."""
    wrong = []
    calls: dict[int, list[Heard]] = defaultdict(list)
    for each in heard:
        calls[each.name].append(each)
    for name in calls.keys() | {number for other, number in made if other == model}:
        rows, price = made[model, name], billed(service, name)
        well = [nano for failed, nano, *_ in rows if not failed]
        whole = [each for each in calls[name] if each.whole and each.call.fault != "filtered"]
        used = [row for row in rows if any(row[1:])]  # one that was cancelled on its way out has used nothing
        if len(used) > len(calls[name]):
            wrong.append(f"#{name} at {model}: {len(used)} rows for {len(calls[name])} calls")
        if len(well) > len(whole) or (name not in restless and len(well) != len(whole)):
            wrong.append(f"#{name} at {model}: {len(well)} were booked as whole, {len(whole)} were")
        if any(nano != price for nano in well):
            wrong.append(f"#{name} at {model}: {well} were booked, the price is {price}")
        if service == "lab" and any(nano for _, nano, *_ in rows):
            wrong.append(f"#{name} at {model}: {rows}, and it is free")
        if all(each.call.fault in REFUSED for each in calls[name]) and used:
            wrong.append(f"#{name} at {model}: {used} were booked, and it was refused")
    return wrong


async def check_operations(crowd: Crowd, everybody: Sequence[Asked]) -> list[str]:
    """Return the operations whose row says something else than what its caller was told."""
    gateway = crowd.house.gateway
    await gateway.operations.flush()
    wrong = []
    for asked in everybody:
        if not asked.operation:
            continue  # it was refused, or its caller was gone, before it began
        row = await gateway.operation(asked.operation)
        wanted = {"SUCCEEDED"} if asked.last is not None else {"FAILED", "CANCELLED"}
        if asked.left:
            wanted = {"CANCELLED", "SUCCEEDED", "FAILED"}
        if row.state.name not in wanted:
            wrong.append(f"#{asked.name} {asked.operation} is {row.state.name}: {asked.error!r}")
        elif asked.last is not None and (row.text, row.model) != (asked.text, asked.last.model):
            wrong.append(f"#{asked.name} {asked.operation} has {row.text!r} of {row.model}, {asked.text!r} was told")
    ((running,),) = await crowd.house.db.query("SELECT count(*) FROM operations WHERE state = 'RUNNING'")
    return [*wrong, f"{running} rows are running"] if running else wrong


async def at_rest(crowd: Crowd) -> None:
    """Wait until nothing is under way any more, and collect what nobody holds."""
    gateway = crowd.house.gateway
    async with asyncio.timeout(90):
        while gateway.running or len(gateway.flights or ()) or any(map(_busy, crowd.services.values())):
            await asyncio.sleep(0.01)
        await crowd.house.accounts.costs.usage()
        for _ in range(3):  # what an SDK leaves behind closes itself when it is collected, in a turn of the loop
            gc.collect()
            for _ in range(20):
                await asyncio.sleep(0)


def _busy(service: object) -> bool:
    return any(not heard.call.done for heard in service.heard)  # type: ignore[attr-defined]


def living() -> Counter[str]:
    """Count the objects of the gateway and what it works with, by type."""
    found: Counter[str] = Counter()
    for thing in gc.get_objects():
        kind = type(thing)
        if str(kind.__module__).partition(".")[0] in OURS:
            found[f"{kind.__module__}.{kind.__qualname__}"] += 1
    return found


def names_of_tasks() -> Counter[str]:
    """Count the tasks by the function they run."""
    return Counter(getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks())


def open_sockets() -> int:
    """Count the sockets of this process."""
    return sum(map(_is_socket, Path("/proc/self/fd").iterdir()))


def _is_socket(path: Path) -> bool:
    try:
        return str(path.readlink()).startswith("socket:")
    except OSError:  # it was that of the listing
        return False
