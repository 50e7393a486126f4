"""The methods for the show, the timeline and the applications of both clients, against one real daemon."""

from __future__ import annotations

import asyncio
import inspect
import json
from itertools import islice

import pytest
from tests.support.mistakes import Desk

from lightfast.api.v1 import apps_pb2, show_pb2, transport_pb2
from lightfast.client import AsyncClient, Client, generic
from lightfast.client.desk import AppCalls, BlockingAppCalls
from lightfast.client.shows import BlockingShows, Shows
from lightfast.client.timeline import BlockingTimeline, Timeline
from lightfast.core.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound


def methods(kind: type) -> dict[str, inspect.Signature]:
    """Return the public methods of *kind* with their parameters."""
    found = {name: inspect.signature(each) for name, each in inspect.getmembers(kind, inspect.isfunction)}
    return {name: signature for name, signature in found.items() if name[0] != "_" and name not in {"call", "messages"}}


@pytest.mark.parametrize(("aio", "blocking"), [(AppCalls, BlockingAppCalls), (Timeline, BlockingTimeline)])
def test_both_clients_have_the_same_methods(aio: type, blocking: type) -> None:
    one, other = methods(aio), methods(blocking)
    assert set(one) == set(other)
    assert {name: list(each.parameters) for name, each in one.items()} == {
        name: list(each.parameters) for name, each in other.items()
    }


@pytest.mark.parametrize("kind", [AppCalls, BlockingAppCalls, Timeline, BlockingTimeline, Shows, BlockingShows])
def test_every_method_says_what_it_does(kind: type) -> None:
    assert all(inspect.getdoc(getattr(kind, name)) for name in methods(kind))


def test_every_method_of_the_services_can_be_called_by_name() -> None:
    for module in (show_pb2, transport_pb2, apps_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                assert f"{service.name}.{method.name}" in generic.METHODS


def test_a_show_from_its_lock_to_its_replay(desk: Desk) -> None:
    with Client(home=desk.home) as client:
        assert client.lock_show("opening night").lock_reason == "opening night"
        assert client.get_show().show.locked
        assert not client.unlock_show().locked
        assert client.panic("smoke").show.panic
        assert not client.release_panic().panic
        assert client.record("take", ["/r//"], 60.0).active
        client.set("/r/a", 1.0)
        with pytest.raises(FailedPrecondition):
            list(client.replay("take"))
        assert client.stop_recording("take").transactions == 1
        with pytest.raises(AlreadyExists):
            client.record("take")
        assert [recording.name for recording in client.recordings()] == ["take"]
        lines = [json.loads(line) for line in b"".join(client.export_recording("take")).splitlines()]
        assert [line["record"] for line in lines if line["record"] != "state"] == ["head", "commit", "end"]
        assert len(list(islice(client.export_recording("take"), 1))) == 1, "who leaves early leaves nothing behind"
        steps = list(client.replay("take", speed=float("inf"), check=True))
        assert (steps[-1].result.differences, steps[-1].result.transactions) == (0, 2)
        client.delete_recording("take")
        with pytest.raises(NotFound):
            client.delete_recording("take")


def test_the_recording_of_one_request_begins_and_ends_once(desk: Desk) -> None:
    with Client(home=desk.home) as client:
        begin = {"name": "once", "request_id": "begin-1"}
        first = client.call_json("ShowService.StartRecording", begin)
        assert client.call_json("ShowService.StartRecording", begin) == first
        end = {"request_id": "end-1"}
        stopped = client.call_json("ShowService.StopRecording", end)
        assert client.call_json("ShowService.StopRecording", end) == stopped
        gone = {"name": "once", "request_id": "delete-1"}
        client.call_json("ShowService.DeleteRecording", gone)
        client.call_json("ShowService.DeleteRecording", gone)


def test_the_timeline(desk: Desk) -> None:
    with Client(home=desk.home) as client:
        client.set_tempo(120.0)
        assert client.seek(beats=8.0).position == pytest.approx(4.0)
        assert client.seek(timecode="00:00:02:00").position == pytest.approx(2.0)
        assert client.seek(frames=0).position == 0.0
        assert client.seek(1.5).position == 1.5
        with pytest.raises(InvalidArgument):
            client.seek()
        with pytest.raises(InvalidArgument):
            client.seek(-1.0)
        with pytest.raises(ValueError, match="give one of"):
            client.seek(1.0, beats=1.0)
        watched = client.watch_transport(50.0)
        assert not next(watched).playing
        assert client.play().playing
        assert next(record for record in watched if record.playing).position >= 1.5
        assert not client.stop().playing
        watched.close()  # type: ignore[attr-defined]  # it is a generator
        assert not client.get_transport().playing


def test_the_applications(desk: Desk) -> None:
    with Client(home=desk.home) as client:
        for app in client.list_apps():
            assert client.get_app(app.mount).mount == app.mount
            assert client.list_commands(app.mount) is not None
        with pytest.raises(NotFound):
            client.get_app("/nobody")
        with pytest.raises(NotFound):
            client.resync("/nobody")
        with pytest.raises(NotFound, match="kinds that can join"):
            client.diagnose("nobody")
        findings = client.diagnose("supercollider")
        assert apps_pb2.FINDING_LEVEL_UNSPECIFIED not in {finding.level for finding in findings}
        for choice in ("wished", "reported"):
            with pytest.raises(NotFound) as caught:
                client.resolve_conflict("conflict-none", choice)
            assert caught.value.reason == "CONFLICT_UNKNOWN"
        with pytest.raises(NotFound):
            client.resolve_conflict("conflict-none", value=1.0)
        with pytest.raises(InvalidArgument):
            client.resolve_conflict("conflict-none", "perhaps")


async def test_the_asynchronous_client_does_it_too(desk: Desk) -> None:
    async with AsyncClient(home=desk.home) as client:
        await client.show.record("aio", ["/q//"])
        await client.set("/q/a", 1.0)
        await client.show.stop_recording()
        parts = [part async for part in client.show.export_recording("aio")]
        assert b'"record":"head"' in parts[0]
        async with asyncio.timeout(60):
            async for record in client.watch_transport():
                assert not record.playing
                break
        await client.show.delete_recording("aio")
        assert "aio" not in [recording.name for recording in await client.show.recordings()]
        with pytest.raises(NotFound):
            await client.diagnose("nobody")
