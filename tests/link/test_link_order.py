"""An answer goes out before the reports that wait, and is newer than they are."""

from __future__ import annotations

from collections import Counter

from lightfast_link.messages import Change
from lightfast_link.outbox import Outbox


def states(outbox: Outbox) -> list[dict[str, object]]:
    found = []
    while (header := outbox.next_state(credit=100)[0]) is not None:
        found += header["changes"]
        outbox.sent_state()
    return found


def test_a_full_report_that_waits_does_not_bring_back_what_a_wish_has_changed() -> None:
    outbox = Outbox(Counter())
    outbox.add(Change("level", 4.0, event_time=7, object_id="o"))
    outbox.add(Change("other", 1.0))
    outbox.mark_synced()
    outbox.settled(5, 5.0)
    outbox.supersede("level", 5.0)
    assert [(one["path"], one["value"]) for one in states(outbox)] == [("level", 5.0), ("other", 1.0)]


def test_what_could_not_leave_yet_is_superseded_too() -> None:
    outbox = Outbox(Counter())
    outbox.add(Change("level", 4.0))
    assert outbox.next_state(credit=100)[0] is not None  # but there was no room to send it
    outbox.supersede("level", None)
    assert states(outbox) == [{"path": "level"}]


def test_before_a_rename_a_path_was_another_s() -> None:
    outbox = Outbox(Counter())
    outbox.add(Change("a/x", 1.0))
    outbox.add(Change("b", moved_from="a"))
    outbox.add(Change("a/x", 2.0))
    outbox.supersede("a/x", 3.0)
    assert [(one["path"], one.get("value")) for one in states(outbox)] == [("a/x", 1.0), ("b", None), ("a/x", 3.0)]


def test_what_is_reported_afterwards_counts() -> None:
    outbox = Outbox(Counter())
    outbox.supersede("level", 5.0)
    outbox.add(Change("level", 6.0))
    assert states(outbox) == [{"path": "level", "value": 6.0}]
