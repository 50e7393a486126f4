"""Vectors and batches through a real daemon; kill -9 while a batch is at its service: submitted once, paid once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.daemon import Daemon
from tests.support.waiting import until

from lightfast.api.v1 import generation_pb2 as pb
from lightfast.client import Client

KILLS = int(os.environ.get("LIGHTFAST_CRASHES", "2"))

PLUGIN = '''
"""A service that outlives the daemon: a folder."""
import asyncio
import os
from pathlib import Path

from lightfast.sdk import (
    BatchAnswer, Embeddings, Job, Model, Price, Progress, Provider, ProviderError, TextDelta, Usage, hookimpl,
)

FOLDER = Path(os.environ["BATCH_SERVICE"])


class Folder(Provider):
    name = "folder"
    price_provider = "folder"

    def models(self):
        prices = (Price("input_token", 0.001), Price("output_token", 0.002))
        return (
            Model("big", outputs=("text",), capabilities=("batch",), max_output_tokens=10, prices=prices),
            Model("small", outputs=("text",), free=True),
            Model("vectors", outputs=("embedding",), prices=prices),
        )

    async def generate(self, request, bench):
        with (FOLDER / "generated").open("a") as file:
            file.write(request.prompt + "\\n")
        yield TextDelta("made " + request.prompt)
        yield Usage(1, 1)

    async def embed(self, request, bench):
        with (FOLDER / "embedded").open("a") as file:
            file.write(f"{len(request.texts)}\\n")
        vectors = tuple((float(len(text)), 1.0, float("cat" in text)) for text in request.texts)
        return Embeddings(vectors, Usage(input_tokens=len(request.texts)))

    async def batch(self, requests, session, job, bench):
        if not job:
            with (FOLDER / "submitted").open("a") as file:
                file.write("job\\n")
            job = "job-" + str(len((FOLDER / "submitted").read_text().splitlines()))
        yield Job(job)
        (FOLDER / "polled").write_text(job)
        while not (FOLDER / "release").exists():
            yield Progress(0.5)
            await asyncio.sleep(0.02)
        for at, request in enumerate(requests):
            yield BatchAnswer(at, request.prompt.upper(), usage=Usage(input_tokens=10, output_tokens=5))

    async def cancel(self, session, job):
        (FOLDER / "cancelled").write_text(job)


@hookimpl
def lightfast_providers(config):
    return [Folder()]
'''


@contextmanager
def desk(folder: Path, *flags: str) -> Iterator[tuple[Daemon, Path]]:
    """A daemon with the plugin, and the folder of its service."""
    home, service = folder / "home", folder / "service"
    (home / "config" / "plugins").mkdir(parents=True)
    (home / "config" / "plugins" / "folder.py").write_text(PLUGIN, encoding="utf-8")
    service.mkdir()
    daemon = Daemon(home, environ={"BATCH_SERVICE": str(service)}, flags=flags)
    daemon.start()
    try:
        yield daemon, service
        assert daemon.stop() == 0, daemon.log()
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()


def ended(client: Client, operation_id: str) -> pb.Operation:
    def over() -> pb.Operation | None:
        operation = client.batch(operation_id)
        return None if operation.state == pb.OPERATION_STATE_RUNNING else operation

    return until(over, "the end of the batch")  # type: ignore[no-any-return]


def command(home: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "lightfast", "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout


def test_a_daemon_that_is_killed_goes_on_with_its_batch(tmp_path: Path) -> None:
    with desk(tmp_path) as (daemon, service):
        with Client(home=daemon.home) as client:
            operation_id = client.submit_batch(["one", {"prompt": "two"}], model="folder/big").operation_id
        for _ in range(KILLS):
            until((service / "polled").exists, "the poll of the job")
            daemon.kill()
            (service / "polled").unlink()
            daemon.start()
        (service / "release").touch()
        with Client(home=daemon.home) as client:
            operation = ended(client, operation_id)
            assert operation.state == pb.OPERATION_STATE_SUCCEEDED, operation
            assert [answer.text for answer in operation.answers] == ["ONE", "TWO"]
            assert operation.job_id == "job-1"
            assert (operation.usage.input_tokens, operation.usage.output_tokens) == (20, 10)
            assert operation.usage.cost_usd == 20 * 0.001 + 10 * 0.002
            (total,) = client.call_json("GenerationService.GetUsage", {})["sums"]
            assert total["usage"]["cost_usd"] == operation.usage.cost_usd
        assert (service / "submitted").read_text() == "job\n"


def test_vectors_and_batches_from_the_command_line(tmp_path: Path) -> None:
    with desk(tmp_path) as (daemon, service):
        home = daemon.home
        lines = command(home, "embed", "a cat", "dog", "--model", "folder/vectors").splitlines()
        assert [json.loads(line) for line in lines] == [[5.0, 1.0, 1.0], [3.0, 1.0, 0.0]]
        again = json.loads(command(home, "--json", "embed", "dog", "--model", "folder/vectors"))
        assert again["usage"]["cache"] == "exact"
        assert again["usage"]["saved_usd"] > 0
        assert (service / "embedded").read_text() == "2\n"
        command(home, "embed", code=2)
        command(home, "embed", "x", "--model", "folder/nothing", code=4)

        file = tmp_path / "batch.jsonl"
        file.write_text('"first"\n\n{"prompt": "second", "max_output_tokens": 5}\n', encoding="utf-8")
        found = json.loads(command(home, "--json", "batch", "submit", str(file), "--model", "folder/small"))
        operation_id = found["operation"]["operation_id"]
        assert "worked through here" in found["operation"]["note"]
        with Client(home=home) as client:
            assert ended(client, operation_id).output == "batch"
        shown = command(home, "batch", "show", operation_id, "--save", str(tmp_path / "answers.jsonl"))
        assert "1: made first" in shown
        assert "succeeded" in shown
        saved = [json.loads(line)["text"] for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
        assert saved == ["made first", "made second"]

        going = command(home, "batch", "submit", str(file), "--model", "folder/big").split()[0]
        until((service / "polled").exists, "the poll of the job")
        assert "cancelled" in command(home, "batch", "cancel", going)
        assert (service / "cancelled").read_text() == "job-1"
        file.write_text("{", encoding="utf-8")
        command(home, "batch", "submit", str(file), "--model", "folder/big", code=2)
        file.write_text('{"promt": "typo"}', encoding="utf-8")
        command(home, "batch", "submit", str(file), "--model", "folder/big", code=2)

        with Client(home=home) as client:
            for _ in client.purge(text="first", reason="a test"):
                pass
            assert [answer.error for answer in client.batch(operation_id).answers] == ["it was purged", ""]


def test_an_answer_is_kept_over_a_restart_until_it_is_purged(tmp_path: Path) -> None:
    def tell(client: Client) -> str:
        steps = list(client.generate("text", "the hush-hush word", model="folder/small"))
        assert "".join(step.text_delta for step in steps) == "made the hush-hush word"
        return steps[-1].usage.cache

    with desk(tmp_path) as (daemon, service):
        with Client(home=daemon.home) as client:
            assert [tell(client), tell(client)] == ["", "exact"]
        assert daemon.stop() == 0
        daemon.start()
        with Client(home=daemon.home) as client:
            assert tell(client) == "exact"
            removed = [step.tombstone.removed for step in client.purge(text="hush-hush", reason="a test")]
            assert removed[-1]["kept answers"] == 1
            assert tell(client) == ""
        assert len((service / "generated").read_text().splitlines()) == 2


def test_the_memory_uses_a_model_of_a_service_where_the_settings_say_so(tmp_path: Path) -> None:
    with desk(tmp_path, 'memory.embedder="folder/vectors"') as (daemon, service):
        daemon.wait_log("the memory uses a model of a service")
        with Client(home=daemon.home) as client:
            client.remember("the cat sleeps on the mixing desk")
            until(lambda: len((service / "embedded").read_text().split()) >= 2, "the text at the service")
            hits = client.recall("cat")
            assert "cat" in hits[0].memory.text
