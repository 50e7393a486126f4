"""Commands on their way into Live, and those the bridge carries out itself: listening and reading."""

from __future__ import annotations

from collections import Counter

from lightfast.sdk import AppSession, BridgeError, Call, Value
from lightfast_bridges.ableton import commands
from lightfast_bridges.ableton.asking import Asker, NoAnswerError
from lightfast_bridges.ableton.paths import Target, place, target_of
from lightfast_bridges.ableton.surface import Surface
from lightfast_bridges.ableton.values import to_value

OWN = frozenset({"start_listen", "stop_listen", "read"})


class Runner:
    """Runs the commands of one session; *asked* counts what clients want followed, and outlives it."""

    def __init__(self, asker: Asker, surface: Surface, asked: Counter[Target]) -> None:
        self._asker = asker
        self._surface = surface
        self._asked = asked

    async def run(self, session: AppSession, call: Call) -> None:
        """Run one command and tell how it ended."""
        try:
            result = await (self._own(call) if call.command in OWN else self._lives(call))
        except (ValueError, NoAnswerError, BridgeError) as error:
            session.fail(call.call_id, str(error))
            return
        session.result(call.call_id, result)

    async def _lives(self, call: Call) -> Value | None:
        """Run one of Live's verbs."""
        verb = commands.VERBS.get(call.command)
        if verb is None:
            raise ValueError(f"Live has no command {call.command}")
        result = await commands.run(self._asker, verb, call)
        if verb.structural:
            self._surface.stale.set()
        if verb.name in commands.NOTES:
            path = place("tracks/*/clips/*/notes", [int(call.arguments[name]) for name in ("track", "scene")])  # type: ignore[arg-type]
            notes = target_of(path)
            if notes is not None and self._surface.held(path) is not None:
                await self._surface.read([notes])
        return result

    async def _own(self, call: Call) -> Value | None:
        path = call.arguments.get("path")
        if not isinstance(path, str):
            raise ValueError(f"{call.command} needs path: a property like tracks/0/output_meter_level")  # noqa: TRY004
        found = target_of(path)
        if found is None or not self._surface.layout.has(found.stem, found.verb, found.ids):
            raise ValueError(f"there is no property {path!r} in Live: write for example tracks/0/output_meter_level")
        if call.command == "read":
            return await self._read(found)
        await self._listen(call.command, found)
        return None

    async def _read(self, found: Target) -> Value | None:
        """Read one property; what Live tells is reported on the way."""
        span = await self._asker.between(found.get, *found.ids, timeout=2.0)
        if span.answer is None:
            raise ValueError(f"Live cannot tell {found.path}: {'; '.join(span.errors) or 'it did not answer'}")
        told = span.answer[len(found.ids) :]
        return to_value(found.prop, told if found.prop.shape else told[0])

    async def _listen(self, command: str, found: Target) -> None:
        """Carry out `start_listen` and `stop_listen`."""
        if command == "stop_listen":
            self._asked.subtract([found])
            if self._asked[found] <= 0:
                del self._asked[found]
            await self._surface.listeners.release(found)
        elif await self._surface.listeners.acquire(found):
            self._asked[found] += 1
        else:
            await self._surface.listeners.release(found)
            raise ValueError(f"Live has no listener for {found.path}")

    async def listen_again(self) -> None:
        """Follow what clients asked for before Live was restarted; what is not there any more is forgotten."""
        for found, count in list(self._asked.items()):
            if not self._surface.layout.has(found.stem, found.verb, found.ids):
                del self._asked[found]
                continue
            for _ in range(count):
                await self._surface.listeners.acquire(found)
