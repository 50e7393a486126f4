"""The daemon is killed, and clients are: watches resume, leases go on or end."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.waiting import until

from lightfast.app.cli.stage import Stage
from lightfast.client import AsyncClient, Client, DaemonGone, mutations
from lightfast.core.errors import LightfastError, NotFound


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    found = Stage(tmp_path)
    try:
        yield found
    finally:
        found.close()


async def test_a_watch_goes_on_over_a_kill_of_the_daemon(stage: Stage) -> None:
    process = await asyncio.to_thread(stage.daemon)
    home = str(stage.folder)
    seen: list[tuple[int, object]] = []
    synced = asyncio.Event()

    async def watch(client: AsyncClient) -> None:
        async for batch in client.watch("/count", include_snapshot=True, give_up_after=90):
            if batch.synced:
                synced.set()
            seen.extend((event.entry.revision, event.entry.value) for event in batch.events)
            if seen and seen[-1][1] == 60:
                return

    async with AsyncClient(home=home) as watching:
        task = asyncio.ensure_future(watch(watching))
        await asyncio.wait_for(synced.wait(), 60)
        for number in range(1, 61):
            if number in {21, 41}:
                stage.kill(process)
                process = await asyncio.to_thread(stage.daemon)
            async with AsyncClient(home=home) as client:
                await client.set("/count", number)
        await asyncio.wait_for(task, 60)
    assert [value for _, value in seen] == list(range(1, 61))
    assert [revision for revision, _ in seen] == sorted({revision for revision, _ in seen})


async def test_a_torn_snapshot_is_sent_again(stage: Stage) -> None:
    process = await asyncio.to_thread(stage.daemon)
    home = str(stage.folder)
    async with AsyncClient(home=home) as client:
        await client.set_many({f"/snapshot/{number}": number for number in range(5000)})
        batches = client.watch("/snapshot//", include_snapshot=True, give_up_after=90)
        first = await anext(batches)
        stage.kill(process)
        await asyncio.to_thread(stage.daemon)
        values = {event.entry.path: event.entry.value for event in first.events}
        synced = first.synced
        while not synced:
            batch = await anext(batches)
            values |= {event.entry.path: event.entry.value for event in batch.events}
            synced = batch.synced
        assert len(values) == 5000


async def test_it_gives_up_in_time_and_says_why(stage: Stage) -> None:
    process = await asyncio.to_thread(stage.daemon)
    async with AsyncClient(home=str(stage.folder)) as client:
        batches = client.watch("//", include_snapshot=True, give_up_after=0.5)
        while not (await anext(batches)).synced:
            pass
        stage.kill(process)
        with pytest.raises(DaemonGone) as caught:
            async with asyncio.timeout(60):
                await anext(batches)
        assert "lightfastd" in caught.value.message or "lightfast status" in caught.value.message
        with pytest.raises(DaemonGone):
            await client.get("/a")


async def test_a_lease_goes_on_over_a_restart(stage: Stage) -> None:
    process = await asyncio.to_thread(stage.daemon)
    home = str(stage.folder)
    async with AsyncClient(home=home) as client:
        async with client.lease(ttl=6) as lease_id:
            await client.apply([mutations.set_value("/leased", 1)], lease_id=lease_id)
            stage.kill(process)
            await asyncio.to_thread(stage.daemon)
            deadline = time.monotonic() + 12.5
            while time.monotonic() < deadline:  # more than twice its time to live
                async with AsyncClient(home=home) as other:
                    assert (await other.get("/leased")).value == 1
                await asyncio.sleep(0.2)
        async with AsyncClient(home=home) as other:
            with pytest.raises(NotFound):
                await other.get("/leased")


def test_the_entries_of_a_client_that_does_not_come_back_after_a_restart_go(stage: Stage) -> None:
    process = stage.daemon()
    with Client(home=str(stage.folder)) as client:
        lease = client.call_json("ContextService.OpenLease", {"ttl": "60s"})["lease_id"]
        client.apply([mutations.set_value("/presence/me", True)], lease_id=lease)
    stage.kill(process)
    with sqlite3.connect(stage.folder / "state" / "lightfast.db") as db:  # a time that this test can wait for
        assert db.execute("UPDATE leases SET ttl_ms = 1000").rowcount == 1
    db.close()
    stage.daemon()
    with Client(home=str(stage.folder)) as client:
        until(lambda: not client.select("/presence//"), "the end of the lease")


def test_the_entries_of_a_killed_client_go(stage: Stage) -> None:
    stage.daemon()
    code = (
        "import sys, time\n"
        "from lightfast.client import Client, mutations\n"
        "with Client(home=sys.argv[1]) as client, client.lease(10) as lease:\n"
        "    client.apply([mutations.set_value('/presence/me', True)], lease_id=lease)\n"
        "    print('up', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(stage.folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        with Client(home=str(stage.folder)) as client:
            started = client.info().revision
            assert client.get("/presence/me").value is True
            process.kill()
            for batch in client.watch("/presence//", start_revision=started):
                if batch.events:
                    assert [(event.type, event.entry.origin) for event in batch.events] == [("DELETE", "lease")]
                    break
    finally:
        process.kill()
        process.wait(60)
        process.stdout.close()  # type: ignore[union-attr]


def test_a_call_while_the_daemon_restarts_fails_with_a_typed_error(stage: Stage) -> None:
    process = stage.daemon()
    with Client(home=str(stage.folder)) as client:
        client.set("/a", 1)
        stage.kill(process)
        with pytest.raises(LightfastError) as caught:
            client.set("/a", 2)
        assert caught.value.status == "UNAVAILABLE"
        stage.daemon()
        deadline = time.monotonic() + 60
        while True:
            try:
                assert client.get("/a").value in {1, 2}
                break
            except DaemonGone:
                assert time.monotonic() < deadline
                time.sleep(0.05)
