"""The help of `lightfast` is grouped: by what somebody is about to do, the most common first."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

VALUES, APPS = "Values and their history", "Applications and the show"
WORK, MAKE = "What is to be done", "What is made"
KNOWN, DAEMON = "What is remembered and kept", "The daemon"
PANELS: dict[str, tuple[str, ...]] = {
    WORK: (
        *("do", "plan", "run", "runs", "approve", "say", "workflow", "triggers", "jobs", "tasks", "workspaces"),
        *("projects", "events", "mcp", "import"),
    ),
    VALUES: ("get", "set", "rm", "ls", "watch", "at", "history", "undo", "redo", "describe", "declare", "view"),
    APPS: (*("apps", "link", "scene", "transport", "show", "panic", "record", "replay", "osc", "sim", "pack"),),
    MAKE: (
        *("generate", "embed", "batch", "operations", "operation", "models", "prompts", "usage", "budget", "failures"),
        *("key", "providers"),
    ),
    KNOWN: ("remember", "recall", "relate", "forget", "memory", "archive", "purge", "gc", "backup"),
    DAEMON: ("status", "doctor", "errors", "config", "plugins", "token", "demo", "serve"),
}
"""The commands of each panel, in the order in which they are shown."""


def panel_of(name: str) -> str:
    """Return the panel of a command."""
    return next((panel for panel, names in PANELS.items() if name in names), DAEMON)


class Grouped(TyperGroup):
    """Lists its commands in the order of the panels."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order in which they are shown and completed."""
        return sorted(super().list_commands(ctx), key=order)


def order(name: str) -> tuple[int, int]:
    """Return what commands are sorted by: those nobody has put into a panel come last."""
    for first, names in enumerate(PANELS.values()):
        if name in names:
            return first, names.index(name)
    return len(PANELS), 0
