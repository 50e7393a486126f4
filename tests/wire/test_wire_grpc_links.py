"""LinkService over a real socket: every field there and back, the dry run, and what is refused by the field's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from tests.support.grpc_daemon import Daemon, refused, running

from lightfast.api.v1 import links_pb2 as pb
from lightfast.api.v1 import types_pb2
from lightfast.context.entry import Set
from lightfast.engine.links.link import SETTINGS
from lightfast.wire.grpc.link_messages import get_link, put_link

FULL: dict[str, Any] = {
    "source": "/a",
    "target": "/b",
    "tolerance": 0.25,
    "disabled": True,
    "max_rate_hz": 30.0,
    "inputs": [{"name": "low", "path": "/low"}],
    "expression": "x + low",
    "condition": "/armed",
    "bypass": True,
    "smooth_s": 0.5,
    "curve": {"points": [{"x": 1.0, "y": 1.0}, {"x": 2.0, "y": 3.0}], "name": "smooth"},
    "tempo": "/song/tempo",
    "frame_rate": "25",
    "sample_rate": "48000",
}
UNITS: dict[str, Any] = {
    "source": "/u",
    "target": "/v",
    "two_way": True,
    "from_unit": "gain.db",
    "to_unit": "gain.fader.x32",
    "curve": {"name": "exp", "parameter": 3.0},
}


def link(fields: dict[str, Any]) -> pb.Link:
    return json_format.ParseDict(fields, pb.Link())


def fields(message: pb.Link) -> dict[str, Any]:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


async def set_value(daemon: Daemon, path: str, value: float) -> None:
    await daemon.store.apply([Set(path, value)], origin="client:test")


def test_every_setting_has_a_field_and_goes_there_and_back() -> None:
    known = set(pb.Link.DESCRIPTOR.fields_by_name)
    assert set(SETTINGS) <= known
    assert known - set(SETTINGS) == {"link_id", "carried", "last_error", "etag", "waiting", "rate_hz"}
    for given in (FULL, UNITS, {"source": "/a", "target": "/b", "scale": "log", "raw_units": True}):
        assert fields(put_link(get_link(link(given)), "")) == given


async def test_all_settings_are_created_listed_updated_and_guarded_by_the_etag(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("links")
        for given in (FULL, UNITS):
            created = (await stub.CreateLink(pb.CreateLinkRequest(link=link(given)))).link
            assert {name: value for name, value in fields(created).items() if name in given} == given
            assert (await stub.GetLink(pb.GetLinkRequest(link_id=created.link_id))).link == created
            etags = {created.etag}
            created.smooth_s += 1.0
            changed = (await stub.UpdateLink(pb.UpdateLinkRequest(link=created))).link
            assert changed.etag not in etags
            stale = await refused(stub.UpdateLink(pb.UpdateLinkRequest(link=created)))
            assert (stale.code, stale.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
        listed = (await stub.ListLinks(pb.ListLinksRequest(pattern="/low"))).links
        assert [item.source for item in listed] == ["/a"]
        assert listed[0].waiting == "bypassed"


async def test_a_dry_run_tells_every_move(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("links")
        await set_value(daemon, "/a", 1.0)
        first = (await stub.CreateLink(pb.CreateLinkRequest(link=link({"source": "/a", "target": "/b"})))).link
        await stub.CreateLink(pb.CreateLinkRequest(link=link({"source": "/b", "target": "/c", "condition": "/armed"})))
        value = types_pb2.Value(double_value=4.0)
        request = pb.TestLinkRequest(link=pb.Link(link_id=first.link_id), value=value)
        tested = await stub.TestLink(request)
        assert tested.converted.double_value == 4.0
        moved, kept = tested.moves
        assert (moved.link_id, moved.source, moved.target) == (first.link_id, "/a", "/b")
        assert (moved.before.double_value, moved.after.double_value, moved.refusal) == (1.0, 4.0, "")
        assert (kept.target, kept.HasField("before"), kept.HasField("after")) == ("/c", False, False)
        assert "/armed holds nothing" in kept.refusal
        assert daemon.store.get("/c") is None
        entry = daemon.store.get("/b")
        assert entry is not None
        assert entry.value == 1.0
        gone = await refused(stub.TestLink(pb.TestLinkRequest(link=pb.Link(link_id="link-none"), value=value)))
        assert gone.code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"condition": "x >"}, "link.condition"),
        ({"smooth_s": -1.0}, "link.smooth_s"),
        ({"curve": {"name": "wavy"}}, "link.curve"),
        ({"from_unit": "gain.none"}, "link.from_unit"),
        ({"scale": "cubic"}, "link.scale"),
        ({"tempo": "fast"}, "link.tempo"),
        ({"inputs": [{"name": "A", "path": "/x"}], "expression": "A"}, "link.inputs"),
        ({"inputs": [{"name": "a", "path": "/x"}], "expression": "a", "two_way": True}, "link.two_way"),
        ({"inputs": [{"name": "a", "path": "/x"}]}, "link.expression"),
    ],
)
async def test_what_is_malformed_is_named(tmp_path: Path, given: dict[str, Any], field: str) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("links")
        wrong = link({"source": "/a", "target": "/b", **given})
        found = await refused(stub.CreateLink(pb.CreateLinkRequest(link=wrong)))
        assert found.code is grpc.StatusCode.INVALID_ARGUMENT
        assert found.fields == [field]
        assert not (await stub.ListLinks(pb.ListLinksRequest())).links
