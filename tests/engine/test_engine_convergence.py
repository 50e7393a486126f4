"""Whatever a client and an application do at the same time, in the end the tree says what the application holds."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.support.desk import App, bounded, hello, open_desk, until

from lightfast.context.entry import Status
from lightfast.core.errors import LightfastError
from lightfast.sdk import Wish
from lightfast_link.value import Value, close

PATHS = ("song/tempo", "tracks/0/volume")


class Slow(App):
    """An application that works off its wishes, and whose reports arrive, only when time passes."""

    def __init__(self, **manners: object) -> None:
        super().__init__(dict.fromkeys(PATHS, 100.0), **manners)
        self.inbox: deque[Wish] = deque()
        self.outbox: deque[Callable[[], None]] = deque()

    def apply(self, wishes: Sequence[Wish]) -> None:
        self.inbox += wishes

    def work(self) -> None:
        """Take one wish; what it says of it is on its way."""
        if self.inbox:
            session = self.session
            self.session = Delayed(self)  # type: ignore[assignment]
            self._take(self.inbox.popleft())
            self.session = session

    def speak(self) -> None:
        """Let one thing that it said arrive."""
        if self.outbox:
            self.outbox.popleft()()

    def turn(self, path: str, value: Value) -> None:
        session = self.session
        self.session = Delayed(self)  # type: ignore[assignment]
        super().turn(path, self.rounds(path, value))
        self.session = session

    def report_all(self) -> None:
        real = self.joined
        values = [(path, value) for path, value in self.values.items()]
        from lightfast.sdk import Change

        self.outbox.append(lambda: real.report([Change(path, value) for path, value in values]))
        self.outbox.append(real.synced)


class Delayed:
    """What an application says, on its way."""

    def __init__(self, app: Slow) -> None:
        self._app = app
        self._real = app.joined

    def __getattr__(self, name: str) -> Callable[..., None]:
        real = getattr(self._real, name)
        return lambda *arguments: self._app.outbox.append(lambda: real(*arguments))


ACTS = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(PATHS), st.integers(50, 150)),
    st.tuples(st.just("turn"), st.sampled_from(PATHS), st.integers(50, 150)),
    st.tuples(st.sampled_from(["work", "speak", "commit", "undo"]), st.just(""), st.just(0)),
)
ROUNDINGS: dict[str, Callable[[str, Value], Value]] = {
    "exact": lambda _, value: value,
    "float32": lambda _, value: value + 0.000002,  # type: ignore[operator]
    "clamps": lambda _, value: min(value, 120.0),  # type: ignore[type-var]
    "coarse": lambda _, value: float(round(value / 10) * 10),  # type: ignore[operator]
}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    acts=st.lists(ACTS, max_size=25),
    rounding=st.sampled_from(sorted(ROUNDINGS)),
    # One that neither answers nor echoes can only be read back, which a change of its own may outrun.
    manners=st.sampled_from([(True, False), (False, True), (True, True)]),
)
@example(
    acts=[("turn", "song/tempo", 50), ("speak", "", 0), ("set", "song/tempo", 50), ("set", "song/tempo", 51)],
    rounding="exact",
    manners=(False, True),
)
@example(
    acts=[("turn", "song/tempo", 50), ("speak", "", 0), ("set", "song/tempo", 50), ("set", "song/tempo", 51)],
    rounding="exact",
    manners=(True, False),
)
def test_the_tree_ends_with_what_the_application_holds(
    tmp_path_factory: pytest.TempPathFactory,
    acts: list[tuple[str, str, int]],
    rounding: str,
    manners: tuple[bool, bool],
) -> None:
    answers, echoes = manners

    async def run() -> None:
        config = {"live": {"wish_timeout_s": 0.05}}
        async with open_desk(tmp_path_factory.mktemp("desk"), config) as desk:
            app = Slow(rounds=ROUNDINGS[rounding], answers=answers, echoes=echoes)
            desk.join(app, hello())
            app.speak()
            app.speak()
            await bounded(app.joined.live.wait())
            app.joined._wishes.window = 0.05
            setting: list[asyncio.Future[int]] = []
            for act, path, number in acts:
                if act == "set":
                    setting.append(asyncio.ensure_future(desk.set("/live/" + path, float(number))))
                    await asyncio.sleep(0)
                elif act == "turn":
                    app.turn(path, float(number))
                elif act == "undo":
                    try:
                        await desk.store.undo(revision=desk.store.revision, origin="client:undo")
                    except LightfastError:
                        continue
                elif act == "commit":
                    await desk.store.drain()
                    await asyncio.sleep(0)
                else:
                    getattr(app, act)()
            await asyncio.gather(*setting)

            def at_rest() -> bool:
                app.work()
                while app.outbox:
                    app.speak()
                entries = [desk.store.get("/live/" + path) for path in PATHS]
                return (
                    not app.inbox
                    and not app.joined._wishes.outstanding
                    and not app.joined._incoming.waiting
                    and not app.joined.backlog
                    and all(entry is None or entry.status in {Status.SETTLED, Status.REJECTED} for entry in entries)
                )

            calm = 0

            def long_at_rest() -> bool:
                nonlocal calm
                calm = calm + 1 if at_rest() else 0
                return calm > 5

            await until(long_at_rest, lambda: (desk.store.select("/live//"), app.inbox, app.joined._wishes))
            for path in PATHS:
                entry, held = desk.store.get("/live/" + path), app.values.get(path)
                assert (entry is None) == (held is None), (path, held, entry)
                if entry is None or held is None:
                    continue
                tolerance = 1e-4 if path.startswith("tracks") else 0.0
                assert entry.reported is not None
                assert close(entry.reported, held, tolerance), (path, held, entry)
                if entry.status is Status.SETTLED:
                    assert entry.value is not None
                    assert close(entry.value, held, tolerance), (path, held, entry)

    asyncio.run(run())
