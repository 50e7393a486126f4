"""Random programs that make sense: every reference leads to something before it, and most of them succeed."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from lightfast.engine.programs.program import Instruction, Program

PATHS = ("/a", "/b", "/c", "/d", "/blender/x", "/blender/y")
SMALL = st.one_of(st.integers(0, 3), st.sampled_from(("x", "two words", "$", "${", "")), st.just([1, 2]), st.booleans())
CONDITIONS = (
    'exists("/a")',
    'value("/b") == 1',
    "true",
    "1 > 2",
    "params.n > 1",
    'params.n > 1 and exists("/c")',
    "params.n == 2",
)


class Maker:
    """Draws one program."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.count = 0

    def value(self, visible: list[str]) -> Any:
        """Draw a value: written out, a reference, or text with one in it."""
        choice = self.draw(st.integers(0, 5))
        if visible and choice < 3:
            name = self.draw(st.sampled_from(visible))
            return f"${{{name}}}" if choice else f"see ${{{name}}}!"
        drawn = self.draw(SMALL)
        return drawn.replace("${", "$${") if isinstance(drawn, str) else drawn

    def condition(self, visible: list[str]) -> str:
        """Draw a condition."""
        names = [name for name in visible if "-" not in name]
        if names and self.draw(st.booleans()):
            return f"{self.draw(st.sampled_from(names))} == {self.draw(st.integers(0, 3))}"
        return str(self.draw(st.sampled_from(CONDITIONS)))

    def block(self, visible: list[str], depth: int, size: int) -> tuple[Instruction, ...]:
        """Draw a block."""
        made: list[Instruction] = []
        here = list(visible)
        for _ in range(self.draw(st.integers(1, size))):
            each = self.one(here, depth)
            made.append(each)
            here.append(each.id)
        return tuple(made)

    def one(self, visible: list[str], depth: int) -> Instruction:
        """Draw an instruction."""
        self.count += 1
        identity = f"s{self.count}"
        ids = [name for name in visible if name not in {"item", "index", "params"}]
        when = self.condition(visible) if self.draw(st.integers(0, 5)) == 0 else ""
        after = (self.draw(st.sampled_from(ids)),) if ids and self.draw(st.integers(0, 7)) == 0 else ()
        kinds = [
            "get",
            "get",
            "set",
            "set",
            "set",
            "merge",
            "delete",
            "pure",
            "compute",
            "act",
            "generate",
            "embed",
            "wait",
        ]
        kind = self.draw(st.sampled_from(kinds + (["branch", "map", "map"] if depth else [])))
        path = self.draw(st.sampled_from(PATHS))
        arguments: dict[str, Any] = {}
        blocks: dict[str, tuple[Instruction, ...]] = {}
        match kind:
            case "get":
                op, arguments = "context.get", {"path": path}
            case "set":
                op, arguments = "context.set", {"path": path, "value": self.value(visible)}
            case "merge":
                op, arguments = "context.merge", {"path": path, "value": {"k": self.value(visible)}}
            case "delete":
                op, arguments = "context.delete", {"path": path}
            case "pure":
                op, arguments = "text.double", {"text": self.value(visible)}
            case "compute":
                text = self.draw(
                    st.sampled_from(("1 + 2", "params.n * 2", '"$" + "x"', '[1, "a"]', 'value("/a") == 1', "1 / 0"))
                )
                op, arguments = "value.compute", {"expression": text}
            case "act":
                command = self.draw(st.sampled_from(("add_cube", "render", "count")))
                op, arguments = (
                    "app.command",
                    {"app": "/blender", "command": command, "arguments": {"v": self.value(visible)}},
                )
            case "generate":
                model = self.draw(st.sampled_from(("studio/text", "cloud/text")))
                op, arguments = "generate.text", {"prompt": f"p{self.draw(st.integers(0, 2))}", "model": model}
            case "embed":
                op, arguments = (
                    "embed.texts",
                    {"texts": self.draw(st.lists(st.sampled_from(("a", "bb", "ccc")), min_size=1, max_size=2))},
                )
            case "wait":
                op, arguments = "wait.seconds", {"seconds": 0}
            case "branch":
                op, arguments = "flow.branch", {"condition": self.condition(visible)}
                blocks = {
                    name: self.block(visible, depth - 1, 3) for name in ("then", "else") if self.draw(st.integers(0, 3))
                }
            case _:
                op = "flow.map"
                arguments = {"items": self.draw(st.lists(st.integers(0, 3), max_size=3))}
                if self.draw(st.booleans()):
                    path = self.draw(st.sampled_from(("/t/${item}", "/t/${index}", "/a")))
                    self.count += 1
                    inner = Instruction(f"s{self.count}", "context.set", {"path": path, "value": "${item}"})
                    blocks = {"do": (inner,)}
                else:
                    blocks = {"do": self.block([*dict.fromkeys((*visible, "item", "index"))], depth - 1, 3)}
        failing = "continue" if self.draw(st.integers(0, 9)) == 0 else "stop"
        return Instruction(identity, op, arguments, after, when, on_failure=failing, blocks=blocks)


@st.composite
def programs(draw: Any, size: int = 9) -> Program:
    """Draw a program that makes sense."""
    maker = Maker(draw)
    block = maker.block([], 2, size)
    returns = draw(st.sampled_from(["", *(f"${{{each.id}}}" for each in block), block[-1].id]))
    used = [each.id for each in block if each.op == "embed.texts"]
    if used and draw(st.booleans()):
        maker.count += 1
        name = draw(st.sampled_from(used))
        block = (
            *block,
            Instruction(
                f"s{maker.count}",
                "context.set",
                {"path": "/v", "value": f"${{{name}.vectors[0]}}"},
                when=f"{name} != null",
            ),
        )
    return Program(block, parameters={"n": draw(st.integers(0, 3))}, returns=returns)


CONTEXTS = st.dictionaries(
    st.sampled_from(("/a", "/b", "/c")), st.one_of(st.integers(0, 3), st.just({"k": 1})), max_size=3
)
"""What the context holds before."""
