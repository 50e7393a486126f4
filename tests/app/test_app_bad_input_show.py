"""Bad input to the commands of a show: timeline, lock, panic, recordings, links, maps; with a daemon and without.

Each row is one mistake; in a wanted text `<…>` stands for anything within a line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.support.mistakes import Desk, Told, matches, told

UNLOCKED = "The show is unlocked, and nothing is stopped.\n"
LOCKED = "LOCKED by <…>. Unlock with: lightfast show unlock\n"
PANIC = "!!! PANIC: everything was stopped by <…>\n!!! held: apps, links, <…>. Let go with: lightfast panic --release\n"

ROWS: Sequence[tuple[str, int, str]] = [
    ("transport lead nope", 4, "lightfast: there is no application /nope; with a transport there are: <…>\n"),
    ("transport follow nope", 4, "lightfast: there is no application /nope; with a transport there are: <…>\n"),
    ("transport lead", 2, "Error: Missing argument 'mount'.\n"),
    ("transport seek abc", 2, "Error: Invalid value: 'abc' is no position: write seconds (12.5), beats (16b), <…>\n"),
    ("transport seek 99:99:99:99", 2, "lightfast: '99:99:99:99' is no timecode: write HH:MM:SS:FF, <…>\n"),
    ("transport tempo fast", 2, "Error: Invalid value for 'bpm': Input should be a valid number<…>\n"),
    ("transport tempo 5", 2, "lightfast: 5 bpm is out of range: 20 to 999\n"),
    ("transport rate 13", 2, "lightfast: /transport/frame_rate cannot be '13': use one of 23.976, <…>\n"),
    ("show frobnicate", 2, "Error: No such command 'frobnicate'.\n"),
    ("record", 2, ""),
    ("record start", 2, "Error: Invalid value: give a name, or --stop\n"),
    ("record --stop", 4, "lightfast: nothing is being recorded: start it with lightfast record NAME\n"),
    ("record a/b --for 1", 2, "lightfast: 'a/b' is no name of a recording: use <…>\n"),
    ("record x --for -1", 2, "lightfast: duration is negative or malformed\n"),
    ("record x --patterns /a[ --for 0.2", 2, "lightfast: pattern '/a[' has '[' at position 2 without ']'\n"),
    ("record show nope", 4, "lightfast: there is no recording 'nope': see 'lightfast record list'\n"),
    ("record delete nope", 4, "lightfast: there is no recording 'nope': <…>\n"),
    ("record export nope", 4, "lightfast: there is no recording 'nope': <…>\n"),
    ("replay", 2, "Error: Missing argument 'name'.\n"),
    ("replay nope", 4, "lightfast: there is no recording 'nope': <…>\n"),
    ("replay nope --check --fresh", 4, "lightfast: there is no recording 'nope': <…>\n"),
    ("replay one --speed fast", 2, "Error: Invalid value: --speed fast: use a number above 0, or max\n"),
    ("replay one --fresh", 2, "Error: Invalid value: --fresh goes with --check, and not with --dry\n"),
    ("replay one --sim ableton", 2, "Error: Invalid value: --sim goes with --fresh\n"),
    ("replay one --from 9 --to 3", 2, "lightfast: it ends at 3 s, before it begins at 9 s\n"),
    ("replay one --check --fresh --sim nope", 4, "lightfast: there is no simulator 'nope'; there is ableton, <…>\n"),
    ("declare /a/x", 2, "Error: Invalid value: --policy '': use one of last_writer, owner, compare_and_set\n"),
    ("declare /a/x --policy maybe", 2, "Error: Invalid value: --policy 'maybe': use one of last_writer, <…>\n"),
    ("declare /a[ --policy owner", 2, "lightfast: pattern '/a[' has '[' at position 2 without ']'\n"),
    ("apps resolve nope app", 4, "lightfast: there is no conflict 'nope': it was resolved, or never was; <…>\n"),
    ("apps diagnose nope", 4, "lightfast: there is no application 'nope': <…>; kinds that can join: ableton, <…>\n"),
    ("link /a/x", 2, "Error: Invalid value: give SOURCE TARGET, or TARGET and at least one --input NAME=PATH\n"),
    ("link /a/x /a/x", 2, "lightfast: /a/x cannot be linked to itself\n"),
    ("link /a/x /a/y --from-unit furlong", 2, "lightfast: there is no unit 'furlong': use one of angle.degree, <…>\n"),
    ("link /a/x /a/y --curve wobbly", 2, "lightfast: there is no curve 'wobbly': use <…>\n"),
    ("link /a/x /a/y --smooth -1", 2, "lightfast: smooth_s is -1.0: it must be 0 (none) to 3600 seconds\n"),
    ("link /a/x /a/y --when x>", 2, "lightfast: <…>'x>'<…>\n"),
    ("link test /a/x", 2, "Error: Invalid value: give SOURCE TARGET, or TARGET <…>\n"),
    ("link rm nope", 4, "lightfast: there is no link 'nope': <…>\n"),
    ("osc use nope", 4, "lightfast: there is no map 'nope'; there is chataigne, <…>\n"),
    ("osc check yaml.yaml", 1, "yaml.yaml:2:1: this is no YAML: <…>\n"),
    (
        "osc check map.yaml",
        1,
        "map.yaml:1:1: a map needs the field 'parameters'\nmap.yaml:2:9: remote is 'here': <…>\n",
    ),
    ("osc check bytes.yaml", 1, "bytes.yaml:1:1: this is not UTF-8: save the file as UTF-8\n"),
    ("osc check nope.yaml", 1, "lightfast: nope.yaml: No such file or directory\n"),
    ("osc learn", 2, "Error: Missing option '--port'.\n"),
    ("osc learn --port 70000", 2, "Error: Invalid value for '--port': Input should be less than or equal to 65535\n"),
    (
        "osc learn --port 50160 --output no/x.yaml",
        4,
        "lightfast: there is no folder <…>/no to write x.yaml into: <…>\n",
    ),
    ("pack nope", 4, "lightfast: there is no pack 'nope'; there is blender, <…>\n"),
]
"""What is typed, the exit code, and what is told."""

NEEDS_A_DAEMON = [
    "transport", "transport play", "transport lead nope", "transport tap", "transport tempo 5", "show", "show lock",
    "show unlock", "panic", "panic --release", "record list", "record one --for 1", "record --stop", "replay one",
    "declare /a/x --policy owner", "apps conflicts", "apps resolve nope app", "apps diagnose nope", "link /a/x /a/y",
    "link graph", "link test /a/x /a/y 1",
]  # fmt: skip


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    found = Desk(tmp_path_factory.mktemp("desk"))
    try:
        assert told(found.home, "record", "one", "--for", "0.1").code == 0
        yield found
        assert not found.errors(), found.log()
    finally:
        found.close()


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the broken maps where the commands are run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "yaml.yaml").write_text("kind: [\n")
    (tmp_path / "map.yaml").write_text("kind: desk\nremote: here\n")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")


def check(found: Told, code: int, text: str) -> None:
    assert (found.code, matches(found.text, text)) == (code, True), f"told:\n{found.text}\nwanted:\n{text}"
    assert "Traceback" not in found.text


@pytest.mark.parametrize(("typed", "code", "text"), ROWS, ids=[row[0] for row in ROWS])
def test_a_mistake_is_one_clear_line(desk: Desk, typed: str, code: int, text: str) -> None:
    found = told(desk.home, *typed.split())
    if not text:  # the help, and nothing else
        assert (found.code, "Record sessions" in found.text, "Traceback" in found.text) == (code, True, False)
        return
    check(found, code, text)


@pytest.mark.parametrize("typed", NEEDS_A_DAEMON)
def test_without_a_daemon_it_says_so(tmp_path: Path, typed: str) -> None:
    wanted = (
        f"lightfast: no daemon is running: there is no endpoints.json in {tmp_path}/run. Start it with 'lightfastd'\n"
    )
    check(told(tmp_path, *typed.split()), 3, wanted)


def test_a_lock_and_a_panic_twice_are_no_harm(desk: Desk) -> None:
    check(told(desk.home, "show", "unlock"), 0, UNLOCKED)
    check(told(desk.home, "show", "lock"), 0, LOCKED)
    check(told(desk.home, "show", "lock"), 0, LOCKED)
    refused = told(desk.home, "link", "/locked/a", "/locked/b")
    check(refused, 1, "lightfast: a link edit is refused: the show is locked by <…>\n")
    check(told(desk.home, "show", "unlock"), 0, UNLOCKED)
    check(told(desk.home, "panic", "--release"), 0, UNLOCKED)
    for _ in range(2):
        found = told(desk.home, "panic", "a test")
        check(
            found, 0, PANIC + ("<…>: the disk is slow\n" if "is slow" in found.text else "recorded as revision <…>\n")
        )
    refused = told(desk.home, "replay", "one")
    check(refused, 1, "lightfast: <…> is refused: everything was stopped by <…>; release it first <…>\n")
    for _ in range(2):
        check(told(desk.home, "panic", "--release"), 0, UNLOCKED)


def test_what_is_there_already_is_not_overwritten(desk: Desk) -> None:
    check(told(desk.home, "record", "one", "--for", "1"), 5, "lightfast: there is a recording 'one' already: <…>\n")
    assert told(desk.home, "osc", "use", "qlab").code == 0
    check(told(desk.home, "osc", "use", "qlab"), 1, "lightfast: <…>/qlab.yaml is there already: move it away <…>\n")
