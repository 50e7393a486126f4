"""The commands under way: checked, run, waited for while bytes travel, and answered."""

from __future__ import annotations

import inspect
import traceback
from typing import Any, Callable, Dict, Generator, List, Optional, Tuple

from lightfast_link.client import LinkClient

from . import code, commands, create, render  # noqa: F401  # their import puts their commands into the table
from .values import Refused

Work = Generator[Any, Any, Any]


class Calls:
    """Runs commands for a session: *begin* comes before each, *done* (its name) after, *failed* if it failed."""

    def __init__(
        self,
        schemas: Dict[str, Dict[str, Any]],
        *,
        begin: Callable[[], None],
        done: Callable[[str], None],
        failed: Callable[[], None],
    ) -> None:
        self._schemas = schemas
        self._begin = begin
        self._done = done
        self._failed = failed
        self._waiting: Dict[int, Tuple[int, str, Work]] = {}
        self._results: List[Tuple[int, Any]] = []

    @property
    def results_wait(self) -> bool:
        """Say whether a result waits for the changes before it to leave."""
        return bool(self._results)

    def run(self, client: LinkClient, call: Any) -> None:
        """Run one command, to its end or until it waits for bytes."""
        schema = self._schemas.get(call.command)
        function = commands.TABLE.get(call.command)
        if schema is None or function is None:
            client.error(call.id, "there is no command %r; there are %s" % (call.command, ", ".join(self._schemas)))
            return
        self._begin()
        render.tell(lambda fraction, message: client.progress(call.id, fraction, message))
        try:
            outcome = function(**commands.check(call.arguments, schema))
        except Exception as error:
            self._fail(client, call.id, error)
            return
        if inspect.isgenerator(outcome):
            self._step(client, call.id, call.command, outcome, None)
        else:
            self._end(call.id, call.command, outcome)

    def arrived(self, client: LinkClient, transfer: int, answer: Any) -> None:
        """Go on with the command that waited for *transfer*; an *answer* that is a `Refused` is raised in it."""
        waiting = self._waiting.pop(transfer, None)
        if waiting is not None:
            self._step(client, *waiting, answer)

    def cancel(self, client: LinkClient, call_id: int) -> None:
        """Give up a command that waits for bytes; one that runs holds this thread, and ends by itself."""
        for transfer, (waiting, _, work) in list(self._waiting.items()):
            if waiting == call_id:
                del self._waiting[transfer]
                work.close()
                client.error(call_id, "cancelled")

    def give_results(self, client: LinkClient) -> None:
        """Send results once the changes before them have left: the link lets answers overtake reports."""
        if client.state == "live" and client.status()["waiting_reports"]:
            return
        results, self._results = self._results, []
        self._give(client, results)

    def _give(self, client: LinkClient, results: List[Tuple[int, Any]]) -> None:
        for call_id, value in results:
            try:
                client.result(call_id, value)
            except ValueError as error:
                client.error(call_id, "it is done, but its result cannot travel: %s" % error)

    def drop(self, client: Optional[LinkClient]) -> None:
        """Give up what is under way: whoever asked is gone. What was done is told all the same, for who asks again."""
        waiting, self._waiting = self._waiting, {}
        for call_id, _, work in waiting.values():
            work.close()
            if client is not None:
                client.error(call_id, "the connection was lost while bytes travelled")
        results, self._results = self._results, []
        if client is not None:
            self._give(client, results)

    def _step(self, client: LinkClient, call_id: int, name: str, work: Work, answer: Any) -> None:
        try:
            wanted = work.throw(answer) if isinstance(answer, Refused) else work.send(answer)
        except StopIteration as stop:
            self._end(call_id, name, stop.value)
            return
        except Exception as error:
            self._fail(client, call_id, error)
            return
        if isinstance(wanted, commands.Upload):
            transfer = client.put_asset(wanted.path, wanted.name, wanted.media_type)
        else:
            transfer = client.get_asset(wanted.sha256, wanted.path)
        self._waiting[transfer] = (call_id, name, work)

    def _end(self, call_id: int, name: str, value: Any) -> None:
        if self._schemas[name]["effect"] != "read":
            self._done(name)
        self._results.append((call_id, value))

    def _fail(self, client: LinkClient, call_id: int, error: Exception) -> None:
        """Answer a command that failed; what it did until then is reported."""
        if not isinstance(error, Refused):
            traceback.print_exception(type(error), error, error.__traceback__)
            error = Refused("Blender raised %s: %s" % (type(error).__name__, error))
        client.error(call_id, str(error))
        self._failed()
