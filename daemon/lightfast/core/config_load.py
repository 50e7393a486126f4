"""Reads settings from their sources and reports all mistakes together."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from lightfast.core.config import ConfigError, Problem, Row, describe, texts, toml
from lightfast.core.config_secrets import holds_reference, is_reference, is_secret_name, refuse_plain, resolved

R = TypeVar("R")
PREFIX = "LIGHTFAST_"
_HEADER = re.compile(r"^\s*\[\s*([^\[\]]+?)\s*\]")
_WITH_PASSWORD = re.compile(r"://[^/\s]*@").search
_KEY = re.compile(r"^\s*([A-Za-z0-9_.\"'-]+)\s*=")


class Given(NamedTuple):
    """One value as a source gave it; *raw* is text that still has to be read by the setting's type."""

    value: Any
    source: str
    where: str
    raw: bool = False
    written: Any = None


@dataclass(frozen=True, slots=True)
class Loaded(Generic[R]):
    """Settings in force, and where each came from."""

    settings: R
    rows: tuple[Row, ...]

    def changed(self, other: Loaded[R]) -> tuple[str, ...]:
        """Return the keys whose values differ in *other*."""
        mine = {row.key: row.value for row in self.rows}
        theirs = {row.key: row.value for row in other.rows}
        return tuple(sorted(key for key in mine | theirs if mine.get(key) != theirs.get(key)))


def load(
    root: type[R],
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Sequence[str] = (),
) -> Loaded[R]:
    """Read all sources; raises `ConfigError` with every mistake in them."""
    reader = _Reader(root)
    if file is not None:
        reader.read_file(file)
    reader.read_environment(os.environ if environ is None else environ)
    reader.read_flags(flags)
    settings, rows = reader.build()
    if reader.problems:
        raise ConfigError(reader.problems)
    return Loaded(settings, rows)


@dataclass(slots=True)
class _Reader:
    root: type[Any]
    problems: list[Problem] = field(default_factory=list)
    given: dict[str, Given] = field(default_factory=dict)

    # ---- sources
    def read_file(self, file: Path) -> None:
        """Take the values of a TOML file; one that is not there is a mistake of whoever named it."""
        try:
            text = file.read_text(encoding="utf-8")
            document = tomllib.loads(text)
        except UnicodeDecodeError:
            self.problems.append(Problem(str(file), "is not UTF-8 text"))
            return
        except OSError as error:
            self.problems.append(Problem(str(file), f"cannot be read: {error.strerror}"))
            return
        except tomllib.TOMLDecodeError as error:
            self.problems.append(Problem(str(file), f"is not TOML: {error}"))
            return
        lines = _lines(text)
        for key, value in self._leaves(document):
            line = _line_of(lines, key)
            where = f"{file}:{line}" if line else str(file)
            self._take(key, Given(value, "file", where))

    def read_environment(self, environ: Mapping[str, str]) -> None:
        """Take `LIGHTFAST_<SECTION>__<KEY>`; names without a double underscore belong to others."""
        for name in sorted(environ):
            if name.startswith(PREFIX) and "__" in name:
                key = name.removeprefix(PREFIX).lower().replace("__", ".")
                self._take(key, Given(environ[name], "environment", f"environment {name}", raw=True))

    def read_flags(self, flags: Iterable[str]) -> None:
        """Take `section.key=value`."""
        for flag in flags:
            key, equals, value = flag.partition("=")
            if not equals:
                self.problems.append(Problem(f"--set {flag}", "write section.key=value"))
            else:
                self._take(key.strip(), Given(value.strip(), "flag", f"--set {key.strip()}", raw=True))

    def _leaves(self, document: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
        """Yield the settings of a document; a table that is itself a value of a setting is one."""
        for name, value in document.items():
            key = f"{above}.{name}" if above else name
            if isinstance(value, dict) and self._is_table(key):
                yield from self._leaves(value, key)
            else:
                yield key, value

    def _is_table(self, key: str) -> bool:
        first, *below = key.split(".")
        if first not in self._sections() or not below:
            return first in self._sections()
        kind = self._sections()[first].metadata.get("table")
        names = {item.name for item in dataclasses.fields(kind)} if kind else set()
        return kind is not None and (len(below) == 1 or ("options" in names and below[1] not in names))

    # ---- checking
    def _sections(self) -> dict[str, dataclasses.Field[Any]]:
        return {item.name: item for item in dataclasses.fields(self.root)}

    def _take(self, key: str, given: Given) -> None:
        item, problem = self._find(key, given)
        if problem:
            self.problems.append(Problem(given.where, problem))
            return
        try:
            value = self._convert(key, item, given)
        except ValueError as error:
            read = _read_any(given.value) if given.raw else given.value
            if item is not None:
                named = is_secret_name(key) and isinstance(read, str | list | dict)
                hidden = bool(item.metadata["secret"]) or named or bool(_WITH_PASSWORD(str(read)))
            else:
                hidden = is_secret_name(key) or isinstance(read, list | dict)
            shown = "***" if hidden else toml(read)
            self.problems.append(Problem(given.where, f"{key} = {shown}: expected {error}"))
            return
        self.given[key] = given._replace(value=value, raw=False, written=given.value if not given.raw else value)

    def _find(self, key: str, given: Given) -> tuple[dataclasses.Field[Any] | None, str]:
        """Return the field of *key* (none for a free one), or what is wrong with the key."""
        parts = key.split(".")
        sections = self._sections()
        if parts[0] not in sections:
            word = "section" if len(parts) > 1 or isinstance(given.value, dict) else "key"
            return None, f"unknown {word} {parts[0]}{self._suggest(key, given)}"
        metadata = sections[parts[0]].metadata
        depth = 3 if "table" in metadata else 2
        if len(parts) < depth:
            form = f"[{parts[0]}.NAME]" if depth == 3 else f"[{parts[0]}]"
            return None, f"{key} is a section: write {form} and its keys below"
        kind = metadata.get("table") or metadata["section"]
        fields = {item.name: item for item in dataclasses.fields(kind)}
        name = parts[depth - 1]
        if len(parts) == depth and name in fields and name != "options":
            return fields[name], ""
        if "options" in fields:
            return None, ""
        return None, f"unknown key {key}{self._suggest(key, given)}"

    def _suggest(self, key: str, given: Given) -> str:
        above, dot, last = key.rpartition(".")
        near = self._siblings(key)
        match = difflib.get_close_matches(last, near, n=1, cutoff=0.6)
        found = above + dot + match[0] if match else ""
        if not found and dot:  # the right key in the wrong section, or a misspelled section
            match = difflib.get_close_matches(key, self._known(key), n=1, cutoff=0.7)
            match = match or [one for one in self._known(key) if one.rpartition(".")[2] == last][:1]
            found = match[0] if match else ""
        if not found:
            return f"; there are {', '.join(near)}"
        if given.source == "environment":
            found = PREFIX + found.upper().replace(".", "__")
        return f"; did you mean {found}?"

    def _known(self, key: str) -> list[str]:
        """Return every key there is; in a section of tables, with the table's name of *key*."""
        middle = key.split(".")[1] if key.count(".") > 1 else "NAME"
        known = []
        for name, item in self._sections().items():
            kind = item.metadata.get("section") or item.metadata["table"]
            above = name if "section" in item.metadata else f"{name}.{middle}"
            known += [f"{above}.{one.name}" for one in dataclasses.fields(kind) if one.name != "options"]
        return known

    def _siblings(self, key: str) -> list[str]:
        above = key.rpartition(".")[0] + "."
        names = [name.removeprefix(above) for name in self._known(key) if name.startswith(above)]
        return names or list(self._sections())

    def _convert(self, key: str, item: dataclasses.Field[Any] | None, given: Given) -> Any:
        if item is None:
            return _free(key, given)
        value = _read(given.value, item.default) if given.raw else given.value
        metadata = item.metadata
        check = metadata["check"]
        value = check(value) if check else _typed(value, item.default)
        if metadata["choices"] and value not in metadata["choices"]:
            close = difflib.get_close_matches(str(value), metadata["choices"], n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"one of {', '.join(metadata['choices'])}{hint}")
        if metadata["minimum"] is not None and not value >= metadata["minimum"]:  # NaN is not, either
            raise ValueError(f"at least {metadata['minimum']}")
        if metadata["secret"] and value and not is_reference(value):
            raise ValueError('a reference to the secret, "env:NAME" or "file:PATH", not the secret itself')
        return value

    # ---- the result
    def build(self) -> tuple[Any, tuple[Row, ...]]:
        """Return the settings and the list of what is in force, ordered by key."""
        rows: list[Row] = []
        parts: dict[str, Any] = {}
        for name, item in self._sections().items():
            kind = item.metadata.get("section")
            if kind is not None:
                parts[name] = self._section(name, kind, rows)
                continue
            names = {key.split(".")[1] for key in self.given if key.startswith(f"{name}.")}
            parts[name] = {one: self._section(f"{name}.{one}", item.metadata["table"], rows) for one in sorted(names)}
        return self.root(**parts), tuple(sorted(rows, key=lambda row: row.key))

    def _section(self, above: str, kind: type[Any], rows: list[Row]) -> Any:
        values: dict[str, Any] = {}
        for item in dataclasses.fields(kind):
            if item.name == "options":
                values["options"] = self._options(above, kind, rows)
                continue
            given = self.given.get(
                f"{above}.{item.name}", Given(item.default, "default", "", written=item.metadata["written"])
            )
            values[item.name] = given.value
            secret = item.metadata["secret"] and bool(given.value)
            shown = '"***"' if secret else toml(given.written)
            rows.append(
                Row(f"{above}.{item.name}", shown, given.source, describe(item), secret, item.metadata["restart"])
            )
        return kind(**values)

    def _options(self, above: str, kind: type[Any], rows: list[Row]) -> dict[str, Any]:
        """Gather the free keys of a table, with the secrets they refer to."""
        named = {item.name for item in dataclasses.fields(kind)}
        found: dict[str, Any] = {}
        for key, given in self.given.items():
            name = key.removeprefix(f"{above}.")
            if not key.startswith(f"{above}.") or name in named:
                continue
            secret = holds_reference(given.value)
            rows.append(Row(key, '"***"' if secret else toml(given.value), given.source, "Read by the plugin.", secret))
            *middle, last = name.split(".")
            at: Any = found
            for one in middle:
                at = at.setdefault(one, {})
                if not isinstance(at, dict):
                    break
            if not isinstance(at, dict) or isinstance(at.get(last), dict):
                self.problems.append(Problem(given.where, f"{key}: one name cannot be a value and a table"))
            else:
                at[last] = resolved(given.value)
        return found


def _free(key: str, given: Given) -> Any:
    """Read a key that its owner knows and we do not; a secret in plain text is refused."""
    value = _read_any(given.value) if given.raw else given.value
    try:
        resolved(value)
    except ValueError as error:
        raise ValueError(f"the secret to be there, but {error}") from error
    refuse_plain(key, value)
    return value


def _read_any(text: str) -> Any:
    """Read text as a TOML value where it is one, else take it as it stands."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _read(text: str, default: Any) -> Any:
    """Read the text of a variable or flag by the type of the setting."""
    value = _read_any(text)
    if isinstance(default, str) and not isinstance(value, str):
        return text
    if isinstance(default, tuple) and isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _typed(value: Any, default: Any) -> Any:
    """Return *value* as the type of *default*, or raise `ValueError` naming that type."""
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        raise ValueError("true or false")
    if isinstance(default, int):
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise ValueError("a whole number")
    if isinstance(default, float):
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        raise ValueError("a number")
    if isinstance(default, str):
        if isinstance(value, str):
            return value
        raise ValueError("text in quotes")
    return tuple(texts(value))


def _lines(text: str) -> list[tuple[str, int]]:
    """Return the keys of a TOML text with their lines, as far as a simple look finds them."""
    found: list[tuple[str, int]] = []
    above = ""
    for number, line in enumerate(text.splitlines(), 1):
        if match := _HEADER.match(line):
            above = match[1].replace('"', "").replace("'", "").replace(" ", "")
            found.append((above, number))
        elif match := _KEY.match(line):
            key = match[1].replace('"', "").replace("'", "")
            found.append((f"{above}.{key}" if above else key, number))
    return found


def _line_of(lines: Sequence[tuple[str, int]], key: str) -> int:
    """Return the line of *key*, else of what holds it, else 0."""
    places = dict(reversed(lines))
    while key:
        if key in places:
            return places[key]
        key = key.rpartition(".")[0]
    return 0
