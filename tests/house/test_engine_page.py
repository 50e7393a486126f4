"""The page about programs, words and workflows says what is so: each of its examples is run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.support.mistakes import Desk, clean_environ

from lightfast.engine.desk.coded import is_coded, parse_command
from lightfast.engine.programs.expression import compile_expression
from lightfast.engine.programs.functions import FUNCTIONS
from lightfast.engine.programs.text import parse
from lightfast.engine.workflows.form import read_workflow
from lightfast.engine.workflows.shelf import example_names, example_text

PAGE = (Path(__file__).resolve().parents[2] / "daemon/lightfast/engine/README.md").read_text(encoding="utf-8")


def block(kind: str) -> str:
    """Return the code block of this kind, such as `text program`."""
    found = re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, kind
    return str(found[0])


EXPRESSIONS = [tuple(map(str.strip, line.split("→"))) for line in block("text expressions").splitlines()]
SENTENCES = block("text english").splitlines()
CODED = block("text coded").splitlines()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    found = Desk(tmp_path_factory.mktemp("desk"))
    try:
        found.client.set("/show/brightness", 0.8)
        found.client.save_scene("verse", "/show//")
        yield found
    finally:
        found.close()


def test_both_forms_are_the_same_program_and_it_runs(desk: Desk) -> None:
    lines, other = block("text program"), block("yaml program")
    first, second = parse(lines).plain(), parse(other).plain()
    assert first == second
    assert not desk.client.validate_program(lines).problems
    states = [message.event.run.state for message in desk.client.run(lines) if message.event.HasField("run")]
    assert states[-1] == 4  # succeeded
    assert desk.client.get("/show/opening/beats_per_second").value == 1.6
    assert desk.client.get("/show/opening/lights/1").value == "amber"
    assert desk.client.get("/show/opening/slow").value is True


@pytest.mark.parametrize(("text", "wanted"), EXPRESSIONS)
def test_an_expression(text: str, wanted: str) -> None:
    names = {"params": {"bpm": 96, "name": "Opening"}}
    read = {"/show/brightness": 0.8}
    assert compile_expression(text).evaluate(names, read.get) == json.loads(wanted)


def test_all_functions_are_named() -> None:
    told = re.search(r"The functions: `([a-z ]+)`", PAGE)
    assert told
    assert told[1].split() == list(FUNCTIONS)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_sentence_is_understood(sentence: str, desk: Desk) -> None:
    plan = desk.client.plan(sentence, model="grammar")
    assert [problem.message for problem in plan.problems if not problem.warning] == []
    assert plan.lines.strip()
    assert plan.planner == "grammar"


@pytest.mark.parametrize("line", CODED)
def test_a_coded_line_is_taken(line: str, desk: Desk) -> None:
    assert is_coded(line)
    parse_command(line)
    assert not desk.client.say(line).line.startswith("er:")


def test_the_workflow_is_right(desk: Desk, tmp_path: Path) -> None:
    text = block("yaml workflow")
    found, problems = read_workflow(text, "page")
    assert not problems
    assert found is not None
    assert len(found.triggers) == 2
    file = tmp_path / "evening-look.yaml"
    file.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "lightfast", "--home", str(desk.home), "workflow", "check", str(file)],
        capture_output=True, text=True, timeout=60, check=False, env=clean_environ(),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "evening-look is right\n"), done.stderr


def test_the_table_of_examples_is_theirs() -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", PAGE, re.MULTILINE))
    assert rows == {name: yaml.safe_load(example_text(name))["summary"] for name in example_names()}


def test_the_streams(desk: Desk) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is missing: apt-get install curl")
    desk.client.set("/show/streamed", 1)
    for _ in desk.client.run("context.set /show/streamed 2"):
        pass
    told = block("sh")
    assert " -m 2 " in told

    def asked(patience: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", told.replace(" -m 2 ", f" -m {patience} ")],
            capture_output=True, text=True, timeout=150, check=False,
            env=clean_environ() | {"LIGHTFAST_HOME": str(desk.home), "PATH": os.environ["PATH"]},
        )  # fmt: skip

    done = asked(2)
    if not ('"kind":"run.succeeded"' in done.stdout and '"path":"/show/streamed"' in done.stdout):
        done = asked(40)  # seconds, which each request takes: a slow machine needs more of them
    assert "event: event\ndata: " in done.stdout, done.stderr
    assert '"kind":"run.succeeded"' in done.stdout
    assert "event: batch\ndata: " in done.stdout
    assert '"path":"/show/streamed"' in done.stdout


def test_the_settings_of_a_client_are_json() -> None:
    (server,) = json.loads(block("json"))["mcpServers"].values()
    assert [server["command"], *server["args"]] == ["lightfast", "mcp"]
