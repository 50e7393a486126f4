"""Communities of a weighted graph by the Louvain method (Blondel, Guillaume, Lambiotte, Lefebvre 2008).

Nodes move to the neighbouring community that raises modularity most, until none moves; communities become nodes, and it
begins again. The number of communities is not given, and those that are linked to nothing stay alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

Links = Sequence[dict[int, float]]
"""For each node the weights to its neighbours; symmetric, without loops."""

ROUNDS = 20
YIELD_EVERY = 256


def communities(links: Links, *, seed: int = 1, breathe: Callable[[], None] = lambda: None) -> list[int]:
    """Return the community of each node, numbered from 0; the same for the same graph and *seed*.

    *breathe* is called every few hundred nodes, so that a thread that computes this lets others run.
    """
    chance = random.Random(seed)  # noqa: S311 — an order of visits, no secret
    adjacent = [dict(row) for row in links]
    degree = [sum(row.values()) for row in adjacent]
    total = sum(degree)
    members = [[node] for node in range(len(adjacent))]
    while total > 0.0:
        home = _settle(adjacent, degree, total, chance, breathe)
        numbers = {old: new for new, old in enumerate(dict.fromkeys(home))}
        if len(numbers) == len(adjacent):
            break
        merged: list[list[int]] = [[] for _ in numbers]
        bundled: list[dict[int, float]] = [{} for _ in numbers]
        weight = [0.0] * len(numbers)
        for node, row in enumerate(adjacent):
            mine = numbers[home[node]]
            merged[mine] += members[node]
            weight[mine] += degree[node]
            for other, strength in row.items():
                theirs = numbers[home[other]]
                if theirs != mine:
                    bundled[mine][theirs] = bundled[mine].get(theirs, 0.0) + strength
        adjacent, degree, members = bundled, weight, merged
    found = [0] * len(links)
    for number, nodes in enumerate(members):
        for node in nodes:
            found[node] = number
    return found


def _settle(
    adjacent: list[dict[int, float]],
    degree: list[float],
    total: float,
    chance: random.Random,
    breathe: Callable[[], None],
) -> list[int]:
    """Move nodes one by one until none gains; return the community of each."""
    home = list(range(len(adjacent)))
    weight = degree.copy()
    order = list(range(len(adjacent)))
    for _ in range(ROUNDS):
        chance.shuffle(order)
        moved = False
        for visited, node in enumerate(order):
            if visited % YIELD_EVERY == YIELD_EVERY - 1:
                breathe()
            near: dict[int, float] = {}
            for other, strength in adjacent[node].items():
                near[home[other]] = near.get(home[other], 0.0) + strength
            old = home[node]
            weight[old] -= degree[node]
            best, gain = old, near.get(old, 0.0) - degree[node] * weight[old] / total
            for community, strength in near.items():
                found = strength - degree[node] * weight[community] / total
                if found > gain + 1e-12:
                    best, gain = community, found
            home[node] = best
            weight[best] += degree[node]
            moved = moved or best != old
        if not moved:
            break
    return home
