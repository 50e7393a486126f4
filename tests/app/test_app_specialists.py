"""`[engine] specialists` on a real daemon: the model of a type is asked first for it, and for nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.daemon import Daemon
from tests.support.planning import PlanningEmulator, answer
from tests.support.waiting import seen

from lightfast.client import AsyncClient

PLUGIN = """
from lightfast.sdk import hookimpl
from lightfast_providers.openai.provider import OpenAI


class Mender(OpenAI):
    name = "mender"
    needs_key = False


@hookimpl
def lightfast_providers(config):
    return [Mender(base_url="{url}")]
"""
MADE = answer(("context.set", {"path": "/mended", "value": "by the specialist"}))


@pytest.mark.slow
async def test_the_specialist_plans_what_is_of_its_type(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "config/plugins").mkdir(parents=True, mode=0o700)
    async with PlanningEmulator(MADE) as emulator:
        (home / "config/plugins/mender.py").write_text(PLUGIN.format(url=emulator.base_url), encoding="utf-8")
        prices = 'providers.mender.prices={"gpt-6-luna" = "input 1/M, output 2/M"}'
        daemon = Daemon(home, flags=['engine.specialists=["fix = mender/gpt-6-luna"]', prices])
        await asyncio.to_thread(daemon.start)
        try:
            async with AsyncClient(home=str(home)) as client:
                await seen(lambda: _has_model(client), "the model")

                await client.say("tc:set /made to 1|create|low")
                await seen(lambda: _is(client, "/made", 1), "what the grammar planned")
                assert not emulator.asked, "a model is asked for its type alone"

                await client.say("tc:mend the evening|fix|low")
                await seen(lambda: _is(client, "/mended", "by the specialist"), "what the specialist planned")
                assert len(emulator.asked) == 1
                assert "mend the evening" in str(emulator.asked[0])
        finally:
            await asyncio.to_thread(daemon.kill)


async def _has_model(client: AsyncClient) -> bool:
    return any(each.name == "mender/gpt-6-luna" for each in await client.models())


async def _is(client: AsyncClient, path: str, value: Any) -> bool:
    return bool((await client.get(path)).value == value)
