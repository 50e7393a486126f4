"""Links between paths and between applications, on the real store and bus."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.desk import App, Desk, hello, open_desk, until

from lightfast.context.entry import Declaration, Delete, Move, Set, Status
from lightfast.core.errors import FailedPrecondition, InvalidArgument, LightfastError, NotFound
from lightfast.engine.links.links import Link
from lightfast.sdk import Change


async def quiet(desk: Desk) -> None:
    """Wait until no link has anything under way: nothing dirty, nothing busy, over several ticks."""
    calm = 0
    async with asyncio.timeout(60):
        while calm < 5:
            carriers = desk.links._carriers.values()
            calm = calm + 1 if all(c.idle.is_set() and not c.dirty and not c.stalled for c in carriers) else 0
            await desk.store.drain()
            await asyncio.sleep(0.002)


async def test_a_link_carries_at_once_and_from_then_on(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.set("/a", 120.0)
        link = await desk.links.create(Link("/a", "/b", expression="x / 60"))
        assert desk.entry("/b").value == 2.0
        revision = await desk.set("/a", 90.0, group="gesture")
        await desk.holds("/b", 1.5)
        entry = desk.entry("/b")
        assert (entry.origin, entry.cause) == (f"link:{link.link_id}", revision)
        (latest, *_) = (await desk.store.history("/b")).transactions
        assert latest.group == "gesture"
        await desk.set("/b", 7.0)
        await quiet(desk)
        assert desk.entry("/a").value == 90.0, "one way is one way"
        assert desk.links.get(link.link_id).carried == 2


async def test_two_ways_with_conversion(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.set("/db", 0.0)
        link = await desk.links.create(Link("/gain", "/db", two_way=True, expression="20 * log10(x)"))
        assert desk.entry("/gain").value == 1.0, "the only end with a value leads"
        await desk.set("/gain", 10.0)
        await desk.holds("/db", 20.0)
        await desk.set("/db", -20.0)
        await until(lambda: desk.entry("/gain").value == pytest.approx(0.1))
        revision = desk.store.revision
        await quiet(desk)
        assert desk.store.revision == revision, "nothing goes back and forth"
        converted, returned = desk.links.test(link, 100.0)
        assert converted == 40.0
        assert returned == pytest.approx(100.0)


async def test_simultaneous_changes_of_both_ends_agree(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.links.create(Link("/a", "/b", two_way=True))
        for round_ in range(20):
            await asyncio.gather(desk.set("/a", float(round_)), desk.set("/b", -float(round_) - 1))
        await quiet(desk)
        assert desk.entry("/a").value == desk.entry("/b").value == -20.0


async def test_an_undo_takes_the_carried_value_along(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.set("/a", 1.0)
        await desk.links.create(Link("/a", "/b"))
        await desk.links.create(Link("/b", "/c", expression="x * 2"))
        await desk.set("/a", 5.0, group="gesture")
        await desk.holds("/c", 10.0)
        undone = await desk.store.undo(group="gesture", origin="client:test")
        assert (len(undone.undone), undone.conflicts) == (3, ())
        await quiet(desk)
        assert [desk.entry(path).value for path in ("/a", "/b", "/c")] == [1.0, 1.0, 2.0]
        assert desk.entry("/c").revision == undone.revision


async def test_an_undo_carries_through_applications(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        live, blender = App({"song/tempo": 120.0}), App({"song/tempo": 60.0})
        await desk.live(live, hello("i1", "a"))
        await desk.live(blender, hello("i2", "b", name="blender"))
        await desk.links.create(Link("/live/song/tempo", "/blender/song/tempo", two_way=True))
        await until(lambda: blender.values["song/tempo"] == 120.0)
        await desk.status("/blender/song/tempo", Status.SETTLED)
        revision = await desk.set("/live/song/tempo", 90.0)
        await until(lambda: blender.values["song/tempo"] == 90.0)
        await desk.status("/blender/song/tempo", Status.SETTLED)
        undone = await desk.store.undo(revision=revision, origin="client:test")
        assert undone.conflicts == ()
        await until(lambda: (live.values["song/tempo"], blender.values["song/tempo"]) == (120.0, 120.0))
        await desk.status("/live/song/tempo", Status.SETTLED)
        await desk.status("/blender/song/tempo", Status.SETTLED)


async def test_applications_that_round_and_echo_stay_silent(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        ardour = App({"tracks/0/volume": 0.0}, rounds=lambda _, v: v + 0.000002, echoes=True, answers=False)
        blender = App({"tracks/0/volume": 0.0}, rounds=lambda _, v: round(v, 4), echoes=True)
        await desk.live(ardour, hello("i1", "a", name="ardour"))
        await desk.live(blender, hello("i2", "b", name="blender"))
        await desk.links.create(Link("/ardour/tracks/0/volume", "/blender/tracks/0/volume", two_way=True))
        blender.turn("tracks/0/volume", -12.0)
        await until(lambda: ardour.values["tracks/0/volume"] == pytest.approx(-12.0, abs=1e-4))
        ardour.turn("tracks/0/volume", -21.000002)
        await until(lambda: blender.values["tracks/0/volume"] == pytest.approx(-21.0, abs=1e-4))
        await desk.status("/blender/tracks/0/volume", Status.SETTLED)
        await desk.status("/ardour/tracks/0/volume", Status.SETTLED)
        revision, sent = desk.store.revision, len(ardour.wishes) + len(blender.wishes)
        await quiet(desk)
        await asyncio.sleep(0.3)  # silence cannot be awaited, only listened to
        assert desk.store.revision == revision
        assert (sent, len(ardour.wishes) + len(blender.wishes)) == (sent, sent)
        assert sent == 2


async def test_applications_that_cannot_agree_give_in(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        low = App({"song/tempo": 90.0}, rounds=lambda _, v: min(v, 100.0))
        high = App({"song/tempo": 90.0}, rounds=lambda _, v: max(v, 200.0))
        await desk.live(low, hello("i1", "a", name="low"))
        await desk.live(high, hello("i2", "b", name="high"))
        link = await desk.links.create(Link("/low/song/tempo", "/high/song/tempo", two_way=True))
        low.turn("song/tempo", 80.0)
        await until(lambda: desk.links.get(link.link_id).last_error)
        await quiet(desk)
        assert "the ends do not agree" in desk.links.get(link.link_id).last_error
        assert len(low.wishes) + len(high.wishes) <= 8


async def test_links_follow_a_rename_and_a_restart(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"objects/Cube/count": 3})
        await desk.live(app, hello())
        link = await desk.links.create(Link("/live/objects/Cube/count", "/out"))
        app.joined.report([Change("objects/Box", None, moved_from="objects/Cube")])
        await until(lambda: desk.links.get(link.link_id).source == "/live/objects/Box/count")
        app.turn("objects/Box/count", 4)
        await desk.holds("/out", 4)
        await desk.set("/in", 1)
        await desk.store.apply([Move("/out", "/elsewhere")], origin="client:test")
        await until(lambda: desk.links.get(link.link_id).target == "/elsewhere")
    async with open_desk(tmp_path) as desk:
        kept = desk.links.get(link.link_id)
        assert (kept.source, kept.target) == ("/live/objects/Box/count", "/elsewhere")
        app = App({"objects/Box/count": 9})
        await desk.live(app, hello(generation=1))
        await desk.holds("/elsewhere", 9)


async def test_a_link_recovers_with_the_next_good_value(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.store.declare([Declaration("/level", kind="double", minimum=0.0, maximum=1.0)], owner="test")
        await desk.set("/a", 0.5)
        link = await desk.links.create(Link("/a", "/level", expression="1 / x"))
        assert "/level" in desk.links.get(link.link_id).last_error
        assert desk.store.get("/level") is None
        await desk.set("/a", 0.0)
        await until(lambda: "divides by zero at x = 0" in desk.links.get(link.link_id).last_error)
        await desk.set("/a", 2.0)
        await desk.holds("/level", 0.5)
        await until(lambda: desk.links.get(link.link_id).last_error == "")


async def test_a_link_waits_for_its_target(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        live = App({"song/tempo": 120.0})
        await desk.live(live, hello("i1"))
        await desk.live(App({}), hello("i2", "b", name="blender"))
        link = await desk.links.create(Link("/live/song/tempo", "/blender/custom", two_way=True))
        assert "/blender/custom is not known" in desk.links.get(link.link_id).last_error
        blender = desk.registry.session("blender").channel
        assert isinstance(blender, App)
        blender.turn("custom", 1.0)
        await until(lambda: blender.values["custom"] == 120.0)
        await desk.status("/blender/custom", Status.SETTLED)
        assert live.values["song/tempo"] == 120.0, "the source leads"


async def test_kinds_are_converted_or_refused(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        kinds = {"int": "/int", "bool": "/bool", "vector": "/vector", "string": "/string", "double": "/double"}
        await desk.store.declare([Declaration(path, kind=kind) for kind, path in kinds.items()], owner="test")

        def converted(target: str, value: object, expression: str = "") -> object:
            return desk.links.test(Link("/s", target, expression=expression), value)[0]  # type: ignore[arg-type]

        assert converted("/int", 2.6) == 3
        assert type(converted("/int", 2.6)) is int
        assert converted("/bool", 0.0) is False
        assert converted("/bool", 0.1) is True
        assert converted("/double", True) == 1.0
        assert converted("/double", 3, "x * 2") == 6.0
        assert converted("/vector", (1.0, 2.0), "x + 1") == (2.0, 3.0)
        assert converted("/vector", [1, 2.5]) == (1.0, 2.5)
        assert converted("/string", "a") == "a"
        assert converted("/free", {"a": 1}) == {"a": 1}
        for target, value, expression, what in [
            ("/string", "a", "x + 1", "passes only unchanged"),
            ("/string", 1.0, "", "a number does not become a string"),
            ("/double", (1.0,), "", "a vector does not become a double"),
            ("/vector", 1.0, "", "a number does not become a vector"),
            ("/int", 1e30, "", "does not fit an int"),
        ]:
            with pytest.raises(InvalidArgument, match=what):
                converted(target, value, expression)


async def test_signals_are_carried_as_signals(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.store.declare([Declaration(p, kind="double", signal=True) for p in ("/s", "/t")], owner="test")
        await desk.links.create(Link("/s", "/t", two_way=True, expression="x * 2"))
        revision = desk.store.revision
        for index in range(100):
            desk.store.publish([Set("/s", float(index))], origin="client:test")
            await asyncio.sleep(0)
        await until(lambda: desk.entry("/t").value == 198.0)
        assert desk.entry("/t").revision == 0
        assert desk.store.revision == revision
        desk.store.publish([Set("/t", 10.0)], origin="client:test")
        await until(lambda: desk.entry("/s").value == 5.0)
        await until(lambda: desk.entry("/s").revision and desk.entry("/t").revision)
        await quiet(desk)
        assert (desk.entry("/s").value, desk.entry("/t").value) == (5.0, 10.0)


async def test_a_signal_that_says_the_same_twice_in_one_tick_is_carried(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.store.declare([Declaration(p, kind="double", signal=True) for p in ("/s", "/t")], owner="test")
        await desk.links.create(Link("/s", "/t"))
        for value in (0.2, 1.0):
            desk.store.publish([Set("/s", value)], origin="client:test")
            desk.store.publish([Set("/s", value)], origin="client:test")  # a fader at its end
            await desk.holds("/t", value)


async def test_what_is_wrong_with_a_link_is_said(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:

        async def refused(link: Link, error: type[LightfastError], match: str) -> None:
            with pytest.raises(error, match=match):
                await desk.links.create(link)

        await refused(Link("a", "/b"), InvalidArgument, "does not begin with '/'")
        await refused(Link("/a", "/b//c"), InvalidArgument, "empty segment")
        await refused(Link("/a", "/b", expression="x +"), InvalidArgument, "at position 4")
        await refused(Link("/a", "/b", expression="x ** 2", two_way=True), InvalidArgument, "x and -x")
        await refused(Link("/a", "/b", tolerance=-1.0), InvalidArgument, "tolerance")
        await refused(Link("/a", "/b", link_id="mine"), InvalidArgument, "chosen here")
        assert (await desk.links.create(Link("/a", "/b"), validate_only=True)).link_id == ""
        assert desk.links.list() == []
        first = await desk.links.create(Link("/a", "/b"))
        second = await desk.links.create(Link("/b", "/c"))
        await refused(Link("/c", "/a"), FailedPrecondition, "/c - /b - /a - /c")
        await refused(Link("/x", "/b"), FailedPrecondition, "/b already follows /a")
        assert [link.link_id for link in desk.links.list()] == [first.link_id, second.link_id]
        assert [link.link_id for link in desk.links.list("/c")] == [second.link_id]
        with pytest.raises(InvalidArgument, match="cannot change"):
            await desk.links.update(Link("/z", "/b", link_id=first.link_id))
        with pytest.raises(NotFound, match="holds no value to test"):
            desk.links.test(Link("", "", link_id=first.link_id))
        await desk.links.delete(first.link_id)
        for call in (desk.links.delete(first.link_id), desk.links.update(first)):
            with pytest.raises(NotFound, match="no link"):
                await call


async def test_an_update_switches_off_and_changes_the_formula(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.set("/a", 2.0)
        link = await desk.links.create(Link("/a", "/b"))
        off = await desk.links.update(Link("", "", link_id=link.link_id, disabled=True))
        assert off.disabled
        assert off.source == "/a"
        await desk.set("/a", 3.0)
        await quiet(desk)
        assert desk.entry("/b").value == 2.0
        on = await desk.links.update(Link("", "", link_id=link.link_id, expression="x * 10"))
        assert desk.entry("/b").value == 30.0
        assert on.carried == 2
        await desk.store.apply([Delete("/a")], origin="client:test")
        await quiet(desk)
        assert desk.entry("/b").value == 30.0, "the values stay"
        await desk.links.delete(link.link_id)
        await desk.set("/a", 4.0)
        await quiet(desk)
        assert desk.entry("/b").value == 30.0


_PATHS = [f"/p{index}" for index in range(6)]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edges=st.lists(
        st.tuples(st.sampled_from(_PATHS), st.sampled_from(_PATHS), st.sampled_from(["", "x * 2", "3 - x"])), max_size=8
    ),
    writes=st.lists(st.lists(st.tuples(st.sampled_from(_PATHS), st.integers(-9, 9)), max_size=4), max_size=6),
)
def test_any_forest_comes_to_rest_in_agreement(
    tmp_path_factory: pytest.TempPathFactory, edges: list[tuple[str, str, str]], writes: list[list[tuple[str, int]]]
) -> None:
    async def run() -> None:
        async with open_desk(tmp_path_factory.mktemp("forest")) as desk:
            links = []
            for source, target, expression in edges:
                try:
                    links.append(await desk.links.create(Link(source, target, expression=expression, two_way=True)))
                except LightfastError:
                    continue
            for together in writes:
                await asyncio.gather(*[desk.set(path, float(value)) for path, value in together])
            await quiet(desk)
            for link in links:
                leader, follower = desk.store.get(link.source), desk.store.get(link.target)
                assert (leader is None) == (follower is None)
                if leader is not None and follower is not None:
                    converted, _ = desk.links.test(link, leader.value)
                    assert follower.value == pytest.approx(converted), desk.links.get(link.link_id)

    asyncio.run(run())


async def test_units_convert_both_ways_unless_told_otherwise(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        declared = [Declaration("/db", kind="double", unit="gain.db"), Declaration("/gain", unit="gain.linear")]
        await desk.store.declare(declared, [], owner="test")
        await desk.set("/db", -6.0)
        link = await desk.links.create(Link("/db", "/gain", two_way=True))
        await until(lambda: desk.entry("/gain").value == pytest.approx(0.501187, abs=1e-6))
        await desk.set("/gain", 1.0)
        await until(lambda: desk.entry("/db").value == pytest.approx(0.0))
        await desk.links.update(Link("/db", "/gain", link_id=link.link_id, raw_units=True))
        await desk.set("/db", -12.0)
        await desk.holds("/gain", -12.0)


async def test_an_expression_takes_the_place_of_units(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        declared = [Declaration("/degrees", unit="angle.degree"), Declaration("/turn", unit="angle.radian")]
        await desk.store.declare(declared, [], owner="test")
        await desk.set("/degrees", 90.0)
        await desk.links.create(Link("/degrees", "/turn", expression="x / 360"))
        await desk.holds("/turn", 0.25)


async def test_a_rate_holds_back_and_the_latest_arrives(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.set("/a", 0.0)
        began = asyncio.get_running_loop().time()
        link = await desk.links.create(Link("/a", "/b", max_rate_hz=4.0))
        for number in range(1, 40):
            await desk.set("/a", float(number))
        await desk.holds("/b", 39.0)
        await quiet(desk)
        most = 2 + 4 * (asyncio.get_running_loop().time() - began)
        carried = desk.links.get(link.link_id).carried
        assert 2 <= carried <= most, "one at once, one when the pause was over, and no more than the test took time for"


async def test_a_rate_that_is_none_is_refused(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        with pytest.raises(InvalidArgument, match=r"max_rate_hz is -1.0: it must be 0 \(no limit\) or more"):
            await desk.links.create(Link("/a", "/b", max_rate_hz=-1.0))
