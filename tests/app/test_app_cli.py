"""Every command of the command line once, for people and for programs, against one real daemon."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.mistakes import Desk, clean_environ, doctor, matches, run
from tests.support.waiting import heard, until
from tests.support.worker import Worker

from lightfast.api.v1 import (
    admin_pb2,
    apps_pb2,
    assets_pb2,
    context_pb2,
    generation_pb2,
    links_pb2,
    memory_pb2,
)
from lightfast.app.cli.session import table
from lightfast.host.plugins import PluginHost

MESSAGES = {
    name: message
    for module in (admin_pb2, apps_pb2, assets_pb2, context_pb2, generation_pb2, links_pb2, memory_pb2)
    for name, message in module.DESCRIPTOR.message_types_by_name.items()
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    found = Desk(tmp_path_factory.mktemp("desk"))
    try:
        with Worker(found.home):
            yield found
    finally:
        found.close()


def said(desk: Desk, *arguments: str | Path) -> str:
    """Run a command that is expected to work, and return what it printed."""
    done = run("--home", desk.home, *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def in_json(desk: Desk, message: str, *arguments: str) -> list[dict[str, object]]:
    """Run a command with --json; each line must be an object with the field names of *message*."""
    fields = set(MESSAGES[message].fields_by_name)
    objects: list[dict[str, object]] = [json.loads(line) for line in said(desk, "--json", *arguments).splitlines()]
    assert objects, "it printed nothing"
    for item in objects:
        assert set(item) <= fields, set(item) - fields
    return objects


def listed(done: subprocess.CompletedProcess[str], column: str) -> list[str]:
    """Return the names of a table whose first column is *column*; each has something told beside it."""
    head, *rows = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert head[0] == column
    assert all(len(row) == 2 for row in rows)
    return [row[0] for row in rows]


def shipped() -> PluginHost:
    """Return the plugins that come with Lightfast."""
    host = PluginHost({})
    host.load_all()
    return host


def test_values(desk: Desk) -> None:
    told = said(desk, "set", "/v/a", "0.5", "--label", "half", "--group", "g")
    assert matches(told, "revision <…>\n")
    revision = told.split()[1]
    assert said(desk, "get", "/v/a") == "0.5\n"
    assert matches(in_json(desk, "ApplyResponse", "set", "/v/b", "[1, 2, 3]")[0]["revision"].__str__(), "<…>")
    assert said(desk, "get", "/v/b") == "[1, 2, 3]\n"
    assert said(desk, "set", "/v/negative", "-5").startswith("revision ")
    assert said(desk, "get", "/v/negative") == "-5\n"
    assert json.loads(said(desk, "rm", "/v/negative", "--json"))["revision"]
    assert said(desk, "set", "/v/text", "5", "--type", "string").startswith("revision ")
    assert said(desk, "get", "/v/text") == '"5"\n'
    assert matches(
        said(desk, "get", "/v/*"), "PATH<…>VALUE<…>REVISION<…>BY\n/v/a<…>0.5<…>\n/v/b<…>[1, 2, 3]<…>\n/v/text<…>\n"
    )
    assert in_json(desk, "GetResponse", "get", "/v/a")[0]["entries"][0]["value"] == {"double_value": 0.5}  # type: ignore[index]
    assert said(desk, "get", "--at", revision, "/v/a") == "0.5\n"
    assert said(desk, "ls", "/v") == "/v/a\n/v/b\n/v/text\n"
    assert "/v/\n" in said(desk, "ls")
    assert in_json(desk, "ListResponse", "ls", "/v")
    assert said(desk, "ls", "/v/a") == "/v/a has no children.\n"
    assert said(desk, "rm", "/v/text").startswith("revision ")
    assert run("--home", desk.home, "get", "/v/text").returncode == 4
    assert run("--home", desk.home, "rm", "/v").returncode == 4
    assert said(desk, "rm", "-r", "/v").startswith("revision ")
    assert said(desk, "get", "/v//") == "Nothing matches.\n"


def test_the_past(desk: Desk) -> None:
    said(desk, "set", "/p/a", "1")
    second = said(desk, "set", "/p/a", "2", "--label", "the second").split()[1]
    told = said(desk, "history", "/p//", "--limit", "1")
    assert matches(told, f"{second}  <…>  by local#<…>; the second\n   /p/a = 2\n"), told
    assert in_json(desk, "HistoryResponse", "history", "/p//")
    told = said(desk, "undo", second)
    assert matches(told, f"took back {second}; this is revision <…>\n"), told
    assert said(desk, "get", "/p/a") == "1\n"
    undone = told.split()[-1]
    assert said(desk, "redo", undone).startswith("brought back ")
    assert said(desk, "get", "/p/a") == "2\n"
    said(desk, "set", "/p/a", "3", "--group", "gesture")
    assert in_json(desk, "UndoResponse", "undo", "--group", "gesture")[0]["undone_revisions"]
    assert said(desk, "history", "/nothing//") == "Nothing has happened there yet.\n"


def test_watching(desk: Desk) -> None:
    said(desk, "set", "/w/a", "1")
    assert matches(said(desk, "watch", "/w//", "--snapshot", "--count", "1"), "<…>  /w/a = 1  by local#<…>\n")
    batches = in_json(desk, "WatchResponse", "watch", "/w//", "--since", "0", "--count", "1")
    assert [event["entry"]["path"] for batch in batches for event in batch.get("events", [])] == ["/w/a"]  # type: ignore[attr-defined]


def test_watch_into_head_ends_quietly(desk: Desk) -> None:
    said(desk, "set", "/w/a", "1")
    said(desk, "set", "/w/b", "1")
    command = (
        f"{sys.executable} -m lightfast --home {desk.home} watch '/w//' --snapshot | head -n 1; echo ${{PIPESTATUS[@]}}"
    )
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=120, check=True, env=clean_environ()
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[1:] == ["0 0"]
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m lightfast --home {desk.home} watch '/silent//' | true; echo ${{PIPESTATUS[@]}}"],
        capture_output=True, text=True, timeout=120, check=True, env=clean_environ(),
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("0 0\n", ""), "the reader is gone before anything happens"
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m lightfast --home {desk.home} config | true; echo ${{PIPESTATUS[@]}}"],
        capture_output=True, text=True, timeout=120, check=True, env=clean_environ(),
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("0 0\n", ""), "the reader is gone while a command prints"


def test_a_watch_ends_on_ctrl_c(desk: Desk) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lightfast", "--home", str(desk.home), "watch", "/c//", "--snapshot"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environ(),
    )  # fmt: skip
    try:
        said(desk, "set", "/c/a", "1")
        heard(process, process.stdout, "/c/a = 1")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=150)
        assert (process.returncode, errors) == (130, "")
    finally:
        process.kill()


def test_applications(desk: Desk) -> None:
    def absent_ones() -> set[str]:
        return {item.mount for item in desk.client.list_apps() if item.state == apps_pb2.APP_STATE_ABSENT}

    looked_for = {"/ableton", "/obs", "/supercollider"}

    def shown() -> tuple[set[str], list[str]] | None:
        absent, lines = absent_ones(), said(desk, "apps").splitlines()
        return (absent, lines) if looked_for <= absent == absent_ones() else None  # else some said so meanwhile

    absent, lines = until(shown, "the bridges that look for an application say so")
    assert all(" absent " in line for line in lines if line.split()[0] in absent)
    assert matches(
        "\n".join(line for line in lines if line.split()[0] not in absent),
        "MOUNT<…>KIND<…>STATE<…>VERSION<…>BY<…>WHY\n/worker<…>guest (simulator)<…>live<…>1<…>tcp",
    )
    assert in_json(desk, "ListAppsResponse", "apps")
    assert json.loads(said(desk, "apps", "show", "worker"))["mount"] == "/worker"
    assert in_json(desk, "GetAppResponse", "apps", "show", "/worker")
    assert matches(said(desk, "apps", "commands", "/worker"), "COMMAND<…>\ndouble<…>x<…>\nfail<…>\n")
    assert in_json(desk, "ListCommandsResponse", "apps", "commands", "/worker")
    done = run("--home", desk.home, "apps", "invoke", "/worker", "double", "x=2.5")
    assert (done.returncode, done.stdout, done.stderr) == (0, "5\n", " 50% half\n")
    steps = in_json(desk, "InvokeResponse", "apps", "invoke", "/worker", "double", "x=2.5")
    assert steps[-1] == {"result": {"double_value": 5.0}}
    failed = run("--home", desk.home, "apps", "invoke", "/worker", "fail")
    assert (failed.returncode, "it does not want to" in failed.stderr) == (1, True)
    assert matches(said(desk, "apps", "resync", "/worker"), "in step: <…> values taken, <…> put back\n")


def test_links(desk: Desk) -> None:
    told = said(desk, "link", "/l/a", "/worker/level", "--as", "x / 60", "--two-way")
    assert matches(told, "link-<…>  /l/a <-> /worker/level  as x / 60\n")
    link = told.split()[0]
    assert told in said(desk, "link", "ls")
    assert in_json(desk, "ListLinksResponse", "link", "ls")
    tested = said(desk, "link", "test", "/l/b", "/l/c", "120", "--as", "x / 60")
    assert tested == "the target would get 2\n  /l/c  - -> 2\n"
    assert in_json(desk, "TestLinkResponse", "link", "test", "/l/b", "/l/c", "120")
    assert said(desk, "link", "rm", link) == "gone\n"
    assert said(desk, "link", "ls") == "No links yet: lightfast link SOURCE TARGET\n"
    assert in_json(desk, "CreateLinkResponse", "link", "add", "/l/x", "/l/y")


def test_making(desk: Desk, tmp_path: Path) -> None:
    picture = tmp_path / "sunset.png"
    options = ["--seed", "3", "--set", "width=64", "--set", "height=64", "--to", "/made"]
    done = run("--home", desk.home, "generate", "image", "red sunset", "--save", picture, *options)
    assert done.returncode == 0, done.stderr
    assert matches(done.stdout, "<…>  image/png  <…> bytes  <…>\n"), done.stdout
    assert f"written to {picture}\n" in done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "image/png" in said(desk, "get", "/made")
    assert "asset" in in_json(desk, "GenerateResponse", "generate", "image", "dot")[-1].keys() | {"asset"}
    assert "studio/image" in said(desk, "models")
    assert "studio/audio" not in said(desk, "models", "image")
    assert in_json(desk, "ListModelsResponse", "models")


def test_the_daemon_itself(desk: Desk) -> None:
    told = said(desk, "status")
    assert matches(told.splitlines()[0], f"Lightfast <…>, process {desk.daemon.pid}, since <…>")
    assert desk.doors["grpc"] in told
    assert in_json(desk, "GetInfoResponse", "status")[0]["store_id"] == desk.doors["store_id"]
    if desk.errors() or "the watchdog is not fed" not in desk.log():  # on a machine that stood still there is one
        assert said(desk, "errors") == "No errors.\n"
        assert "errors" not in in_json(desk, "ListErrorsResponse", "errors", "--limit", "1")[0]
    assert "grpc.listen" in said(desk, "config")
    assert in_json(desk, "GetConfigResponse", "config")
    assert matches(said(desk, "plugins").splitlines()[0], "PLUGIN<…>STATE<…>WHY")
    assert in_json(desk, "ListPluginsResponse", "plugins")
    assert "lightfast_providers(" in said(desk, "plugins", "--hooks")
    assert "studio" in said(desk, "plugins", "reload", "studio")


def test_tokens(desk: Desk) -> None:
    secret = said(desk, "token", "issue", "phone", "--scope", "watch", "--scope", "operate", "--hours", "2").strip()
    assert secret.startswith("lf_")
    done = run("--address", desk.doors["grpc"], "set", "/by/phone", "1", environ={"LIGHTFAST_TOKEN": secret})
    assert done.returncode == 0, done.stderr
    listed = [line.split() for line in said(desk, "token", "ls").splitlines() if "phone" in line]
    assert len(listed) == 1
    assert in_json(desk, "ListTokensResponse", "token", "ls")
    assert said(desk, "token", "revoke", listed[0][0]) == "revoked\n"
    assert run("--address", desk.doors["grpc"], "get", "/by/phone", environ={"LIGHTFAST_TOKEN": secret}).returncode == 6


def test_doctor(desk: Desk) -> None:
    done = doctor(desk.home, "doctor")
    assert f"the daemon answers: process {desk.daemon.pid}" in done.stdout, done.stdout
    assert done.stderr == ""
    findings = json.loads(doctor(desk.home, "--json", "doctor").stdout)["findings"]
    assert {"level", "what", "advice"} == set(findings[0])
    assert [finding for finding in findings if finding["what"] == "/worker is live"]


def test_doctor_names_what_is_wrong(tmp_path: Path) -> None:
    import socket

    (tmp_path / "config").mkdir()
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o777)
    (tmp_path / "state/token").write_text("lf_x")
    (tmp_path / "state/token").chmod(0o644)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        (tmp_path / "config/lightfast.toml").write_text(f'[grpc]\nlisten = "127.0.0.1:{port}"\n')
        done = doctor(tmp_path, "doctor")
    assert done.returncode == 1
    assert f"BAD  grpc.listen: tcp port {port} is taken by " in done.stdout
    assert f"(process {os.getpid()})" in done.stdout
    assert (
        f"BAD  {tmp_path}/state/token can be read by other users\n       run: chmod 600 {tmp_path}/state/token"
        in done.stdout
    )
    assert (
        f"warn state folder {tmp_path}/state is open to other users\n       run: chmod o-rwx {tmp_path}/state"
        in done.stdout
    )
    assert "warn no daemon answers" in done.stdout
    (tmp_path / "config/lightfast.toml").write_text("[grpc]\nlisen = 1\n")
    assert "did you mean grpc.listen?" in doctor(tmp_path, "doctor").stdout


def test_doctor_names_a_version_skew() -> None:
    from lightfast import __version__
    from lightfast.app.cli import checks

    (found,) = checks.check_daemon({"version": "9.9.9", "pid": 1}, "")
    assert (found.level, found.what) == (checks.BAD, f"the daemon is version 9.9.9, this command line {__version__}")
    assert "restart the daemon" in found.advice


def test_a_simulator_runs_until_it_is_told_to_stop(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lightfast", "sim", "ableton", "--listen", "127.0.0.1:0", "--reply-port", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environ(),
    )  # fmt: skip
    try:
        told = heard(process, process.stdout, "listening on")
        assert matches(told, "Ableton Live <…>: listening on 127.0.0.1:<…>\n")
        process.terminate()
        _, errors = process.communicate(timeout=150)
        assert (process.returncode, errors) == (0, "")
    finally:
        process.kill()
    assert listed(run("sim"), "SIMULATOR") == sorted(item.name for item in shipped().simulators())
    assert {"ableton", "blender", "touchdesigner"} <= set(listed(run("sim"), "SIMULATOR"))


def test_a_simulator_that_joins_says_that_it_waits(tmp_path: Path, desk: Desk) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lightfast", "--home", str(tmp_path), "sim", "blender"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environ(),
    )  # fmt: skip
    try:
        told = heard(process, process.stderr, "Waiting for it")
        assert (
            told
            == f"no daemon is running: there is no endpoints.json in {tmp_path}/run. Start it with 'lightfastd'. Waiting for it …\n"
        )
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate(timeout=150)
    joined = subprocess.Popen(
        [sys.executable, "-m", "lightfast", "--home", str(desk.home), "sim", "blender"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environ(),
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while "/blender" not in [item.mount for item in desk.client.list_apps()]:
            assert time.monotonic() < deadline, "the simulator did not join the daemon of --home"
            time.sleep(0.05)
    finally:
        joined.terminate()
        joined.communicate(timeout=150)
    assert joined.returncode == 0


def test_pack(tmp_path: Path) -> None:
    done = run("pack", "blender", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.splitlines()[0])
    assert path.parent == tmp_path / "out"
    with zipfile.ZipFile(path) as found:
        assert any(name.endswith("blender_manifest.toml") for name in found.namelist())
    assert json.loads(run("--json", "pack", "blender", "--output", tmp_path).stdout)["path"]
    assert listed(run("pack"), "PACK") == sorted(item.name for item in shipped().packs())
    assert {"blender", "puredata", "touchdesigner"} <= set(listed(run("pack"), "PACK"))
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    refused = run("pack", "blender", "--output", nowhere / "below")
    assert (refused.returncode, "Traceback" in refused.stderr) == (1, False), refused.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(shell: str) -> None:
    done = run("--show-completion", shell, environ={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert done.returncode == 0, done.stderr
    assert "lightfast" in done.stdout.lower()


COMMANDS = (
    "demo", "status", "doctor", "apps", "get", "set", "ls", "watch", "history", "undo", "link", "generate",
    "plugins", "token", "sim", "pack", "declare", "describe", "osc", "panic", "record", "replay", "show",
    "transport", "at", "redo", "scene", "remember", "relate", "forget", "recall", "memory", "view", "archive",
    "gc", "purge", "backup",
)  # fmt: skip


def test_help_and_version() -> None:
    assert run("--version").stdout.startswith("lightfast ")
    told = run("--help").stdout
    for command in COMMANDS:
        assert f" {command} " in told, command


@pytest.mark.parametrize("command", COMMANDS)  # each for itself: all together take a busy machine many minutes
def test_help_of_a_command(command: str) -> None:
    assert run(command, "--help").returncode == 0


def test_it_is_quick(desk: Desk) -> None:
    """No bound on time here: only what would make it slow is kept out."""
    code = (
        "import sys\n"
        "sys.argv = ['lightfast', '--home', sys.argv[1], 'get', '//']\n"
        "from lightfast.app.cli import main\n"
        "code = main._run()\n"
        "slow = ('rich', 'structlog', 'apsw', 'zmq', 'lightfast.wire', 'lightfast.engine', 'lightfast.host', 'lightfast.sdk', 'psutil')\n"
        "print([name for name in slow if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(desk.home)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=clean_environ(),
    )
    assert done.stderr.strip() == "[]"


def test_a_table_counts_wide_letters(capsys: pytest.CaptureFixture[str]) -> None:
    table(("A", "B"), [("灯", "x"), ("ab\nc", "y"), ("z" * 80, "w")], "")
    assert capsys.readouterr().out == f"A      B\n灯     x\nab\\nc  y\n{'z' * 80}  w\n"
