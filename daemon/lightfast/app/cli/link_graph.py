"""Links as trees, for people and for Graphviz."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.app.cli import literal

Fields = Mapping[str, Any]


def tree(links: Sequence[Fields], values: Mapping[str, Any]) -> str:
    """Return the forest of *links* (proto JSON) as lines, each path with what it holds in *values*."""
    following: dict[str, list[Fields]] = {}
    for item in links:
        following.setdefault(item["source"], []).append(item)
    targets = {item["target"] for item in links}
    roots = [path for path in following if path not in targets]
    lines: list[str] = []
    for root in sorted(roots):
        lines.append(_held(root, values))
        _branches(root, "", following, values, lines)
    return "\n".join(lines)


def _branches(
    path: str, indent: str, following: Mapping[str, list[Fields]], values: Mapping[str, Any], lines: list[str]
) -> None:
    """Add what follows *path*; links form a forest, so that this ends."""
    items = sorted(following.get(path, []), key=lambda item: str(item["target"]))
    for index, item in enumerate(items):
        last = index == len(items) - 1
        arrow = "<->" if item.get("two_way") else "-->"
        lines.append(f"{indent}{'└' if last else '├'}{arrow} {_held(item['target'], values)}{_about(item)}")
        _branches(item["target"], indent + ("     " if last else "│    "), following, values, lines)


def _held(path: str, values: Mapping[str, Any]) -> str:
    return f"{path} = {literal.show(values.get(path))}"


def _about(item: Fields) -> str:
    parts = [f"as {item['expression']}"] if item.get("expression") else []
    parts += [f"with {more['name']} = {more['path']}" for more in item.get("inputs", [])]
    if item.get("condition"):
        parts.append(f"when {item['condition']}")
    if item.get("rate_hz"):
        parts.append(f"{item['rate_hz']:.3g}/s")
    parts.append(str(item["link_id"]))
    if item.get("bypass"):
        parts.append("BYPASSED")
    elif item.get("disabled"):
        parts.append("OFF")
    elif item.get("waiting"):
        parts.append(f"WAITS: {item['waiting']}")
    if item.get("last_error"):
        parts.append(f"ERROR: {item['last_error']}")
    return "  " + "  ".join(parts)


def dot(links: Sequence[Fields], values: Mapping[str, Any]) -> str:
    """Return the forest in the language of Graphviz."""
    lines = ["digraph links {", "  rankdir=LR;", "  node [shape=box];"]
    paths = {item["target"] for item in links} | {path for item in links for path in _sources(item)}
    for path in sorted(paths):
        held = f"\n{literal.show(values[path])}" if path in values else ""
        lines.append(f"  {json.dumps(path)} [label={json.dumps(path + held, ensure_ascii=False)}];")
    for item in links:
        style = {"label": item.get("expression", ""), "dir": "both" if item.get("two_way") else "forward"}
        if item.get("bypass") or item.get("disabled"):
            style["style"] = "dashed"
        if item.get("last_error"):
            style |= {"color": "red", "tooltip": item["last_error"]}
        shown = ", ".join(f"{name}={json.dumps(text, ensure_ascii=False)}" for name, text in style.items() if text)
        lines += [f"  {json.dumps(source)} -> {json.dumps(item['target'])} [{shown}];" for source in _sources(item)]
    return "\n".join([*lines, "}"])


def _sources(item: Fields) -> list[str]:
    return list(dict.fromkeys([item["source"], *(more["path"] for more in item.get("inputs", []))]))
