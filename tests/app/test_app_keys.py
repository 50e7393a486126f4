"""The keys of AI services, end to end: kept by the command line, used by a daemon, shown by nobody."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.daemon import Daemon
from tests.support.waiting import until

from lightfast.api.v1 import generation_pb2
from lightfast.app.session_joints import provider_tables
from lightfast.app.settings import Settings, mistakes
from lightfast.client import Client
from lightfast.core.config import ConfigError
from lightfast.core.config_load import load
from lightfast.core.errors import FailedPrecondition, LightfastError, NotFound
from lightfast.gateway.limits.rules import SETTINGS

KEY = "sk-PLANTED-aB3-0123456789"
OTHER = "sk-ROTATED-xY7-9876543210"

LEAKY = """
import asyncio
from lightfast.sdk import Condition, Limit, Limits, Model, Progress, Provider, ProviderError, TextDelta, Usage, hookimpl

class Leaky(Provider):
    name, needs_key, key_names = "leaky", True, ("LEAKY_KEY",)

    def models(self):
        return [Model("talk", outputs=("text",), free=True)]

    async def generate(self, request, bench):
        key = request.session.key.reveal()
        assert f"{request.session!r} {request!r}".count(key) == 0
        headers = {"authorization": f"Bearer {key}"}
        yield Progress(0.1, "asking")
        what = request.prompt
        if what.startswith("ok"):
            yield Limits((Limit("requests", 60.0, 500.0, 499.0, 1.0),), 12.5, "credits")
            yield TextDelta("it works" if key != "sk-PLANTED-aB3-0123456789" else "it still works")
            yield Usage(3, 4, requests=1)
        elif what == "raise":
            raise RuntimeError(f"boom with {headers}")
        elif what == "cause":
            try:
                raise ValueError(f"inner {headers}")
            except ValueError as error:
                raise ProviderError(f"outer {key}", kind="failed") from error
        else:
            raise ProviderError(f"{what}: {headers}", kind=what, reason="LEAK")

    async def probe(self, session):
        key = session.key.reveal()
        if key.startswith("sk-PLANTED"):
            raise ProviderError(f"401 for {key}", kind="auth")
        return Condition("fine", expires_after=3600.0)

@hookimpl
def lightfast_providers(config):
    return [Leaky()]
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    (folder / "config" / "plugins").mkdir(parents=True)
    (folder / "config" / "plugins" / "leaky.py").write_text(LEAKY)
    (folder / "config" / "lightfast.toml").write_text(
        "[providers.leaky]\nrequests_per_day = 1000\ntokens_per_minute = 100000\n"
        'limits = [{model = "talk*", requests_per_minute = 300}]\n'
    )
    return folder


def command(home: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LIGHTFAST_")}
    environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
    return subprocess.run(
        [sys.executable, "-m", "lightfast.app.cli.main", "--home", str(home), *arguments],
        input=given, capture_output=True, text=True, timeout=150, env=environ, check=False,
    )  # fmt: skip


def test_a_key_is_kept_listed_and_removed(tmp_path: Path) -> None:
    kept = command(tmp_path, "key", "set", "openai", "--stdin", given=KEY + "\n")
    path = tmp_path / "config" / "keys" / "openai"
    assert (kept.returncode, kept.stdout) == (0, f"kept at file:{path}\n"), kept.stderr
    assert path.read_text() == KEY + "\n"
    if os.name != "nt":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    listed = command(tmp_path, "--json", "key", "list")
    assert json.loads(listed.stdout) == {
        "keys": [{"provider": "openai", "account": "", "source": f"file:{path}", "state": "kept"}]
    }
    path.chmod(0o644)
    assert f"run 'chmod 600 {path}'" in command(tmp_path, "key", "list").stdout
    assert command(tmp_path, "key", "remove", "openai").returncode == 0
    gone = command(tmp_path, "key", "remove", "openai")
    assert (gone.returncode, "there is no key of openai" in gone.stderr) == (4, True)
    assert "There is no key yet" in command(tmp_path, "key", "list").stdout
    said = "".join(done.stdout + done.stderr for done in (kept, listed, gone))
    assert KEY not in said


@pytest.mark.parametrize(
    ("arguments", "given", "code", "text"),
    [
        (("key", "set", "../x", "--stdin"), KEY, 2, "no name of a provider"),
        (("key", "set", "x", "--stdin"), "two words", 1, "holds no key"),
        (("key", "set", "x", "--stdin"), "", 1, "is empty"),
        (("key", "set", "x"), KEY, 2, "add --stdin"),
        (("key", "set", "x", "--stdin", "--keyring"), KEY, 1, "no keyring on this machine"),
    ],
    ids=["name", "form", "empty", "terminal", "keyring"],
)
def test_what_is_wrong_is_told(tmp_path: Path, arguments: tuple[str, ...], given: str, code: int, text: str) -> None:
    done = command(tmp_path, *arguments, given=given)
    assert (done.returncode, text in done.stderr + done.stdout) == (code, True), done.stderr
    assert KEY not in done.stderr + done.stdout
    assert not (tmp_path / "config" / "keys" / "x").exists()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (f'keys = ["{KEY}"]', "keys = ***: expected a reference"),
        (f'keys = "{KEY}"', "keys = ***: expected a reference"),
        (f'api_key = "{KEY}"', "api_key = ***: expected a reference"),
        ('key = "env:HOME"', "keys are a list"),
        (f'base_urls = ["http://me:{KEY}@host/v1"]', "without a user and a password"),
        ('base_urls = ["ftp://host"]', "addresses such as"),
        ("tokens_per_minute = -1", "at least 0"),
        ('limits = [{modle = "x"}]', "'modle' is none of model"),
    ],
    ids=["list", "text", "other-name", "singular", "url", "scheme", "negative", "limits"],
)
def test_mistakes_in_the_settings_are_told_and_keys_not_repeated(tmp_path: Path, line: str, text: str) -> None:
    file = tmp_path / "lightfast.toml"
    file.write_text(f"[providers.leaky]\n{line}\n")
    try:
        found = "\n".join(map(str, mistakes(load(Settings, file=file, environ={}).settings)))
    except ConfigError as error:
        found = str(error)
    assert text in found
    assert KEY not in found


def test_the_tables_of_providers_are_read(tmp_path: Path) -> None:
    file = tmp_path / "lightfast.toml"
    file.write_text(
        "[providers.leaky]\nkeys = ['env:A', 'keyring:b']\nrequests_per_minute = 10\nusd_per_day = 0.5\ntier = 'two'\n"
        "organization = 'mine'\nlimits = [{model = 'gpt-4.1*', concurrency = 2}, {together = true, tokens_per_day = 9}]\n"
    )
    loaded = load(Settings, file=file, environ={"LIGHTFAST_PROVIDERS__LEAKY__BASE_URLS": "http://127.0.0.1:1/v1"})
    assert mistakes(loaded.settings) == []
    table = provider_tables(loaded.settings)["leaky"]
    assert (table.keys, table.tier, table.options) == (("env:A", "keyring:b"), "two", {"organization": "mine"})
    assert table.base_urls == ("http://127.0.0.1:1/v1",)
    assert table.wanted.each == (("requests", 60.0, 10.0),)
    assert table.wanted.models == (("gpt-4.1*", (("concurrency", 0.0, 2.0),)),)
    assert table.wanted.together == (("spend", 86_400.0, 500_000.0), ("tokens", 86_400.0, 9.0))
    waits = {
        row.key.rpartition(".")[2] for row in loaded.rows if row.key.startswith("providers.leaky.") and row.restart
    }
    assert not waits & {"keys", "base_urls", "tier", "limits", "usd_per_day", *SETTINGS}


def ask(client: Client, prompt: str, timeout: float = 20.0) -> str:
    """Generate, and return the text."""
    fields = {"model": "leaky/talk", "output": "text", "prompt": prompt, "timeout": f"{timeout:g}s"}
    steps = client.stream_json("GenerationService.Generate", fields, timeout + 5)
    return "".join(step.get("text_delta", "") for step in steps)


def test_a_planted_key_shows_nowhere(home: Path) -> None:
    path = home / "config" / "keys" / "leaky"
    assert command(home, "key", "set", "leaky", "--stdin", given=KEY).returncode == 0
    answers: list[str] = []
    with Daemon(home, flags=("log.level=debug",)) as daemon, Client(home=str(home), timeout=30.0) as client:

        def call(name: str, fields: dict[str, Any] | None = None) -> dict[str, Any]:
            found: dict[str, Any] = client.call_json(f"GenerationService.{name}", fields or {}, 30.0)
            answers.append(json.dumps(found))
            return found

        def session() -> dict[str, Any]:
            found: dict[str, Any] = call("ListSessions", {"provider": "leaky"})["sessions"][0]
            return found

        until(lambda: any(each["name"] == "leaky" for each in call("ListProviders").get("providers", [])))
        assert session()["state"] == "SESSION_STATE_NEW"
        assert ask(client, "ok") == "it still works"
        found = session()
        assert (found["state"], found["key_source"], found["balance"], found["balance_unit"]) == (
            "SESSION_STATE_READY", f"file:{path}", 12.5, "credits",
        )  # fmt: skip
        limits = {(limit["kind"], limit["window_s"]): limit for limit in found["limits"]}
        assert limits["requests", 86_400.0]["remaining"] == 999
        assert limits["requests", 60.0]["limit"] == 300
        for prompt in ("raise", "cause", "failed", "invalid", "malformed", "auth"):
            with pytest.raises(LightfastError) as wrong:
                ask(client, prompt)
            answers.append(repr((wrong.value.message, wrong.value.metadata, wrong.value.reason, wrong.value.details)))
        assert session()["state"] == "SESSION_STATE_DENIED"
        with pytest.raises(LightfastError) as wrong:
            ask(client, "ok, now")
        answers.append(wrong.value.message)
        (checked,) = call("CheckProvider", {"provider": "leaky"})["sessions"]
        assert (checked["state"], "401 for ***" in checked["reason"]) == ("SESSION_STATE_DENIED", True)
        for name in ("ListOperations", "ListFailures", "ListModels", "GetUsage", "ListBudgets"):
            try:
                call(name)
            except LightfastError as error:
                answers.append(error.message)
        answers.append(json.dumps(client.call_json("AdminService.GetConfig", {})))
        answers.append(json.dumps(client.call_json("AdminService.ListErrors", {})))
        checked_by_hand = command(home, "providers", "check", "leaky")
        assert (checked_by_hand.returncode, "denied" in checked_by_hand.stdout) == (1, True), checked_by_hand.stderr
        answers += [checked_by_hand.stdout, command(home, "key", "list").stdout, command(home, "providers").stdout]

        rotated = command(home, "key", "set", "leaky", "--stdin", given=OTHER)
        assert (rotated.returncode, rotated.stderr) == (0, "")
        misspelt = command(home, "key", "set", "laeky", "--stdin", given=OTHER)
        assert (misspelt.returncode, misspelt.stderr) == (
            0,
            "no plugin brings a provider laeky now: did you mean leaky?\n",
        )
        assert command(home, "key", "remove", "laeky").returncode == 0
        assert until(lambda: ask(client, "ok again")) == "it works"  # without a restart
        assert session()["state"] == "SESSION_STATE_READY"
        by_hand = command(home, "providers", "check", "leaky", "--limits")
        assert (by_hand.returncode, "ready" in by_hand.stdout, "requests a day" in by_hand.stdout) == (0, True, True)
        (one,) = client.check_provider("leaky")
        assert [each.key_source for each in client.provider_sessions("leaky")] == [one.key_source] == [f"file:{path}"]
        assert (one.state, one.HasField("expire_time")) == (generation_pb2.SESSION_STATE_READY, True)
        answers.append(str(one))
        with pytest.raises(NotFound, match="there is no provider 'nobody'"):
            call("CheckProvider", {"provider": "nobody"})

        (home / "config" / "lightfast.toml").write_text('[providers.leaky]\nkeys = ["env:LEAKY_GONE"]\n')
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGHUP)
        assert daemon.wait_log("settings reloaded")
        with pytest.raises(FailedPrecondition, match="there is no key at env:LEAKY_GONE"):
            ask(client, "ok at last")
        log = daemon.log()
    for secret in (KEY, OTHER):
        assert secret not in log
        assert [answer for answer in answers if secret in answer] == []
        for file in home.rglob("*"):
            if file.is_file() and file != path and file.name != "leaky.py" and file.suffix != ".pyc":
                assert secret.encode() not in file.read_bytes(), file
    assert "***" in log
