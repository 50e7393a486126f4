"""Many links, and many changes a second: the latest value arrives exactly everywhere."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from tests.support.desk import Desk, open_desk, until

from lightfast.context.entry import Declaration, Set
from lightfast.core.errors import FailedPrecondition, InvalidArgument
from lightfast.engine.links.links import MAX_LINKS, Link

PARAMETERS = 1_000
SECONDS = 2
HZ = 60


async def kept(desk: Desk, links: list[Link]) -> None:
    """Put *links* into the database, as a daemon that made them would have."""
    unit = desk.db.unit()
    for index, link in enumerate(links):
        body = {"source": link.source, "target": link.target, "two_way": link.two_way, "expression": link.expression}
        unit.execute(
            "INSERT INTO links(link_id, body) VALUES(?, ?)", (f"link-{index:05}", msgspec.json.encode(body).decode())
        )
    await desk.db.commit(unit)


@pytest.mark.limit(600)
@pytest.mark.parametrize("two_way", [False, True])
async def test_a_thousand_parameters_at_60_hz_through_two_links_end_exact(tmp_path: Path, two_way: bool) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.store.declare(
            [Declaration(f"/{name}/*", kind="double", signal=True) for name in ("osc", "mid", "out")], owner="test"
        )
        chain = [("/osc/{}", "/mid/{}", "x / 2"), ("/mid/{}", "/out/{}", "x + 1")]
        await kept(
            desk,
            [
                Link(source.format(index), target.format(index), expression=expression, two_way=two_way)
                for index in range(PARAMETERS)
                for source, target, expression in chain
            ],
        )
    async with open_desk(tmp_path) as desk:
        last = 0.0
        for tick in range(SECONDS * HZ):
            last = float(tick)
            changes = [Set(f"/osc/{index}", last * PARAMETERS + index) for index in range(PARAMETERS)]
            assert desk.store.publish(changes, origin="client:osc").dropped == 0
            await asyncio.sleep(1 / HZ)
        wanted = {f"/out/{index}": (last * PARAMETERS + index) / 2 + 1 for index in range(PARAMETERS)}

        def wrong() -> list[str]:
            found = {path: desk.store.get(path) for path in wanted}
            return [path for path, entry in found.items() if entry is None or entry.value != wanted[path]]

        await until(lambda: not wrong(), lambda: wrong()[:5], seconds=300)
        for index in range(PARAMETERS):
            assert desk.entry(f"/osc/{index}").value == last * PARAMETERS + index, "nothing comes back"
        assert [link.last_error for link in desk.links.list() if link.last_error] == []


@pytest.mark.limit(600)
async def test_ten_thousand_links_work_and_are_the_most(tmp_path: Path) -> None:
    trees, depth = 100, MAX_LINKS // 100
    async with open_desk(tmp_path) as desk:
        links = []
        for tree in range(trees):
            links.append(Link(f"/{tree}/root", f"/{tree}/0"))
            links += [Link(f"/{tree}/{(node - 1) // 2}", f"/{tree}/{node}") for node in range(1, depth)]
        await kept(desk, links)
        await desk.store.declare([Declaration("//", signal=True)], owner="test")
    async with open_desk(tmp_path) as desk:
        assert len(desk.links.list()) == MAX_LINKS
        with pytest.raises(InvalidArgument, match="which is the most"):
            await desk.links.create(Link("/one", "/more"))
        await desk.links.delete("link-00000")
        with pytest.raises(FailedPrecondition, match="would close a cycle"):
            await desk.links.create(Link(f"/1/{depth - 1}", "/1/root"))
        await desk.links.create(Link("/5/60", "/0/root"))
        for tree in range(1, trees):
            desk.store.publish([Set(f"/{tree}/root", float(tree))], origin="client:test")
        ends = [f"/{tree}/{depth - 1}" for tree in range(1, trees)]

        def missing() -> list[str]:
            entries = [desk.store.get(path) for path in ends]
            return [p for p, e in zip(ends, entries, strict=True) if e is None or e.value != float(p.split("/")[1])]

        await until(lambda: not missing(), lambda: missing()[:5], seconds=300)
        await until(lambda: (e := desk.store.get("/0/root")) is not None and e.value == 5.0)
