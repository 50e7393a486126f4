"""Programs as YAML and in the line form: there and back, and what is refused with its place."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.programs import NASTY, any_programs

from lightfast.core.errors import InvalidArgument
from lightfast.engine.programs.program import Instruction, Program, program
from lightfast.engine.programs.text import as_problem, is_yaml, parse, read_plain, to_lines, to_yaml


@given(any_programs())
@settings(max_examples=150, deadline=None)
def test_yaml_gives_the_same_program_back(made: Program) -> None:
    back = parse(to_yaml(made))
    assert back == made
    assert back.digest() == made.digest()


@given(any_programs())
@settings(max_examples=150, deadline=None)
@example(Program((), name="true"))
def test_lines_give_the_same_program_back(made: Program) -> None:
    text = to_lines(made)
    assert not is_yaml(text)
    if not made.instructions and not text.strip():
        return  # nothing at all is no program
    back = parse(text)
    assert back == made
    assert back.digest() == made.digest()


@given(any_programs())
@settings(max_examples=60, deadline=None)
def test_the_plain_form_gives_the_same_program_back(made: Program) -> None:
    assert read_plain(made.plain()) == made == program(made.plain())


PIECES = st.one_of(
    NASTY,
    st.text(max_size=6),
    st.sampled_from(
        (
            *(
                "\n",
                "\n  ",
                "\n- ",
                "instructions:",
                "op: ",
                "id: ",
                "arguments: ",
                "context.set ",
                "/a ",
                "flow.branch ",
            ),
            *("then:\n", "do:\n", "s1 = ", "after=", "when=(", "timeout=", "@param ", "@returns ", "[1, ", '{"a": '),
            *("&a ", "*a", "!!int ", "? ", "<<: ", '"', "'", "\ud800", "9" * 50, "[" * 70, "  " * 40),
        )
    ),
)


def check_refusal(text: str, error: InvalidArgument) -> None:
    """Check that a refusal says what and where."""
    problem = as_problem(error)
    assert problem.reason in {"YAML_MALFORMED", "LINE_MALFORMED", "PROGRAM_MALFORMED", "PROGRAM_TOO_LARGE"}
    assert problem.message
    assert 0 <= problem.line <= len(text.splitlines()) + 2


@given(st.lists(PIECES, max_size=14).map("".join))
@settings(max_examples=400, deadline=None)
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        made = parse(text)
    except InvalidArgument as error:
        check_refusal(text, error)
    else:
        assert parse(to_yaml(made)) == made


@given(any_programs(), st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_program_is_refused_or_read(made: Program, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from((to_yaml, to_lines)))(made)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 3))
        text = text[:place] + data.draw(PIECES) + text[place + cut :]
    try:
        parse(text)
    except InvalidArgument as error:
        check_refusal(text, error)


EXAMPLE = """
# cubes
@name cubes
@param count=3 color="#ff0000"
s1 = context.set /live/tempo 128
app.command /blender add_cube arguments={"color": "${params.color}"} after=s1 timeout=5 retries=2  # red
b = flow.branch (params.count > 2 and not exists("/off"))
then:
  context.set /a 'it''s two words' when=(value("/b") == ")")
  m = flow.map [1, 2] as=turn parallel=2
    context.set /turns/${turn} ${turn}
else:
  context.delete path=/a
wait.pattern //tempo .timeout=5 on_failure=continue
@returns ${m}
"""


def test_the_line_form_reads_as_it_is_written_by_hand() -> None:
    found = parse(EXAMPLE)
    assert found.name == "cubes"
    assert found.parameters == {"count": 3, "color": "#ff0000"}
    assert found.returns == "${m}"
    first, command, branch, wait = found.instructions
    assert first == Instruction("s1", "context.set", {"path": "/live/tempo", "value": 128})
    assert command.arguments == {"app": "/blender", "command": "add_cube", "arguments": {"color": "${params.color}"}}
    assert (command.id, command.after, command.timeout, command.retries, command.line) == ("s2", ("s1",), 5.0, 2, 6)
    assert branch.arguments == {"condition": 'params.count > 2 and not exists("/off")'}
    write, turns = branch.blocks["then"]
    assert write.arguments["value"] == "it's two words"
    assert write.when == 'value("/b") == ")"'
    assert turns.blocks["do"][0].arguments == {"path": "/turns/${turn}", "value": "${turn}"}
    assert turns.arguments == {"items": [1, 2], "as": "turn", "parallel": 2}
    assert branch.blocks["else"][0].arguments == {"path": "/a"}
    assert wait.arguments == {"pattern": "//tempo", "timeout": 5}
    assert wait.on_failure == "continue"
    assert parse(to_lines(found)) == parse(to_yaml(found)) == found


def test_yaml_knows_lines_short_forms_and_missing_identities() -> None:
    found = parse(
        "- context.set: {path: /a, value: yes}\n- id: s2\n  op: context.get\n  arguments:\n    path: /a\n- op: wait.beat\n"
    )
    assert [each.id for each in found.instructions] == ["s1", "s2", "s3"]
    assert [each.line for each in found.instructions] == [1, 2, 6]
    assert found.instructions[0].arguments == {"path": "/a", "value": "yes"}


@pytest.mark.parametrize(
    ("text", "reason", "line", "message"),
    [
        (
            "instructions:\n  - op: [\n",
            "YAML_MALFORMED",
            3,
            "line 3, column 1: this is no YAML: did not find expected node content",
        ),
        ("a: 1\n", "PROGRAM_MALFORMED", 1, "line 1, column 4: a program has no field 'a'"),
        ("name: x\n", "PROGRAM_MALFORMED", 1, "line 1, column 1: the program has no 'instructions'"),
        ("- op: context.set\n  argumens: {}\n", "PROGRAM_MALFORMED", 2, "did you mean 'arguments'?"),
        ("- op: context.set\n  id: A\n", "PROGRAM_MALFORMED", 2, "line 2, column 7: 'A' is no identity"),
        ("- op: context.set\n  then: []\n", "PROGRAM_MALFORMED", 2, "context.set has no block 'then'"),
        ("- op: context.set\n  retries: 1.5\n", "PROGRAM_MALFORMED", 2, "'retries' is 0 to 100"),
        ("- op: context.set\n  timeout: -1\n", "PROGRAM_MALFORMED", 2, "'timeout' is 0 to 604800 seconds"),
        ("- op: context.set\n  on_failure: retry\n", "PROGRAM_MALFORMED", 2, "'on_failure' is stop or continue"),
        ("- op: context.set\n  op: context.get\n", "YAML_MALFORMED", 2, "the key 'op' stands here twice"),
        ("- &a [*a]\n", "YAML_MALFORMED", 1, "stands inside of what it stands for"),
        ("- *a\n", "YAML_MALFORMED", 1, "the alias *a has no anchor before it"),
        ("- {<<: 1}\n", "YAML_MALFORMED", 1, "merge keys (<<) are not known here"),
        ("- !!python/name:os.system ''\n", "YAML_MALFORMED", 1, "is not known here: use what JSON has"),
        ("- op: .nan\n", "PROGRAM_MALFORMED", 1, "nan is not a number that JSON has"),
        ("--- []\n--- []\n", "YAML_MALFORMED", 2, "a program is one document"),
        ("[" * 100, "YAML_MALFORMED", 1, "it is nested deeper than 64"),
        ("- 99999999999999999999\n", "PROGRAM_MALFORMED", 1, "the number does not fit 64 bits"),
        (
            "context.set /a 1\n\tcontext.get /a",
            "LINE_MALFORMED",
            2,
            "line 2, column 1: it is indented by a tab: use spaces",
        ),
        (
            "context.set /a 1\n  context.get /a",
            "LINE_MALFORMED",
            2,
            "it is indented below context.set: nothing belongs below it",
        ),
        ("context.set /a 1 2", "LINE_MALFORMED", 1, "line 1, column 18: only path and value may stand without a name"),
        ("context.set /a path=/b", "LINE_MALFORMED", 1, "line 1, column 16: 'path' stands here twice"),
        ('context.set /a {"x": }', "LINE_MALFORMED", 1, "line 1, column 22: this is no JSON"),
        ("context.set /a when=(a", "LINE_MALFORMED", 1, "the parenthesis ( is not closed"),
        ("context.set /a value=", "LINE_MALFORMED", 1, "a value is missing"),
        ("set the tempo to 128", "LINE_MALFORMED", 1, "'set' is no name of an operation"),
        ("S = context.set /a 1", "LINE_MALFORMED", 1, "'S' is no identity"),
        ("@nme x", "LINE_MALFORMED", 1, "there is no '@nme': did you mean '@name'?"),
        ("then:\n  context.get /a", "PROGRAM_MALFORMED", 2, "a program has no field 'then'"),
        ("context.get /a\nflow.branch (x)\n  context.get /b", "LINE_MALFORMED", 3, "write then: or else: above it"),
        (
            "flow.map [1]\n    context.get /a\n  context.get /b",
            "LINE_MALFORMED",
            3,
            "it is indented by 2, the lines before it by 4",
        ),
        ("", "PROGRAM_MALFORMED", 0, "the program is empty"),
        ("context.set /a retries=many", "PROGRAM_MALFORMED", 1, "line 1, column 24: 'retries' is 0 to 100"),
    ],
    ids=str,
)
def test_malformed_texts_say_where_and_why(text: str, reason: str, line: int, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(text)
    problem = as_problem(caught.value)
    assert (problem.line, message in problem.message) == (line, True), problem.message
    assert problem.reason == reason


def test_aliases_are_counted_for_what_they_stand_for() -> None:
    text = "- &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"- &a{turn} [{', '.join([f'*a{turn - 1}'] * 10)}]\n" for turn in range(1, 9)
    )
    with pytest.raises(InvalidArgument, match="it has more than 400000 values") as caught:
        parse(text)
    assert caught.value.reason == "PROGRAM_TOO_LARGE"


def test_bounds_of_programs() -> None:
    deep = "context.get /a"
    for _ in range(9):
        deep = "flow.map [1]\n" + "\n".join("  " + line for line in deep.split("\n"))
    with pytest.raises(InvalidArgument, match="blocks are nested deeper than 8"):
        parse(deep)
    with pytest.raises(InvalidArgument, match="more than 10000 instructions"):
        parse("context.get /a\n" * 10_001)
    with pytest.raises(InvalidArgument, match="the most is 2000000") as caught:
        parse("#" * 2_000_001)
    assert caught.value.reason == "PROGRAM_TOO_LARGE"
    with pytest.raises(InvalidArgument, match="nested deeper than 64"):
        read_plain(nested(100))
    with pytest.raises(InvalidArgument, match="bytes is not a value"):
        read_plain([{"op": "context.set", "arguments": {"value": b"x"}}])


def nested(depth: int) -> object:
    """Return lists in lists."""
    made: object = []
    for _ in range(depth):
        made = [made]
    return made
