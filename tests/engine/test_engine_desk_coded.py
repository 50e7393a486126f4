"""The coded language: the sample lines, round trips of nasty text, and exact codes for everything that is not in order."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lightfast.engine.desk import grammar
from lightfast.engine.desk.coded import (
    COMPLEXITIES,
    CodedEvent,
    Command,
    ContextLoad,
    ContextLoaded,
    Fault,
    MemoryStore,
    StatusUpdate,
    TaskComplete,
    TaskCreate,
    TaskReady,
    TaskSplit,
    WorkflowStart,
    fault,
    format_line,
    is_coded,
    parse_command,
    parse_event,
)
from lightfast.engine.desk.grammar import CodedFault

COMMANDS: list[tuple[str, Command]] = [
    (
        "tc:User Authentication System|business_growth|high",
        TaskCreate("User Authentication System", "business_growth", "high"),
    ),
    ("ts:auto|0.3|Complex multi-component system", TaskSplit("auto", 0.3, "Complex multi-component system")),
    (
        "wf:project_planning|{name:'MyApp',scope:'web,mobile'}",
        WorkflowStart("project_planning", {"name": "MyApp", "scope": "web,mobile"}),
    ),
    ("ms:user_preference|{theme:'dark'}|semantic", MemoryStore("user_preference", {"theme": "dark"}, "semantic")),
    ("cl:conversation_${date}|full", ContextLoad("conversation_${date}", "full")),
]
EVENTS: list[tuple[str, CodedEvent]] = [
    ("tr:task_123|0.85|one_shot", TaskReady("task_123", 0.85, "one_shot")),
    ("su:task_123|in_progress|0.45", StatusUpdate("task_123", "in_progress", 0.45)),
    (
        "tc:task_123|success|{next:['task_124','task_125']}",
        TaskComplete("task_123", "success", {"next": ["task_124", "task_125"]}),
    ),
    (
        "cl:conversation_123|Summary: Discussed auth implementation...",
        ContextLoaded("conversation_123", "Summary: Discussed auth implementation..."),
    ),
]


@pytest.mark.parametrize(("line", "command"), COMMANDS)
def test_sample_commands(line: str, command: Command) -> None:
    assert parse_command(line) == command
    assert format_line(command) == line
    assert parse_command(f"1;{line}") == command


@pytest.mark.parametrize(("line", "event"), EVENTS)
def test_sample_events(line: str, event: CodedEvent) -> None:
    assert parse_event(line) == event
    assert format_line(event) == line


def test_it_can_be_written_by_hand() -> None:
    assert parse_command("  tc:  Fix the light  | fix ") == TaskCreate("Fix the light", "fix")
    assert parse_command("wf:a | { name : My , n : 3, on:true , deep:{x:[1,2.5,'|']} } ") == WorkflowStart(
        "a", {"name": "My", "n": 3, "on": True, "deep": {"x": [1, 2.5, "|"]}}
    )
    assert parse_command(r"ms:k|\{no map\} \| so") == MemoryStore("k", "{no map} | so")
    assert parse_command(r"ms:k|a\nb\\n\u00e9") == MemoryStore("k", "a\nb\\né")
    assert parse_command("cl:/a") == ContextLoad("/a", "summary")


text = st.text(st.characters(codec="utf-8"), max_size=60)
"""Any text there is: control characters, separators of lines, marks that turn the order, emoji."""
name = text.filter(lambda found: bool(found.strip()))
word = st.from_regex(re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,20}"), fullmatch=True)
part = st.integers(0, 1_000_000).map(lambda n: n / 1_000_000)
value = st.recursive(
    st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=8,
)
mapping = st.dictionaries(text, value, max_size=5)
complexity = st.sampled_from(["", *COMPLEXITIES, "0", "1", "0.25"])
commands = st.one_of(
    st.builds(TaskCreate, name, st.just("") | word, complexity),
    st.builds(TaskSplit, name.filter(lambda found: found != "auto"), st.none() | part, text),
    st.builds(WorkflowStart, name, mapping),
    st.builds(ContextLoad, name, st.sampled_from(["summary", "full"])),
    st.builds(MemoryStore, name, text.filter(bool) | mapping, word),
)
events = st.one_of(
    st.builds(TaskReady, name, part, st.sampled_from(["one_shot", "split"])),
    st.builds(TaskComplete, name, name, mapping),
    st.builds(StatusUpdate, name, name, part),
    st.builds(ContextLoaded, name, text),
    st.builds(Fault, name, text, text),
)


def same(one: Any, other: Any) -> bool:
    """Compare with types: 1 is not 1.0 here, and True is neither."""
    return repr(one) == repr(other)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(commands)
@example(TaskCreate(" |{\\ \n\u2028", "", ""))
@example(MemoryStore("{", "{'", "x"))
@example(MemoryStore("k", {"a b": "'|\\", "": [{}]}, "x"))
def test_commands_come_back_as_they_were(command: Command) -> None:
    line = format_line(command)
    assert len(line.splitlines()) == 1
    assert same(parse_command(line), command)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events)
def test_events_come_back_as_they_were(event: CodedEvent) -> None:
    line = format_line(event)
    assert len(line.splitlines()) == 1
    assert same(parse_event(line), event)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("", "EMPTY_LINE"),
        ("no letters", "NOT_CODED"),
        ("2;tc:a", "VERSION_UNKNOWN"),
        ("xx:a", "COMMAND_UNKNOWN"),
        ("tr:task|1|split", "COMMAND_UNKNOWN"),
        ("tc:", "FIELD_MISSING"),
        (r"tc:\ ", "FIELD_MISSING"),
        ("ts:auto", "FIELD_MISSING"),
        ("ms:key", "FIELD_MISSING"),
        ("ms:key||semantic", "FIELD_MISSING"),
        ("wf:", "FIELD_MISSING"),
        ("tc:a|b|low|d", "FIELDS_TOO_MANY"),
        ("tc:" + "x" * 1001, "FIELD_TOO_LONG"),
        ("tc:" + "x" * 17_000, "LINE_TOO_LONG"),
        ("tc:a|two words", "WORD_INVALID"),
        ("cl:a|deep", "WORD_INVALID"),
        ("tc:a||huge", "NUMBER_INVALID"),
        ("tc:a||1.5", "NUMBER_INVALID"),
        ("ts:t|-1", "NUMBER_INVALID"),
        ("ts:t|nan", "NUMBER_INVALID"),
        ("tc:a\\", "ESCAPE_INVALID"),
        (r"tc:a\q", "ESCAPE_INVALID"),
        (r"tc:a\u12", "ESCAPE_INVALID"),
        (r"tc:a\ud800", "ESCAPE_INVALID"),
        ("tc:\ud800", "TEXT_INVALID"),
        ("wf:a|b", "MAP_INVALID"),
        ("wf:a|{", "MAP_INVALID"),
        ("wf:a|{x}", "MAP_INVALID"),
        ("wf:a|{x:1,x:2}", "MAP_INVALID"),
        ("wf:a|{x:'1}", "MAP_INVALID"),
        ("wf:a|{x:1} y", "MAP_INVALID"),
        ("wf:a|{x:99999999999999999999}", "MAP_INVALID"),
        ("wf:a|{x:1e999}", "MAP_INVALID"),
        ("wf:a|{x:1.2.3}", "MAP_INVALID"),
        ("wf:a|{x:" + "[" * 50, "MAP_INVALID"),
    ],
)
def test_what_is_wrong_has_a_code_and_a_way_out(line: str, code: str) -> None:
    with pytest.raises(CodedFault) as caught:
        parse_command(line)
    assert caught.value.reason == code
    told = fault(caught.value)
    assert told.code == code
    assert told.message
    assert told.recovery
    assert parse_event(format_line(told)) == told


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(st.text(max_size=80), st.from_regex(re.compile(r"(1;)?(tc|ts|wf|cl|ms|xx):[|{}\[\]'\\:,a0. -]{0,40}")))
)
def test_nothing_else_is_ever_raised(line: str) -> None:
    is_coded(line)
    for parse in (parse_command, parse_event):
        try:
            found = parse(line)
        except CodedFault:
            continue
        assert same(parse(format_line(found)), found)


def test_plain_words_are_not_taken_for_coded_ones() -> None:
    for line in ("add a cube", "note: it hums", "so: do it", "at 10:30 play", "https://a.example"):
        assert not is_coded(line)
    for line in ("tc: a", "1;tc:a", "9;zz:a", "TC:a", "xx:a"):
        assert is_coded(line)


def test_the_grammar_can_be_printed() -> None:
    text = grammar.__doc__ or ""
    for letters in ("tc:", "ts:", "wf:", "cl:", "ms:", "tr:", "su:", "er:"):
        assert letters in text
    assert f"Version {grammar.VERSION}" in text
