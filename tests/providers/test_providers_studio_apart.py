"""The studio in a process of its own, as the daemon runs it, makes what it makes here."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.plugins import record_of

from lightfast.host.apart import ApartProvider
from lightfast.host.plugins import PluginHost
from lightfast.sdk import Artifact, GenerationRequest, Provider, ProviderError
from lightfast.sdk.testing import FakeBench, complete_settings
from lightfast_providers.studio import lightfast_providers

POINT = importlib.metadata.EntryPoint("studio", "lightfast_providers.studio", "lightfast")


@asynccontextmanager
async def studio(**table: Any) -> AsyncIterator[Provider]:
    host = PluginHost({"studio": table}, found=[POINT])
    await host.start()
    await host.settled()
    try:
        assert record_of(host, "studio").brings == ("provider:studio",)
        yield host.providers()[0]
    finally:
        await host.close()


def order(
    provider: Provider, model: str, prompt: str, sources: tuple[bytes, ...] = (), kind: str = "", **settings: Any
) -> GenerationRequest:
    found = next(each for each in provider.models() if each.name == model)
    kinds = (kind,) * len(sources)
    return GenerationRequest(model, found.outputs[0], prompt, complete_settings(found, settings), 7, sources, kinds)


async def steps_of(provider: Provider, *of: Any, **more: Any) -> list[Any]:
    return [step async for step in provider.generate(order(provider, *of, **more), FakeBench())]


@pytest.mark.parametrize("isolated", [False, True])
async def test_the_same_seed_gives_the_same_and_progress_and_previews_come_as_they_do_here(*, isolated: bool) -> None:
    (here,) = lightfast_providers({})
    async with studio(isolated=isolated) as there:
        assert isinstance(there, ApartProvider) is not isolated
        assert [model.name for model in there.models()] == [model.name for model in here.models()]
        for model, prompt, settings in (
            ("image", "a lighthouse at dusk", {"width": 160, "height": 120}),
            ("music", "calm", {"bars": 1}),
            ("audio", "a long drone", {"duration": 4.0}),
        ):
            same = await steps_of(there, model, prompt, **settings) == await steps_of(here, model, prompt, **settings)
            assert same, model  # by itself: nobody wants to read how megabytes differ


async def test_films_go_in_and_out(tmp_path: Any) -> None:
    pytest.importorskip("av")
    (here,) = lightfast_providers({})
    async with studio() as there:
        painted = await steps_of(there, "image", "a red circle", width=640, height=360, grain=1.0)
        picture = next(step.content for step in painted if isinstance(step, Artifact))
        assert len(picture) > 1 << 18  # a large source
        made = await steps_of(there, "motion", "", (picture,), "image/png", duration=1.0, width=320, height=180)
        film = next(step for step in made if isinstance(step, Artifact))
        same = await steps_of(here, "motion", "", (picture,), "image/png", duration=1.0, width=320, height=180)
        assert film.settings == next(step for step in same if isinstance(step, Artifact)).settings
        steady = await steps_of(there, "steady", "", (film.content,), "video/mp4")
        assert next(step for step in steady if isinstance(step, Artifact)).settings["frames"] == 25


async def test_a_mistake_is_told_as_it_is_here() -> None:
    (here,) = lightfast_providers({})
    async with studio() as there:
        for model, sources in (("effects", ()), ("effects", (b"no sound" + os.urandom(1 << 19),))):
            told = []
            for provider in (here, there):
                with pytest.raises(ProviderError) as caught:
                    await steps_of(provider, model, "louder", sources, "audio/wav")
                told.append((str(caught.value), caught.value.kind, caught.value.reason, caught.value.retryable))
            assert told[0] == told[1]
