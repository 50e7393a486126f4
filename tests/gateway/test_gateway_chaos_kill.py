"""kill -9 amid thirty generations: jobs are taken up and handed in once, money is booked once, results are placed once.

`LIGHTFAST_CRASHES=N` kills N daemons instead of two.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.emulators.base import Call
from tests.emulators.openai import TEXT, OpenAIEmulator
from tests.emulators.replicate import Replicate
from tests.support.daemon import Daemon

from lightfast.api.v1 import generation_pb2 as pb
from lightfast.client import Client
from lightfast.core.errors import LightfastError

CRASHES = int(os.environ.get("LIGHTFAST_CRASHES", "2"))
JOBS, TEXTS = 12, 18
BUDGET_USD = 0.09 * CRASHES
IMAGE, WORD = "replicate/black-forest-labs/flux-schnell", "openai/gpt-6-luna"


def wait(look: Callable[[], object], what: str, seconds: float = 120.0, told: object = "") -> None:
    """Wait until it is so; *told* is what is known of why it is not."""
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline, f"{what} did not happen: {told}"
        time.sleep(0.01)


class Desk:
    """A daemon, its two services, and those who ask; *round* tells the requests of one crash from the next."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.painter, self.writer = Replicate(), OpenAIEmulator()
        self.writer.pace = 0.03
        self.daemon = Daemon(home, environ={"PAINT": self.painter.key, "WRITE": self.writer.key})

    @contextmanager
    def open(self) -> Iterator[None]:
        """Start everything."""
        with self.painter.threaded(), self.writer.threaded():
            config = self.home / "config"
            config.mkdir(parents=True, mode=0o700)
            (config / "lightfast.toml").write_text(
                f"[gateway]\nbudget_per_day_usd = {BUDGET_USD}\n"
                f'[providers.replicate]\nkeys = ["env:PAINT"]\nbase_urls = ["{self.painter.base_url}"]\n'
                f'[providers.openai]\nkeys = ["env:WRITE"]\nbase_urls = ["{self.writer.base_url}"]\n'
                'prices = {"*" = "input 1/M, output 10/M"}\n'
            )
            try:
                self.daemon.start()
                yield
            finally:
                if self.daemon.process is not None and self.daemon.process.poll() is None:
                    self.daemon.kill()

    def ready(self) -> None:
        """Wait until both services are there."""
        seen: dict[str, str] = {}

        def here() -> bool:
            seen.update({one.name: one.reason for one in client.providers() if one.name in {"replicate", "openai"}})
            return len(seen) == 2 and not any(seen.values())

        with Client(home=str(self.home)) as client:
            wait(here, "the providers", 180.0, told=seen)

    def ask(self, number: int) -> list[threading.Thread]:
        """Let thirty people ask at once, each in a thread of its own that ends with the daemon."""
        people = [
            threading.Thread(target=self._ask, args=(f"{number}-{at}", at < JOBS), daemon=True)
            for at in range(JOBS + TEXTS)
        ]
        for one in people:
            one.start()
        return people

    def _ask(self, name: str, job: bool) -> None:
        asks: dict[str, Any] = {"model": IMAGE if job else WORD, "project": "sea", "timeout": 120.0, "cache": "off"}
        asks["max_output_tokens"] = 0 if job else 200
        try:
            with Client(home=str(self.home)) as client:
                list(client.generate("image" if job else "text", f"{name} at sea", target_path=f"/made/{name}", **asks))
        except LightfastError:
            pass  # that is what the end of a daemon looks like

    def recorded(self) -> int:
        """Count the jobs under way whose identity is on the disk."""
        with closing(sqlite3.connect(self.home / "state" / "lightfast.db", timeout=30.0)) as db:
            sql = "SELECT count(*) FROM operations WHERE state = 'RUNNING' AND json_extract(body, '$.job_id') <> ''"
            return int(db.execute(sql).fetchone()[0])

    def handed_in(self) -> Counter[str]:
        """Count how often each prompt was handed in."""

        def prompt(call: Call) -> str:
            said = call.json.get("input", "")
            return str(said["prompt"] if isinstance(said, dict) else said)

        jobs = [call for call in self.painter.calls("/predictions", "POST") if not call.path.endswith("/cancel")]
        return Counter(map(prompt, [*jobs, *self.writer.calls("/responses", "POST")]))


def budget(client: Client) -> tuple[float, float]:
    """Return what was spent of the budget, and what is held."""
    (found,) = client.call_json("GenerationService.ListBudgets", {}, 30.0)["budgets"]
    return float(found.get("spent_usd", 0.0)), float(found.get("held_usd", 0.0))


@pytest.mark.slow
@pytest.mark.limit(120 + 40 * CRASHES)
def test_nothing_is_paid_or_placed_twice(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "home")
    taken_up = 0
    with desk.open():
        for number in range(CRASHES):
            chance = Random(number)
            desk.painter.hold()
            desk.ready()
            enough = len(desk.handed_in()) + chance.randint(6, JOBS + TEXTS - 4)
            people = desk.ask(number)
            wait(lambda least=enough: len(desk.handed_in()) >= least, "what is handed in")  # type: ignore[misc]
            wait(desk.recorded, "a job on the disk, which is slow")
            time.sleep(chance.uniform(0.0, 0.5))  # the kill is to find them anywhere on their way
            desk.daemon.kill()
            for one in people:
                one.join(60)
                assert not one.is_alive()
            desk.daemon.start()
            with Client(home=str(desk.home)) as client:
                spent, held = budget(client)
                assert spent + held <= BUDGET_USD
                left = [one for one in client.operations(running_only=True) if one.job_id]
                taken_up += len(left)
                desk.painter.release()
                wait(lambda c=client: not c.operations(running_only=True), "the end of all")  # type: ignore[misc]
                ended = {one.operation_id: client.operation(one.operation_id) for one in left}
                assert {one.state for one in ended.values()} <= {pb.OPERATION_STATE_SUCCEEDED}, ended
        with Client(home=str(desk.home)) as client:
            operations = [client.operation(one.operation_id) for one in client.operations(limit=1000)]
            placed = Counter(one.origin.removeprefix("operation:") for one in client.history("/made//", limit=1000))
            spent, held = budget(client)
        assert desk.daemon.stop() == 0
    assert taken_up >= CRASHES
    assert [prompt for prompt, count in desk.handed_in().items() if count > 1] == []
    assert desk.painter.ended == set()  # nothing was cancelled
    assert max(placed.values()) == 1
    check_ends(operations, placed)
    check_books(desk, operations, spent, held)


def check_ends(operations: list[pb.Operation], placed: Counter[str]) -> None:
    """Each has ended; its result is at its place once where it succeeded, and else not at all."""
    states = Counter(pb.OperationState.Name(one.state) for one in operations)
    assert set(states) <= {"OPERATION_STATE_SUCCEEDED", "OPERATION_STATE_FAILED", "OPERATION_STATE_CANCELLED"}, states
    assert len(operations) > 5 * CRASHES
    for one in operations:
        well = one.state == pb.OPERATION_STATE_SUCCEEDED
        assert placed[one.operation_id] == int(well), one
        assert well or one.error, one
        if well and one.model == WORD:
            assert one.text == TEXT
        if well and one.model == IMAGE:
            assert len(one.assets) == 1


def check_books(desk: Desk, operations: list[pb.Operation], spent: float, held: float) -> None:
    """Each was booked at most once, what succeeded was, and the budget knows it all."""
    with sqlite3.connect(desk.home / "state" / "lightfast.db") as db:
        rows = db.execute("SELECT operation_id, count(*), sum(nano) FROM cost_ledger GROUP BY operation_id").fetchall()
        left = db.execute("SELECT * FROM cost_holds").fetchall()
    db.close()
    assert left == []
    assert held == 0.0
    assert [operation for operation, count, _ in rows if count != 1] == []
    booked = {operation: nano for operation, _, nano in rows}
    assert round(spent * 1e9) == sum(booked.values())
    assert spent <= BUDGET_USD
    for one in operations:
        if one.state == pb.OPERATION_STATE_SUCCEEDED:
            price = 3_000_000 if one.model == IMAGE else round(one.usage.cost_usd * 1e9)
            assert booked[one.operation_id] == price > 0, one
