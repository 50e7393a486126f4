"""The forest of links: what is refused, and that the refusal shows the cycle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightfast.core.errors import FailedPrecondition, InvalidArgument, LightfastError
from lightfast.engine.links.graph import Edge, check_edge


def _edges(*pairs: tuple[str, str]) -> list[Edge]:
    return [Edge(f"link-{index}", source, target) for index, (source, target) in enumerate(pairs)]


def test_a_chain_and_a_fan_are_fine() -> None:
    check_edge(_edges(("/a", "/b"), ("/b", "/c")), Edge("new", "/c", "/d"))
    check_edge(_edges(("/a", "/b"), ("/a", "/c")), Edge("new", "/a", "/d"))


def test_a_link_to_itself_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="/a cannot be linked to itself"):
        check_edge([], Edge("new", "/a", "/a"))


def test_a_cycle_is_refused_and_shown() -> None:
    with pytest.raises(FailedPrecondition) as caught:
        check_edge(_edges(("/a", "/b"), ("/b", "/c")), Edge("new", "/c", "/a"))
    assert caught.value.reason == "LINK_CYCLE"
    assert caught.value.metadata["cycle"] == "/c - /b - /a - /c"
    assert "/c - /b - /a - /c" in caught.value.message


def test_the_same_two_paths_cannot_be_linked_twice() -> None:
    with pytest.raises(FailedPrecondition, match="cycle"):
        check_edge(_edges(("/a", "/b")), Edge("new", "/b", "/a"))


def test_a_second_leader_is_refused_by_name() -> None:
    with pytest.raises(FailedPrecondition) as caught:
        check_edge(_edges(("/a", "/c")), Edge("new", "/b", "/c"))
    assert caught.value.reason == "LINK_TARGET_TAKEN"
    assert "/c already follows /a" in caught.value.message


def test_a_link_is_not_checked_against_itself() -> None:
    check_edge([Edge("link-1", "/a", "/b")], Edge("link-1", "/a", "/b"))


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25))
def test_what_is_let_in_is_always_a_forest(pairs: list[tuple[int, int]]) -> None:
    edges: list[Edge] = []
    for index, (source, target) in enumerate(pairs):
        edge = Edge(str(index), f"/{source}", f"/{target}")
        try:
            check_edge(edges, edge)
        except LightfastError:
            continue
        edges.append(edge)
    roots: dict[str, str] = {}

    def find(path: str) -> str:
        while path in roots:
            path = roots[path]
        return path

    for edge in edges:
        assert find(edge.source) != find(edge.target)
        roots[find(edge.target)] = find(edge.source)
    targets = [edge.target for edge in edges]
    assert len(targets) == len(set(targets))
