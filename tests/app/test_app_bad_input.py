"""Bad input, one row a mistake: what exactly a person is told, and with which exit code.

In a wanted text `<…>` stands for anything within a line, `<home>` and so on for what is known.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.disk import fill, small_disk
from tests.support.mistakes import Desk, Guest, Told, matches, run, serve
from tests.support.waiting import until

from lightfast.api.v1 import context_pb2
from lightfast.api.v1.apps_pb2 import APP_STATE_LIVE
from lightfast.app.cli.stage import Stage
from lightfast.client import Client, mutations
from lightfast.storage.schema import MIGRATIONS

DROPINS = {
    "asks": 'from lightfast.sdk import MissingDependency\nraise MissingDependency("ffmpeg", "apt install ffmpeg")\n',
    "imports": "import a_module_that_is_not_there\n",
}


@dataclass(frozen=True)
class Row:
    """One mistake: *act* makes it and returns what was told, *code* and *text* are what should be."""

    name: str
    act: Callable[[Desk, Path], Told]
    code: int | str
    text: str


def settings(text: str, *flags: str, environ: Mapping[str, str] | None = None) -> Callable[[Desk, Path], Told]:
    def act(desk: Desk, folder: Path) -> Told:
        (folder / "config").mkdir()
        (folder / "config/lightfast.toml").write_text(text, encoding="utf-8")
        told = serve(folder, *flags, environ=environ)
        assert not (folder / "state").exists(), "refused settings must leave nothing behind"
        return told

    return act


def cli(*arguments: str) -> Callable[[Desk, Path], Told]:
    return lambda desk, folder: desk.cli(*arguments)


def sdk(call: Callable[[Client], object]) -> Callable[[Desk, Path], Told]:
    return lambda desk, folder: desk.sdk(call)


def reused_request(client: Client) -> None:
    client.apply([mutations.set_value("/reused", 1)], request_id="bad-input-1")
    again = client.apply([mutations.set_value("/reused", 1)], request_id="bad-input-1")
    assert again.revision == client.get("/reused").revision, "the same payload gets the first answer"
    client.apply([mutations.set_value("/reused", 2)], request_id="bad-input-1")


def undo_built_upon(desk: Desk, folder: Path) -> Told:
    first = desk.client.set("/built", 1).revision
    desk.client.set("/built", 2)
    return desk.cli("undo", str(first))


def cycle(desk: Desk, folder: Path) -> Told:
    desk.client.link("/cycle/a", "/cycle/b")
    desk.client.link("/cycle/b", "/cycle/c")
    return desk.cli("link", "/cycle/c", "/cycle/a")


def token_without_scope(desk: Desk, folder: Path) -> Told:
    issued = run("--home", desk.home, "token", "issue", "viewer")
    assert issued.returncode == 0, issued.stderr
    return desk.away(issued.stdout.strip(), "set", "/a", "1")


def plugins(desk: Desk, folder: Path) -> Told:
    done = run("--home", desk.home, "plugins")
    # Which extras are installed is this machine's business.
    lines = [line for line in done.stdout.splitlines() if "unavailable" in line and "lightfast[" not in line]
    return Told(done.returncode, "".join(f"{line}\n" for line in lines))


def taken_port(desk: Desk, folder: Path) -> Told:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        found = serve(folder, f"grpc.listen=127.0.0.1:{port}")
        return Told(found.code, found.text.replace(str(port), "<port>"))


def taken_simulator_port(desk: Desk, folder: Path) -> Told:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        done = run("sim", "ableton", "--listen", f"127.0.0.1:{port}")
        return Told(done.returncode, done.stderr.replace(str(port), "<port>"))


def full_disk(desk: Desk, folder: Path) -> Told:
    with small_disk(folder / "disk", "8m") as disk:
        stage = Stage(disk)
        try:
            stage.daemon()
            with Client(home=str(disk)) as client:
                kept = client.set("/kept", 1)
                ballast = fill(disk)
                told = Told(0, "")
                for number in range(200):
                    done = run("--home", disk, "set", f"/big/{number}", "x" * 20_000)
                    told = Told(done.returncode, done.stderr.replace(str(disk), "<disk>"))
                    if told.code:
                        break
                assert client.get("/kept").revision == kept.revision, "it still reads"
                ballast.unlink()
                last = client.set("/kept", 2).revision
                revisions = [transaction.revision for transaction in client.history(limit=10_000)]
                assert revisions == list(range(last, 0, -1)), "it writes again, and there is no gap"
        finally:
            stage.close()
    return told


def wrong_link_key(desk: Desk, folder: Path) -> Told:
    before = len(desk.log())
    with Guest(desk.home, key=b"\1" * 32) as guest:
        _, reason, message = guest.event("refused")
    heard = desk.heard("link key refused", before)
    return Told(reason, f"{message}\n{heard['level']}: {heard['remedy']}")


def link_version(version: int) -> Callable[[Desk, Path], Told]:
    def act(desk: Desk, folder: Path) -> Told:
        before = len(desk.log())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lightfast_link.session.VERSIONS", (version,))
            with Guest(desk.home) as guest:
                _, reason, message = guest.event("refused")
        heard = desk.heard("link version refused", before)
        assert heard["reason"] == message, "both sides say the same"
        return Told(reason, message)

    return act


def newer_store(desk: Desk, folder: Path) -> Told:
    stage = Stage(folder)
    try:
        stage.daemon()
    finally:
        stage.close()
    file = folder / "state/lightfast.db"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()

    def state() -> dict[str, str]:
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (folder / "state").glob("lightfast.db*")
        }

    before = state()
    told = serve(folder)
    assert state() == before, "a store of a newer version must not be touched"
    return told


def killed_daemon(desk: Desk, folder: Path) -> Told:
    stage = Stage(folder)
    process = stage.daemon()
    stage.kill(process)
    done = run("--home", folder, "get", "/a")
    return Told(done.returncode, done.stderr.replace(str(process.pid), "<pid>"))


def in_step(desk: Desk, guest: Guest) -> None:
    guest.event("welcome")
    guest.client.synced()
    live = APP_STATE_LIVE
    until(lambda: live in [app.state for app in desk.client.list_apps() if app.mount == "/slow"], "it is in step")


def unknown_command(desk: Desk, folder: Path) -> Told:
    with Guest(desk.home, name="slow", commands=[{"name": "think", "arguments": [], "effect": "read"}]) as guest:
        in_step(desk, guest)
        return desk.cli("apps", "invoke", "/slow", "thimk")


def deadline(desk: Desk, folder: Path) -> Told:
    with Guest(desk.home, name="slow", commands=[{"name": "think", "arguments": [], "effect": "read"}]) as guest:
        in_step(desk, guest)
        guest_told = desk.cli("apps", "invoke", "/slow", "think", "--timeout", "0.3")
        guest.event("command")
        return guest_told


def wrong_argument(*arguments: str) -> Callable[[Desk, Path], Told]:
    """Return an act whose told text is without the usage lines of the command."""

    def act(desk: Desk, folder: Path) -> Told:
        told = desk.cli(*arguments)
        return Told(told.code, told.text.partition("\n\n")[2])

    return act


ROWS = [
    Row(
        "unknown config key", settings('[grpc]\nlisen = "127.0.0.1:0"\n'), 2,
        "lightfastd: the settings have a mistake:\n"
        "  <folder>/config/lightfast.toml:2: unknown key grpc.lisen; did you mean grpc.listen?\n",
    ),
    Row(
        "several mistakes together", settings("[log]\nlevel = 1\n[assets]\nquota = true\n", "grpc.listen=here", environ={"LIGHTFAST_OSC__LISTEN": "9"}), 2,
        "lightfastd: the settings have 4 mistakes:\n"
        "  <folder>/config/lightfast.toml:2: log.level = 1: expected text in quotes\n"
        '  <folder>/config/lightfast.toml:4: assets.quota = true: expected a size such as "20 GiB", or a number of bytes\n'
        '  environment LIGHTFAST_OSC__LISTEN: osc.listen = 9: expected HOST:PORT with a port from 0 to 65535, for example "127.0.0.1:50151"\n'
        '  --set grpc.listen: grpc.listen = "here": expected HOST:PORT with a port from 0 to 65535, for example "127.0.0.1:50151"\n',
    ),
    Row(
        "value out of range", cli("set", "/show/brightness", "7"), 2,
        "lightfast: /show/brightness cannot be 7.0: its range is 0 to 1\n",
    ),
    Row(
        "value of another type", cli("set", "/show/brightness", "loud"), 2,
        "lightfast: /show/brightness is declared double, and 'loud' is string: send a double\n",
    ),
    Row(
        "stale precondition", sdk(lambda client: client.apply([mutations.set_value("/show/brightness", 0.1)], preconditions=[mutations.at_revision("/show/brightness", 1)])),
        "Conflict PRECONDITION_FAILED", "/show/brightness is at revision <brightness>, not 1: read it again and decide anew\n/show/brightness is double_value at revision <brightness>",
    ),
    Row("reused request id", sdk(reused_request), "AlreadyExists REQUEST_ID_REUSED", "request_id 'bad-input-1' was used by local for another Apply in the last 24 hours: use a new one"),
    Row(
        "undo of what others built upon", undo_built_upon, 5,
        "lightfast: nothing was changed, because others have written since: /built; take those back first, or set the values you want\n"
        "  in the way: /built (revision <…>)\n",
    ),
    Row("no entry", cli("get", "/nope"), 4, "lightfast: there is no entry at /nope\n"),
    Row("unknown app", cli("apps", "show", "nope"), 4, "lightfast: there is no application at /nope: there are /ableton, <…>, /obs, <…>, /supercollider<…>\n"),
    Row("unknown command", unknown_command, 4, "lightfast: /slow has no command 'thimk': did you mean think?\n"),
    Row(
        "missing plugin dependency", plugins, 0,
        "asks <…>  unavailable  <…>ffmpeg is not installed: run apt install ffmpeg\n"
        "imports <…>  unavailable  <…>the module a_module_that_is_not_there is not installed: run pip install a_module_that_is_not_there\n",
    ),
    Row(
        "taken port", taken_port, 1,
        "lightfastd: the TCP port <port> on 127.0.0.1 is taken by <…> (process <self>): stop it, or set grpc.listen to another address, "
        "for example --set grpc.listen=127.0.0.1:0 for any free port\n",
    ),
    Row(
        "taken port of a simulator", taken_simulator_port, 1,
        "lightfast: UDP port <port> is taken: is Live or another simulator running? Stop it, or choose another port with --listen 127.0.0.1:PORT\n",
    ),
    Row("full disk", full_disk, 1, "lightfast: the disk is full: nothing more can be written to <disk>/state. Free some space there; reading goes on, "
        "and writing works again as soon as there is room\n"),
    Row(
        "wrong token", lambda desk, folder: desk.away("lf_wrong", "get", "/a"), 6,
        "lightfast: the token is not known here: it was revoked, or belongs to another daemon; make one with 'lightfast token issue'\n",
    ),
    Row(
        "missing scope", token_without_scope, 6,
        "lightfast: the token 'viewer' lacks the scope 'operate' (it has: watch): use a token issued with --scope operate\n",
    ),
    Row(
        "no token", wrong_argument("--address", "127.0.0.1:1", "get", "/a"), 2,
        "Error: Invalid value: 127.0.0.1:1 asks for a token: add --token-file FILE, or set LIGHTFAST_TOKEN\n",
    ),
    Row("wrong link key", wrong_link_key, "LINK_KEY", "the daemon at tcp://<…> does not hold our link key (fingerprint <…>): the key file is not of this daemon; "
        "read link_key_file in its endpoints.json, or stop the program that holds its port\n"
        "warning: an application was given another link key than ours, and refused us"),
    Row(
        "older link version", link_version(0), "LINK_VERSION",
        "the application speaks version 0 of the link protocol, the daemon 1: the application is older, "
        "update Lightfast inside the application: 'lightfast pack guest'",
    ),
    Row(
        "newer link version", link_version(99), "LINK_VERSION",
        "the application speaks version 99 of the link protocol, the daemon 1: the daemon is older, "
        "update the daemon ('pip install -U lightfast') and restart it",
    ),
    Row(
        "malformed link expression", cli("link", "/x/a", "/x/b", "--as", "x +* 3"), 2,
        "lightfast: expression 'x +* 3': invalid syntax, at position 4; allowed are numbers, x, pi, + - * / **, parentheses and "
        "min, max, abs, round, sqrt, log, log10, exp, sin, cos\n",
    ),
    Row("expression that is code", cli("link", "/x/a", "/x/b", "--as", "__import__('os')"), 2, "lightfast: expression \"__import__('os')\": unknown function '__import__', at position 1; allowed are numbers, x, pi, + - * / **, "
        "parentheses and min, max, abs, round, sqrt, log, log10, exp, sin, cos\n"),
    Row("malformed pattern", cli("get", "/a["), 2, "lightfast: pattern '/a[' has '[' at position 2 without ']'\n"),
    Row("malformed path", cli("set", "/a b", "1"), 2, "lightfast: mutations[0]: path '/a b' has ' ' at position 2: percent-encode it as %20\n"),
    Row("cycle of links", cycle, 1, "lightfast: a link from /cycle/c to /cycle/a would close a cycle: /cycle/c - /cycle/b - /cycle/a - /cycle/c; delete one of the links on it first\n"),
    Row("newer store", newer_store, 1, f"lightfastd: the store <folder>/state/lightfast.db was written by a newer Lightfast (format 9999, this one knows up to {len(MIGRATIONS)}): "
        "install the newer version; nothing was changed\n"),
    Row(
        "second daemon on one folder", lambda desk, folder: serve(desk.home), 1,
        "lightfastd: a daemon is running already on <home>/state (process <daemon>, since <…>): stop it first, "
        "or give this one a folder of its own with --home DIR\n",
    ),
    Row(
        "no daemon", lambda desk, folder: Told((done := run("--home", folder, "get", "/a")).returncode, done.stderr), 3,
        "lightfast: no daemon is running: there is no endpoints.json in <folder>/run. Start it with 'lightfastd'\n",
    ),
    Row(
        "a daemon that was killed", killed_daemon, 3,
        "lightfast: <folder>/run/endpoints.json was left behind by a daemon that is gone (process <pid>): start 'lightfastd'\n",
    ),
    Row(
        "no daemon at an address", lambda desk, folder: Told((done := run("--address", "127.0.0.1:1", "get", "/a", environ={"LIGHTFAST_TOKEN": "x"})).returncode, done.stderr), 3,
        "lightfast: no daemon answers at 127.0.0.1:1 (Connection refused): is it running? Start one with 'lightfastd'\n",
    ),
    Row("deadline", deadline, 7, "lightfast: /slow did not finish 'think' within 0.3 s; it may still be busy with it: give it a longer timeout\n"),
    Row("value that is not of the type", wrong_argument("set", "/x", "5", "--type", "bool"), 2, "Error: Invalid value: '5' is no bool: write for example true\n"),
    Row("null as a setting", wrong_argument("generate", "image", "x", "--set", "width=null"), 2, "Error: Invalid value: null is no value: delete the path instead\n"),
    Row(
        "nowhere to save to", wrong_argument("generate", "image", "x", "--save", "/nope/x.png"), 2,
        "Error: Invalid value: --save /nope/x.png: /nope is no folder that you may write to\n",
    ),
    Row(
        "a port that is none", wrong_argument("sim", "ableton", "--listen", "127.0.0.1:99999"), 2,
        "Error: Invalid value: '127.0.0.1:99999': write it as HOST:PORT, with a port from 0 to 65535\n",
    ),
    Row(
        "a token file that is not there", wrong_argument("--token-file", "/nope", "get", "/a"), 2,
        "Error: Invalid value: --token-file /nope cannot be read: No such file or directory\n",
    ),
    Row("misspelt command", wrong_argument("statsu"), 2, "Error: No such command 'statsu'. Did you mean 'status'?\n"),
]  # fmt: skip


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    found = Desk(tmp_path_factory.mktemp("desk"), dropins=DROPINS)
    try:
        declared = context_pb2.Declaration(pattern="/show/brightness", type="double", minimum=0, maximum=1)
        found.client.declare(declared)
        found.client.set("/first", 1)  # so that revision 1 is never the one of /show/brightness
        found.client.set("/show/brightness", 0.5)
        looked_for = {"/ableton", "/obs", "/supercollider"}
        until(lambda: looked_for <= {app.mount for app in found.client.list_apps()}, "the bridges")
        yield found
        assert set(found.errors()) <= {"plugin failed"}, found.log()
    finally:
        found.close()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "-"))
def test_bad_input(row: Row, desk: Desk, tmp_path: Path) -> None:
    told = row.act(desk, tmp_path)
    known = {
        "home": desk.home,
        "folder": tmp_path,
        "self": os.getpid(),
        "daemon": desk.daemon.pid,
        "brightness": desk.client.get("/show/brightness").revision,
    }
    assert (told.code, matches(told.text, row.text, **known)) == (row.code, True), (
        f"told:\n{told.text}\nwanted:\n{row.text}"
    )
    assert "Traceback" not in told.text
