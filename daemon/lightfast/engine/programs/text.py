"""Programs as text: YAML and the line form, and back."""

from __future__ import annotations

import re
from typing import Any

from lightfast.core.errors import InvalidArgument
from lightfast.engine.programs import line_form, structure, yaml_form
from lightfast.engine.programs.checked import Problem
from lightfast.engine.programs.nodes import MOST_CHARACTERS, Node, malformed, of_plain
from lightfast.engine.programs.program import Program

_YAML = re.compile(r"[-{\[%&!?|>*]|[\"']?[A-Za-z_][A-Za-z0-9_.-]*[\"']?[ \t]*:(?:[ \t\r]|$)")
"""How YAML begins: an instruction of the line form does not."""


def parse(text: str) -> Program:
    """Return the program of *text* in YAML or in the line form, whichever it is.

    Raises `InvalidArgument` (YAML_MALFORMED, LINE_MALFORMED, PROGRAM_MALFORMED, PROGRAM_TOO_LARGE), with `line` and
    `column` in its metadata where they are known.
    """
    if len(text) > MOST_CHARACTERS:
        raise malformed(
            f"the program has {len(text)} characters, the most is {MOST_CHARACTERS}: split it",
            reason="PROGRAM_TOO_LARGE",
        )
    text = text.removeprefix("\ufeff")
    return structure.build(yaml_form.read(text) if is_yaml(text) else line_form.read(_whole(text)))


def is_yaml(text: str) -> bool:
    """Say whether *text* is meant to be YAML, by its first line that says something."""
    for line in text.split("\n"):
        bare = line.strip()
        if bare and not bare.startswith("#"):
            return _YAML.match(bare) is not None
    return False


def _whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        place = Node(None, line, error.start - text.rfind("\n", 0, error.start))
        raise malformed("the text holds a lone surrogate, which is not Unicode text", place) from None
    if not text.strip():
        raise malformed("the program is empty: write one instruction a line, or YAML")
    return text


def read_plain(data: Any) -> Program:
    """Return the program of decoded JSON: a map as `Program.plain` makes it, or a list of instructions.

    Raises `InvalidArgument` (PROGRAM_MALFORMED) that names the field, and the instruction where there is one.
    """
    return structure.build(of_plain(data))


def to_yaml(program: Program) -> str:
    """Return *program* as YAML."""
    return yaml_form.write(program)


def to_lines(program: Program) -> str:
    """Return *program* in the line form."""
    return line_form.write(program)


def as_problem(error: InvalidArgument) -> Problem:
    """Return what `parse` or `read_plain` raised as a problem."""
    return Problem(
        error.reason,
        error.message,
        instruction=error.metadata.get("instruction", ""),
        field=error.field or "",
        line=int(error.metadata.get("line", "0")),
    )
