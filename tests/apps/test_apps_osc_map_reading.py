"""What a map may say, and how a mistake in it is told: all together, with line and column."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lightfast_bridges.osc
from lightfast.sdk.contract import check_bridge_shape, check_command, check_parameter
from lightfast.sdk.oscmap import MAX_BYTES, MapError, Refusal, read, read_file
from lightfast.sdk.oscmap.convert import to_arguments, to_value
from lightfast_bridges.osc.bridge import OscBridge
from lightfast_bridges.osc.pack import shipped

HEAD = "kind: lamp\nremote: 127.0.0.1:7000\nparameters:\n"


def problems(text: str) -> list[str]:
    with pytest.raises(MapError) as found:
        read(text, "x.yaml")
    return str(found.value).splitlines()


@pytest.mark.parametrize("name", sorted(shipped()))
def test_each_shipped_map_is_good(name: str) -> None:
    found = read(shipped()[name], name)
    assert found.kind == name
    assert found.parameters
    for parameter in found.parameters:
        check_parameter(parameter.parameter, name)
    for command in found.commands:
        check_command(command.command, name)
    check_bridge_shape(OscBridge())


def test_numbered_places_are_expanded_everywhere() -> None:
    found = read(
        HEAD
        + """  tracks/{t:1..2}/sends/{s:a,b}:
    send: "/track/{t-1}/send"
    arguments: ["{t}", "{s}", $value, {f: 1}]
    feedback: [{address: "/fb/{t+10}", arguments: ["{s}", $value]}, "/other/{t}"]
    query: {address: "/ask/{t}", arguments: ["{t-1}"]}
"""
    )
    assert [one.path for one in found.parameters] == [
        "tracks/1/sends/a", "tracks/1/sends/b", "tracks/2/sends/a", "tracks/2/sends/b",
    ]  # fmt: skip
    last = found.parameters[-1]
    assert last.send is not None
    assert (last.send.address, last.send.fill([0.5])) == ("/track/1/send", [2, "b", 0.5, ("f", 1.0)])
    assert [layout.address for layout in last.feedback] == ["/fb/12", "/other/2"]
    assert last.query is not None
    assert (last.query.address, last.query.arguments) == ("/ask/2", (1,))
    assert last.feedback[0].extract(("b", 0.25), 1) == [0.25]
    assert last.feedback[0].extract(("a", 0.25), 1) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ["x.yaml:1:1: the file is empty"]),
        ("a: [1,", ["x.yaml:1:7: this is no YAML"]),
        ("kind: lamp\nkind: lamp2\n", ["x.yaml:2:1: 'kind' is there twice, first in line 1"]),
        ("- 1\n", ["x.yaml:1:1: a map must be a table"]),
        ("kind: lamp\n---\nkind: b\n", ["x.yaml:3:1: a second document begins"]),
        ("kind: &a lamp\n", ["x.yaml:1:7: anchors (&) and aliases (*)"]),
        ("kind: !!python/name:os.system x\n", ["x.yaml:1:7: the tag"]),
        ("? [a]\n: b\n", ["x.yaml:1:3: a key must be a text"]),
        ("a: " + "[" * 40 + "]" * 40, ["nested deeper than 10 levels"]),
        ("kind: Lamp 1\nremote: nowhere\nparameters: 5\n", ["x.yaml:1:7: kind", "x.yaml:2:9: remote", "x.yaml:3:13:"]),
        ("remote: 192.168.1.2:1\nkind: a\nparameters: {}\n", ["x.yaml:1:9: 192.168.1.2 is another machine"]),
        (HEAD + "  a: {sned: /x, access: r, feedback: /x}\n", ["x.yaml:4:7: the parameter a has no field 'sned': did"]),
        (HEAD + "  a: {send: /x, confirm: qerry}\n", ["x.yaml:4:26: confirm cannot be 'qerry': did you mean 'query'?"]),
        (HEAD + "  a: {send: /x, confirm: query}\n", ["x.yaml:4:3: a is confirmed by a query: give it one"]),
        (HEAD + "  a: {send: /x, range: [1, 0]}\n", ["x.yaml:4:24: range must go from low to high"]),
        (HEAD + "  a: {send: /x, scale: [0, 1]}\n", ["x.yaml:4:24: scale is the device's side of range"]),
        (HEAD + "  a: {send: /x, type: s, kind: double}\n", ["a double cannot go as the type s"]),
        (HEAD + "  a: {send: /x, arguments: [1]}\n", ["arguments must hold $value once"]),
        (HEAD + "  a: {send: /x, arguments: [$value, $other]}\n", ["$other stands for nothing: there is $value"]),
        (HEAD + "  a/{n}: {send: /x}\n", ["x.yaml:4:3: {n} is no numbered place"]),
        (HEAD + "  a/{n:1..9999}: {send: /x}\n", ["x.yaml:4:3: {n:1..9999} has the span"]),
        (HEAD + "  a/{n:1..100}/{m:1..100}: {send: /x}\n", ["x.yaml:4:3: it stands for more than 4096"]),
        (HEAD + "  a/{n:1..3}: {send: '/x/{m}'}\n", ["x.yaml:4:22: {m} is not a place of the path: there is {n}"]),
        (HEAD + "  a b: {send: /x}\n", ["x.yaml:4:3: 'a b' is no path of a parameter"]),
        (HEAD + "  a: {}\n", ["needs `send`", "needs `feedback`"]),
        (HEAD + "  a: {send: '/x y'}\n", ["x.yaml:4:13: '/x y' is no OSC address"]),
        (HEAD + "  a: {send: /x}\nalive: {ping: /p, silence: 1, every: 2}\n", ["silence must be longer than every"]),
        (HEAD + "  a: {send: /x}\nalive: {assumed: true, ping: /p}\n", ["a device that is assumed to be there"]),
        (HEAD + "  a: {send: /x}\ncommands:\n  go: {send: '/go/{n}'}\n", ["{n} is not a place of the path"]),
        (HEAD + "  a: {send: /x}\ncommands:\n  go: {send: /go, with: {n: i}}\n", ["never uses its argument 'n'"]),
        (HEAD + "  a: {send: /x}\ncommands:\n  go: {send: /go, effect: code}\n", ["effect cannot be 'code'"]),
    ],
)
def test_mistakes_are_told_with_their_place(text: str, told: list[str]) -> None:
    found = problems(text)
    for wanted in told:
        assert any(wanted in line for line in found), found


def test_all_mistakes_are_told_together() -> None:
    found = problems(HEAD + "  a: {send: /x, unti: m}\n  b: {send: 5}\n  c/{n:1..8}: {send: /c, tpye: f}\n")
    assert [line.split(":")[1] for line in found if "did you mean" in line] == ["4", "6"]
    assert any(line.startswith("x.yaml:5:") for line in found)
    many = HEAD + "".join(f"  p{number}: {{sned: /x, access: r, feedback: /f}}\n" for number in range(500))
    assert len(problems(many)) <= 52


def test_large_and_strange_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_bytes(b"# " + b"x" * MAX_BYTES)
    with pytest.raises(MapError, match="longer than 256 KiB"):
        read_file(path)
    path.write_bytes(b"kind: a\ntitle: \xff\n")
    with pytest.raises(MapError, match=r"big.yaml:2:1: this is not UTF-8"):
        read_file(path)
    path.write_bytes(b"kind: \x00\n")
    with pytest.raises(MapError, match="no YAML"):
        read_file(path)
    assert any("more than 50000 values" in line for line in problems("a: [" + "1," * 60_000 + "]"))


def test_words_stay_words() -> None:
    found = read(HEAD + "  mode: {send: /m, type: i, choices: {off: 0, on: 1, yes: 2}}\n").parameters[0]
    assert found.parameter.choices == ("off", "on", "yes")
    assert to_arguments(found, "on") == [("i", 1)]
    assert to_value(found, [2]) == "yes"
    assert to_value(found, [9]) is None


def test_values_are_scaled_and_typed() -> None:
    found = read(HEAD + "  level: {send: /l, type: i, kind: double, scale: [0, 127], range: [-60, 0]}\n").parameters[0]
    assert to_arguments(found, -60.0) == [("i", 0)]
    assert to_arguments(found, 0.0) == [("i", 127)]
    assert to_value(found, [127]) == 0.0
    with pytest.raises(ValueError, match="cannot carry 'x'"):
        to_arguments(found, "x")
    pad = read(HEAD + "  pad: {send: /p, type: ff, arguments: [7, $value]}\n").parameters[0]
    assert pad.send is not None
    assert pad.send.fill(to_arguments(pad, (0.0, 1.0))) == [7, ("f", 0.0), ("f", 1.0)]
    assert pad.feedback[0].extract((7, 0.25, 0.5), 2) == [0.25, 0.5]
    with pytest.raises(ValueError, match="takes 2 values"):
        to_arguments(pad, (0.0,))


def test_json_replies_are_read_and_refusals_recognized() -> None:
    found = read(
        HEAD + "  a: {access: r, type: s, feedback: {address: /r, json: data.0.name, when: {status: ok}}}\n"
    ).parameters[0]
    (layout,) = found.feedback
    assert layout.extract(('{"status": "ok", "data": [{"name": "x"}]}',), 1) == ["x"]
    refused = layout.extract(('{"status": "denied"}',), 1)
    assert isinstance(refused, Refusal)
    assert "'denied'" in refused.reason
    for other in ('{"status": "ok"}', "{", "[" * 50_000, 5, "x" * 100_000):
        assert layout.extract((other,), 1) is None


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300))
def test_no_text_brings_it_down(text: str) -> None:
    for whole in (text, HEAD + text, HEAD + "  a: {send: /x, " + text + "}\n"):
        with contextlib.suppress(MapError):
            assert read(whole).kind


@settings(max_examples=150, deadline=None)
@given(st.floats(-60, 0), st.integers(1, 60_000))
def test_a_scale_goes_there_and_back(value: float, steps: int) -> None:
    text = HEAD + f"  level: {{send: /l, type: d, scale: [{steps}, 0], range: [-60, 0]}}\n"
    found = read(text).parameters[0]
    ((_, device),) = to_arguments(found, value)
    back = to_value(found, [device])
    assert isinstance(back, float)
    assert abs(back - value) < 1e-9


def test_the_example_of_the_readme_is_a_map() -> None:
    readme = Path(lightfast_bridges.osc.__file__).with_name("README.md").read_text(encoding="utf-8")
    _, _, rest = readme.partition("```yaml\n")
    assert len(read(rest.partition("```")[0]).parameters) == 18
