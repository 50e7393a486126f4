"""The checks of jobs, accounts and plugins; `contract.py` says how they are used."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys

import pytest
from tests.providers.contract import Case, Check, Plugin, PluginCheck, applies, calls, job_of, rig

from lightfast.sdk import Condition, Job, MissingDependency, ProviderError
from lightfast.sdk.testing import FakeBench

_LOADED = """
import importlib, json, sys
plugin = importlib.import_module(sys.argv[1])
providers = plugin.lightfast_providers(config=json.loads(sys.argv[2]))
models = [model.name for provider in providers for model in provider.models()]
watched = sys.argv[3].split(",")
print(json.dumps([[name for name in watched if name in sys.modules], [one.name for one in providers], len(models)]))
"""
HEAVY = ("httpx2", "httpx", "aiohttp", "pydantic", "numpy", "PIL", "av", "cv2", "genai_prices", "jinja2")
"""What no plugin may load before it is used, beside its SDK."""


@applies(lambda case: case.jobs)
async def job_first(case: Case) -> None:
    """The job is yielded before the first poll, and before anything else is asked."""
    async with rig(case) as it:
        steps = it.provider.generate(it.request(), FakeBench())
        async for step in steps:
            if isinstance(step, Job):
                break
        asked = len(it.emulator.journal)
        posted = len(it.asked())
        await steps.aclose()  # type: ignore[attr-defined]
        assert posted == 1
        later = [call.path for call in it.emulator.journal[asked:]]
        assert not later, f"asked after the job: {later}"
        before = [call.path for call in it.emulator.journal if call.method == "GET" and job_of([step]) in call.path]
        assert not before, f"polled before the job was written down: {before}"


@applies(lambda case: case.jobs)
async def resumes(case: Case) -> None:
    """A job that was left is taken up by its identity: nothing is asked for twice."""
    async with rig(case) as it:
        it.emulator.hold()
        task = asyncio.ensure_future(it.run())
        await it.emulator.until(lambda: job_of(it.ran.steps), "the job")
        job = job_of(it.ran.steps)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        it.emulator.release()
        fresh = case.provider()  # as after a restart
        try:
            steps = [step async for step in fresh.generate(it.request(job=job), FakeBench())]
        finally:
            await fresh.close()
        assert job_of(steps) in {"", job}
        it.ran.steps = steps
        assert it.ran.artifacts, f"no artifact among {steps!r:.300}"
        if case.answer is not None:
            assert it.ran.artifacts[0].content == case.answer
        assert len(it.asked()) == 1, "the job was made twice"


@applies(calls)
async def probes(case: Case) -> None:
    """An account that works is found good, one whose key is refused is not."""
    async with rig(case) as it:
        assert isinstance(await it.provider.probe(it.session), Condition)
        if it.emulator.needs_key:
            it.emulator.next("401")
            with pytest.raises(ProviderError) as caught:
                await it.provider.probe(it.session)
            assert caught.value.kind == "auth"
            assert it.emulator.key not in str(caught.value)


def _run(plugin: Plugin, *names: str) -> tuple[list[str], list[str], int]:
    command = [sys.executable, "-c", _LOADED, plugin.module, json.dumps(dict(plugin.config)), ",".join(names)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    loaded, providers, models = json.loads(done.stdout)
    return loaded, providers, models


async def lazy(plugin: Plugin) -> None:
    """Neither its hook nor its models load its SDK."""
    loaded, providers, _ = await asyncio.to_thread(_run, plugin, *plugin.sdk, *HEAVY)
    assert not loaded, f"{plugin.module} loads {loaded} before it is used"
    assert plugin.provider in providers


async def missing(plugin: Plugin) -> None:
    """Without its SDK the plugin says how to install it."""
    if not plugin.sdk:
        return
    import importlib

    module = importlib.import_module(plugin.module)
    gone = {name: None for name in sys.modules if name.partition(".")[0] == plugin.sdk[0].partition(".")[0]}
    gone[plugin.sdk[0]] = None
    with pytest.MonkeyPatch.context() as patch:
        for name in gone:
            patch.setitem(sys.modules, name, None)
        with pytest.raises(MissingDependency) as caught:
            module.lightfast_providers(config=dict(plugin.config))
    assert plugin.install in caught.value.install


CHECKS: tuple[Check, ...] = (job_first, resumes, probes)
PLUGIN_CHECKS: tuple[PluginCheck, ...] = (lazy, missing)
