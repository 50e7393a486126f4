"""The commands of links against one real daemon: every option, the dry run, the graph."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.app.test_app_cli import in_json, said
from tests.support.mistakes import Desk, matches, run
from tests.support.waiting import until

from lightfast.app.cli.link_graph import dot, tree
from lightfast.app.cli.link_options import parse_curve


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    found = Desk(tmp_path_factory.mktemp("desk"))
    try:
        yield found
    finally:
        found.close()


def made(desk: Desk, *arguments: str) -> str:
    return said(desk, "link", *arguments).split()[0]


def listed(desk: Desk, pattern: str) -> dict[str, Any]:
    """Return the only link that touches a path of *pattern*."""
    links: Any = in_json(desk, "ListLinksResponse", "link", "list", pattern)[0]["links"]
    assert len(links) == 1
    return dict(links[0])


def refused(desk: Desk, *arguments: str) -> str:
    done = run("--home", desk.home, "link", *arguments)
    assert done.returncode == 2, done
    return " ".join(done.stderr.replace("│", " ").split())


def test_every_option_is_set_shown_and_changed(desk: Desk) -> None:
    options = ["--two-way", "--rate", "30", "--tolerance", "0.5", "--smooth", "0.2", "--curve", "smooth:0,0 1,2"]
    units = ["--from-unit", "time.second", "--to-unit", "time.beats", "--tempo", "/o/tempo", "--when", "/o/armed"]
    link = made(desk, "/o/a", "/o/b", *options, *units, "--off")
    found = listed(desk, "/o//")
    assert found["link_id"] == link
    assert (found["two_way"], found["max_rate_hz"], found["tolerance"], found["smooth_s"]) == (True, 30.0, 0.5, 0.2)
    assert found["curve"]["points"][1] == {"x": 1.0, "y": 2.0}
    assert (found["from_unit"], found["to_unit"], found["tempo"]) == ("time.second", "time.beats", "/o/tempo")
    assert (found["condition"], found["disabled"], found["waiting"]) == ("/o/armed", True, "switched off")
    line = said(desk, "link", "ls", "/o//")
    for part in ("<->", "when /o/armed", "smooth 0.2 s", "at most 30/s", "from time.second", "tempo /o/tempo", "(off)"):
        assert part in line, (part, line)
    told = said(desk, "link", "update", link, "--one-way", "--when", "", "--curve", "none", "--rate", "0", "--on")
    assert "->" in told
    assert "<->" not in told
    assert "when" not in told
    found = listed(desk, "/o//")
    assert {"two_way", "curve", "condition", "max_rate_hz", "disabled"}.isdisjoint(
        {name for name, value in found.items() if value}
    )
    assert found["smooth_s"] == 0.2, "what is not given stays"
    assert said(desk, "link", "delete", link) == "gone\n"


def test_several_sources_and_a_scale(desk: Desk) -> None:
    told = said(desk, "link", "/m/out", "--input", "a=/m/x", "--input", "b=/m/y", "--as", "max(a, b) * 0.5")
    assert matches(
        told, "link-<…>  /m/x, a=/m/x, b=/m/y -> /m/out  as max(a, b) * 0.5  (waits: /m/x holds nothing yet)\n"
    )
    said(desk, "set", "/m/x", "4.0")
    said(desk, "set", "/m/y", "10.0")
    until(lambda: said(desk, "ls", "/m").find("out") >= 0 and said(desk, "get", "/m/out").strip() == "5")
    assert "it would be  /m/p -> /m/q" in said(desk, "link", "add", "/m/p", "/m/q", "--dry-run", "--scale", "linear")
    assert "/m/q" not in said(desk, "link", "ls")


def test_a_bypass_and_back(desk: Desk) -> None:
    link = made(desk, "/y/a", "/y/b")
    assert "(bypassed)" in said(desk, "link", "bypass", link)
    said(desk, "set", "/y/a", "1.0")
    assert "(bypassed)" not in said(desk, "link", "bypass", link, "--off")
    assert run("--home", desk.home, "get", "/y/b").returncode == 4
    said(desk, "set", "/y/a", "2.0")
    until(lambda: run("--home", desk.home, "get", "/y/b").stdout.strip() == "2")
    assert run("--home", desk.home, "link", "bypass", "link-none").returncode == 4


def test_a_dry_run_of_a_new_link_and_of_one_there(desk: Desk) -> None:
    first = made(desk, "/t/a", "/t/b", "--as", "x * 2", "--two-way")
    then = made(desk, "/t/b", "/t/c", "--when", "/t/armed")
    told = said(desk, "link", "test", first, "-4")
    assert told.splitlines() == [
        "the target would get -8",
        "and it would come back as -4",
        f"  /t/b  - -> -8  (by {first})",
        f"  /t/c  - -> -  (by {then})  REFUSED: /t/armed holds nothing, and the condition is /t/armed",
    ]
    told = said(desk, "link", "test", "/t/new", "/t/a", "3", "--as", "x + 1", "--two-way")
    assert told.splitlines()[:4] == [
        "the target would get 4",
        "and it would come back as 3",
        "  /t/a  - -> 4",
        f"  /t/b  - -> 8  (by {first})",
    ]
    assert len(in_json(desk, "TestLinkResponse", "link", "test", first, "1")[0]["moves"]) == 2  # type: ignore[arg-type]
    assert run("--home", desk.home, "get", "/t/b").returncode == 4, "nothing was written"
    told = said(desk, "link", "test", "/t/sum", "5", "--input", "a=/t/n", "--as", "a + 1")
    assert told.splitlines() == ["the target would get 6", "  /t/sum  - -> 6"]
    assert "give a link, or SOURCE TARGET" in refused(desk, "test", "/t/a", "/t/b", "1", "2")


def test_the_graph_for_people_programs_and_graphviz(desk: Desk) -> None:
    said(desk, "set", "/g/a", "1.5")
    first = made(desk, "/g/a", "/g/b", "--as", "x * 2")
    second = made(desk, "/g/b", "/g/c", "--two-way")
    third = made(desk, "/g/a", "/g/d", "--when", "/g/armed")
    until(lambda: run("--home", desk.home, "get", "/g/c").stdout.strip() == "3")
    lines = said(desk, "link", "graph", "/g//").splitlines()
    assert lines[0] == "/g/a = 1.5"
    assert lines[1].startswith("├--> /g/b = 3  as x * 2  ")
    assert lines[1].endswith(first)
    assert lines[2].startswith("│    └<-> /g/c = 3")
    assert lines[2].endswith(second)
    assert lines[3].startswith("└--> /g/d = -  when /g/armed  ")
    assert "WAITS: /g/armed holds nothing" in lines[3]
    found = json.loads(said(desk, "link", "graph", "/g//", "--json"))
    assert [item["link_id"] for item in found["links"]] == [first, third, second]
    assert found["values"]["/g/c"] == {"double_value": 3.0}
    drawn = said(desk, "link", "graph", "/g//", "--dot")
    assert drawn.startswith("digraph links {")
    assert '"/g/b" -> "/g/c" [dir="both"];' in drawn
    assert '"/g/a" [label="/g/a\\n1.5"];' in drawn
    assert said(desk, "link", "graph", "/nothing//") == "No links yet: lightfast link SOURCE TARGET\n"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["/e/a"], "give SOURCE TARGET, or TARGET and at least one --input NAME=PATH"),
        (["/e/a", "/e/b", "--curve", "exp:much"], "'much' is no number: write a curve for example as 'exp:3'"),
        (["/e/a", "/e/b", "--curve", "0,0 1"], "'1' is no point: write points as '0,0 0.5,0.2 1,1'"),
        (["/e/b", "--input", "x"], "write an input as NAME=PATH"),
        (["/e/a", "/e/b", "--curve", "wavy"], "there is no curve 'wavy'"),
        (["/e/a", "/e/b", "--when", "/x >"], "condition '/x >': invalid syntax, at position 5"),
        (["/e/a", "/e/b", "--from-unit", "gain.fader.none"], "there is no unit 'gain.fader.none'"),
    ],
)
def test_what_is_wrong_is_said(desk: Desk, arguments: list[str], what: str) -> None:
    assert what in refused(desk, *arguments)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("exp", {"name": "exp"}),
        ("s:8", {"name": "s", "parameter": 8.0}),
        ("0,0 1,-2.5", {"points": [{"x": 0.0, "y": 0.0}, {"x": 1.0, "y": -2.5}]}),
        ("linear:0,1 1,2", {"name": "linear", "points": [{"x": 0.0, "y": 1.0}, {"x": 1.0, "y": 2.0}]}),
        ("none", None),
        ("", None),
    ],
)
def test_curves_on_the_command_line(text: str, fields: object) -> None:
    assert parse_curve(text) == fields


def test_trees_and_graphs_of_what_is_off_or_wrong() -> None:
    links: list[dict[str, Any]] = [
        {"link_id": "l1", "source": "/a", "target": "/b", "bypass": True, "rate_hz": 59.94},
        {"link_id": "l2", "source": "/a", "target": "/c", "disabled": True, "last_error": 'too "loud"'},
        {"link_id": "l3", "source": "/a", "target": "/s", "inputs": [{"name": "n", "path": "/z"}], "expression": "x+n"},
    ]
    assert tree(links, {"/a": {"bool_value": True}}).splitlines() == [
        "/a = true",
        "├--> /b = -  59.9/s  l1  BYPASSED",
        '├--> /c = -  l2  OFF  ERROR: too "loud"',
        "└--> /s = -  as x+n  with n = /z  l3",
    ]
    drawn = dot(links, {})
    assert '"/a" -> "/b" [dir="forward", style="dashed"];' in drawn
    assert 'tooltip="too \\"loud\\""' in drawn
    assert '"/z" -> "/s" [label="x+n", dir="forward"];' in drawn
