"""What the doctor says of the AI services: found, refused, misnamed, spent, stuck; and never a key."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.daemon import daemon
from tests.support.mistakes import doctor
from tests.support.waiting import until

from lightfast.app.cli import gateway_checks as of
from lightfast.app.cli.checks import BAD, OK, WARN, Finding
from lightfast.client import Client
from lightfast.core.config import toml
from lightfast.gateway.routing.circuits import FAILING

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
NO_KEY = {"provider": "openai", "account": "default", "state": "SESSION_STATE_NO_KEY"}
NOTHING = of.Configured([])


def config(**rows: Any) -> of.Configured:
    return of.Configured([{"key": key.replace("__", "."), "value": toml(value)} for key, value in rows.items()])


def test_chains_are_read_as_the_settings_show_them() -> None:
    shown = of.Configured([{"key": "gateway.aliases", "value": '{ talk = ["openai/x", "cheap"], b = ["talk"] }'}])
    assert shown.named() == {"openai/x", "cheap"}


def session(state: str, **fields: Any) -> dict[str, Any]:
    return {"provider": "openai", "account": "default", "state": f"SESSION_STATE_{state}", **fields}


def provider(name: str = "openai", **fields: Any) -> dict[str, Any]:
    return {"name": name, "needs_key": True, **fields}


def levels(findings: Any) -> list[str]:
    return [finding.level for finding in findings]


def test_files_of_keys_that_others_can_read(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    assert list(of.check_key_files(folder)) == []
    folder.mkdir(mode=0o700)
    (folder / "good").touch(mode=0o600)
    (folder / "open").touch()
    (folder / "open").chmod(0o640)
    (found,) = of.check_key_files(folder)
    assert (found.level, found.what) == (BAD, f"{folder}/open can be read by other users, and is not used")
    assert f"chmod 600 {folder}/open" in found.advice
    folder.chmod(0o755)
    assert levels(of.check_key_files(folder)) == [BAD, BAD]


@pytest.mark.parametrize(
    ("state", "fields", "expected"),
    [
        ("READY", {"key_source": "file:/k"}, [(OK, "openai: the key from file:/k works")]),
        ("NEW", {"key_source": "file:/k"}, [(OK, "openai: the key from file:/k was not tried yet")]),
        ("DENIED", {"key_source": "keyring:openai"}, [(BAD, "openai: the key from keyring:openai was refused")]),
        ("EXHAUSTED", {"account": "spare"}, [(WARN, "openai/spare cannot be used now")]),
        ("DOWN", {}, [(WARN, "openai cannot be used now")]),
        (
            "READY",
            {"key_source": "env:OPENAI_API_KEY"},
            [
                (OK, "openai: the key from env:OPENAI_API_KEY works"),
                (WARN, "openai: other programs of this user can read the key from the environment"),
            ],
        ),
    ],
)
def test_accounts(state: str, fields: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    found = list(of.check_services([provider(available=True)], [session(state, **fields)], NOTHING))
    assert [(finding.level, finding.what) for finding in found] == [
        *expected,
        (OK, "these providers can be used: openai"),
    ]


def test_a_provider_that_is_set_up_and_cannot_be_used() -> None:
    missing = provider("fal", reason="needs fal-client: pip install 'lightfast[fal]'")
    (fine,) = of.check_services([missing], [], NOTHING)
    assert fine == Finding(OK, "the provider fal is not there", "needs fal-client: pip install 'lightfast[fal]'")
    (bad,) = of.check_services([missing], [], config(providers__fal__tier=""))
    assert (bad.level, bad.advice) == (BAD, "needs fal-client: pip install 'lightfast[fal]'")
    (named,) = of.check_services([missing], [], config(gateway__aliases=[["fast", ["fal/flux"]]]))
    assert named.level == BAD
    (unknown,) = of.check_services([], [], config(gateway__aliases=[["fast", ["nobody/x", "cheap"]]]))
    assert unknown.what == "the settings name providers that no plugin brings: nobody"


def test_keys_that_are_not_there_and_keys_that_are_not_taken() -> None:
    without = provider(reason="openai has no key: run 'lightfast key set openai'")
    (quiet,) = of.check_services([without], [NO_KEY], NOTHING)
    assert (quiet.level, quiet.what) == (OK, "these have no key: openai")
    (bad,) = of.check_services([without], [NO_KEY], config(providers__openai__tier=""))
    assert bad.level == BAD
    refused = provider(reason="openai has no key (/keys/openai can be read by others): run 'lightfast key set openai'")
    (taken,) = of.check_services([refused], [NO_KEY], NOTHING)
    assert (taken.level, taken.what) == (BAD, "the key of openai is not used")


def test_chains_that_lead_nowhere() -> None:
    models: list[dict[str, Any]] = [
        {"name": "studio/image", "outputs": ["image"], "available": True},
        {"name": "openai/gpt-5", "outputs": ["text"], "reason": "no key"},
    ]
    providers = [provider("studio"), provider("openai")]

    def found(**rows: Any) -> list[str]:
        return [finding.what for finding in of.check_chains(models, providers, config(**rows))]

    assert found(gateway__aliases=[["mine", ["openai/gpt-5", "studio/image"]], ["other", ["mine"]]]) == []
    assert found(gateway__aliases=[["mine", ["openai/gpt-5"]]]) == [
        "gateway.aliases.mine leads to no model that can be used now"
    ]
    (typo, nothing) = found(gateway__aliases=[["mine", ["studio/imag"]]])
    assert typo == "gateway.aliases.mine: there is no 'studio/imag': did you mean 'studio/image'?"
    assert nothing == "gateway.aliases.mine leads to no model that can be used now"
    assert found(gateway__fallbacks={"image": ["best"]}) == []
    (circle, *_) = found(gateway__aliases=[["a", ["b"]], ["b", ["a"]]])
    assert "circle" in circle


def test_models_that_come_to_an_end_and_circuits() -> None:
    models: list[dict[str, Any]] = [
        {"name": "o/old", "retirement_date": "2027-01-31", "available": False},
        {"name": "o/late", "deprecation_date": "2027-01-01", "retirement_date": "2027-06-01", "available": True},
        {"name": "o/early", "deprecation_date": "2027-02-01", "available": True},
        {"name": "o/sick", "reason": f"{FAILING}: it is tried again in 4 s"},
    ]
    (sick,) = of.check_models(models, (), NOTHING, NOW)
    assert (sick.level, sick.what.endswith(": o/sick")) == (WARN, True)
    named = config(gateway__aliases=[["fast", ["o/late"]]])
    found = list(of.check_models(models[:3], {"o/old", "o/early"}, named, NOW))
    assert [(finding.level, finding.what) for finding in found] == [
        (BAD, "o/old was retired on 2027-01-31, and it was used lately"),
        (WARN, "o/late is deprecated and ends on 2027-06-01, and the settings name it"),
        (WARN, "o/early is deprecated from 2027-02-01, and it was used lately"),
    ]


def test_budgets() -> None:
    day = {"scope": "all", "limit_usd": 10.0, "period": "day", "reset_time": "2027-02-01T00:00:00Z"}
    assert levels(of.check_budgets([{**day, "spent_usd": 8.9}])) == []
    (nearly,) = of.check_budgets([{**day, "spent_usd": 8.0, "held_usd": 1.5}])
    assert nearly.what == (
        "the budget of everybody for the day is nearly spent: $8.00 of $10.00, $1.50 more are held for what is under way"
    )
    (spent,) = of.check_budgets([{"scope": "project", "name": "film", "limit_usd": 1.0, "spent_usd": 1.0}])
    assert (spent.level, spent.what) == (BAD, "the budget of project film for all time is spent: $1.00 of $1.00")
    (nothing,) = of.check_budgets([{**day, "limit_usd": 0.0}])
    assert "2027-02-01 00:00 UTC" in nothing.advice


def test_operations_that_are_stuck() -> None:
    def running(hours: float, output: str = "video", model: str = "runway/gen") -> dict[str, Any]:
        begun = (NOW - timedelta(hours=hours)).isoformat()
        return {"operation_id": "op-1", "model": model, "output": output, "create_time": begun}

    here = [provider("runway", available=True)]
    assert levels(of.check_operations([running(1.9), running(72.0, "batch")], here, NOW)) == []
    (long,) = of.check_operations([running(5.0)], here, NOW)
    assert (long.level, long.what) == (WARN, "op-1 by runway/gen is under way for 5 hours")
    assert "lightfast operation cancel op-1" in long.advice
    (waits,) = of.check_operations([running(0.1, model="fal/x")], here, NOW)
    assert waits.what == "op-1 waits for fal/x, which cannot be used now"


def test_who_is_asked_over_the_network() -> None:
    providers = [provider("studio", needs_key=False, available=True), provider("openai"), provider("fal"), provider("ollama", needs_key=False)]  # fmt: skip
    assert of.to_ask(providers, [NO_KEY], NOTHING) == []
    keyed = session("NEW", key_source="file:/k")
    assert of.to_ask(providers, [keyed], config(providers__ollama__base_urls=[])) == ["openai", "ollama"]
    assert levels(of.check_answers("openai", [session("READY", latency="0.2s"), session("DENIED")])) == [OK, BAD]
    assert levels(of.check_answers("openai", [])) == [WARN]


PLUGIN = """
from lightfast.sdk import Model, Provider, ProviderError, TextDelta, hookimpl


class Vault(Provider):
    name = "vault"
    needs_key = True

    def models(self):
        return [Model("old", outputs=("text",), free=True, deprecation_date="2020-01-01")]

    async def probe(self, session):
        if "good" not in session.key.reveal():
            raise ProviderError("that key is wrong", kind="auth")
        return await super().probe(session)

    async def generate(self, request, bench):
        yield TextDelta("a")


@hookimpl
def lightfast_providers(config):
    return [Vault()]
"""


def findings(home: Path, *flags: str) -> dict[str, str]:
    done = doctor(home, "--json", "doctor", *flags)
    assert "sk-" not in done.stdout + done.stderr
    return {finding["what"]: finding["level"] for finding in json.loads(done.stdout)["findings"]}


@pytest.mark.slow
def test_a_real_daemon_is_asked_and_the_services_only_when_told_to(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "config/plugins").mkdir(parents=True, mode=0o700)
    (home / "config/plugins/vault.py").write_text(PLUGIN)
    (home / "config/keys").mkdir(mode=0o700)
    key = home / "config/keys/vault"
    key.write_text("sk-bad-0123456789")
    key.chmod(0o600)
    with daemon(home, flags=['gateway.aliases={old=["vault/old"], lost=["vault/none"]}']) as house:
        with Client(home=home) as client:
            client.set_budget("all", "", 0.0, "day")
            until(lambda: any(model.name == "vault/old" for model in client.models()), "the plugin")
        found = findings(house.home)
        assert found["vault: the key from file:" + str(key) + " was not tried yet"] == OK
        assert found["vault/old is deprecated from 2020-01-01, and the settings name it"] == WARN
        assert found["gateway.aliases.lost leads to no model that can be used now"] == BAD
        assert [level for what, level in found.items() if "budget of everybody" in what] == [BAD]
        found = findings(house.home, "--online")
        assert [level for what, level in found.items() if what.startswith("vault does not answer")] == [BAD]
        key.write_text("sk-good-0123456789")
        found = findings(house.home, "--online")
        assert [level for what, level in found.items() if what.startswith("vault answers")] == [OK]
        key.chmod(0o644)
        assert [level for what, level in findings(house.home).items() if what.startswith(f"{key} can be read")] == [BAD]
