"""Renders prompt templates in a process of its own: run by `renderer`, imports nothing of Lightfast.

A template is a small program, and what it can cost cannot be foreseen: a loop in a loop, a text that doubles, a list of
lists that grows when it is written. So it runs where it can be killed and where memory ends, in Jinja's immutable
sandbox, which keeps it from the attributes by which Python is left; the bounds in here make the usual mistakes clear
errors instead. The process is given no environment, no files and no network to speak of, and nothing of the daemon.

Lines of JSON come in (`id`, `do`, `text`, `system`, `arguments`) and go out (`id`, and `texts` and `names`, or `error`
with `kind`, `message` and `line`).
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

MOST_TEXT = 64 * 1024
"""The longest template, in characters."""
MOST_OUTPUT = 128 * 1024
"""The longest text that is rendered, in characters."""
MOST_LINE = 4 * 1024 * 1024
MOST_RANGE = 10_000
"""The longest `range`."""
MOST_ITEMS = 1_000_000
"""The longest text or list that a product makes."""
MOST_BITS = 4096
"""The largest whole number that a power or a product makes, in bits."""
MEMORY = 512 * 1024 * 1024
"""All that the process may take, in bytes, where the system can keep it to that."""
SECONDS = 30
"""A template that works for longer ends the process, even when nobody watches over it any more."""
_NAME = "<template>"


class TooMuch(Exception):
    """A bound was reached."""


def environment() -> Any:
    """Return Jinja's immutable sandbox with bounds, in which every name must be given."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Bounded(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(("*", "**", "%"))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if operator == "**":
                _check_power(left, right)
            elif operator == "*":
                _check_product(left, right)
            elif isinstance(left, str | bytes):
                raise TooMuch("'%' on a text is not offered here: join texts by ~")
            return super().call_binop(context, operator, left, right)

    made = Bounded(undefined=StrictUndefined, keep_trailing_newline=False, autoescape=False)  # no HTML
    made.globals = {"range": _range, "dict": dict, "namespace": made.globals["namespace"]}
    for name in ("random", "pprint", "xmlattr", "urlize", "format", "filesizeformat", "forceescape"):
        del made.filters[name]
    return made


def _range(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > MOST_RANGE:
        raise TooMuch(f"range({', '.join(map(str, bounds))}) has {len(found)} numbers, the most is {MOST_RANGE}")
    return found


def _check_product(left: Any, right: Any) -> None:
    for one, other in ((left, right), (right, left)):
        if isinstance(one, str | bytes | list | tuple) and isinstance(other, int) and len(one) * other > MOST_ITEMS:
            raise TooMuch(f"a product of {len(one) * other} items: the most is {MOST_ITEMS}")
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > MOST_BITS:
        raise TooMuch(f"a product of more than {MOST_BITS} bits")


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > MOST_BITS:
        raise TooMuch(f"a power of more than {MOST_BITS} bits")


def names_of(made: Any, texts: Mapping[str, str]) -> list[str]:
    """Return the arguments that the texts take; what is in the sandbox by itself is none."""
    from jinja2 import meta

    found: set[str] = set()
    for text in texts.values():
        found |= meta.find_undeclared_variables(made.parse(text, name=_NAME, filename=_NAME))
    return sorted(found - set(made.globals))


def optional_of(made: Any, texts: Mapping[str, str]) -> list[str]:
    """Return the arguments that may be left out: the texts have a default for them, or ask whether they are given."""
    from jinja2 import nodes

    found: set[str] = set()
    for text in texts.values():
        tree = made.parse(text, name=_NAME, filename=_NAME)
        for kind, words in ((nodes.Filter, ("default", "d")), (nodes.Test, ("defined", "undefined"))):
            guarded = (each.node for each in tree.find_all(kind) if each.name in words)
            found |= {each.name for each in guarded if isinstance(each, nodes.Name)}
    return sorted(found)


def render(made: Any, text: str, arguments: Mapping[str, Any]) -> str:
    """Return the text with its arguments put in; piece by piece, so that its length is known as it grows."""
    code = made.compile(made.parse(text, name=_NAME, filename=_NAME), name=_NAME, filename=_NAME)
    template = made.template_class.from_code(made, code, dict(made.globals))
    parts: list[str] = []
    size = 0
    with contextlib.closing(template.generate(**arguments)) as pieces:
        for piece in _strings(pieces):
            size += len(piece)
            if size > MOST_OUTPUT:
                raise TooMuch(f"the rendered text is longer than {MOST_OUTPUT} characters")
            parts.append(piece)
    return "".join(parts)


def _strings(pieces: Any) -> Iterator[str]:
    yield from pieces


def answer(made: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to one request, what is wrong with the template included."""
    side = "text"
    try:
        texts = {name: str(request[name]) for name in ("text", "system")}
        for each, text in texts.items():
            side = each
            made.compile(made.parse(text, name=_NAME, filename=_NAME), name=_NAME, filename=_NAME)
        found: dict[str, Any] = {"names": names_of(made, texts), "optional": optional_of(made, texts)}
        if request["do"] == "render":
            rendered = {}
            for each, text in texts.items():
                side = each
                rendered[side] = render(made, text, request["arguments"])
            found["texts"] = rendered
        return found
    except Exception as error:  # noqa: BLE001  # whatever a template brings about is its own mistake
        return {"error": _told(error, side)}


def _told(error: Exception, side: str) -> dict[str, Any]:
    from jinja2 import TemplateSyntaxError, UndefinedError
    from jinja2.exceptions import SecurityError, TemplateNotFound

    message = str(error) or type(error).__name__
    kind = "failed"
    line = error.lineno if isinstance(error, TemplateSyntaxError) else _line_of(error)
    if isinstance(error, TooMuch | MemoryError | RecursionError | OverflowError):
        kind = "too_much"
        if isinstance(error, MemoryError):
            message = "it needs too much memory"
        elif isinstance(error, RecursionError):
            message = "it calls itself too deep"
    elif isinstance(error, UndefinedError):
        kind = "undefined"
    elif isinstance(error, SecurityError):
        kind = "forbidden"
    elif isinstance(error, TemplateNotFound) or "no loader" in message:
        kind, message = "forbidden", "a template cannot include, import or extend another one"
    elif isinstance(error, TemplateSyntaxError):
        kind, message = "syntax", error.message or message
    elif not isinstance(error, TypeError | ValueError | ArithmeticError | LookupError):
        message = f"{type(error).__name__}: {message}"
    return {"kind": kind, "message": message[:500], "line": line, "side": side}


def _line_of(error: BaseException) -> int:
    """Return the line of the template that was at work; Jinja rewrites the frames of templates."""
    line = 0
    trace = error.__traceback__
    for _ in range(10_000):
        if trace is None:
            break
        if trace.tb_frame.f_code.co_filename == _NAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def confine() -> Callable[[int], None]:
    """Bound the process, as far as the system can; return what sets the alarm that ends it after some seconds."""
    try:
        import resource
        import signal
    except ImportError:  # Windows: the daemon ends it, and the bounds in here are all there is
        return lambda _: None
    for limit, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 16)):
        with contextlib.suppress(ValueError, OSError):  # where a system cannot, the daemon still ends it in time
            resource.setrlimit(limit, (most, most))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def alarm(seconds: int) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)

    return alarm


def main() -> None:
    """Answer line by line until the input ends."""
    made = environment()
    made.from_string("{% for a in [1] %}{{ a }}{% endfor %}").render()  # what is loaded lazily is loaded now
    from jinja2 import meta  # noqa: F401

    sys.setrecursionlimit(600)
    alarm = confine()
    put = sys.stdout.buffer
    put.write(b'{"ready": true}\n')
    put.flush()
    while line := sys.stdin.buffer.readline(MOST_LINE):
        request = json.loads(line)
        alarm(SECONDS)
        found = {"id": request["id"], **answer(made, request)}
        try:
            data = json.dumps(found, ensure_ascii=True).encode()
        except MemoryError:
            data = json.dumps({"id": request["id"], "error": _told(MemoryError(), "text")}).encode()
        alarm(0)
        put.write(data + b"\n")
        put.flush()


if __name__ == "__main__":
    main()
