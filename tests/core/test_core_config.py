"""Settings: sources and their order, every mistake at once, secrets by reference only."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lightfast.core.config import (
    ConfigError,
    parse_address,
    parse_size,
    render_default,
    section,
    setting,
    split_address,
    tables,
    toml,
)
from lightfast.core.config_load import Loaded, load
from lightfast.core.config_secrets import resolve_secret


@dataclass(frozen=True, slots=True)
class Door:
    listen: str = setting("127.0.0.1:1", "Where.", check=parse_address)
    retries: int = setting(3, "How often.", minimum=1)
    wait_s: float = setting(1.5, "How long.")
    pause_s: float = setting(0.5, "How long else.", minimum=0.1)
    loud: bool = setting(False, "Whether.", restart=False)
    sources: tuple[str, ...] = setting(("a", "b"), "Who.")
    mode: str = setting("fast", "How.", choices=("fast", "slow"))
    passphrase: str = setting("", "What opens it.", secret=True)
    room: int = setting("20 GiB", "How much.", check=parse_size)


@dataclass(frozen=True, slots=True)
class Thing:
    options: Mapping[str, Any]
    enabled: bool = setting(True, "Whether.")


@dataclass(frozen=True, slots=True)
class Root:
    door: Door = section(Door, "The door.")  # noqa: RUF009  # it is a dataclasses.field
    things: Mapping[str, Thing] = tables(Thing, "Things.", example="one")


def read(tmp_path: Path, text: str = "", environ: Mapping[str, str] | None = None, *flags: str) -> Loaded[Root]:
    file = tmp_path / "lightfast.toml"
    file.write_text(text, encoding="utf-8")
    return load(Root, file=file, environ=environ or {}, flags=flags)


def mistakes(tmp_path: Path, text: str = "", environ: Mapping[str, str] | None = None, *flags: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, environ, *flags)
    return [str(one).replace(str(tmp_path) + "/", "") for one in caught.value.problems]


def source(loaded: Loaded[Root], key: str) -> str:
    return next(row.source for row in loaded.rows if row.key == key)


def test_later_sources_win(tmp_path: Path) -> None:
    text = "[door]\nretries = 4\nwait_s = 4\nloud = true\n"
    environ = {"LIGHTFAST_DOOR__RETRIES": "5", "LIGHTFAST_DOOR__WAIT_S": "5"}
    loaded = read(tmp_path, text, environ, "door.retries=6")
    door = loaded.settings.door
    assert (door.retries, door.wait_s, door.loud, door.mode) == (6, 5.0, True, "fast")
    assert [source(loaded, f"door.{key}") for key in ("retries", "wait_s", "loud", "mode")] == [
        "flag",
        "environment",
        "file",
        "default",
    ]


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("listen", "127.0.0.1:0", "127.0.0.1:0"),
        ("listen", '"[::1]:7"', "[::1]:7"),
        ("listen", "", ""),
        ("retries", "12", 12),
        ("wait_s", "2", 2.0),
        ("loud", "true", True),
        ("sources", "x, y", ("x", "y")),
        ("sources", '["x"]', ("x",)),
        ("sources", "", ()),
        ("mode", "slow", "slow"),
        ("room", "1.5 MB", 1_500_000),
        ("room", "4096", 4096),
    ],
)
def test_text_is_read_by_the_type_of_the_setting(tmp_path: Path, key: str, text: str, value: object) -> None:
    for loaded in (
        read(tmp_path, "", {f"LIGHTFAST_DOOR__{key.upper()}": text}),
        read(tmp_path, "", None, f"door.{key}={text}"),
    ):
        assert getattr(loaded.settings.door, key) == value
        assert type(getattr(loaded.settings.door, key)) is type(value)


def test_all_mistakes_are_reported_together_with_their_lines(tmp_path: Path) -> None:
    text = (
        '[door]\nretires = 4\nloud = "yes"\n\nwait_s = true\nsources = [1]\n[dor]\nx = 1\n[things.one]\nenabled = 1\n'
    )
    assert mistakes(tmp_path, text, {"LIGHTFAST_DOOR__LISTN": "x"}, "door.mode=slo", "door.retries=0", "nonsense") == [
        "lightfast.toml:2: unknown key door.retires; did you mean door.retries?",
        'lightfast.toml:3: door.loud = "yes": expected true or false',
        "lightfast.toml:5: door.wait_s = true: expected a number",
        'lightfast.toml:6: door.sources = [1]: expected a list of texts, for example ["one", "two"]',
        "lightfast.toml:7: unknown section dor; did you mean door?",
        "lightfast.toml:10: things.one.enabled = 1: expected true or false",
        "environment LIGHTFAST_DOOR__LISTN: unknown key door.listn; did you mean LIGHTFAST_DOOR__LISTEN?",
        '--set door.mode: door.mode = "slo": expected one of fast, slow; did you mean slow?',
        "--set door.retries: door.retries = 0: expected at least 1",
        "--set nonsense: write section.key=value",
    ]


def test_the_message_counts_the_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as one:
        load(Root, environ={}, flags=["door.x=1"])
    assert one.value.message == (
        "the settings have a mistake:\n  --set door.x: unknown key door.x; there are listen, retries, wait_s, pause_s, "
        "loud, sources, mode, passphrase, room"
    )
    assert one.value.reason == "CONFIG_INVALID"
    with pytest.raises(ConfigError, match="the settings have 2 mistakes:"):
        load(Root, environ={}, flags=["door.x=1", "door.y=1"])


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("door.listen=here", 'door.listen = "here": expected HOST:PORT with a port from 0 to 65535, for example "127.0.0.1:50151"'),
        ("door.listen=127.0.0.1:70000", 'door.listen = "127.0.0.1:70000": expected HOST:PORT with a port from 0 to 65535, for example "127.0.0.1:50151"'),
        ("door.listen=::1:80", 'door.listen = "::1:80": expected an IPv6 address in brackets, for example "[::1]:50151"'),
        ("door.room=much", 'door.room = "much": expected a size such as "20 GiB", or a number of bytes'),
        ("door.room=-1", 'door.room = -1: expected a size such as "20 GiB", or a number of bytes'),
        ("door.room=-1 GiB", 'door.room = "-1 GiB": expected a size such as "20 GiB", or a number of bytes'),
        ("door.retries=0", "door.retries = 0: expected at least 1"),
        ("door.pause_s=nan", "door.pause_s = nan: expected at least 0.1"),
        ("things.one.api_keys=['abc']", 'things.one.api_keys = ***: expected a reference to the secret, "env:NAME" or "file:PATH", not the secret itself'),
        ("things.one.hosts=[{token = 'abc'}]", 'things.one.hosts = ***: expected a reference to the secret, "env:NAME" or "file:PATH", not the secret itself'),
        ("door.retries=1.5", "door.retries = 1.5: expected a whole number"),
        ("door.passphrase=abc", 'door.passphrase = ***: expected a reference to the secret, "env:NAME" or "file:PATH", not the secret itself'),
        ("things.one.api_key=abc", 'things.one.api_key = ***: expected a reference to the secret, "env:NAME" or "file:PATH", not the secret itself'),
        ("things.one.api_key=env:NOT_SET_HERE", "things.one.api_key = ***: expected the secret to be there, but the environment variable NOT_SET_HERE is not set"),
        ("things.one=1", "things.one is a section: write [things.NAME] and its keys below"),
        ("door=1", "door is a section: write [door] and its keys below"),
    ],
)  # fmt: skip
def test_a_wrong_value_says_what_was_expected(tmp_path: Path, flag: str, text: str) -> None:
    assert mistakes(tmp_path, "", None, flag) == [f"--set {flag.partition('=')[0]}: {text}"]


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "[door\nx") == [
        "lightfast.toml: is not TOML: Expected ']' at the end of a table declaration (at line 1, column 6)"
    ]
    with pytest.raises(ConfigError) as caught:
        load(Root, file=tmp_path / "other.toml", environ={})
    assert str(caught.value.problems[0]) == f"{tmp_path}/other.toml: cannot be read: No such file or directory"
    (tmp_path / "other.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load(Root, file=tmp_path / "other.toml", environ={})


def test_other_variables_are_left_alone() -> None:
    loaded = load(Root, environ={"LIGHTFAST_HOME": "/x", "LIGHTFAST_REQUIRE_APPS": "1", "PATH__X": "y"})
    assert loaded.settings == Root()


def test_secrets_are_hidden_and_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    monkeypatch.setenv("THING_KEY", "from the environment")
    text = f'[things.one]\napi_key = "env:THING_KEY"\nlimits.other = "file:{tmp_path}/key"\nsize = 3\n'
    loaded = read(tmp_path, text, None, "door.passphrase=env:THING_KEY")
    assert loaded.settings.things["one"].options == {
        "api_key": "from the environment",
        "limits": {"other": "s3cret"},
        "size": 3,
    }
    shown = {row.key: row.value for row in loaded.rows}
    assert shown["things.one.api_key"] == shown["door.passphrase"] == '"***"'
    assert "s3cret" not in str(loaded.rows)
    assert "environment" not in shown["things.one.api_key"]


def test_secrets_in_lists_and_tables_are_hidden_and_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THING_KEY", "s3cret")
    loaded = read(tmp_path, '[things.one]\napi_keys = ["env:THING_KEY"]\nhosts = [{token = "env:THING_KEY"}]\n')
    assert loaded.settings.things["one"].options == {"api_keys": ["s3cret"], "hosts": [{"token": "s3cret"}]}
    shown = {row.key: row.value for row in loaded.rows}
    assert shown["things.one.api_keys"] == shown["things.one.hosts"] == '"***"'


@pytest.mark.parametrize("flags", [("a=1", "a.b=2"), ("a.b=2", "a=1"), ("a.b.c=1", "a.b=2")])
def test_a_name_cannot_be_a_value_and_a_table(tmp_path: Path, flags: tuple[str, ...]) -> None:
    (found,) = mistakes(tmp_path, "", None, *[f"things.one.{flag}" for flag in flags])
    assert found.endswith("one name cannot be a value and a table")


def test_a_secret_may_be_a_credential_of_the_service_manager(tmp_path: Path) -> None:
    (tmp_path / "openai").write_text("from systemd")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert resolve_secret("file:openai", environ) == "from systemd"
    with pytest.raises(ValueError, match="cannot be read"):
        resolve_secret("file:absent", environ)
    with pytest.raises(ValueError, match="a reference such as"):
        resolve_secret("plain", environ)


def test_the_default_file_is_valid_and_changes_nothing(tmp_path: Path) -> None:
    text = render_default(Root)
    assert read(tmp_path, text).settings == Root()
    uncommented = "\n".join(
        line[1:] if line.startswith("#") and not line.startswith("# ") else line for line in text.splitlines()
    ).replace("# [things", "[things")
    loaded = read(tmp_path, uncommented)
    assert loaded.settings.door == Door()
    assert set(loaded.settings.things) == {"one"}
    for row in loaded.rows:
        assert row.source == "file", row


def test_rows_tell_value_source_help_and_need_of_a_restart(tmp_path: Path) -> None:
    loaded = read(tmp_path, '[door]\nroom = "1 GiB"\n')
    row = next(one for one in loaded.rows if one.key == "door.room")
    assert (row.value, row.source, row.description, row.restart) == ('"1 GiB"', "file", "How much.", True)
    assert [one.key for one in loaded.rows] == sorted(one.key for one in loaded.rows)
    other = read(tmp_path, "", None, "door.loud=true", "things.new.x=1")
    assert loaded.changed(other) == ("door.loud", "door.room", "things.new.enabled", "things.new.x")


def test_toml_text_reads_back() -> None:
    for value in ("plain", 'quote " back \\ new\nline \x01', True, 3, 2.5, ["a", 'b"'], {"a": 1, "b": ["c"]}):
        assert tomllib.loads(f"x = {toml(value)}")["x"] == value


def test_addresses_split() -> None:
    assert split_address("[::1]:80") == ("::1", 80)
    assert split_address("localhost:0") == ("localhost", 0)
    for wrong in ("", ":80", "host", "host:", "host:x", "host:٣", "[::1]"):
        with pytest.raises(ValueError, match="HOST:PORT"):
            split_address(wrong)
