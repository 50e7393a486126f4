"""Names of mounts: the user's, else the kind, `-2` for a second one, the same again after a restart."""

from __future__ import annotations

import pytest

from lightfast.engine.apps.mounts import Claim, choose
from lightfast.sdk import BridgeError, Hello


def hello(instance: str, document: str = "", *, name: str = "", kind: str = "blender") -> Hello:
    return Hello(kind=kind, instance_id=instance, document_id=document, name=name)


def test_the_kind_then_a_number() -> None:
    assert choose(hello("i1"), [], set()) == "/blender"
    assert choose(hello("i2"), [], {"/blender"}) == "/blender-2"
    assert choose(hello("i3"), [], {"/blender", "/blender-2"}) == "/blender-3"


def test_the_users_name_wins_and_is_encoded() -> None:
    assert choose(hello("i1", name="Big Screen"), [], set()) == "/Big%20Screen"


def test_a_document_finds_its_mount_again() -> None:
    claims = [Claim("/blender", "blender", "i1", "a.blend"), Claim("/blender-2", "blender", "i2", "b.blend")]
    assert choose(hello("new", "b.blend"), claims, set()) == "/blender-2"
    assert choose(hello("new", "a.blend"), claims, set()) == "/blender"


def test_an_instance_finds_its_mount_again_with_another_document() -> None:
    claims = [Claim("/blender", "blender", "i1", "a.blend"), Claim("/blender-2", "blender", "i2", "b.blend")]
    assert choose(hello("i2", "c.blend"), claims, set()) == "/blender-2"


def test_the_document_counts_before_the_instance() -> None:
    claims = [Claim("/blender", "blender", "i1", "a.blend"), Claim("/blender-2", "blender", "i2", "b.blend")]
    assert choose(hello("i2", "a.blend"), claims, set()) == "/blender"


def test_a_stranger_takes_the_first_that_is_free() -> None:
    claims = [Claim("/blender", "blender", "i1", "a.blend")]
    assert choose(hello("i9", "z.blend"), claims, set()) == "/blender"
    assert choose(hello("i9", "z.blend"), claims, {"/blender"}) == "/blender-2"


def test_the_same_document_twice_gives_two_mounts() -> None:
    claims = [Claim("/blender", "blender", "i1", "a.blend")]
    assert choose(hello("i2", "a.blend"), claims, {"/blender"}) == "/blender-2"


def test_another_kind_does_not_take_a_claimed_name() -> None:
    claims = [Claim("/stage", "blender", "i1", "a.blend")]
    assert choose(hello("i1", name="stage", kind="touchdesigner"), claims, set()) == "/stage-2"


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (hello("i", name="lightfast"), "cannot be the name"),
        (hello("i", name="transport"), "cannot be the name"),
        (hello("i", name="x" * 200), "cannot be the name"),
        (hello(""), "needs a kind and an instance_id"),
        (hello("i", kind=""), "needs a kind and an instance_id"),
    ],
)
def test_a_malformed_hello_is_refused(bad: Hello, what: str) -> None:
    with pytest.raises(BridgeError, match=what):
        choose(bad, [], set())
