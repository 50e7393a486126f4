"""What the READMEs say is so: their commands run as written, their links lead somewhere."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from tests.support.mistakes import Desk, clean_environ
from tests.support.netns import Network

from lightfast.host.plugins import PluginHost

ROOT = Path(__file__).resolve().parents[2]
READMES = sorted(
    path
    for path in ROOT.rglob("README.md")
    if not any(part.startswith(".") or part == "node_modules" for part in path.relative_to(ROOT).parts)
)
README = (ROOT / "README.md").read_text(encoding="utf-8")
STAYS = ("lightfastd", "lightfast watch", "lightfast sim")


def block(after: str, language: str = "") -> str:
    """Return the first code block of this language behind a text of the README."""
    found = re.search(rf"^```{language}\n(.*?)^```", README[README.index(after) :], re.MULTILINE | re.DOTALL)
    assert found, f"there is no such block behind {after!r}"
    return found[1]


COMMANDS = [line.partition("  #")[0].strip() for line in block("## Use it").splitlines()]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    for _ in range(5):
        found = Desk(tmp_path_factory.mktemp("desk"))
        try:
            if 42 in seeded(found):
                yield found
                return
        finally:
            found.close()
    raise AssertionError("revision 42 was the daemon's own each time")


def seeded(desk: Desk) -> set[int]:
    """Write enough for a revision 42 to take back, and return what was written: one of the daemon's own is no such."""
    before, quiet = -1, 0
    ours = set()
    for turn in range(100):  # it writes most at its start
        ours.add(now := desk.client.set(f"/seed/first/{turn}", turn).revision)
        quiet = quiet + 1 if now == before + 1 else 0
        before = now
        if quiet >= 5:
            break
        time.sleep(0.2)
    return ours | {desk.client.set(f"/seed/{number}", number).revision for number in range(50)}


def environ(home: Path) -> dict[str, str]:
    """Return an environment in which the commands of this Python come first, and nothing is shared."""
    free = {f"LIGHTFAST_{key}": "127.0.0.1:0" for key in ("GRPC__LISTEN", "HTTP__LISTEN", "OSC__LISTEN", "LINK__TCP")}
    scripts = str(Path(sys.executable).parent)
    return clean_environ() | free | {"LIGHTFAST_HOME": str(home), "PATH": scripts + os.pathsep + os.environ["PATH"]}


@contextmanager
def apart() -> Iterator[None]:
    """Start what has the port of Live where that is free: in a network of its own, if one can be made."""
    try:
        net = Network() if sys.platform == "linux" else None
    except PermissionError:
        net = None
    if net is None:
        if not is_free(11_000):
            pytest.skip("UDP port 11000 is taken: end Live, or the simulator that runs")
        yield
        return
    try:
        with net.inside():
            yield
    finally:
        net.close()  # it lives on while something runs inside


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 10
    assert sorted({command.split()[0] for command in COMMANDS}) == ["lightfast", "lightfastd"]


@pytest.mark.parametrize("command", [command for command in COMMANDS if not command.startswith(STAYS)])
def test_a_command_of_the_readme(command: str, desk: Desk, tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-ec", command], capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path, env=environ(desk.home)
    )  # fmt: skip
    if command == "lightfast doctor":  # what it finds is this machine's business
        assert done.returncode == int("\nBAD" in done.stdout), done.stdout
    else:
        assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    if "--save" in command:
        saved = command.split("--save ")[1].split(maxsplit=1)[0]
        assert (tmp_path / saved).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith(STAYS)])
def test_a_command_that_stays(command: str, desk: Desk, tmp_path: Path) -> None:
    home = tmp_path / "home" if command == "lightfastd" else desk.home
    with apart() if command.startswith("lightfast sim") else nullcontext():
        process = subprocess.Popen(
            shlex.split(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path, env=environ(home)
        )  # fmt: skip
    bound = threading.Timer(120, process.kill)
    bound.start()
    lines: list[str] = []
    try:
        assert process.stdout is not None
        with changing(desk) if command.startswith("lightfast watch") else nullcontext():
            for line in process.stdout:
                lines.append(line)
                if any(word in line for word in ("/readme/tempo = ", "listening on", '"event": "ready"')):
                    break
        assert process.poll() is None, "".join(lines)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == (130 if command.startswith("lightfast watch") else 0), "".join(lines)
    finally:
        bound.cancel()
        process.kill()
        process.communicate()


@contextmanager
def changing(desk: Desk) -> Iterator[None]:
    """Write a value again and again: nobody knows when a watch has begun."""
    end = threading.Event()

    def write() -> None:
        number = 0
        while not end.wait(0.05):
            desk.client.set("/readme/tempo", number := number + 1)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join(10)


def test_the_python_of_the_readme(desk: Desk) -> None:
    code = block("From Python:", "python")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False, env=environ(desk.home)
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0.8\n", "")


def test_the_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    wanted = set(
        re.findall(
            r"(?:`|^)make ([a-z]+)", "\n".join(path.read_text(encoding="utf-8") for path in READMES), re.MULTILINE
        )
    )
    assert {"demo", "test"} <= wanted <= targets


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_commands_of_a_readme(readme: Path) -> None:
    text = readme.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (readme.parent / target).exists(), f"{target} is not there"
    for file in re.findall(r"^install [^\n]*? ([a-z][\w.-]+) [/~]", text, re.MULTILINE):
        assert (readme.parent / file).exists(), f"{file} is not there"
    for file in re.findall(r"`([\w.-]+\.(?:txt|service))`", text):
        assert (readme.parent / file).exists(), f"{file} is not there"
    known = _commands()
    for command in re.findall(r"(?:`|^)lightfast ([a-z]+)", text, re.MULTILINE):
        assert command in known, f"there is no command 'lightfast {command}'"


def test_the_page_of_the_bridges_names_them_all() -> None:
    text = (ROOT / "bridges" / "README.md").read_text(encoding="utf-8")
    host = PluginHost({})
    host.load_all()
    sections = set(re.findall(r"^## (\w+)$", text, re.MULTILINE))
    assert {bridge.kind for bridge in host.bridges()} <= sections, "a bridge has no section"
    offered = {plugin.name for plugin in host.records()}
    assert sections <= offered, "a section is about no bridge"
    for example in re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        assert set(tomllib.loads(example)["plugins"]) <= offered
    known = {item.name for item in host.packs()} | {item.name for item in host.simulators()}
    assert set(re.findall(r"lightfast (?:pack|sim) ([a-z]+)", text)) <= known


@pytest.mark.parametrize("kind", ["osc", "oscquery", "supercollider", "puredata", "obs", "ardour", "ableton", "midi"])
def test_the_settings_of_a_bridge_are_those_it_takes(kind: str) -> None:
    """A bridge names all its settings when it is given one that it does not know."""
    text = (ROOT / "bridges" / "README.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {kind}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section
    listed = re.search(r"\*\*Settings\*\*: (.*?)(?:^- |^$)", section[1], re.MULTILINE | re.DOTALL)
    assert listed
    outside = re.sub(r"\([^()]*\)", "", listed[1])  # in brackets stand defaults and examples
    told = set(re.findall(r"`([a-z_]+)`", outside))
    module = f"lightfast_bridges.{kind}"
    source = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "bridges" / module.replace(".", "/")).glob("*.py")
    )
    assert told
    for name in told:
        assert re.search(rf"""["']{name}["']|^    {name}: """, source, re.MULTILINE), f"{kind} has no setting {name}"


def _commands() -> set[str]:
    import typer

    from lightfast.app.cli.root import root

    found: set[str] = set(typer.main.get_command(root).commands)  # type: ignore[attr-defined]
    return found
