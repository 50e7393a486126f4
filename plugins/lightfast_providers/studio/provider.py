"""The provider itself: its rooms, each with its models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from lightfast.sdk import GenerationRequest, Model, Provider, Step, Usage, Workbench
from lightfast_providers.studio import composing, filming, painting, playing, processing, retouching, speaking


class Room(Protocol):
    """A module that makes what its models say; what is heavy it imports when it is asked to."""

    @property
    def MODELS(self) -> tuple[Model, ...]:  # noqa: N802 — a constant of a module
        """The models."""

    def make(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        """Yield the steps of one generation; all work is done on the bench."""


ROOMS: tuple[Room, ...] = (painting, playing, composing, filming, processing, retouching, speaking)
_BY_MODEL = {model.name: room for room in ROOMS for model in room.MODELS}


class Studio(Provider):
    """Makes pictures, films and sounds by rule."""

    name = "studio"
    description = (
        "Makes and works on pictures, films, sounds and music by rule, on this machine: procedural, with no learned"
        " model, no key and no network. It understands words for colors, moods, shapes, landscapes and instruments."
    )
    local = True
    heavy = True

    def models(self) -> Sequence[Model]:
        """Return the models of all rooms."""
        return tuple(model for room in ROOMS for model in room.MODELS)

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        """Make what is asked for in its room."""
        async for step in _BY_MODEL[request.model].make(request, bench):
            yield step
        yield Usage()
