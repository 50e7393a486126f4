"""Presence: how every application stands, as entries under `/lightfast/apps/<name>/`."""

from __future__ import annotations

from collections.abc import Mapping

from lightfast.context.entry import Delete, Set
from lightfast.engine.apps.recorder import Recorder
from lightfast.engine.apps.records import AppRecord
from lightfast_link.path import join
from lightfast_link.value import Value

ROOT = "/lightfast/apps"
"""Below it lies one subtree per application."""
ORIGIN = "daemon"
"""Who writes it."""
MAX_LOST_SHOWN = 1000
"""The most lost paths that the entry `lost` lists."""


class Presence:
    """Writes what changed of an application's record, and only that."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._shown: dict[str, dict[str, Value]] = {}

    def show(self, record: AppRecord) -> None:
        """Bring the entries of *record* up to date."""
        wanted = _fields(record)
        shown = self._shown.get(record.mount, {})
        writes: list[Set | Delete] = [
            Set(join(ROOT, record.mount, name), value)
            for name, value in wanted.items()
            if name not in shown or shown[name] != value
        ]
        writes += [Delete(join(ROOT, record.mount, name)) for name in shown if name not in wanted]
        self._shown[record.mount] = wanted
        if writes:
            self._recorder.add_together(list(writes), origin=ORIGIN, label=f"{record.mount} is {record.state}")

    def forget(self, mount: str) -> None:
        """Take the entries of an application away that is no more."""
        shown = self._shown.pop(mount, {})
        writes: list[Set | Delete] = [Delete(join(ROOT, mount, name)) for name in shown]
        if writes:
            self._recorder.add_together(list(writes), origin=ORIGIN, label=f"{mount} is no more")


def _fields(record: AppRecord) -> dict[str, Value]:
    fields: Mapping[str, Value] = {
        "kind": record.kind,
        "state": str(record.state),
        "reason": record.state_reason,
        "app_version": record.app_version,
        "instance_id": record.instance_id,
        "document_id": record.document_id,
        "simulator": record.simulator,
        "transport": record.transport,
        "pid": record.pid,
        "since": record.since,
        "lost": list(record.lost_paths[:MAX_LOST_SHOWN]),
    }
    shown = dict(fields)
    if record.recovery_s is not None:
        shown["recovery_s"] = record.recovery_s
    return shown
