"""`make bench`: run the cases, print the table, write bench.json. `ARGS="grpc_unary --pairs 3"` for less.

`ARGS="transport --seconds 600"` lets the timeline run for ten minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import platform
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tests.bench.measure import Row
from tests.bench.world import World

CASES = (
    *("grpc_unary", "grpc_watch", "zmq_plane", "osc_ingest", "life", "growth", "transport"),
    *("osc_links", "many_apps", "record", "cross_app", "recovery"),
    *("recall", "meaning", "memory"),
    *("overload", "cache", "pipeline"),
    *("archive", "archive_search", "memvid"),
    *("time_travel", "prefetch", "session_bytes"),
    *("gateway", "gateway_door", "gateway_idle"),
    *("jobs",),
    *("service_levels", "mcp_burst"),
)

TIMED = ("transport", "service_levels")
"""Those whose length can be chosen."""


async def measure(names: list[str], pairs: int, seconds: float = 0.0) -> list[Row]:
    """Run the cases, each on a fresh daemon; *seconds* is for those whose length can be chosen."""
    rows: list[Row] = []
    for name in names:
        began = time.perf_counter()
        case = importlib.import_module(f"tests.bench.{name}")
        with World(*getattr(case, "SETTINGS", ())) as world:
            longer = {"seconds": seconds} if seconds and name in TIMED else {}
            rows += await case.run(world, pairs, **longer)
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
    return rows


def show(rows: list[Row]) -> None:
    """Print the table."""
    table = Table("what", "ours", "peer", "unit", "ratio", "goal", "met", "note", title="Lightfast bench")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.ours:,.4g}",
            f"{row.peer:,.4g}" if row.peer else "—",
            row.unit,
            f"{row.ratio:.2f}×" if row.peer else "—",
            row.goal,
            {True: "yes", False: "NO", None: "—"}[row.met],
            row.note,
        )
    Console(width=200).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"which to run, of {', '.join(CASES)}; none: all")
    parser.add_argument("--only", action="append", choices=CASES, help="run only these cases")
    parser.add_argument("--pairs", type=int, default=10, help="interleaved pairs per comparison")
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="how long each run of transport or service_levels takes"
    )
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    arguments = parser.parse_args()
    chosen = [*arguments.cases, *(arguments.only or ())]
    if unknown := [name for name in chosen if name not in CASES]:
        parser.error(f"there is no case {unknown[0]!r}: choose from {', '.join(CASES)}")
    rows = asyncio.run(measure(chosen or list(CASES), arguments.pairs, arguments.seconds))
    show(rows)
    machine = {"python": platform.python_version(), "system": platform.platform(), "machine": platform.machine()}
    arguments.out.write_text(json.dumps({"machine": machine, "rows": [row.as_json() for row in rows]}, indent=1) + "\n")
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
