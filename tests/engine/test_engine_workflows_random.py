"""Any text is a workflow or its problems, and names are changed without changing what an expression says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightfast.core.errors import InvalidArgument
from lightfast.engine.programs.expression import compile_expression
from lightfast.engine.programs.text import parse, to_yaml
from lightfast.engine.workflows.compiling import compile_workflow
from lightfast.engine.workflows.form import read_workflow
from lightfast.engine.workflows.naming import renamed_expression
from lightfast.engine.workflows.parameters import check_parameters
from lightfast.engine.workflows.shelf import example_names, example_text

PIECES = st.sampled_from(
    [
        "",
        " ",
        "\n",
        "  - ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        '"',
        "'",
        "${",
        "}",
        "&a ",
        "*a",
        "!x ",
        "#",
        "|",
        "\t",
        "\x00",
        "é",
        "-1",
        "null",
    ]
)
NAMES = st.sampled_from(["a", "b", "step", "aa", "len", "x_1"])


@st.composite
def mangled(draw: st.DrawFn) -> str:
    text = example_text(draw(st.sampled_from(example_names())))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(PIECES) + text[at + draw(st.integers(0, 12)) :]
    return text


@given(st.one_of(mangled(), st.text(max_size=200)))
def test_any_text_is_a_workflow_or_its_problems(text: str) -> None:
    workflow, problems = read_workflow(text, "x.yaml", name="x")
    assert (workflow is None) == bool(problems)
    lines = text.count("\n") + text.count("\r") + text.count("\u2028") + text.count("\u2029") + text.count("\x85") + 2
    for each in problems:
        assert 1 <= each.line <= lines
        assert each.column >= 1
        assert each.message
        assert each.reason.isupper()
    if workflow is None:
        return
    parameters: dict[str, Any] = {
        each.name: [] if each.type == "list" else "asset:" + "a" * 64 for each in workflow.parameters if each.required
    }
    try:
        found = compile_workflow(workflow, check_parameters(workflow.parameters, parameters, "x"))
    except InvalidArgument:
        return  # a parameter that was given here does not fit
    assert parse(to_yaml(found)).digest() == found.digest()
    ids = [each.id for each in found.walk()]
    assert len(ids) == len(set(ids))


def expressions() -> st.SearchStrategy[str]:
    leaves = st.one_of(
        NAMES.filter(lambda name: name != "len"),
        st.integers(0, 9).map(str),
        NAMES.map(lambda name: f'"{name}"'),
        NAMES.filter(lambda name: name != "len").map(lambda name: f"${{{name}}}"),
    )

    def inner(each: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.one_of(
            st.tuples(each, st.sampled_from([" == ", " and ", " or ", " in "]), each)
            .map("".join)
            .map(lambda x: f"({x})"),
            each.map(lambda x: f"len(str({x}))"),
            st.tuples(each, each).map(lambda pair: f"[{pair[0]}, {pair[1]}]"),
        )

    return st.recursive(leaves, inner, max_leaves=8)


@given(expressions(), st.dictionaries(NAMES, st.integers(0, 9)))
def test_an_expression_says_the_same_under_other_names(text: str, values: dict[str, int]) -> None:
    roots = {"a": "b", "b": "a", "step": "other-step", "aa": "a_a", "x_1": "x_2"}
    changed = renamed_expression(text, roots)
    names = {
        "a": 1,
        "b": 2,
        "step": 3,
        "aa": 4,
        "x_1": 5,
        **{key: value for key, value in values.items() if key != "len"},
    }
    moved = {roots[name]: value for name, value in names.items()}

    def outcome(what: str, known: dict[str, int]) -> object:
        try:
            return compile_expression(what).evaluate(known)
        except InvalidArgument as error:
            return error.reason

    assert outcome(changed, moved) == outcome(text, names)


@pytest.mark.parametrize("name", example_names())
def test_examples_survive_a_round_trip_of_their_programs(name: str) -> None:
    workflow, _ = read_workflow(example_text(name), name)
    assert workflow is not None
    parameters = {
        each.name: "x" if each.type == "string" else "asset:" + "a" * 64
        for each in workflow.parameters
        if each.required
    }
    found = compile_workflow(workflow, check_parameters(workflow.parameters, parameters, name))
    assert parse(to_yaml(found)).digest() == found.digest()
