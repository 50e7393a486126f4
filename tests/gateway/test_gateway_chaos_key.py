"""Keys that services repeat in whatever they say: nobody ever sees one, wherever one looks."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.emulators.anthropic import Anthropic
from tests.emulators.base import GENERIC, Call, Emulator
from tests.emulators.compatible import CompatibleEmulator
from tests.emulators.elevenlabs import ElevenLabs
from tests.emulators.fal import Fal
from tests.emulators.gemini import Gemini
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.replicate import Replicate
from tests.emulators.runway import Runway
from tests.emulators.stability import Stability
from tests.support.daemon import Daemon
from tests.support.waiting import until

from lightfast.client import Client
from lightfast.core.errors import LightfastError

SERVICES: dict[str, tuple[type[Emulator], str, str]] = {
    "openai": (OpenAIEmulator, "gpt-6-luna", "text"),
    "anthropic": (Anthropic, "claude-haiku-4-5", "text"),
    "compatible": (CompatibleEmulator, "tiny-random.gguf", "text"),
    "gemini": (Gemini, "gemini-3.8-flash", "text"),
    "replicate": (Replicate, "black-forest-labs/flux-schnell", "image"),
    "fal": (Fal, "fal-ai/flux/schnell", "image"),
    "elevenlabs": (ElevenLabs, "eleven_v3", "audio"),
    "runway": (Runway, "gen4.5", "video"),
    "stability": (Stability, "core", "image"),
}
SETTINGS: dict[str, dict[str, Any]] = {}
FAULTS = (
    *("500", "503", "429", "invalid", "context", "filtered", "malformed", "content-type", "disconnect", "404"),
    *("failed", "error-event", "overloaded-mid", "403", "429-terminal", "401"),
)
"""Those that close an account come last."""
PROMPT = "a whispered secret of the garden"
TOLD = frozenset(("message", "detail", "title", "error", "name", "reason", "status_message", "msg", "details"))


def spoiled(payload: Any, key: str, at: str = "") -> Any:
    """Return *payload* with the key in every text that people read."""
    if isinstance(payload, Mapping):
        return {name: spoiled(value, key, name) for name, value in payload.items()}
    if isinstance(payload, list):
        return [spoiled(each, key, at) for each in payload]
    return f"{payload} (Bearer {key})" if isinstance(payload, str) and at in TOLD and " " in payload else payload


class Gossip(Emulator):
    """Mixed into an emulator: its refusals repeat the key, in the body, in every header, and in the reason."""

    def failure(self, status: int, payload: Any, headers: Mapping[str, str] | None = None) -> web.Response:
        told = {
            "x-request-id": f"req-{self.key}", "request-id": f"req-{self.key}", "x-echo": self.key,
            "WWW-Authenticate": f'Bearer realm="{self.key}"', "Set-Cookie": f"key={self.key}",
        }  # fmt: skip
        made = web.json_response(spoiled(payload, self.key), status=status, headers={**(headers or {}), **told})
        made.set_status(status, f"No {self.key}")
        return made

    async def _made(self, request: web.Request, handler: Any, call: Call) -> Any:
        made = await super()._made(request, handler, call)
        if call.fault == "content-type":
            body = f"<html><body>Bearer {self.key}</body></html>".encode()
            return web.Response(body=body, headers={"Content-Type": f"text/html; key={self.key}"})
        if call.fault == "malformed":
            return web.Response(body=b'{"error": "' + self.key.encode(), content_type="application/json")
        return made


def gossip(kind: type[Emulator]) -> Emulator:
    """Return an emulator that repeats its key."""
    made: Emulator = type(f"Gossip{kind.__name__}", (Gossip, kind), {})()
    return made


def key_of(name: str) -> str:
    """Return the planted key of a service."""
    return f"sk-PLANTED-{name}-7f3c91ab55d20e64"


@contextmanager
def serving(home: Path) -> Iterator[tuple[Daemon, dict[str, Emulator]]]:
    """Run a daemon whose services repeat their keys; half of the keys are in files, half in the environment."""
    services: dict[str, Emulator] = {}
    lines: list[str] = []
    environ: dict[str, str] = {}
    with ExitStack() as stack:
        for at, (name, (kind, _, _)) in enumerate(SERVICES.items()):
            service = services[name] = gossip(kind)
            service.key, service.retry_after = key_of(name), 0.0
            stack.enter_context(service.threaded())
            if at % 2:
                environ[f"PLANTED_{name.upper()}"] = service.key
                where = f"env:PLANTED_{name.upper()}"
            else:
                path = home / "keys" / name
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                path.write_text(service.key)
                path.chmod(0o600)
                where = f"file:{path}"
            lines += [f"[providers.{name}]", f'keys = ["{where}"]', f'base_urls = ["{service.base_url}"]']
        (home / "config").mkdir(parents=True, exist_ok=True, mode=0o700)
        (home / "config" / "lightfast.toml").write_text("\n".join(lines) + "\n")
        with Daemon(home, flags=("log.level=debug",), environ=environ) as daemon:
            yield daemon, services


def everything(daemon: Daemon, client: Client) -> Iterator[str]:
    """Yield all that the daemon tells by its doors."""
    empty = ("ListProviders", "ListSessions", "ListFailures", "ListOperations", "ListModels", "GetUsage", "ListBudgets")
    for name in (*(f"GenerationService.{each}" for each in empty), "AdminService.GetConfig", "AdminService.ListErrors",
                 "AdminService.GetInfo", "AdminService.ListPlugins", "AssetService.ListAssets"):  # fmt: skip
        try:
            yield json.dumps(client.call_json(name, {}, 120.0))
        except LightfastError as error:
            yield repr((error.message, error.metadata, error.details))
    for operation in client.operations():
        yield str(client.operation(operation.operation_id))
    yield json.dumps(client.call_json("ContextService.List", {"path": "/"}, 120.0))
    yield str(list(client.history("//")))
    request = urllib.request.Request(f"http://{daemon.endpoints['http']}/metrics")
    request.add_header("authorization", f"Bearer {daemon.token}")
    with urllib.request.urlopen(request, timeout=120) as answer:
        yield answer.read().decode()


def by_hand(daemon: Daemon, *arguments: str) -> str:
    """Return what a command prints."""
    made = subprocess.run(
        [sys.executable, "-m", "lightfast", "--home", str(daemon.home), *arguments],
        capture_output=True, text=True, timeout=240, check=False, env=daemon.clean_environ(),
    )  # fmt: skip
    assert made.stdout + made.stderr
    return made.stdout + made.stderr


def asked_of(service: Emulator, name: str, client: Client) -> tuple[int, list[str]]:
    """Let every kind of request at one service fail; return how often it did, and what was said of it."""
    _, model, output = SERVICES[name]
    failed = 0
    said: list[str] = []
    for fault in FAULTS:
        if fault not in GENERIC | service.offers:
            continue
        service.faults.clear()
        service.next(fault, times=9)
        asks: dict[str, Any] = {
            "model": f"{name}/{model}", "output": output, "prompt": f"{PROMPT} {fault}", "timeout": "0.6s",
            "target_path": f"/made/{name}", "price_consent": True, "cache": "CACHE_USE_OFF", "settings": SETTINGS.get(name, {}),
        }  # fmt: skip
        try:
            said += map(json.dumps, client.stream_json("GenerationService.Generate", asks, 120.0))
        except LightfastError as error:
            failed += 1
            said.append(repr((error.message, error.reason, error.metadata, error.details)))
    service.faults.clear()
    service.next("401", times=3)
    try:
        said.append(json.dumps(client.call_json("GenerationService.CheckProvider", {"provider": name}, 60.0)))
    except LightfastError as error:
        said.append(repr((error.message, error.metadata, error.details)))
    return failed, said


@pytest.mark.slow
def test_a_key_that_everybody_repeats_is_seen_by_nobody(tmp_path: Path) -> None:
    home = tmp_path / "home"
    answers: list[str] = []
    with serving(home) as (daemon, services):
        with Client(home=str(home), timeout=120.0) as client, ThreadPoolExecutor(len(services)) as threads:
            wait_for(client, [f"{name}/{model}" for name, (_, model, _) in SERVICES.items() if name != "fal"])
            watched: list[str] = []
            watching = threading.Thread(target=_watch, args=(home, watched), daemon=True)
            watching.start()
            told = list(threads.map(lambda one: asked_of(one[1], one[0], client), services.items()))
            for name, (failed, said) in zip(services, told, strict=True):
                assert failed >= 5, (name, said)
                answers += said
            assert sum(len(service.journal) for service in services.values()) > 60
            answers += everything(daemon, client)
            client.set("/end", 1)
            watching.join(120)
        answers += [by_hand(daemon, *words) for words in (("doctor",), ("config",), ("failures",), ("providers",))]
        assert watched, "nothing was heard of the context"
        answers += watched
        log = daemon.log()
    assert "***" in log
    assert any("***" in answer for answer in answers)
    places = [("the log", log), *((f"an answer: {answer[:200]}", answer) for answer in answers)]
    keys = {name: service.key for name, service in services.items()}
    assert [f"{name} in {place}" for name, key in keys.items() for place, said in places if key in said] == []
    assert [line for line in log.splitlines() if PROMPT in line] == []
    files = [path for path in home.rglob("*") if path.is_file() and path.parent.name != "keys"]
    assert len(files) > 5
    for path in files:
        content = path.read_bytes()
        assert [name for name, key in keys.items() if key.encode() in content] == [], path


def _watch(home: Path, found: list[str]) -> None:
    with Client(home=str(home), timeout=120.0) as client:
        for change in client.watch("//"):
            found.append(str(change))
            if "/end" in found[-1]:
                return


def wait_for(client: Client, models: list[str]) -> None:
    """Wait until the models are there."""

    def there() -> bool:
        listed = client.call_json("GenerationService.ListModels", {}, 30.0).get("models", [])
        return set(models) <= {each["name"] for each in listed}

    until(there, f"all of {models}", 180.0)
