"""Reads the triggers of a workflow.

triggers:
  - on: path                  # a path pattern; `when` over value, previous, path, value("/other/path")
    pattern: /live/tempo
    when: value > 120
    edge: rise                # fires when it becomes true; `change`: at each change for which it is true
    debounce: 250ms           # the value must stay so long
    cooldown: 10s             # at least so long between two firings
    rate: 6/min               # at most so often
    concurrent: 1             # runs under way at a time, and what is done about more:
    policy: skip              # skip, queue or replace
    parameters: {tempo: "${value}"}
  - {on: beat, every: 4 beats}          # or 2 bars (of four beats); {on: beat, at: bar 17}
  - {on: schedule, cron: "0 9 * * 1-5", time_zone: Europe/Berlin, missed: once}     # or {every: 10s}
  - {on: file, folder: ~/incoming, glob: "*.png", parameters: {image: "${asset}"}}
  - {on: app, app: /blender, event: arrives}                                        # or leaves
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lightfast.core.errors import InvalidArgument
from lightfast.engine.programs.expression import Expression, compile_expression
from lightfast.engine.programs.near import did_you_mean
from lightfast.engine.programs.references import find
from lightfast.engine.workflows.reading import Reading, plain, seconds_of
from lightfast.engine.workflows.records import Parameter, Place, TriggerSpec
from lightfast.sdk.oscmap.document import Node
from lightfast_link.path import compile_pattern

KINDS = ("path", "beat", "schedule", "file", "app")
POLICIES = ("skip", "queue", "replace")
MOST = 32
"""The most triggers of one workflow."""
BAR = 4
"""Beats of a bar."""
SHORTEST_S = 1.0
"""The shortest time between two firings of a schedule, in seconds."""
NAMES: dict[str, tuple[str, ...]] = {
    "path": ("value", "previous", "path", "trigger", "time"),
    "beat": ("beat", "tempo", "trigger", "time"),
    "schedule": ("trigger", "time"),
    "file": ("file", "name", "size", "asset", "trigger", "time"),
    "app": ("app", "kind", "state", "trigger", "time"),
}
"""What a trigger knows, for its condition and its parameters."""
_ANY = ("on", "when", "parameters", "cooldown", "rate", "concurrent", "policy", "disabled")
_OWN = {
    "path": ("pattern", "edge", "debounce"),
    "beat": ("every", "at"),
    "schedule": ("cron", "every", "time_zone", "missed"),
    "file": ("folder", "glob"),
    "app": ("app", "event"),
}
_RATE = re.compile(r"([1-9][0-9]{0,5})\s*/\s*(s|min|m|h|d)")
_BEATS = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,4})?)\s*(beats?|bars?)")
_AT = re.compile(r"(beat|bar)\s+([0-9]{1,6})")
_BARE = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|\$\{[^}]*\}|(?<![.\w])value\b(?!\s*\()", re.DOTALL)


def condition(text: str) -> Expression:
    """Return the compiled condition of a trigger, in which a bare `value` is the value that changed."""
    return compile_expression(_BARE.sub(lambda found: "${value}" if found[0] == "value" else found[0], text))


class TriggerReader:
    """Reads the triggers of one file."""

    def __init__(self, reading: Reading, workflow: str, parameters: tuple[Parameter, ...]) -> None:
        self._reading = reading
        self._workflow = workflow
        self._parameters = {each.name: each for each in parameters}

    def read(self, node: Node) -> tuple[TriggerSpec, ...]:
        """Return the triggers."""
        if not isinstance(node.value, list):
            self._reading.bad(node, "triggers is no list: write one as `- on: path` with `pattern: /PATH` below")
            return ()
        if len(node.value) > MOST:
            self._reading.bad(node, f"there are {len(node.value)} triggers, the most is {MOST}")
            return ()
        found = [self._trigger(each, f"{self._workflow}-{number}") for number, each in enumerate(node.value, 1)]
        return tuple(each for each in found if each is not None)

    def _trigger(self, node: Node, name: str) -> TriggerSpec | None:
        reading = self._reading
        if not isinstance(node.value, dict):
            reading.bad(node, f"a trigger is {node.shape}: write a table that begins with on: {', '.join(KINDS)}")
            return None
        kind = reading.choice(node.value, "on", KINDS, "")
        if not kind:
            if "on" not in node.value:
                reading.bad(node, f"a trigger needs `on`, one of {', '.join(KINDS)}")
            return None
        table = reading.keys(node, (*_ANY, *_OWN[kind]), f"a trigger on {kind}")
        rate, rate_s = self._rate(table)
        when = reading.text(table, "when")
        if when:
            self._condition(table["when"], when, kind)
        disabled = table.get("disabled")
        fields: dict[str, Any] = {
            "when": when,
            "parameters": self._given(node, table, kind),
            "cooldown": reading.duration(table, "cooldown"),
            "rate": rate,
            "rate_s": rate_s,
            "concurrent": reading.whole(table, "concurrent", 1, 1, 64),
            "policy": reading.choice(table, "policy", POLICIES, "skip"),
            "disabled": "it is switched off in its file"
            if disabled is not None and reading.flag(table, "disabled")
            else "",
        }
        own = {
            "path": self._path,
            "beat": self._beat,
            "schedule": self._schedule,
            "file": self._file,
            "app": self._app,
        }[kind](node, table)
        return TriggerSpec(name, self._workflow, kind, Place(node.line, node.column), **{**fields, **own})

    def _condition(self, node: Node, text: str, kind: str) -> None:
        found = self._reading.guarded(node, "when", lambda: condition(text))
        if found is None:
            return
        for name in sorted(found.names):
            if name not in NAMES[kind]:
                near = did_you_mean(name, NAMES[kind])
                self._reading.bad(
                    node, f"when: nothing is named {name!r} in a trigger on {kind}{near}", "REFERENCE_UNKNOWN"
                )

    def _given(self, node: Node, table: dict[str, Node], kind: str) -> dict[str, Any]:
        reading = self._reading
        given = table.get("parameters")
        found: dict[str, Any] = {}
        if given is not None and not isinstance(given.value, dict):
            reading.bad(given, f"parameters is {given.shape}: write a table")
        elif given is not None:
            for name, each in given.value.items():
                if name not in self._parameters:
                    near = did_you_mean(name, self._parameters)
                    reading.bad(Place(*given.keys[name]), f"there is no parameter {name!r}{near}", "PARAMETER_UNKNOWN")
                found[name] = plain(each)
                try:
                    roots = [reference.root for _, reference in find(found[name])]
                except InvalidArgument as error:
                    reading.bad(each, error.message, error.reason)
                    continue
                for root in roots:
                    if root not in NAMES[kind]:
                        near = did_you_mean(root, NAMES[kind])
                        reading.bad(
                            each, f"nothing is named {root!r} in a trigger on {kind}{near}", "REFERENCE_UNKNOWN"
                        )
        missing = [each.name for each in self._parameters.values() if each.required and each.name not in found]
        if missing:
            reading.bad(
                node,
                f"the trigger gives no {', '.join(missing)}: write parameters: {{{missing[0]}: …}}, or a default",
                "PARAMETER_MISSING",
            )
        return found

    def _rate(self, table: dict[str, Node]) -> tuple[int, float]:
        text = self._reading.text(table, "rate")
        if not text:
            return 0, 60.0
        match = _RATE.fullmatch(text.strip())
        if match is None:
            self._reading.bad(table["rate"], f"rate is {text!r:.40}: write how often, such as 6/min, 1/s, 10/h")
            return 0, 60.0
        return int(match[1]), seconds_of("1" + match[2]) or 60.0

    def _path(self, node: Node, table: dict[str, Node]) -> dict[str, Any]:
        pattern = self._reading.text(table, "pattern")
        if not pattern:
            self._reading.bad(node, "a trigger on path needs a pattern, such as /live/tempo or /blender//location")
        else:
            try:
                compile_pattern(pattern)
            except ValueError as error:
                self._reading.bad(table["pattern"], str(error), "PATTERN_INVALID")
        usual = "rise" if "when" in table else "change"
        return {
            "pattern": pattern,
            "edge": self._reading.choice(table, "edge", ("rise", "change"), usual),
            "debounce": self._reading.duration(table, "debounce"),
        }

    def _beat(self, node: Node, table: dict[str, Node]) -> dict[str, Any]:
        if ("every" in table) == ("at" in table):
            self._reading.bad(node, "a trigger on beat has either every: 4 beats, or at: bar 17")
            return {}
        if "at" in table:
            text = self._reading.text(table, "at")
            match = _AT.fullmatch(text.strip())
            if match is None or int(match[2]) < 1:
                self._reading.bad(table["at"], f"at is {text!r:.40}: write beat 33 or bar 9, counted from 1")
                return {}
            number = int(match[2]) - 1
            return {"at": float(number * BAR if match[1] == "bar" else number)}
        text = str(table["every"].value)
        match = _BEATS.fullmatch(text.strip())
        if match is None or float(match[1]) < 0.25:  # a sixteenth
            self._reading.bad(table["every"], f"every is {text!r:.40}: write 4 beats or 2 bars, from 0.25 beats on")
            return {}
        return {"every": float(match[1]) * (BAR if match[2].startswith("bar") else 1)}

    def _schedule(self, node: Node, table: dict[str, Node]) -> dict[str, Any]:
        reading = self._reading
        found: dict[str, Any] = {"missed": reading.choice(table, "missed", ("skip", "once"), "skip")}
        if ("every" in table) == ("cron" in table):
            reading.bad(node, 'a trigger on schedule has either cron: "0 9 * * 1-5", or every: 10s')
            return found
        if "every" in table:
            every = reading.duration(table, "every")
            if every < SHORTEST_S:
                reading.bad(table["every"], f"every is shorter than {SHORTEST_S:g} s")
            return {**found, "every": every}
        zone = reading.text(table, "time_zone")
        if zone:
            from zoneinfo import ZoneInfo

            try:
                ZoneInfo(zone)
            except (KeyError, ValueError, OSError):
                reading.bad(table["time_zone"], f"there is no time zone {zone!r:.60}: write one such as Europe/Berlin")
                zone = ""
        cron = reading.text(table, "cron")
        why = cron_fault(cron) if cron else "it is empty"
        if why:
            reading.bad(
                table["cron"], f"cron {cron!r:.60}: {why}; write MINUTE HOUR DAY MONTH WEEKDAY, such as 0 9 * * 1-5"
            )
        return {**found, "cron": cron, "time_zone": zone}

    def _file(self, node: Node, table: dict[str, Node]) -> dict[str, Any]:
        folder = self._reading.text(table, "folder")
        if not folder:
            self._reading.bad(node, "a trigger on file needs a folder, such as ~/incoming")
        elif not Path(folder).expanduser().is_absolute():
            self._reading.bad(table["folder"], f"folder is {folder!r:.80}: write it whole, or from ~ on")
        glob = self._reading.text(table, "glob", "*")
        if "/" in glob or "\\" in glob:
            self._reading.bad(table["glob"], "glob is for the names of files: it holds no /")
        return {"folder": folder, "glob": glob}

    def _app(self, node: Node, table: dict[str, Node]) -> dict[str, Any]:
        app = self._reading.text(table, "app")
        if not app:
            self._reading.bad(node, "a trigger on app needs an app: its mount (/blender), its kind (blender), or *")
        event = self._reading.choice(table, "event", ("arrives", "leaves"), "arrives")
        return {"app": app, "arrives": event == "arrives"}


def cron_fault(cron: str) -> str:
    """Say what is wrong with a cron expression of five fields; empty: nothing."""
    from cronsim import CronSim, CronSimError

    if len(cron.split()) != 5:
        return f"it has {len(cron.split())} fields, not 5"
    try:
        next(CronSim(cron, datetime(2026, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        return str(error)
    except StopIteration:
        return "it is never due"
    return ""
