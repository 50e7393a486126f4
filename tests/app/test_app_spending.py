"""Budgets, usage and failures end to end: a real daemon, the clients, the command line, the metrics."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.mistakes import Desk, run

from lightfast.client import Client
from lightfast.core.errors import Denied, Exhausted, FailedPrecondition, InvalidArgument, LightfastError, NotFound

PLUGIN = """
from lightfast.sdk import Model, Price, Provider, ProviderError, TextDelta, Usage, hookimpl


class Shop(Provider):
    name = "shop"

    def models(self):
        return (
            Model("dear", ("text",), prices=(Price("input_token", 1e-3), Price("output_token", 1e-3)),
                  max_output_tokens=10),
            Model("riddle", ("text",)),
        )

    async def generate(self, request, bench):
        if request.prompt == "fail":
            try:
                raise ConnectionError("the line is cut")
            except ConnectionError as error:
                raise ProviderError("nobody answers", kind="invalid") from error
        yield TextDelta("sold")
        yield Usage(2, 4)


@hookimpl
def lightfast_providers(config):
    return [Shop()]
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    found = Desk(tmp_path_factory.mktemp("desk"), dropins={"shop": PLUGIN})
    try:
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def client(desk: Desk) -> Iterator[Client]:
    with Client(home=desk.home) as found:
        yield found


def said(desk: Desk, *arguments: str) -> str:
    """Run a command that is expected to work, and return what it printed."""
    done = run("--home", desk.home, *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def make(client: Client, prompt: str, **fields: Any) -> None:
    """Generate and read it to the end."""
    request = {"model": "shop/dear", "prompt": prompt, "project": "film", **fields}
    for _ in client.stream_json("GenerationService.Generate", request):
        pass


def test_what_a_call_would_cost(client: Client) -> None:
    (estimate,) = client.estimate_cost("one two", model="shop/dear", strict=True)
    assert estimate.model == "shop/dear"
    assert estimate.most_usd == pytest.approx((estimate.input_tokens + 10) / 1000)
    assert estimate.max_output_tokens == 10
    (riddle,) = client.estimate_cost("one", model="shop/riddle", strict=True)
    assert (riddle.HasField("most_usd"), riddle.basis) == (False, "unknown")
    with pytest.raises(NotFound):
        client.estimate_cost("one", model="shop/dearr")


def test_a_budget_stops_spending_and_usage_shows_what_was_spent(client: Client, desk: Desk) -> None:
    assert said(desk, "budget", "list").strip() == "No budgets."
    assert "$0.1" in said(desk, "budget", "set", "project:film", "0.1", "--per", "day")
    make(client, "one")
    make(client, "two")
    with pytest.raises(Exhausted, match=r"project:film may spend \(day\), 0\.088 \$ are left") as refused:
        make(client, "far too many words for what is left " * 20)
    assert refused.value.reason == "BUDGET_EXCEEDED"
    (budget,) = client.budgets()
    assert (budget.scope, budget.name, budget.period, budget.limit_usd) == ("project", "film", "day", 0.1)
    assert (budget.spent_usd, budget.held_usd) == (0.012, 0.0)
    (found,) = client.usage("model", "project")
    assert dict(found.group) == {"model": "shop/dear", "project": "film"}
    assert (found.requests, found.usage.input_tokens, found.usage.output_tokens) == (2, 4, 8)
    assert found.usage.cost_usd == 0.012
    shown = said(desk, "usage", "--by", "model,day", "--since", "-1h")
    assert "shop/dear" in shown
    assert "$0.012" in shown
    assert json.loads(said(desk, "--json", "usage", "--by", "project"))["sums"][0]["group"] == {"project": "film"}
    assert "project:film" in said(desk, "budget", "list")
    said(desk, "budget", "remove", "project:film", "--per", "day")
    assert client.budgets() == []
    done = run("--home", desk.home, "budget", "remove", "project:film", "--per", "day")
    assert done.returncode == 4
    assert "there is none" in done.stderr


def test_what_nobody_can_bound_needs_consent(client: Client) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        make(client, "one", model="shop/riddle", strict=True)
    assert refused.value.reason == "PRICE_UNKNOWN"
    make(client, "one", model="shop/riddle", strict=True, price_consent=True)


def test_what_failed_is_kept_with_its_causes(client: Client, desk: Desk) -> None:
    with pytest.raises(LightfastError):
        make(client, "fail", strict=True)
    (failure,) = client.failures(provider="shop", limit=1)
    assert (failure.model, failure.reason, failure.outcome) == ("shop/dear", "PROVIDER_REFUSED", "failed")
    assert failure.message == "nobody answers"
    assert list(failure.causes) == ["ConnectionError: the line is cut"]
    assert "because of ConnectionError: the line is cut" in said(desk, "failures")
    assert client.failures(operation_id="op-none") == []


def test_only_who_may_sets_a_budget(client: Client, desk: Desk) -> None:
    with pytest.raises(InvalidArgument, match="'team' has no budget"):
        client.set_budget("team", "x", 1.0)
    token = client.call_json("AdminService.IssueToken", {"name": "guest", "scopes": ["watch", "operate"]})["secret"]
    with Client(desk.doors["grpc"], token=token) as guest:
        assert isinstance(guest.usage(), list)
        with pytest.raises(Denied):
            guest.set_budget("all", "", 1.0)
    assert client.set_budget("client", "guest", 0.0).name == "client:guest"  # as `usage --by client` shows it
    with (
        Client(desk.doors["grpc"], token=token) as guest,
        pytest.raises(LightfastError, match="client:guest may spend"),
    ):
        guest.make("text", "hello", model="shop/dear", cache="off")
    assert re.search(r"^client:guest +total", said(desk, "budget", "list"), re.MULTILINE)
    assert said(desk, "budget", "remove", "client:guest") == "removed\n"
    first = client.call_json(
        "GenerationService.SetBudget",
        {"budget": {"scope": "run", "name": "r", "limit_usd": 1.0, "period": "total"}, "request_id": "same"},
    )
    again = client.call_json(
        "GenerationService.SetBudget",
        {"budget": {"scope": "run", "name": "r", "limit_usd": 1.0, "period": "total"}, "request_id": "same"},
    )
    assert first == again
    client.remove_budget("run", "r")


def test_the_numbers_are_there_for_prometheus(client: Client, desk: Desk) -> None:
    client.set_budget("all", "", 5.0, "day")
    make(client, "numbers")
    request = urllib.request.Request(f"http://{desk.doors['http']}/metrics")
    request.add_header("Authorization", f"Bearer {Path(desk.doors['token_file']).read_text(encoding='ascii').strip()}")
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read().decode()
    assert 'lightfast_ai_attempts_total{model="dear",outcome="ok",provider="shop"}' in text
    assert 'lightfast_ai_tokens_total{kind="input",model="dear",provider="shop"}' in text
    assert 'lightfast_ai_seconds_bucket{le="+Inf",model="dear",provider="shop"}' in text
    assert 'lightfast_budget_limit_usd{name="",period="day",scope="all"} 5.0' in text
