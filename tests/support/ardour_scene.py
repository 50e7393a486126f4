"""Ardour without Ardour: a surface with its wishes, fed with what Ardour 7.3 was heard to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightfast.sdk import Hello, OscMessage, Wish
from lightfast.sdk.testing.fakes import FakeAppSession
from lightfast_bridges.ardour.asking import MARK
from lightfast_bridges.ardour.strips import Strip, placed
from lightfast_bridges.ardour.surface import Surface
from lightfast_bridges.ardour.wishes import Wishes

LIST = [
    (1, "AT", "Drums", 1, 2, 0, 0, 0),
    (2, "MT", "Synth", 0, 0, 0, 0, 0),
    (3, "V", "Drums", -1, -1, 0, 0, -1),
    (4, "MA", "Master", 2, 2, 0, 0, -1),
]


class NoChannel:
    """The engine's end of a session that has none."""

    def apply(self, wishes: Sequence[Wish]) -> None:
        raise NotImplementedError

    def invoke(self, call: Any) -> None:
        raise NotImplementedError

    def cancel(self, call_id: int) -> None:
        raise NotImplementedError

    def resync(self) -> None:
        raise NotImplementedError

    def close(self, reason: str) -> None:
        raise NotImplementedError


class Scene:
    """A surface with its wishes; what is sent is kept in *sent*, and the marks behind it in *marks*."""

    def __init__(self, listed: Sequence[tuple[Any, ...]] = LIST) -> None:
        self.surface = Surface(parameters=8)
        self.session = FakeAppSession(Hello("ardour", "a"), NoChannel(), "/ardour")
        self.sent: list[tuple[Any, ...]] = []
        self.marks: list[str] = []
        self.wishes = Wishes(self.session, self._send, self.surface)
        self.surface.adopt(listed)
        self.tell(
            ("/strip/fader", 1, 0.7817867398262024),
            ("/strip/gain", 1, 0.0),
            ("/strip/mute", 1, 0.0),
            ("/strip/fader", 4, 0.7817867398262024),
            ("/strip/gain", 4, 0.0),
            ("/toggle_click", 0.0),
        )
        self.surface.session, self.surface.wishes = self.session, self.wishes
        self.surface.full()
        self.session.changes.clear()

    def _send(self, *message: Any) -> None:
        if not message[0].startswith(MARK):
            self.sent.append(message)
        else:
            self.marks.append(message[0])

    def tell(self, *messages: tuple[Any, ...]) -> None:
        told: list[OscMessage] = [(address, "", args) for address, *args in messages]
        self.surface.hear(told)

    def wish(self, wish_id: int, path: str, value: Any, moved_from: str = "") -> None:
        self.wishes.apply(Wish(wish_id, path, value, wish_id, moved_from=moved_from))

    @property
    def changed(self) -> dict[str, Any]:
        return {change.path: change.value for change in self.session.changes}


def named(*rows: tuple[int, str, str]) -> list[Strip]:
    return placed(Strip(ssid, code, name, 1, 2) for ssid, code, name in rows)
