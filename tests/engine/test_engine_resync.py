"""Whose values hold when an application returns: the decision alone, on plain data."""

from __future__ import annotations

from typing import Any

from lightfast.context.entry import Entry, Status
from lightfast.engine.apps.mounts import Claim
from lightfast.engine.apps.resync import Mode, Plan, mode_of, plan
from lightfast.sdk import Change, Hello
from lightfast_link.value import Value

BEFORE = Claim("/b", "blender", "i1", "a.blend", "", 3)


def entry(
    path: str, value: Value | None, status: Status = Status.STALE, *, reported: Value | None = None, time: int = 0
) -> Entry:
    return Entry(path, value, 5, 1, 1, "someone", 0, time, 0, reported=reported, status=status)


def reports(**values: Value) -> dict[str, Change]:
    return {f"/b/{name}": Change(name, value) for name, value in values.items()}


def shape(made: Plan) -> dict[str, Any]:
    """Return what the plan does, path by path."""
    return {
        "taken": {report.path: (report.status, report.value, report.reported) for report in made.taken},
        "restored": {report.path: (report.value, report.reported) for report in made.restored},
        "gone": made.gone,
        "lost": made.lost,
        "absent": made.absent,
        "overwritten": [old.entry.path for old in made.overwritten],
    }


def test_the_mode_follows_document_and_generation() -> None:
    def hello(document: str, generation: int) -> Hello:
        return Hello("blender", "i1", document_id=document, generation=generation)

    assert mode_of(None, hello("a.blend", 0)) is Mode.NEWEST
    assert mode_of(BEFORE, hello("a.blend", 3)) is Mode.DAEMON
    assert mode_of(BEFORE, hello("a.blend", 0)) is Mode.DAEMON
    assert mode_of(BEFORE, hello("a.blend", 4)) is Mode.NEWEST
    assert mode_of(BEFORE, hello("b.blend", 3)) is Mode.APP
    assert mode_of(BEFORE, hello("b.blend", 3), "daemon") is Mode.DAEMON
    uncounted = hello("a.blend", -1)
    assert mode_of(BEFORE, uncounted) is Mode.DAEMON, "this daemon saw it crash"
    assert mode_of(BEFORE, uncounted, witnessed=False) is Mode.NEWEST, "it was the daemon that was away"
    assert mode_of(BEFORE, hello("a.blend", 3), witnessed=False) is Mode.DAEMON


def test_the_same_document_gets_back_what_it_forgot() -> None:
    entries = [entry("/b/x", 5.0), entry("/b/y", 1.0), entry("/b/z", 7.0, Status.PENDING, reported=6.0)]
    made = shape(plan(Mode.DAEMON, entries, reports(x=4.0, y=1.0000001, z=6.0)))
    assert made["restored"]["/b/x"] == (5.0, 4.0)
    assert made["restored"]["/b/z"][1] == 6.0
    assert list(made["taken"]) == ["/b/y"]
    assert made["overwritten"] == []


def test_what_was_wished_meanwhile_is_put_back_last_and_in_its_order() -> None:
    """A fader and its gain may be one thing: what was settled before must not undo what was wished since."""

    def wished(path: str, revision: int) -> Entry:
        return Entry(path, 2.0, revision, 1, 1, "someone", 0, 0, 0, reported=1.0, status=Status.PENDING)

    entries = [entry("/b/e", 5.0), wished("/b/f", 9), wished("/b/g", 8), entry("/b/h", 6.0)]
    made = plan(Mode.DAEMON, entries, reports(e=0.0, f=1.0, g=1.0, h=0.0))
    assert [report.path for report in made.restored] == ["/b/e", "/b/h", "/b/g", "/b/f"]


def test_what_the_application_does_not_have_is_put_back_if_it_can_be() -> None:
    entries = [entry("/b/mesh/location", 1.0), entry("/b/mesh/size", 2.0)]
    made = plan(Mode.DAEMON, entries, {}, writable=lambda path: path != "/b/mesh/size")
    assert [report.path for report in made.restored] == ["/b/mesh/location"]
    assert made.absent == {"/b/mesh/location"}
    assert made.gone == made.lost == ["/b/mesh/size"]


def test_a_rejected_wish_is_not_wished_again_but_what_was_settled_is() -> None:
    rejected = entry("/b/x", 99.0, Status.REJECTED, reported=5.0)
    assert plan(Mode.DAEMON, [rejected], reports(x=5.0)).restored == []
    (back,) = plan(Mode.DAEMON, [rejected], reports(x=4.0)).restored
    assert back.value == 5.0


def test_a_rejected_wish_that_the_application_holds_by_now_is_settled() -> None:
    rejected = entry("/b/x", 99.0, Status.REJECTED)
    (made,) = plan(Mode.DAEMON, [rejected], reports(x=99.0)).taken
    assert (made.status, made.reported) == (Status.SETTLED, 99.0)


def test_another_document_holds_and_leaves_a_record() -> None:
    entries = [
        entry("/b/x", 5.0),
        entry("/b/old", 1.0),
        entry("/b/wish", 3.0, Status.PENDING),
        entry("/b/late", 9.0, Status.PENDING),
    ]
    made = shape(plan(Mode.APP, entries, reports(x=4.0, wish=2.0, new=8.0)))
    assert made["taken"]["/b/x"] == (Status.SETTLED, 4.0, 4.0)
    assert made["taken"]["/b/new"] == (Status.SETTLED, 8.0, 8.0)
    assert made["gone"] == ["/b/old", "/b/late"]
    assert made["overwritten"] == ["/b/wish", "/b/late"]
    assert made["lost"] == []
    assert made["restored"] == {}


def test_an_edit_while_away_holds_but_wishes_that_wait_are_kept() -> None:
    entries = [entry("/b/x", 5.0), entry("/b/wish", 3.0, Status.PENDING, time=100)]
    made = shape(plan(Mode.NEWEST, entries, reports(x=4.0, wish=2.0)))
    assert made["taken"]["/b/x"][1] == 4.0
    assert list(made["restored"]) == ["/b/wish"]
    later = {"/b/wish": Change("wish", 2.0, event_time=200)}
    assert shape(plan(Mode.NEWEST, entries, later))["overwritten"] == ["/b/wish"]


def test_a_wish_that_is_met_is_settled() -> None:
    made = plan(Mode.DAEMON, [entry("/b/x", 5.0, Status.PENDING)], reports(x=5.0))
    assert made.restored == []
    assert made.taken[0].status is Status.SETTLED


def test_what_may_only_be_read_is_taken() -> None:
    made = plan(Mode.DAEMON, [entry("/b/fps", 24)], reports(fps=30), writable=lambda _: False)
    assert made.restored == []
    assert made.taken[0].value == 30


def test_an_incomplete_report_says_nothing_of_what_is_missing() -> None:
    for mode in Mode:
        made = plan(mode, [entry("/b/x", 5.0)], {}, complete=False)
        assert shape(made) == shape(Plan())
