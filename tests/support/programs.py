"""Programs for tests: strategies of hypothesis that make any kind of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from lightfast.engine.programs.program import Instruction, Program

IDENTITIES = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
NASTY = st.sampled_from(
    (
        *(
            "",
            " ",
            "\n",
            "\t",
            "\r\n",
            "'",
            '"',
            "''",
            "#",
            "# no comment",
            "a # b",
            "=",
            "a=b",
            "a:",
            ": ",
            "- a",
            "[",
            "{",
        ),
        *(
            "(",
            ")",
            "(a",
            "a)",
            "(a)",
            "yes",
            "on",
            "null",
            "~",
            "true",
            "1",
            "1.0",
            "1e3",
            "0x1f",
            "1:30",
            "2024-01-01",
        ),
        *(
            ".inf",
            "NaN",
            "-",
            "--- a",
            "...",
            "%a",
            "@a",
            "`",
            "!a",
            "&a",
            "*a",
            "|",
            ">",
            "?",
            "\\",
            "\\n",
            "\x7f",
            "\x85",
        ),
        *(
            "\u2028",
            "\ufeff",
            "é",
            "日本",
            "😀",
            "then:",
            "else:",
            "do:",
            "${s1}",
            "$${s1}",
            "${",
            "${a b}",
            "<<",
            "\x00",
        ),
        *("\x1b", "a\\", "a\u2029b", "\ue000", "/a/b", "//", "after=s1", "@name", " lead", "trail ", "\ttab"),
    )
)
TEXTS = st.one_of(NASTY, st.text(max_size=12), st.lists(NASTY, max_size=3).map("".join))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)
NAMES = st.one_of(st.sampled_from(("path", "value", "prompt", "timeout", "when", "after", "condition", "items")), TEXTS)
OPERATIONS = st.sampled_from(
    ("context.set", "context.get", "app.command", "generate.image", "value.compute", "odd.one-2")
)
TIMES = st.one_of(st.just(0.0), st.integers(1, 600).map(float), st.floats(0.001, 600_000.0))


@st.composite
def any_blocks(draw: Any, depth: int = 2) -> tuple[Instruction, ...]:
    """Return a block of instructions without rhyme or reason; only their form is right."""
    made = []
    for _ in range(draw(st.integers(0, 3))):
        blocks: dict[str, tuple[Instruction, ...]] = {}
        operation = (
            draw(st.one_of(OPERATIONS, st.sampled_from(("flow.branch", "flow.map")))) if depth else draw(OPERATIONS)
        )
        if operation == "flow.branch":
            names = draw(st.lists(st.sampled_from(("then", "else")), unique=True))
            blocks = {name: draw(any_blocks(depth - 1)) for name in names}
        elif operation == "flow.map" and draw(st.booleans()):
            blocks = {"do": draw(any_blocks(depth - 1))}
        made.append(
            Instruction(
                id=draw(IDENTITIES),
                op=operation,
                arguments=draw(st.dictionaries(NAMES, VALUES, max_size=3)),
                after=tuple(draw(st.lists(IDENTITIES, max_size=2))),
                when=draw(TEXTS),
                timeout=draw(TIMES),
                retries=draw(st.integers(0, 100)),
                on_failure=draw(st.sampled_from(("stop", "continue"))),
                blocks=blocks,
            )
        )
    return tuple(made)


@st.composite
def any_programs(draw: Any) -> Program:
    """Return a program that is well formed and otherwise nonsense."""
    return Program(
        instructions=draw(any_blocks()),
        name=draw(TEXTS),
        parameters=draw(st.dictionaries(TEXTS, VALUES, max_size=3)),
        returns=draw(TEXTS),
        untrusted=draw(st.booleans()),
    )
