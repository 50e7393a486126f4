"""kill -9 while a service works on a job: it is polled to its end after the restart, and handed in once."""

from __future__ import annotations

import os
import time
from pathlib import Path
from random import Random

import pytest
from tests.support.daemon import Daemon
from tests.support.job_server import JobServer
from tests.support.waiting import until

from lightfast.api.v1 import generation_pb2 as pb
from lightfast.client import Client
from lightfast.core.errors import LightfastError

CRASHES = int(os.environ.get("LIGHTFAST_CRASHES", "2"))


def furnished(home: Path, service: JobServer) -> Daemon:
    plugins = home / "config/plugins"
    plugins.mkdir(parents=True, mode=0o700)
    (plugins / "films.py").write_text(service.plugin)
    return Daemon(home)


def begun(home: Path, prompt: str, **options: object) -> str:
    """Begin a generation and leave it with its job under way; it has a request id, so that it goes on."""
    with Client(home=str(home)) as client:
        steps = client.generate("video", prompt, model="films/slow", request_id=prompt, **options)
        for step in steps:
            if step.progress.message == "rendering":
                return step.operation_id
    raise AssertionError("the stream ended")


@pytest.mark.limit(90 + 20 * CRASHES)
def test_a_job_outlasts_kill_9(tmp_path: Path) -> None:
    home = tmp_path / "home"
    chance = Random(3)
    with JobServer() as service:
        house = furnished(home, service)
        try:
            house.start()
            operation_id = begun(home, "a storm", target_path="/film", project="sea")
            assert [each["prompt"] for each in service.submissions] == ["a storm"]
            for _ in range(CRASHES):
                house.kill()
                polls = service.polls["job-1"]
                house.start()
                until(lambda seen=polls: service.polls["job-1"] > seen, "a poll after the restart")  # type: ignore[misc]
                time.sleep(chance.uniform(0.0, 0.1))  # the next crash is to find it anywhere between two polls
            with Client(home=str(home)) as client:
                running = client.operation(operation_id)
                assert (running.state, running.job_id) == (pb.OPERATION_STATE_RUNNING, "job-1")
                assert [each.operation_id for each in client.operations(running_only=True, project="sea")] == [
                    operation_id
                ]
                service.released.set()
                until(lambda: client.operation(operation_id).state != pb.OPERATION_STATE_RUNNING, "the end of the job")
                ended = client.operation(operation_id)
                assert (ended.state, ended.error) == (pb.OPERATION_STATE_SUCCEEDED, "")
                (asset,) = ended.assets
                assert client.read_asset(asset.sha256) == b"film of job-1"
                entry = client.get("/film")
                assert getattr(entry.value, "sha256", "") == asset.sha256
            assert len(service.submissions) == 1
            assert service.cancelled == []
            house.kill()
            house.start()  # what has ended is not taken up again
            with Client(home=str(home)) as client:
                assert client.operation(operation_id).state == pb.OPERATION_STATE_SUCCEEDED
            assert len(service.submissions) == 1
        finally:
            house.kill()


def test_a_stop_leaves_the_job_and_a_cancel_after_it_ends_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with JobServer() as service:
        house = furnished(home, service)
        try:
            house.start()
            operation_id = begun(home, "a storm")
            house.stop()
            assert service.cancelled == []
            polls = service.polls["job-1"]
            house.start()
            until(lambda: service.polls["job-1"] > polls, "a poll after the restart")
            with Client(home=str(home)) as client:
                assert client.cancel_operation(operation_id).state == pb.OPERATION_STATE_CANCELLED
            until(lambda: service.cancelled == ["job-1"], "the cancellation at the service")
            assert len(service.submissions) == 1
            house.kill()
            house.start()
            with Client(home=str(home)) as client:
                assert client.operation(operation_id).state == pb.OPERATION_STATE_CANCELLED
                with pytest.raises(LightfastError, match="there is no operation"):
                    client.operation("op-none")
        finally:
            house.kill()
