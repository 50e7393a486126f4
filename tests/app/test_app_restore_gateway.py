"""A restored copy leaves the jobs of its original alone, and books what was held for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.daemon import Daemon
from tests.support.job_server import JobServer
from tests.support.waiting import until

from lightfast.api.v1 import generation_pb2 as pb
from lightfast.client import Client

KEY = b"sk-films-0123456789-abcdefghij"
PRICED = 'Model("slow", outputs=("video",), capabilities=("jobs",), prices=(Price("second", 0.10),), settings=LASTS)'
LASTS = 'LASTS = {"type": "object", "properties": {"seconds": {"type": "integer", "default": 4}}}'


def furnished(home: Path, service: JobServer) -> Daemon:
    """A daemon whose films cost money: 10 cents a second, four seconds."""
    plugins = home / "config/plugins"
    plugins.mkdir(parents=True, mode=0o700, exist_ok=True)
    source = service.plugin.replace(
        "import asyncio, json, urllib.request", f"import asyncio, json, urllib.request\n{LASTS}"
    )
    source = source.replace("import Artifact,", "import Artifact, Price,").replace(
        "local = True", 'price_provider = "films"'
    )
    (plugins / "films.py").write_text(
        source.replace('Model("slow", outputs=("video",), capabilities=("jobs",), free=True)', PRICED)
    )
    return Daemon(home)


def spent(client: Client) -> float:
    return sum(line.usage.cost_usd for line in client.usage())


@pytest.mark.slow
def test_a_restored_copy_leaves_the_jobs_of_its_original_alone(tmp_path: Path) -> None:
    one, two, file = tmp_path / "one", tmp_path / "two", tmp_path / "taken.lfbackup"
    with JobServer() as service:
        original, copy = furnished(one, service), furnished(two, service)
        try:
            keys = one / "config/keys"
            keys.mkdir(mode=0o700)
            (keys / "films").write_bytes(KEY)
            (keys / "films").chmod(0o600)
            original.start()
            with Client(home=one) as client:
                client.set_budget("all", "", 5.0, "day")
                for step in client.generate("video", "a storm", model="films/slow", request_id="storm", project="sea"):
                    if step.progress.message == "rendering":
                        break
                film = step.operation_id
                (budget,) = client.budgets()
                assert budget.held_usd == pytest.approx(0.4)
                list(client.backup(str(file)))
            original.kill()
            restored = subprocess.run(
                [sys.executable, "-m", "lightfast", "backup", "restore", str(file), "--home", str(two), "--yes"],
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert restored.returncode == 0, restored.stderr
            held = [file, *(path for path in two.rglob("*") if path.is_file())]
            assert [path for path in held if KEY in path.read_bytes()] == []
            polls = service.polls["job-1"]
            copy.start()
            with Client(home=two) as client:
                until(lambda: "films/slow" in [model.name for model in client.models("video")], "the plugin")
                here = client.operation(film)
                assert (here.state, here.job_id) == (pb.OPERATION_STATE_FAILED, "job-1")
                assert "restored from a backup" in here.error
                (budget,) = client.budgets()
                assert [budget.held_usd, budget.spent_usd] == pytest.approx([0.0, 0.4])
                assert spent(client) == pytest.approx(0.4)
                assert client.cancel_operation(film).state == pb.OPERATION_STATE_FAILED
            assert copy.stop() == 0
            assert (service.polls["job-1"], service.cancelled, len(service.submissions)) == (polls, [], 1)

            original.start()
            until(lambda: service.polls["job-1"] > polls, "a poll of the original")
            service.released.set()
            with Client(home=one) as client:
                until(lambda: client.operation(film).state == pb.OPERATION_STATE_SUCCEEDED, "the film")
                (budget,) = client.budgets()
                assert [budget.held_usd, budget.spent_usd] == pytest.approx([0.0, 0.2])  # it took two seconds
            assert original.stop() == 0
            assert len(service.submissions) == 1
        finally:
            for each in (original, copy):
                if each.process is not None and each.process.poll() is None:
                    each.kill()
