"""What an engineer does by hand: bypass, panic, and the dry run before any of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from tests.engine.test_engine_links import quiet
from tests.support.desk import App, hello, open_desk, until

from lightfast.context.entry import Declaration, Set
from lightfast.core.curves import Curve
from lightfast.core.errors import FailedPrecondition, InvalidArgument, NotFound
from lightfast.engine.links.links import Link


async def test_a_bypass_works_at_once_is_kept_and_does_not_jump_when_it_ends(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.set("/a", 1.0)
        link = await desk.links.create(Link("/a", "/b", two_way=True))
        switching = asyncio.ensure_future(desk.links.bypass(link.link_id))
        await asyncio.sleep(0)
        assert desk.links.get(link.link_id).bypass, "in force before it is durable"
        assert (await switching).waiting == "bypassed"
        await desk.set("/a", 2.0)
        await quiet(desk)
        assert desk.entry("/b").value == 1.0
    async with open_desk(tmp_path) as desk:
        kept = desk.links.get(link.link_id)
        assert (kept.bypass, kept.disabled) == (True, False)
        await desk.set("/a", 3.0)
        back = await desk.links.bypass(link.link_id, on=False)
        await quiet(desk)
        assert (back.bypass, back.waiting) == (False, "")
        assert desk.entry("/b").value == 1.0, "nothing jumps by itself"
        await desk.set("/b", 7.0)
        await desk.holds("/a", 7.0)
        await desk.links.update(Link("", "", link_id=link.link_id, two_way=True, bypass=True))
        await desk.set("/a", 8.0)
        await quiet(desk)
        assert desk.entry("/b").value == 7.0
        changed = await desk.links.update(Link("", "", link_id=link.link_id, expression="x + 1", bypass=True))
        assert (changed.bypass, desk.entry("/b").value) == (True, 7.0)


async def test_a_panic_holds_every_link_and_its_release_moves_nothing(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.store.declare([Declaration("/s", signal=True), Declaration("/t", signal=True)], owner="test")
        await desk.set("/a", 0.0)
        plain = await desk.links.create(Link("/a", "/b"))
        await desk.links.create(Link("/s", "/t", max_rate_hz=5.0))
        await desk.links.create(Link("/a", "/slow", smooth_s=30.0))
        await desk.links.create(Link("/b", "/c", condition="/armed"))
        await desk.set("/a", 100.0)
        await desk.holds("/b", 100.0)
        await until(lambda: 0.0 < float(desk.entry("/slow").value) < 100.0)  # type: ignore[arg-type]
        desk.store.publish([Set("/s", 1.0)], origin="client:test")
        await desk.holds("/t", 1.0)
        desk.store.publish([Set("/s", 2.0)], origin="client:test")
        assert desk.links.held == ""
        await asyncio.sleep(0)  # it is known by now, and waits for its pause to be over
        desk.links.hold("smoke on stage")
        await desk.store.drain()
        assert desk.links.held == "smoke on stage"
        slow = desk.entry("/slow").value
        await desk.set("/a", 5.0)
        await desk.set("/armed", True)
        made = await desk.links.create(Link("/a", "/new"))
        assert made.waiting == "all links are held: smoke on stage"
        assert desk.links.get(plain.link_id).waiting == "all links are held: smoke on stage"
        await asyncio.sleep(0.3)  # silence cannot be awaited, only listened to
        assert desk.store.get("/new") is None
        assert desk.store.get("/c") is None
        assert (desk.entry("/b").value, desk.entry("/t").value, desk.entry("/slow").value) == (100.0, 1.0, slow)
        desk.links.release()
        assert desk.links.held == ""
        await asyncio.sleep(0.3)
        assert (desk.entry("/b").value, desk.entry("/t").value, desk.entry("/slow").value) == (100.0, 1.0, slow)
        assert desk.store.get("/new") is None, "a release moves nothing"
        await desk.set("/a", 6.0)
        await desk.holds("/b", 6.0)
        await desk.holds("/new", 6.0)
        await desk.holds("/c", 6.0)


async def test_a_write_that_was_decided_before_a_panic_is_not_made_in_it(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.set("/a", 0.0)
        await desk.links.create(Link("/a", "/b"))
        for number in range(1, 60):
            writing = asyncio.ensure_future(desk.set("/a", float(number)))
            for _ in range(number % 12):
                await asyncio.sleep(0)
            desk.links.hold("panic")
            await desk.store.drain()  # what was handed over before is whole
            held_at = desk.entry("/b").value
            await writing
            await quiet(desk)
            assert desk.entry("/b").value == held_at
            desk.links.release()


async def test_a_dry_run_follows_the_forest_and_writes_nothing(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.store.declare(
            [Declaration("/low", kind="double", minimum=0.0, maximum=10.0), Declaration("/read", access="r")],
            owner="test",
        )
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        for path, value in (("/a", 1.0), ("/same", 40.0), ("/back", 1.0)):
            await desk.set(path, value)
        first = await desk.links.create(Link("/a", "/b", expression="x * 2"))
        low = await desk.links.create(Link("/b", "/low"))
        tempo = await desk.links.create(Link("/b", "/live/song/tempo", expression="x + 100"))
        await desk.links.create(Link("/back", "/b2"))
        off = await desk.links.create(Link("/b", "/off", disabled=True))
        unmet = await desk.links.create(Link("/b", "/unmet", condition="/armed"))
        many = await desk.links.create(Link("/other", "/sum", inputs=(("b", "/b"),), expression="x + b"))
        read = await desk.links.create(Link("/b", "/read"))
        two = await desk.links.create(Link("/twin", "/b-twin", two_way=True))
        await desk.set("/other", 1.0)
        await desk.holds("/sum", 3.0)
        await until(lambda: app.values["song/tempo"] == 102.0)
        await quiet(desk)
        revision, wishes = desk.store.revision, len(app.wishes)
        dry = await desk.links.rehearse(Link("", "", link_id=first.link_id), 20.0)
        assert (dry.converted, dry.returned) == (40.0, None)
        moves = {move.target: move for move in dry.moves}
        assert next(iter(moves)) == "/b"
        assert (moves["/b"].before, moves["/b"].after, moves["/b"].refusal) == (2.0, 40.0, "")
        assert moves["/low"].link_id == low.link_id
        assert "its range is 0 to 10" in moves["/low"].refusal
        assert (moves["/live/song/tempo"].link_id, moves["/live/song/tempo"].after) == (tempo.link_id, 140.0)
        assert (moves["/sum"].link_id, moves["/sum"].after) == (many.link_id, 41.0)
        assert (moves["/off"].link_id, moves["/off"].refusal) == (off.link_id, "the link is switched off")
        assert (moves["/unmet"].link_id, "/armed holds nothing" in moves["/unmet"].refusal) == (unmet.link_id, True)
        assert (moves["/read"].link_id, "can only be read" in moves["/read"].refusal) == (read.link_id, True)
        assert len(moves) == 7
        fresh = await desk.links.rehearse(Link("/new", "/twin", expression="x + 1"), 5.0)
        assert [(move.link_id, move.target, move.after) for move in fresh.moves] == [
            ("", "/twin", 6.0),
            (two.link_id, "/b-twin", 6.0),
        ]
        same = await desk.links.rehearse(Link("", "", link_id=first.link_id), 1.0)
        assert same.moves == (), "what holds it already does not move"
        desk.links.hold("panic")
        held = await desk.links.rehearse(Link("", "", link_id=first.link_id), 20.0)
        assert [move.refusal for move in held.moves] == ["all links are held: panic"]
        desk.links.release()
        assert (desk.store.revision, len(app.wishes)) == (revision, wishes)
        with pytest.raises(FailedPrecondition, match="cycle"):
            await desk.links.rehearse(Link("/b", "/a"), 1.0)
        with pytest.raises(InvalidArgument, match="not defined"):
            await desk.links.rehearse(Link("/q", "/r", expression="sqrt(x)"), -1.0)
        with pytest.raises(NotFound, match="there is no link 'link-none'"):
            await desk.links.rehearse(Link("", "", link_id="link-none"), -1.0)


async def test_every_setting_is_kept_and_what_older_daemons_kept_still_loads(tmp_path: Path) -> None:
    wanted = Link(
        "/a",
        "/b",
        tolerance=0.5,
        max_rate_hz=30.0,
        inputs=(("c", "/c"),),
        expression="x + c",
        condition="/armed",
        bypass=True,
        smooth_s=1.5,
        curve=Curve("smooth", points=((0.0, 0.0), (1.0, 2.0))),
        tempo="/song/tempo",
        frame_rate="25",
        sample_rate="48000",
    )
    units = Link("/u", "/v", two_way=True, from_unit="gain.db", to_unit="gain.fader.x32", curve=Curve("exp", 3.0))
    async with open_desk(tmp_path) as desk:
        made = [await desk.links.create(wanted), await desk.links.create(units)]
        old = {"source": "/old", "target": "/target", "expression": "x * 2", "two_way": True}
        unit = desk.db.unit()
        unit.execute("INSERT INTO links(link_id, body) VALUES('link-old', ?)", (msgspec.json.encode(old).decode(),))
        unit.execute("INSERT INTO links(link_id, body) VALUES('link-torn', '{\"source\": 3}')", ())
        await desk.db.commit(unit)
    async with open_desk(tmp_path) as desk:
        for link in made:
            found = desk.links.get(link.link_id)
            assert (found.inputs, found.curve, found.condition) == (link.inputs, link.curve, link.condition)
            for name in ("tolerance", "max_rate_hz", "bypass", "smooth_s", "tempo", "frame_rate", "sample_rate"):
                assert getattr(found, name) == getattr(link, name), name
            assert (found.from_unit, found.to_unit) == (link.from_unit, link.to_unit)
        assert len(desk.links.list()) == 3, "one that cannot be read is left alone"
        await desk.set("/old", 4.0)
        await desk.holds("/target", 8.0)


async def test_a_link_says_how_much_it_carries(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        link = await desk.links.create(Link("/a", "/b"))
        assert desk.links.get(link.link_id).rate_hz == 0.0
        async with asyncio.timeout(60):
            number = 0.0
            while not desk.links.get(link.link_id).rate_hz:
                number += 1.0
                await desk.set("/a", number)
        assert desk.links.get(link.link_id).rate_hz <= number
        assert desk.links.get(link.link_id).carried <= number
