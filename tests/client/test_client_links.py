"""The methods for links of both clients, against one real daemon."""

from __future__ import annotations

import inspect

import pytest
from tests.support.mistakes import Desk

from lightfast.api import values
from lightfast.api.v1 import links_pb2
from lightfast.client import AsyncClient, Client
from lightfast.client.linking import BlockingLinkCalls, LinkCalls
from lightfast.core.errors import Conflict, InvalidArgument, NotFound


def test_both_clients_have_the_same_methods() -> None:
    public = [name for name, _ in inspect.getmembers(LinkCalls, inspect.isfunction) if name[0] != "_"]
    assert set(public) - {"call"} == {
        name for name, _ in inspect.getmembers(BlockingLinkCalls, inspect.isfunction) if name[0] != "_"
    }


def test_a_link_from_its_making_to_its_end(desk: Desk) -> None:
    with Client(home=desk.home) as client:
        made = client.link("", "/c/out", inputs={"a": "/c/a", "b": "/c/b"}, expression="max(a, b)", smooth_s=0.01)
        assert [(item.name, item.path) for item in made.inputs] == [("a", "/c/a"), ("b", "/c/b")]
        assert client.get_link(made.link_id).waiting == "/c/a holds nothing yet"
        assert [item.link_id for item in client.list_links("/c/b")] == [made.link_id]
        changed = client.update_link(made.link_id, smooth_s=0.0, curve=[(0, 0), (10, 100)], condition="/c/on")
        assert (changed.smooth_s, changed.expression, len(changed.curve.points)) == (0.0, "max(a, b)", 2)
        cleared = client.update_link(made.link_id, curve=None, condition="")
        assert (cleared.HasField("curve"), cleared.condition) == (False, "")
        assert client.bypass_link(made.link_id).waiting == "bypassed"
        assert not client.bypass_link(made.link_id, on=False).bypass
        client.delete_link(made.link_id)
        with pytest.raises(NotFound):
            client.get_link(made.link_id)


def test_a_dry_run(desk: Desk) -> None:
    with Client(home=desk.home) as client:
        made = client.link("/d/a", "/d/b", two_way=True, curve="log")
        tested = client.test_link(link_id=made.link_id, value=1.0)
        assert values.from_message(tested.converted) == 1.0
        assert [move.target for move in tested.moves] == ["/d/b"]
        fresh = client.test_link("/d/x", "/d/y", 180.0, from_unit="angle.degree", to_unit="angle.radian")
        assert fresh.converted.double_value == pytest.approx(3.14159265)
        with pytest.raises(InvalidArgument, match="there is no curve"):
            client.test_link("/d/x", "/d/y", 1.0, curve="wavy")
        with pytest.raises(ValueError, match="no_such"):
            client.update_link(made.link_id, no_such=1)


async def test_an_update_of_what_was_changed_meanwhile_is_refused(desk: Desk) -> None:
    async with AsyncClient(home=desk.home) as client:
        made = await client.link("/u/a", "/u/b")
        await client.update_link(made.link_id, tolerance=0.5)
        made.tolerance = 0.25
        with pytest.raises(Conflict):
            await client.call(client.links.UpdateLink, links_pb2.UpdateLinkRequest(link=made))
        assert (await client.get_link(made.link_id)).tolerance == 0.5
