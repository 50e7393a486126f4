"""`lightfast generate` and `lightfast operations` against a real daemon, and pictures in terminals."""

from __future__ import annotations

import base64
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.mistakes import Desk, clean_environ, run
from tests.support.waiting import heard, seen_on

from lightfast.app.cli import pictures
from lightfast.app.cli.made import cost_of
from lightfast.client import AsyncClient
from lightfast.client.generations import Made

PLUGIN = """
import asyncio, json
from lightfast.sdk import Model, Progress, Provider, ProviderError, TextDelta, Usage, hookimpl

ABLE = ("schema", "system", "stream")


class Talker(Provider):
    description = "says what it was asked"
    local = True

    def __init__(self, name, breaks):
        self.name, self.breaks = name, breaks

    def models(self):
        return [Model("one", outputs=("text",), inputs=("text", "image"), capabilities=ABLE, free=True,
                      settings={"properties": {"mood": {"type": "string", "default": "calm"}}})]

    async def generate(self, request, bench):
        yield Progress(0.5, "thinking")
        if request.prompt == "wait":
            await asyncio.Event().wait()
        if self.breaks:
            yield TextDelta("half an answ")
            raise ProviderError("the line broke", kind="unavailable")
        if request.schema:
            yield TextDelta(json.dumps({"name": request.prompt}))
        else:
            said = [request.prompt, request.system, request.settings["mood"], request.seed, request.max_output_tokens,
                    [source.decode() for source in request.sources]]
            for word in json.dumps(said).split(" "):
                yield TextDelta(word + " ")
        yield Usage(12, 5)


@hookimpl
def lightfast_providers(config):
    return [Talker("talker", False), Talker("breaker", True)]
"""
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    found = Desk(tmp_path_factory.mktemp("desk"), dropins={"talker": PLUGIN})
    try:
        yield found
    finally:
        found.close()


def test_a_text_goes_to_stdout_and_the_rest_to_stderr(desk: Desk, tmp_path: Path) -> None:
    source, out = tmp_path / "in.png", tmp_path / "out.txt"
    source.write_bytes(b"pixels")
    done = run(
        *("--home", desk.home, "generate", "text", "hello", "--model", "talker/one", "--system", "be kind"),
        *("--set", "mood=gay", "--seed", "7", "--max-tokens", "99", "--source", source, "--out", out),
        *("--to", "/said", "--project", "sea", "--cache", "off", "--strict", "--max-cost", "0.5"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["hello", "be kind", "gay", 7, 99, ["pixels"]]
    assert out.read_text() == done.stdout.rstrip("\n")
    *_, written, cost = done.stderr.splitlines()
    assert written == f"written to {out}"
    assert cost.startswith("talker/one · 12 + 5 tokens · ")
    assert cost.endswith(" · free")
    assert "50% thinking" in done.stderr
    assert json.loads(json.loads(run("--home", desk.home, "get", "/said").stdout)) == json.loads(done.stdout)


def test_the_local_studio_needs_no_more_than_a_prompt(desk: Desk, tmp_path: Path) -> None:
    picture = tmp_path / "dot.png"
    done = run("--home", desk.home, "generate", "image", "a red circle", "--set", "width=64", "--set", "height=64",
               "--out", picture)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "image/png" in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert done.stderr.splitlines()[-1].startswith("studio/")


def test_a_schema_from_a_file(desk: Desk, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "required": ["name"]}')
    done = run("--home", desk.home, "generate", "text", "Ada", "--model", "talker/one", "--schema", schema)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"name": "Ada"})
    schema.write_text("{")
    done = run("--home", desk.home, "generate", "text", "Ada", "--model", "talker/one", "--schema", schema)
    assert done.returncode == 2
    assert "the schema is none" in done.stderr
    done = run("--home", desk.home, "generate", "text", "Ada", "--schema", tmp_path / "gone.json")
    assert (done.returncode, "cannot be read: No such file" in done.stderr) == (2, True)


def test_a_fallback_is_told_and_only_the_answer_that_counts_is_printed(desk: Desk) -> None:
    line = ("generate", "text", "hello", "--model", "breaker/one", "--fallback", "talker/one")
    done = run("--home", desk.home, *line)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0] == "hello"
    assert "breaker/one failed: the line broke: talker/one begins anew" in done.stderr
    steps = [
        json.loads(each) for each in run("--home", desk.home, "--json", *line, "--cache", "off").stdout.splitlines()
    ]
    kinds = [next(key for key in step if key != "operation_id") for step in steps]
    assert kinds.count("fallback") == 1
    assert kinds[-1] == "usage"
    assert steps[kinds.index("fallback")]["fallback"]["restarted"] is True
    failed = run("--home", desk.home, "generate", "text", "hello", "--model", "breaker/one", "--strict")
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "the line broke" in failed.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cache", "often"), "--cache often: use off, exact"),
        (("--source", "/no/such.png"), "--source /no/such.png cannot be read"),
        (("--fallback", "no/body"), "no/body"),
        (("--max-cost", "-1"), "--max-cost"),
        (("--arg", "nonsense"), "nonsense"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_wrong_options_are_told(desk: Desk, options: tuple[str, str], said: str) -> None:
    done = run("--home", desk.home, "generate", "text", "hello", "--model", "talker/one", *options)
    assert done.returncode in {2, 4}
    assert said in done.stderr


def test_operations_are_listed_shown_and_cancelled(desk: Desk) -> None:
    done = run("--home", desk.home, "--json", "generate", "text", "shown", "--model", "talker/one", "--project", "p")
    operation_id = json.loads(done.stdout.splitlines()[0])["operation_id"]
    listed = run("--home", desk.home, "operations", "--project", "p").stdout
    assert operation_id in listed
    assert "succeeded" in listed
    shown = run("--home", desk.home, "operation", "show", operation_id).stdout
    assert '["shown", ' in shown
    assert "project: p" in shown
    waiting = desk.client.generate("text", "wait", model="talker/one")
    running_id = next(iter(waiting)).operation_id
    assert running_id in run("--home", desk.home, "operations", "--running").stdout
    assert run("--home", desk.home, "operation", "cancel", running_id).stdout == "cancelled\n"
    assert run("--home", desk.home, "operations", "--running").stdout == "No generation runs.\n"
    assert run("--home", desk.home, "operation", "show", "op-none").returncode == 4


def test_control_c_ends_the_generation_too(desk: Desk) -> None:
    line = ("generate", "text", "wait", "--model", "talker/one")
    # As in a terminal, also where the tests run in the background, which ignores Ctrl-C.
    script = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{script}; from lightfast.app.cli.main import main; main()",
         "--home", str(desk.home), *line],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environ(),
    )  # fmt: skip
    try:
        heard(process, process.stderr, "started")
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=150)[1]
    finally:
        process.kill()
        process.wait(60)
    assert process.returncode == 130
    operation_id, _, state = said.splitlines()[-1].partition(": ")
    assert state == "cancelled"
    assert "cancelled" in run("--home", desk.home, "operation", "show", operation_id).stdout


def test_a_further_asset_gets_the_ending_of_its_type(desk: Desk, tmp_path: Path) -> None:
    loop = tmp_path / "loop.wav"
    done = run("--home", desk.home, "generate", "audio", "techno", "--model", "studio/music", "--set", "bars=1",
               "--out", loop)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert loop.read_bytes().startswith(b"RIFF")
    assert (tmp_path / "loop-2.mid").read_bytes().startswith(b"MThd")


async def test_the_clients_return_what_was_made(desk: Desk) -> None:
    async with AsyncClient(home=str(desk.home)) as client:
        made = await client.make("text", "hello", model="breaker/one", fallbacks=("talker/one",), cache="off")
        assert isinstance(made, Made)
        assert json.loads(made.text)[0] == "hello"
        assert [(each.from_model, each.to_model) for each in made.fallbacks] == [("breaker/one", "talker/one")]
        assert (made.usage.input_tokens, made.usage.model) == (12, "talker/one")
        with pytest.raises(ValueError, match="the cache is used 'often'"):
            await client.make("text", "hello", cache="often")
        found = await client.operations(limit=3)
        assert len(found) == 3
        assert (await client.operation(made.operation_id)).text == made.text


def on_a_terminal(desk: Desk, *arguments: str, **environ: str) -> str:
    """Run a command with stdout on a terminal; return what came there."""
    outer, inner = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "lightfast", "--home", str(desk.home), *arguments],
            stdout=inner, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=clean_environ() | environ,
        )  # fmt: skip
        os.close(inner)
        inner = -1
        seen = seen_on(outer, process)
        assert process.returncode == 0
        return seen
    finally:
        os.close(outer)
        if inner >= 0:
            os.close(inner)


def test_a_terminal_that_can_show_pictures_gets_them(desk: Desk) -> None:
    line = ("generate", "image", "a red circle", "--set", "width=64", "--set", "height=64")
    assert "\x1b_Ga=T,f=100" in on_a_terminal(desk, *line, KITTY_WINDOW_ID="1")
    assert "\x1b]1337;File=inline=1" in on_a_terminal(desk, *line, TERM_PROGRAM="iTerm.app")
    plain = on_a_terminal(desk, *line, TERM="xterm")
    assert "\x1b_G" not in plain
    assert "\x1b]1337" not in plain
    told = on_a_terminal(desk, "generate", "text", "hi", "--model", "talker/one", KITTY_WINDOW_ID="1")
    assert told.startswith('["hi", ')


@pytest.mark.parametrize(
    ("environment", "terminal", "way"),
    [
        ({"KITTY_WINDOW_ID": "1"}, True, "kitty"),
        ({"KITTY_WINDOW_ID": "1"}, False, ""),
        ({"KITTY_WINDOW_ID": "1", "TMUX": "/tmp/x"}, True, ""),
        ({"TERM_PROGRAM": "ghostty"}, True, "kitty"),
        ({"TERM_PROGRAM": "WezTerm"}, True, "iterm"),
        ({"TERM_PROGRAM": "iTerm.app", "TERM": "dumb"}, True, ""),
        ({"TERM_PROGRAM": "vscode"}, True, ""),
        ({}, True, ""),
    ],
    ids=lambda value: "-".join(value) or "none" if isinstance(value, dict) else str(value),
)
def test_which_terminals_can(environment: dict[str, str], terminal: bool, way: str) -> None:
    assert pictures.protocol(environment, is_terminal=terminal) == way


def test_pictures_travel_whole() -> None:
    content = PNG + bytes(range(256)) * 100
    pieces = list(pictures.codes(content, "image/png", "kitty"))[:-1]
    assert all(len(piece) <= 4096 + 40 for piece in pieces)
    data = "".join(piece.partition(";")[2].removesuffix("\x1b\\") for piece in pieces)
    assert base64.b64decode(data) == content
    assert [("m=1" in piece.partition(";")[0]) for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    assert list(pictures.codes(content, "image/jpeg", "kitty")) == []
    assert list(pictures.codes(b"", "audio/wav", "iterm")) == []
    assert list(pictures.codes(bytes(pictures.MOST + 1), "image/png", "iterm")) == []


@pytest.mark.parametrize(
    ("usage", "line"),
    [
        ({}, "0.0 s · 0 USD"),
        (
            {"model": "a/b", "input_tokens": "3", "output_tokens": "4", "cost_usd": 0.00123, "cost_basis": "prices"},
            "a/b · 3 + 4 tokens · 0.0 s · 0.00123 USD (prices)",
        ),
        ({"model": "a/b", "duration": "2.5s", "cost_basis": "unknown"}, "a/b · 2.5 s · cost not known"),
        ({"cache": "exact", "saved_usd": 0.5}, "0.0 s · not paid: exact answer, 0.5 USD saved"),
        (
            {"cost_basis": "free", "seconds": 8.0, "finish_reason": "length"},
            "8 s of media · 0.0 s · free · ended by length",
        ),
    ],
    ids=["nothing", "tokens", "unknown", "cache", "media"],
)
def test_the_cost_in_one_line(usage: dict[str, object], line: str) -> None:
    assert cost_of(usage) == line
