"""An application on the link that carries out every wish and every call, in a thread."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from tests.support.mistakes import Guest
from tests.support.waiting import until

from lightfast.api.v1.apps_pb2 import APP_STATE_LIVE
from lightfast.client import Client

COMMANDS = [
    {"name": "double", "arguments": [{"name": "x", "kind": "double", "required": True}], "effect": "read"},
    {"name": "fail", "arguments": [], "effect": "read"},
]


class Worker(Guest):
    """Settles every wish with its own value; `double` doubles, with one step of progress, `fail` fails."""

    def __init__(self, home: Path, name: str = "worker", **hello: Any) -> None:
        parameters = [{"pattern": "level", "kind": "double", "minimum": 0.0, "maximum": 10.0}]
        super().__init__(
            home, name=name, instance_id=f"{name}-1", simulator=True, parameters=parameters, commands=COMMANDS, **hello
        )
        self.joined = threading.Event()
        self._home = home
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def __enter__(self) -> Worker:
        assert self.joined.wait(60), self.client.status()
        with Client(home=self._home) as client:  # what was said here is not heard there yet
            until(lambda: self._is_live(client), f"{self.client.mount} in step")
        return self

    def _is_live(self, client: Client) -> bool:
        return any(app.mount == self.client.mount and app.state == APP_STATE_LIVE for app in client.list_apps())

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(60)
        super().__exit__()

    def _work(self) -> None:
        while not self._end.is_set():
            self.client.wait(0.1)
            for event in self.client.poll():
                self._take(event)

    def _take(self, event: tuple[Any, ...]) -> None:
        if event[0] in {"welcome", "resync"}:
            self.client.report([{"path": "level", "value": 1.0}])
            self.client.synced()
            self.joined.set()
        elif event[0] == "apply":
            for wish in event[1]:
                self.client.settled(wish.id, wish.value)
        elif event[0] == "command":
            call = event[1]
            if call.command == "double":
                self.client.progress(call.id, 0.5, "half")
                self.client.result(call.id, call.arguments["x"] * 2)
            else:
                self.client.error(call.id, "it does not want to")
