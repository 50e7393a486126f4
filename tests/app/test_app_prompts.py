"""Models and prompt templates on the command line and in the SDK, and the settings of aliases, on a real daemon."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.mistakes import Desk, matches, run

from lightfast.app.cli.models import limits, price
from lightfast.app.settings import Settings
from lightfast.core.config import ConfigError, render_default
from lightfast.core.config_load import load

PLUGIN = """
from lightfast.sdk import Model, Price, Provider, TextDelta, Usage, hookimpl

class Tiny(Provider):
    name = "tiny"

    def models(self):
        return [
            Model("quick", outputs=("text",), description="Answers.", context_tokens=128000, tags=("fast",),
                  prices=(Price("input_token", 25e-8), Price("output_token", 2e-6)),
                  limits=(("requests", 60.0, 100.0), ("tokens", 60.0, 20000.0)), capabilities=("system",)),
            Model("old", outputs=("text",), deprecation_date="2020-01-01", retirement_date="2999-01-01"),
            Model("gone", outputs=("text",), retirement_date="2020-01-01"),
        ]

    async def generate(self, request, bench):
        yield TextDelta(f"{request.system}|{request.prompt}")
        yield Usage(input_tokens=1, output_tokens=1)

@hookimpl
def lightfast_providers(config):
    return [Tiny()]
"""
CONFIG = """
[gateway.aliases]
mine = ["tiny/quick", "cheap"]
wrong = ["tiny/quikc"]
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "config").mkdir()
    (folder / "config" / "lightfast.toml").write_text(CONFIG)
    found = Desk(folder, dropins={"tiny": PLUGIN})
    try:
        found.heard("plugin ready")
        yield found
    finally:
        found.close()


def said(desk: Desk, *arguments: str | Path) -> str:
    done = run("--home", desk.home, *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_models_are_shown_with_price_limits_and_aliases(desk: Desk) -> None:
    desk.heard("an alias is wrong")  # the plugins are loaded
    told = said(desk, "models", "--output", "text", "--all")
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in told.splitlines()}
    assert lines["tiny/quick"].startswith(
        "text 128k 0.25 in / 2 out per M 100 requests/min, 20k tokens/min best, cheap, fast, mine"
    )
    assert "deprecated from 2020-01-01; ends on 2999-01-01" in lines["tiny/old"]
    assert "retired on 2020-01-01" in lines["tiny/gone"]
    shown = said(desk, "models", "text")
    assert "tiny/gone" not in shown
    assert re.search(r"^[0-9]+ more cannot be used now: lightfast models --all says why$", shown, re.MULTILINE)
    assert "studio/image" in said(desk, "models", "image")
    models = json.loads(said(desk, "--json", "models", "text"))["models"]
    assert {"tiny/gone", "tiny/old", "tiny/quick"} <= {model["name"] for model in models}
    assert matches(desk.cli("models", "txt").text, "lightfast: nothing makes 'txt': did you mean 'text'?\n"), desk.cli(
        "models", "txt"
    ).text


def test_a_wrong_alias_is_warned_of_at_the_start_and_an_error_at_use(desk: Desk) -> None:
    warned = desk.heard("an alias is wrong")
    assert warned["mistake"] == "gateway.aliases.wrong: there is no 'tiny/quikc': did you mean 'tiny/quick'?"
    refused = desk.cli("generate", "text", "hello", "--model", "wrong")
    assert refused.code == 4
    assert "in gateway.aliases.wrong: there is no model 'tiny/quikc': did you mean 'tiny/quick'?" in refused.text


def test_an_alias_of_the_settings_answers_and_a_retired_model_is_refused(desk: Desk) -> None:
    made = desk.client.make("text", "hello", model="mine")
    assert made.text == "|hello"
    refused = desk.sdk(lambda client: client.make("text", "hello", model="tiny/gone"))
    assert refused.code == "FailedPrecondition MODEL_RETIRED"
    assert refused.text == "tiny/gone was retired on 2020-01-01: use tiny/quick"


def test_templates_are_saved_shown_rendered_used_and_deleted(desk: Desk, tmp_path: Path) -> None:
    source = tmp_path / "caption.txt"
    source.write_text("A {{ tone }} caption of\n\n\n\n{{ prompt }}\n")
    options = ["--system", "Be {{ tone }}.", "--description", "for shows"]
    assert said(desk, "prompts", "save", "caption", "--file", source, *options) == "caption@1: prompt, tone\n"
    assert said(desk, "prompts", "save", "caption", "--file", source, *options) == "caption@1: prompt, tone\n"
    assert said(desk, "prompts", "save", "caption", "{{ prompt }}!", "--model", "tiny/quick") == (
        "caption@2: prompt, for tiny/quick\n"
    )
    told = said(desk, "prompts", "render", "caption@1", "tone=dry", "prompt=a cube", "--compact")
    assert matches(told, "system:\nBe dry.\n\nA dry caption of\n\na cube\n-- <…> tokens, <…> saved\n"), told
    assert "caption  2" in said(desk, "prompts", "list")
    assert said(desk, "prompts", "list", "caption").count("caption") == 2
    assert "Be {{ tone }}." in said(desk, "prompts", "show", "caption@1")
    assert desk.client.make("text", "hi", template="caption").text == "|hi!"
    assert desk.client.make("text", "hi", template="caption@1", arguments={"tone": "dry"}, model="tiny/quick").text == (
        "Be dry.|A dry caption of\n\n\n\nhi"
    )
    assert said(desk, "prompts", "delete", "caption") == "gone, with 2 versions\n"
    assert said(desk, "prompts", "list") == "No templates yet: lightfast prompts save NAME TEXT\n"


MISTAKES: dict[str, tuple[tuple[str, ...], int, str]] = {
    "unknown": (("show", "nobody"), 4, "lightfast: there is no prompt template 'nobody': <…>"),
    "syntax": (("save", "x", "one\n{{ two"), 2, "lightfast: the template is wrong in line 2: <…>\n"),
    "a pair": (("render", "x", "novalue"), 2, "<…>'novalue': write it as name=value<…>"),
    "no text": (("save", "x"), 2, "<…>give the text, or --file FILE<…>"),
    "no file": (("save", "x", "--file", "/nowhere/x"), 1, "lightfast: /nowhere/x: No such file or directory\n"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_told(desk: Desk, case: str) -> None:
    arguments, code, wanted = MISTAKES[case]
    told = desk.cli("prompts", *arguments)
    assert told.code == code
    plain = " ".join(told.text.split())
    assert matches(plain, " ".join(wanted.split())), told.text


def test_the_sdk_counts_and_lists(desk: Desk) -> None:
    names = [model.name for model in desk.client.models("text")]
    assert "tiny/quick" in names
    assert "studio" in [provider.name for provider in desk.client.providers()]
    short = desk.client.count_tokens("one two three", model="mine")
    long = desk.client.count_tokens("one two three", model="mine", messages=[("user", "four five six")])
    assert (short.model, short.counter, short.context_tokens) == ("tiny/quick", "estimate", 128_000)
    assert 3 <= short.tokens < long.tokens
    saved = desk.client.save_prompt("sdk", "{{ n + 1 }}", description="d")
    assert desk.client.prompt("sdk") == saved
    assert "sdk" in [each.name for each in desk.client.prompts()]
    assert desk.client.render_prompt("sdk", {"n": 41}).rendered == "42"
    assert desk.client.delete_prompt("sdk") == 1


WRONG = {
    'gateway.aliases={"Fast"=["a/b"]}': "expected a name of lower-case letters, digits, '-' and '_', not 'Fast'",
    'gateway.aliases={"fast"="a/b"}': "expected lists of models and aliases by name",
    'gateway.aliases={"fast"=[]}': "expected lists of models and aliases by name",
    'gateway.aliases={"fast"=["a b"]}': "expected provider/model or an alias, not 'a b'",
    "gateway.aliases=fast": "expected lists of models and aliases by name",
    'gateway.fallbacks={"smell"=["a/b"]}': "expected one of text, image, audio, video, not 'smell'",
}


@pytest.mark.parametrize("flag", WRONG)
def test_chains_that_are_none_are_mistakes(flag: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Settings, environ={}, flags=(flag,))
    assert WRONG[flag] in str(caught.value)


def test_chains_are_taken_from_every_source(tmp_path: Path) -> None:
    flag = 'gateway.aliases={"fast"=["a/b:free","cheap"]}'
    assert load(Settings, environ={}, flags=(flag,)).settings.gateway.aliases == (("fast", ("a/b:free", "cheap")),)
    variable = {"LIGHTFAST_GATEWAY__FALLBACKS": '{text = ["cheap"]}'}
    assert load(Settings, environ=variable).settings.gateway.fallbacks == (("text", ("cheap",)),)
    assert load(Settings, environ={}).settings.gateway.aliases == ()
    assert "#aliases = {}" in render_default(Settings)


PRICES = {
    "0.25 in / 2 out per M": {"input_token": 25e-8, "output_token": 2e-6},
    "0.04 per image": {"image": 0.04},
    "15 per M characters": {"character": 15e-6},
    "0.5 per s, 0.01 per request": {"second": 0.5, "request": 0.01},
    "free": {"request": 0.0},
    "": {},
}


@pytest.mark.parametrize("shown", PRICES)
def test_prices_are_shown_by_what_people_count(shown: str) -> None:
    assert price({"prices": [{"unit": unit, "usd": usd} for unit, usd in PRICES[shown].items()]}) == shown


def test_limits_are_shown_in_short() -> None:
    given = [("requests", 60.0, 60.0), ("input_tokens", 86400.0, 2e6), ("concurrency", 0.0, 4.0), ("tokens", 5.0, 1.0)]
    listed = [{"kind": kind, "window_s": window, "limit": number} for kind, window, number in given]
    assert limits({"limits": listed}) == "60 requests/min, 2M input tokens/day, 4 concurrency, 1 tokens/5 s"
