"""A text that went through the AI gateway is purged from every table, cache and file of a real daemon."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.daemon import Daemon
from tests.support.files import holding
from tests.support.waiting import until

from lightfast.api.v1 import generation_pb2 as pb
from lightfast.client import Client
from lightfast.context.upkeep.purge_needles import Needles
from lightfast.core.errors import FailedPrecondition, LightfastError
from lightfast.gateway.cache.rows import unpack

SECRET = 'sk-live "Zwölf\'s" 4711'
HARMLESS = "a red lantern"

PLUGIN = '''
"""A service that repeats what it is told, and counts how often it was asked."""
import asyncio
import os
from pathlib import Path

from lightfast.sdk import (
    BatchAnswer, Embeddings, Job, Model, Progress, Provider, ProviderError, TextDelta, Usage, hookimpl,
)

FOLDER = Path(os.environ["PARROT"])
STYLE = {"type": "object", "properties": {"style": {"type": "string", "default": ""}}}


def note(what):
    with (FOLDER / what).open("a") as file:
        file.write("x")


class Parrot(Provider):
    name = "parrot"
    local = True

    def models(self):
        return [
            Model("text", outputs=("text",), free=True, settings=STYLE, capabilities=("system",)),
            Model("fails", outputs=("text",), free=True),
            Model("batch", outputs=("text",), free=True, capabilities=("batch",)),
            Model("film", outputs=("video",), free=True, capabilities=("jobs",), settings=STYLE),
            Model("vectors", outputs=("embedding",), free=True),
        ]

    async def generate(self, request, bench):
        note(request.model)
        if request.model == "fails":
            try:
                raise ValueError("the cause says " + request.prompt)
            except ValueError as error:
                raise ProviderError("it will not say " + request.prompt, kind="invalid") from error
        if request.model == "film":
            yield Job("job-1")
            while not (FOLDER / "release").exists():
                yield Progress(0.5, "rendering " + request.prompt)
                await asyncio.sleep(0.02)
        yield TextDelta("you said " + request.prompt + ", " + str(request.settings.get("style", "")))
        yield Usage(1, 1)

    async def embed(self, request, bench):
        note("embed")
        return Embeddings(tuple((float(len(text)), 1.0) for text in request.texts), Usage(input_tokens=1))

    async def batch(self, requests, session, job, bench):
        yield Job(job or "job-2")
        for at, request in enumerate(requests):
            yield BatchAnswer(at, "you said " + request.prompt, usage=Usage(1, 1))


@hookimpl
def lightfast_providers(config):
    return [Parrot()]
'''


def count(service: Path, what: str) -> int:
    file = service / what
    return len(file.read_text()) if file.exists() else 0


def plant(client: Client, text: str, name: str) -> None:
    """Bring *text* wherever the gateway keeps something."""
    for _ in range(2):  # the second finds the kept answer
        list(client.generate("text", f"tell {text}", model="parrot/text", project=name, system=f"be {text}"))
    list(client.generate("text", "dance", model="parrot/text", settings={"style": text}))
    list(client.generate("text", "x " * 600 + text, model="parrot/text"))  # so long that its row is packed
    with pytest.raises(LightfastError):
        list(client.generate("text", f"refuse {text}", model="parrot/fails"))
    client.save_prompt(name, "say {{ word }}", system="be kind")
    client.save_prompt(name, f"say {{{{ word }}}} and {text}", description="the second")
    list(client.generate("text", "", template=name, arguments={"word": text}, model="parrot/text"))
    client.embed([f"where is {text}"], model="parrot/vectors")
    batch = client.submit_batch([f"one {text}", "two"], model="parrot/batch").operation_id
    here = client.submit_batch([f"three {text}", "four"], model="parrot/text").operation_id
    for operation_id in (batch, here):
        until(lambda each=operation_id: client.batch(each).state == pb.OPERATION_STATE_SUCCEEDED, "the batch")  # type: ignore[misc]


def holders(home: Path, text: str) -> list[str]:
    return holding(home, Needles(text).plain)


def kept_texts(home: Path) -> str:
    """Return all that kept answers hold, packed or not."""
    with sqlite3.connect(f"file:{home}/state/lightfast.db?mode=ro", uri=True) as connection:
        bodies = [unpack(body) for (body,) in connection.execute("SELECT body FROM kept_answers")]
    connection.close()
    style = [json.loads(body.settings)["style"] for body in bodies]
    said = [text for body in bodies for _, text in body.messages]
    return "\n".join([*(f"{body.text} {body.prompt} {body.system}" for body in bodies), *style, *said])


def purged(home: Path, text: str) -> tuple[dict[str, int], list[str]]:
    """Purge as a person does, at the command line; return what went, and what is left."""
    done = subprocess.run(
        [sys.executable, "-m", "lightfast", "--home", str(home), "--json", "purge", "--text", "--yes"],
        input=text + "\n", capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    steps = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert steps, (done.stdout, done.stderr)
    last = steps[-1]
    assert done.returncode == (1 if last.get("remaining") else 0), (done.stdout, done.stderr)
    return {name: int(number) for name, number in last["tombstone"]["removed"].items()}, last.get("remaining", [])


@pytest.mark.slow
def test_a_text_is_gone_from_all_that_the_gateway_keeps(tmp_path: Path) -> None:
    home, service = tmp_path / "home", tmp_path / "service"
    service.mkdir()
    (home / "config/plugins").mkdir(parents=True, mode=0o700)
    (home / "config/plugins/parrot.py").write_text(PLUGIN, encoding="utf-8")
    daemon = Daemon(home, environ={"PARROT": str(service)})
    daemon.start()
    try:
        with Client(home=home) as client:
            plant(client, SECRET, "secret")
            plant(client, HARMLESS, "harmless")
            film = next(client.generate("video", f"film {SECRET}", model="parrot/film", settings={"style": SECRET}, request_id="f")).operation_id  # fmt: skip
            until(lambda: client.operation(film).job_id == "job-1", "the job")
            assert holders(home, SECRET), "the search of this test finds nothing"
            assert SECRET in kept_texts(home)
            asked = count(service, "text"), count(service, "embed")

            removed, remaining = purged(home, SECRET)
            assert set(removed) >= {"operations", "kept answers", "failures", "batches", "templates"}, removed
            assert holders(home, SECRET) == []
            assert SECRET not in kept_texts(home)
            assert len(remaining) == 1, remaining  # the one that still runs is named
            assert film in remaining[0]
            (service / "release").touch()
            until(lambda: client.operation(film).state != pb.OPERATION_STATE_RUNNING, "the film")
            removed, remaining = purged(home, SECRET)
            assert remaining == []
            assert holders(home, SECRET) == []

            # The rest is as it was.
            assert [prompt.version for prompt in client.prompts("secret")] == [1, 2]
            assert client.prompt("secret@1").text == "say {{ word }}"
            with pytest.raises(FailedPrecondition, match="purged"):
                client.prompt("secret")
            assert client.save_prompt("secret", "say nothing").version == 3
            assert HARMLESS in client.prompt("harmless").text
            assert HARMLESS in kept_texts(home)
            (failure,) = client.failures(provider="parrot", limit=10)
            assert HARMLESS in failure.message
            steps = list(client.generate("text", f"tell {HARMLESS}", model="parrot/text", project="harmless", system=f"be {HARMLESS}"))  # fmt: skip
            assert steps[-1].usage.cache == "exact"

            # And nobody remembers: the services are asked anew.
            assert (count(service, "text"), count(service, "embed")) == asked
            client.embed([f"where is {SECRET}"], model="parrot/vectors")
            steps = list(client.generate("text", f"tell {SECRET}", model="parrot/text", project="secret", system=f"be {SECRET}"))  # fmt: skip
            assert steps[-1].usage.cache == ""
            assert (count(service, "text"), count(service, "embed")) == (asked[0] + 1, asked[1] + 1)
        assert daemon.stop() == 0, daemon.log()
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()
