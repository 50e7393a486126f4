"""Settings: what they are, where they come from, and every mistake in them at once.

A section is a frozen dataclass whose fields are made by `setting`; the type of a setting is that
of its default, and its help text is the documentation. Later sources win: the default, the file,
the environment (`LIGHTFAST_<SECTION>__<KEY>`), the flags (`--set section.key=value`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from lightfast.core.errors import InvalidArgument

_BARE = re.compile(r"[A-Za-z0-9_-]+").fullmatch
Check = Callable[[Any], Any]
"""Takes the value as written and returns it as meant; raises `ValueError` saying what was expected."""


def setting(
    default: Any,
    help_text: str,
    *,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    check: Check | None = None,
    secret: bool = False,
    restart: bool = True,
) -> Any:
    """Declare one setting: a scalar, or a tuple of strings. A change needs a restart, or follows SIGHUP."""
    metadata = {
        "help": help_text,
        "choices": choices,
        "minimum": minimum,
        "check": check,
        "secret": secret,
        "restart": restart,
        "written": default,
    }
    return dataclasses.field(default=default if check is None else check(default), metadata=metadata)


def section(kind: type[Any], help_text: str) -> Any:
    """Declare a section of fixed keys, `[name]`."""
    return dataclasses.field(default_factory=kind, metadata={"help": help_text, "section": kind})


def tables(kind: type[Any], help_text: str, *, example: str) -> Any:
    """Declare a section of named tables, `[name.<any>]`, each of *kind*; *example* is one such name.

    A kind with a field `options` takes further keys freely and finds them there.
    """
    return dataclasses.field(default_factory=dict, metadata={"help": help_text, "table": kind, "example": example})


class Problem(NamedTuple):
    """One mistake: where it stands, the key, what is wrong and what to do."""

    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


class ConfigError(InvalidArgument):
    """The settings are wrong; the message lists every mistake."""

    reason = "CONFIG_INVALID"

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        count = len(problems)
        title = f"the settings have {count} mistakes:" if count > 1 else "the settings have a mistake:"
        super().__init__("\n  ".join([title, *map(str, problems)]))


@dataclass(frozen=True, slots=True)
class Row:
    """One setting in force: *value* is TOML text, *source* is default, file, environment or flag.

    *restart* says that a change shows only after a restart.
    """

    key: str
    value: str
    source: str
    description: str
    secret: bool = False
    restart: bool = False


def parse_size(value: Any) -> int:
    """Read a number of bytes, or text such as `20 GiB` or `500 MB`."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        number = value.rstrip("BKMGTi ")
        unit = value[len(number) :].strip()
        if unit in _UNITS:
            try:
                size = int(float(number) * _UNITS[unit])
            except (ValueError, OverflowError):
                size = -1
            if size >= 0:
                return size
    raise ValueError('a size such as "20 GiB", or a number of bytes')


_UNITS = {"": 1, "B": 1} | {
    f"{letter}{middle}B": base**power
    for power, letter in enumerate("KMGT", 1)
    for middle, base in (("i", 1024), ("", 1000))
}


def parse_address(value: Any) -> str:
    """Check `HOST:PORT`; an empty one switches a door off, port 0 takes any free port."""
    if not isinstance(value, str):
        raise ValueError('an address such as "127.0.0.1:50151"')  # noqa: TRY004  # the one error of a Check
    if value:
        split_address(value)
    return value


def split_address(text: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT` or `[IPv6]:PORT`; `ValueError` says what was expected."""
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not bare or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError('HOST:PORT with a port from 0 to 65535, for example "127.0.0.1:50151"')
    if ":" in bare and host == bare:
        raise ValueError('an IPv6 address in brackets, for example "[::1]:50151"')
    return bare, int(port)


def texts(value: Any) -> list[str] | tuple[str, ...]:
    """Check a list of texts."""
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return value
    raise ValueError('a list of texts, for example ["one", "two"]')


def is_loopback(host: str) -> bool:
    """Say whether *host* is this machine and nobody else's."""
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def toml(value: Any) -> str:
    """Return *value* as TOML text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        body = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in body) + '"'
    if isinstance(value, Mapping):
        items = [f"{name if _BARE(name) else toml(name)} = {toml(item)}" for name, item in value.items()]
        return "{ " + ", ".join(items) + " }" if items else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return repr(value) if isinstance(value, int | float) else toml(str(value))


def render_default(root: type[Any]) -> str:
    """Return the default settings file: every key with its help, every value commented out."""
    lines = [
        "# The settings of Lightfast. Every value below is the default; take the # away to change it.",
        "# Every key can also be set as LIGHTFAST_<SECTION>__<KEY> or --set section.key=value.",
        "# Secrets are given by reference: credential:NAME, file:PATH or env:NAME; keys of AI also keyring:NAME.",
    ]
    for field in dataclasses.fields(root):
        kind = field.metadata.get("section") or field.metadata["table"]
        name = field.name if "section" in field.metadata else f"{field.name}.{field.metadata['example']}"
        lines += ["", f"# {field.metadata['help']}", f"[{name}]" if name == field.name else f"# [{name}]"]
        for item in dataclasses.fields(kind):
            if item.name == "options":
                continue
            lines += [f"# {line}" for line in describe(item).split("\n")]
            lines.append(f"#{item.name} = {toml(item.metadata['written'])}")
    return "\n".join(lines) + "\n"


def describe(item: dataclasses.Field[Any]) -> str:
    """Return the help text of a setting, with its choices."""
    choices = item.metadata.get("choices")
    help_text: str = item.metadata["help"]
    return help_text + (f" One of: {', '.join(map(str, choices))}." if choices else "")
