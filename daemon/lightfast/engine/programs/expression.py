"""The expressions of programs, workflows and triggers: small, safe, and never `eval`.

    2 < params.count and not value("/blender/objects/Cube/hidden")
    "render" in step.tags or ${render-1.seconds} > 3
    [item.name, lower(item.name)] if exists("/live/tempo") else []

There are literals (also `true`, `false`, `null`), lists and maps, names (`params`, `item`, `index`, results
of instructions; `${…}` for any reference), fields of maps by `.name`, items by `[…]`, `and or not`, comparisons, `in`,
`+ - * / % **`, `a if c else b`, and the functions of `functions.py`. `value("/path")` and `exists("/path")` read the
context; their paths are literals, so that it is known before what an expression reads. What is read is checked before
simpleeval evaluates it.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from lightfast.core.errors import InvalidArgument
from lightfast.engine.programs import functions
from lightfast.engine.programs.near import did_you_mean
from lightfast.engine.programs.references import Reference, split
from lightfast_link.path import check_path
from lightfast_link.value import Value

MAX_LENGTH = 2_000
"""The longest expression, in characters."""
MAX_DEPTH = 60
"""How deep an expression may nest."""

CONSTANTS: Mapping[str, Any] = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
READING = ("value", "exists")
"""The functions that read the context."""
_STAND_IN = re.compile(
    r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|\$\{(?:[^\"{}]|\"(?:\\.|[^\"\\])*\")*\}|[\n\r\t]", re.DOTALL
)
_NAMES = (*CONSTANTS, *READING, *functions.FUNCTIONS)
_OPERATORS = (
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Mod, ast.Pow, ast.UAdd, ast.USub, ast.Not),
    *(ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn),
)

Read = Callable[[str], "Value | None"]


def _reads_nothing(path: str) -> None:
    raise InvalidArgument(f"the context cannot be read here: value({path!r})", reason="EXPRESSION_FAILED")


class Expression:
    """A compiled expression.

    *reads* are the paths of the context it reads, in order; *names* the names it uses, without functions; *references*
    all that it refers to, by name and fields as far as they are written out. Evaluating one takes microseconds.
    """

    __slots__ = ("_parsed", "_stand_ins", "_tree", "names", "reads", "references", "text")

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self._stand_ins: dict[str, Reference] = {}
        reader = _Reader(self.text, self._stand_ins)
        self._tree = reader.read()
        self._parsed = reader.parsed
        self.reads: tuple[str, ...] = tuple(dict.fromkeys(reader.reads))
        self.references: tuple[Reference, ...] = tuple(dict.fromkeys(reader.references))
        self.names: frozenset[str] = frozenset(reference.root for reference in self.references)

    @property
    def constant(self) -> bool:
        """Say whether it depends on nothing."""
        return not self.reads and not self.names

    def evaluate(self, names: Mapping[str, Any] | None = None, read: Read | None = None) -> Any:
        """Return its value; *names* are results by instruction, `params`, `item`, `index`, *read* reads the context.

        Raises `InvalidArgument` (EXPRESSION_FAILED, REFERENCE_UNKNOWN, REFERENCE_MISSING) that says what has no value.
        """
        evaluator = _evaluator()
        before = evaluator.names, evaluator.functions
        evaluator.names = _Names(self, names or {})
        evaluator.functions = {**functions.FUNCTIONS, **_reading(read or _reads_nothing)}
        try:
            found = evaluator.eval(self.text, previously_parsed=self._tree)
            return functions.bounded(found)
        except InvalidArgument as error:
            raise InvalidArgument(
                f"expression {_shown(self.text)}: {error.message}", reason=error.reason, metadata=error.metadata
            ) from None
        except (ArithmeticError, TypeError, ValueError, LookupError, RecursionError, MemoryError) as error:
            raise self._failed(str(error) or type(error).__name__) from error
        finally:
            evaluator.names, evaluator.functions = before

    def holds(self, names: Mapping[str, Any] | None = None, read: Read | None = None) -> bool:
        """Say whether its value counts as true: not false, null, 0, nor empty."""
        return bool(self.evaluate(names, read))

    def replaced(self, texts: Mapping[str, str]) -> str:
        """Return its text where each of the names in *texts* is replaced by an expression, put in parentheses."""
        parsed, edits = self._parsed.encode(), []
        for node in ast.walk(self._tree):
            if not isinstance(node, ast.Name):
                continue
            reference = self._stand_ins.get(node.id)
            root, path = (reference.root, reference.path) if reference else (node.id, ())
            if root in texts:
                begin = len(parsed[: node.col_offset].decode())
                rest = "".join(f"[{json.dumps(part)}]" for part in path)
                edits.append((begin, begin + len(node.id), f"({texts[root]}){rest}"))
        text = self.text
        for begin, end, made in sorted(edits, reverse=True):
            text = text[:begin] + made + text[end:]
        return text

    def _failed(self, what: str) -> InvalidArgument:
        return InvalidArgument(f"expression {_shown(self.text)}: {what}", reason="EXPRESSION_FAILED")

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


class _Names(Mapping[str, Any]):
    """What names stand for in one expression."""

    def __init__(self, expression: Expression, names: Mapping[str, Any]) -> None:
        self._expression, self._names = expression, names

    def __getitem__(self, name: str) -> Any:
        reference = self._expression._stand_ins.get(name)  # noqa: SLF001  # the same module
        if reference is not None:
            return reference.resolve(self._names)
        if name in self._names:
            return self._names[name]
        if name in CONSTANTS:
            return CONSTANTS[name]
        return Reference(name, (), name).resolve(self._names)

    def __iter__(self) -> Any:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _reading(read: Read) -> dict[str, Callable[[str], Any]]:
    return {"value": read, "exists": lambda path: read(path) is not None}


_local = threading.local()


def _evaluator() -> Any:
    """Return the evaluator of this thread: it holds names while it evaluates."""
    made = getattr(_local, "evaluator", None)
    if made is None:
        from lightfast.engine.programs.evaluator import Evaluator

        made = _local.evaluator = Evaluator()
    return made


@functools.lru_cache(maxsize=4096)
def compile_expression(text: str) -> Expression:
    """Return the compiled expression, or raise `InvalidArgument` (EXPRESSION_INVALID) with the position."""
    return Expression(text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")


class _Reader:
    """Reads a text into a tree and accepts only what the language has."""

    def __init__(self, text: str, stand_ins: dict[str, Reference]) -> None:
        self._text = text
        self._stand_ins = stand_ins
        self.parsed = text
        self.reads: list[str] = []
        self.references: list[Reference] = []

    def read(self) -> ast.Expr:
        """Return the tree."""
        if not self._text:
            raise self._invalid(0, "the expression is empty")
        if len(self._text) > MAX_LENGTH:
            raise self._invalid(MAX_LENGTH, f"it is longer than {MAX_LENGTH} characters")
        self.parsed = _STAND_IN.sub(self._stand_in, self._text)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(self.parsed, mode="eval").body
        except SyntaxError as error:
            # An offset of 0 is how the parser says that the text ends too early.
            raise self._invalid((error.offset or len(self._text) + 1) - 1, _plain(error.msg)) from None
        except (RecursionError, MemoryError):
            raise self._invalid(0, "it is nested too deep") from None
        except ValueError:
            raise self._invalid(0, "it holds a character that no text can have") from None
        self._visit(tree, 0)
        return ast.Expr(tree)

    def _stand_in(self, match: re.Match[str]) -> str:
        """Replace a reference by a name of the same length, and a line's end outside of texts by a space."""
        text = match.group()
        if text in "\n\r\t":
            return " "
        if not text.startswith("${"):
            return text
        try:
            (reference,) = split(text)
        except InvalidArgument as error:
            raise self._invalid(match.start(), error.message) from None
        except ValueError:
            raise self._invalid(match.start(), "it is no reference") from None
        if isinstance(reference, str):
            raise self._invalid(match.start(), "it is no reference")
        name = f"_{len(self._stand_ins)}"
        name += "_" * (len(text) - len(name))
        self._stand_ins[name] = reference
        return name

    def _invalid(self, position: int, what: str) -> InvalidArgument:
        return InvalidArgument(
            f"expression {_shown(self._text)}: {what}, at position {position + 1}",
            reason="EXPRESSION_INVALID",
            metadata={"position": str(position + 1)},
        )

    def _at(self, node: ast.expr, what: str) -> InvalidArgument:
        # The parser counts bytes of UTF-8.
        return self._invalid(len(self.parsed.encode()[: node.col_offset].decode(errors="ignore")), what)

    def _visit(self, node: ast.expr, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self._at(node, f"it is nested deeper than {MAX_DEPTH}")
        match node:
            case ast.Constant(value=value):
                self._constant(node, value)
                return
            case ast.Name(id=name):
                self._name(node, name)
                return
            case ast.Attribute() | ast.Subscript():
                self._step(node)
            case ast.Call():
                self._call(node, depth)
                return
            case ast.UnaryOp(op=op) | ast.BinOp(op=op):
                self._operator(node, op)
            case ast.Compare(ops=ops):
                for each in ops:
                    self._operator(node, each)
            case ast.Dict(keys=keys):
                if any(key is None for key in keys):
                    raise self._at(node, "** is not known inside a map")
            case ast.BoolOp() | ast.IfExp() | ast.List() | ast.Tuple():
                pass
            case _:
                raise self._at(node, f"{_CONSTRUCTS.get(type(node).__name__, type(node).__name__)} is not allowed")
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self._visit(child, depth + 1)

    def _constant(self, node: ast.Constant, value: Any) -> None:
        if value is not None and type(value) not in (bool, int, float, str):
            raise self._at(node, f"{value!r} is not allowed")
        try:
            functions.bounded(value)
        except InvalidArgument as error:
            raise self._at(node, error.message) from None

    def _name(self, node: ast.Name, name: str) -> None:
        reference = self._stand_ins.get(name)
        if reference is not None:
            self.references.append(reference)
            return
        if name in READING or name in functions.FUNCTIONS:
            raise self._at(node, f"{name} is a function: write {name}(…)")
        if name.startswith("_"):
            raise self._at(node, f"unknown name {name!r}: names begin with a letter")
        if name not in CONSTANTS:
            self.references.append(Reference(name, (), name))

    def _step(self, node: ast.Attribute | ast.Subscript) -> None:
        """Read `.field` and `[item]`; what begins with a name and is written out is a reference."""
        if isinstance(node, ast.Attribute):
            if node.attr.startswith("_"):
                raise self._at(node, f'the field {node.attr!r} begins with "_": write ["{node.attr}"]')
        elif isinstance(node.slice, (ast.Slice, ast.Tuple)):
            raise self._at(node, "a range of items is not allowed: take one item")
        path: list[str | int] = []
        inner: ast.expr = node
        while True:
            if isinstance(inner, ast.Attribute):
                path.append(inner.attr)
            elif isinstance(inner, ast.Subscript) and isinstance(inner.slice, ast.Constant):
                part = inner.slice.value
                if isinstance(part, bool) or not isinstance(part, (str, int)):
                    return
                path.append(part)
            else:
                break
            inner = inner.value
        if isinstance(inner, ast.Name) and inner.id not in CONSTANTS and inner.id not in self._stand_ins:
            self.references.append(Reference(inner.id, tuple(reversed(path)), ast.unparse(node)))

    def _operator(self, node: ast.expr, op: ast.AST) -> None:
        if not isinstance(op, _OPERATORS):
            known = "is compares with ==" if isinstance(op, (ast.Is, ast.IsNot)) else "use and, or, not, + - * / % **"
            raise self._at(node, f"the operator {type(op).__name__} is not allowed: {known}")

    def _call(self, node: ast.Call, depth: int) -> None:
        if not isinstance(node.func, ast.Name):
            raise self._at(node, "only functions can be called, by their name")
        name = node.func.id
        if name not in READING and name not in functions.FUNCTIONS:
            raise self._at(node, f"unknown function {name!r}{did_you_mean(name, (*READING, *functions.FUNCTIONS))}")
        if node.keywords:
            raise self._at(node, f"{name}(…) takes no named arguments")
        least, most = (1, 1) if name in READING else functions.TAKES[name]
        if any(isinstance(each, ast.Starred) for each in node.args) or not least <= len(node.args) <= most:
            wanted = (
                str(least) if least == most else f"{least} to {most}" if most < functions.MANY else f"{least} or more"
            )
            raise self._at(node, f"{name}(…) takes {wanted} argument(s), not {len(node.args)}")
        for each in node.args:
            self._visit(each, depth + 1)
        if name in READING:
            self._path(name, node.args[0])

    def _path(self, name: str, node: ast.expr) -> None:
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            raise self._at(
                node,
                f'the path of {name}(…) must be written out, as in {name}("/live/tempo"): use context.get for others',
            )
        try:
            self.reads.append(check_path(node.value))
        except ValueError as error:
            raise self._at(node, str(error)) from None


_CONSTRUCTS = {
    "Lambda": "a lambda",
    "ListComp": "a comprehension",
    "SetComp": "a comprehension",
    "DictComp": "a comprehension",
    "GeneratorExp": "a comprehension",
    "NamedExpr": "an assignment",
    "JoinedStr": "a formatted text",
    "Set": "a set",
    "Starred": "* before a value",
    "Await": "await",
    "Yield": "yield",
}


def _plain(message: str) -> str:
    return message[:1].lower() + message[1:].rstrip(".") if message else "it is malformed"
