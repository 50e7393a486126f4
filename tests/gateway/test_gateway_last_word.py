"""What a caller is told at the edges: who is asked first, an end at the very deadline, an answer that breaks off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.emulators.base import drained
from tests.support.ai_spies import Scripted, Spies
from tests.support.gateway import House, house

from lightfast.core.errors import InvalidArgument, LightfastError
from lightfast.gateway.calls import GenerateCall, ModelRecord, StepFallback, StepProgress, StepUsage
from lightfast.gateway.operations import Operation, OperationState
from lightfast.gateway.rooms import Patience
from lightfast.gateway.routing.aliases import Aliases
from lightfast.gateway.routing.candidates import Routing


class Letters:
    """Counts every letter as a token."""

    name = "letters"

    def count(self, text: str) -> int:
        return len(text)

    def counter(self, model: str) -> Letters:
        return self


def furnished(rooms: House, *acts: str) -> Spies:
    """Give the gateway spies, and two providers of whom the first does *acts*."""
    spies = Spies(())
    rooms.gateway.sessions = rooms.gateway.costs = spies
    rooms.gateway.windows = Letters()
    rooms.gateway.patience = Patience(again=0)
    for name, script in (("ann", acts), ("bob", ())):
        rooms.gateway.register(Scripted(name, script, continues=False), name)
    return spies


async def test_who_is_asked_before_the_first_is_told(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        furnished(rooms).delays["ann/m"] = 30.0
        call = GenerateCall("ann/m", "text", "go", fallbacks=("bob/m",))
        kinds = [step.kind async for step in rooms.gateway.generate(call, "client:test")]
        (told,) = [kind for kind in kinds if isinstance(kind, StepFallback)]
        assert (told.from_model, told.to_model, told.restarted) == ("ann/m", "bob/m", False)
        assert "limits of ann/m" in told.reason
        assert isinstance(kinds[-1], StepUsage)
        assert kinds[-1].model == "bob/m"
        assert rooms.gateway.running == 0


async def test_a_deadline_that_passes_while_the_end_is_written_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as rooms:
        furnished(rooms)
        gateway = rooms.gateway
        save = gateway.operations.save

        async def late(operation: Operation) -> None:
            if operation.state is OperationState.SUCCEEDED:
                gateway._running[operation.operation_id]._expire()
            await save(operation)

        monkeypatch.setattr(gateway.operations, "save", late)
        steps = [step async for step in gateway.generate(GenerateCall("ann/m", "text", "go"), "client:test")]
        assert isinstance(steps[-1].kind, StepUsage)
        assert (await gateway.operation(steps[-1].operation_id)).state is OperationState.SUCCEEDED


async def test_no_more_is_guessed_than_was_held(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        spies = furnished(rooms, "late unavailable")
        call = GenerateCall("ann/m", "text", "go", max_output_tokens=3)
        with pytest.raises(LightfastError, match="it is unavailable"):
            [step async for step in rooms.gateway.generate(call, "client:test")]
        (money,) = spies.money
        assert money.ends == ["settled"]
        assert money.used is not None
        assert money.used.output_tokens == 3  # of five letters that came


async def test_who_is_passed_over_is_not_said_to_have_worked(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        furnished(rooms, "late unavailable")
        rooms.gateway.register(Scripted("cid", (), continues=False), "cid")
        rooms.gateway.candidates = Closed(rooms.gateway.catalog.models(), "bob/m")
        call = GenerateCall("ann/m", "text", "go", fallbacks=("bob/m", "cid/m"))
        kinds = [step.kind async for step in rooms.gateway.generate(call, "client:test")]
        (told,) = [kind for kind in kinds if isinstance(kind, StepFallback)]
        assert (told.from_model, told.to_model, told.restarted) == ("ann/m", "cid/m", True)
        assert "it is unavailable" in told.reason


class Closed:
    """Finds everybody by name, and keeps one from being asked."""

    def __init__(self, records: Sequence[ModelRecord], closed: str) -> None:
        self._records, self._closed = {record.name: record for record in records}, closed

    async def ordered(self, name: str, output: str, **more: Any) -> list[ModelRecord]:
        return [self._records[each] for each in (name, *more["fallbacks"])]

    def allowed(self, model: str) -> bool:
        return model != self._closed


async def test_a_long_wait_for_a_place_is_told(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        spies = furnished(rooms)
        spies.delays["ann/m"] = 12.0
        spies.verdicts.append("yes, but later")  # progress that nobody has read gives way to newer progress
        kinds = [step.kind async for step in rooms.gateway.generate(GenerateCall("ann/m", "text", "go"), "client:test")]
        said = [kind.message for kind in kinds if isinstance(kind, StepProgress)]
        assert "waiting for a place within the limits of ann, about 12 s" in said


async def test_why_it_failed_is_told_not_that_it_is_left_alone_since(tmp_path: Path) -> None:
    """The retries of one request open the circuit: its caller hears what the service said."""

    class Closing:
        """Lets one attempt through."""

        left = 1

        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def allowed(self, model: str) -> bool:
            self.left -= 1
            return self.left >= 0

    async with house(tmp_path) as rooms:
        furnished(rooms, "unavailable", "unavailable")
        inner = Routing(rooms.gateway.catalog, rooms.gateway.clock, rooms.gateway.tasks, Aliases())
        rooms.gateway.candidates = Closing()
        rooms.gateway.patience = Patience(again=2, first=0.001)
        with pytest.raises(LightfastError) as caught:
            await drained(rooms.gateway.generate(GenerateCall("ann/m", "text", "go", strict=True), "client:test"))
        assert caught.value.reason == "PROVIDER_UNAVAILABLE"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompt": "  "}, "nothing to answer"),
        ({"prompt": "go", "project": "x" * 201}, "is no name"),
        ({"prompt": "go", "run": "a\nb"}, "is no name"),
    ],
    ids=["empty", "long", "line"],
)
async def test_what_cannot_be_meant_is_refused_before_it_costs(
    tmp_path: Path, fields: dict[str, Any], said: str
) -> None:
    async with house(tmp_path) as rooms:
        spies = furnished(rooms)
        with pytest.raises(InvalidArgument, match=said):
            await drained(rooms.gateway.generate(GenerateCall("ann/m", "text", **fields), "client:test"))
        assert not spies.places
