"""Aliases and prices of the settings follow SIGHUP, in a daemon that goes on."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.daemon import Daemon
from tests.support.waiting import until

from lightfast.client import Client

PLUGIN = """
from lightfast.sdk import Model, Provider, TextDelta, Usage, hookimpl

class Shop(Provider):
    name = "shop"

    def models(self):
        return [Model("small", outputs=("text",)), Model("large", outputs=("text",))]

    async def generate(self, request, bench):
        yield TextDelta(request.model)
        yield Usage(1000, 1000)

@hookimpl
def lightfast_providers(config):
    return [Shop()]
"""
BEFORE = '[gateway]\naliases = {house = ["shop/small"]}\n[providers.shop]\nprices = {small = "output 1/M"}\n'
AFTER = (
    '[gateway]\naliases = {house = ["shop/large"]}\nfallbacks = {text = ["house"]}\n'
    '[providers.shop]\nprices = {large = "output 3/M"}\n'
)
WRONG = AFTER.replace("shop/large", "shop/small").replace("output 3/M", "much")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGHUP")
def test_aliases_and_prices_follow_a_reload(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "config").mkdir(parents=True, mode=0o700)
    (home / "config" / "plugins").mkdir(mode=0o700)
    (home / "config" / "plugins" / "shop.py").write_text(PLUGIN)
    (home / "config" / "lightfast.toml").write_text(BEFORE)
    with Daemon(home) as daemon, Client(home=str(home)) as client:

        def models() -> dict[str, Any]:
            found = client.call_json("GenerationService.ListModels", {}).get("models", ())
            return {one["name"]: one for one in found if one["name"].startswith("shop/")}

        def made(model: str) -> tuple[str, float]:
            steps = list(client.generate("text", "x", model=model, cache="off", max_output_tokens=2000))
            text = "".join(step.text_delta for step in steps if step.WhichOneof("kind") == "text_delta")
            return text, round(steps[-1].usage.cost_usd, 9)

        assert until(lambda: "house" in models().get("shop/small", {}).get("aliases", ()), "the plugin")
        assert made("house") == ("small", 0.001)
        (home / "config" / "lightfast.toml").write_text(AFTER)
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGHUP)
        assert daemon.wait_log("settings reloaded")
        assert until(lambda: "house" in models()["shop/large"].get("aliases", ()), "the other alias")
        assert made("house") == ("large", 0.003)
        assert "prices" not in models()["shop/small"]
        assert "wait for a restart" not in daemon.log()
        (home / "config" / "lightfast.toml").write_text(WRONG)
        daemon.process.send_signal(signal.SIGHUP)
        assert "providers.shop.prices" in daemon.wait_log("the settings stay as they are")
        assert made("house") == ("large", 0.003)
