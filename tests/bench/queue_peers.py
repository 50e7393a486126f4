"""Other queues over SQLite: `python queue_peers.py huey|dbos FOLDER COUNT` does jobs that do nothing, and says how fast.

Jobs are queued one after the other while four workers of the same process do them; the time ends with the last result.
It runs in an environment of its own, with what `requirements/bench.in` names, and imports nothing of ours.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

WORKERS = 4
LIMIT_S = 300.0


def huey(folder: Path, count: int) -> dict[str, Any]:
    """Return what huey takes, as it comes, but for its pauses between looks, which are made short."""
    from huey import SqliteHuey

    queue = SqliteHuey("bench", filename=str(folder / "huey.db"))
    nothing = queue.task()(_nothing)
    consumer = queue.create_consumer(workers=WORKERS, periodic=False, initial_delay=0.001, max_delay=0.005)
    consumer.start()
    began = time.perf_counter()
    for number in range(count):
        nothing(number)
    while queue.result_count() < count and time.perf_counter() - began < LIMIT_S:
        time.sleep(0.001)
    seconds = time.perf_counter() - began
    done = queue.result_count()
    mode = _sync_of(queue.storage.conn)
    consumer.stop(graceful=True)
    return {"seconds": seconds, "done": done, "sync": mode}


def dbos(folder: Path, count: int) -> dict[str, Any]:
    """Return what dbos takes, as it comes, but for its pause between looks, which is made short.

    How many it does at once is left to it: it is faster so than with four workers.
    """
    from dbos import DBOS

    url = f"sqlite:///{folder / 'dbos.db'}"
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR", "run_admin_server": False})
    nothing = DBOS.workflow()(_nothing)
    DBOS.launch()
    queue = DBOS.register_queue("bench", polling_interval_sec=0.005)
    began = time.perf_counter()
    handles = [queue.enqueue(nothing, number) for number in range(count)]
    done = sum(handle.get_result(polling_interval_sec=0.005) == number for number, handle in enumerate(handles))
    seconds = time.perf_counter() - began
    DBOS.destroy()
    return {"seconds": seconds, "done": done, "sync": _sync_of(sqlite3.connect(folder / "dbos.db"))}


def _nothing(number: int) -> int:
    return number


def _sync_of(connection: Any) -> str:
    """Return how a connection syncs: a commit is on the disk with `full` alone."""
    (level,) = connection.execute("PRAGMA synchronous").fetchone()
    (journal,) = connection.execute("PRAGMA journal_mode").fetchone()
    return f"synchronous {('off', 'normal', 'full', 'extra')[level]}, journal {journal}"


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    peer = {"huey": huey, "dbos": dbos}[sys.argv[1]]
    print(json.dumps(peer(Path(sys.argv[2]), int(sys.argv[3]))), flush=True)
