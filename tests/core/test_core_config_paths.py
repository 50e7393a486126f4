"""Where things lie: a home, systemd's folders, the user's own; private, and short enough for sockets."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lightfast.core import paths
from lightfast.core.errors import FailedPrecondition


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_home_holds_everything(tmp_path: Path) -> None:
    found = paths.find(tmp_path / "home", {})
    assert found.config_file == tmp_path / "home/config/lightfast.toml"
    assert found.store_file == tmp_path / "home/state/lightfast.db"
    assert found.endpoints_file == tmp_path / "home/run/endpoints.json"
    assert found.lock_file == tmp_path / "home/run/lock"
    assert found == paths.find(None, {"LIGHTFAST_HOME": str(tmp_path / "home")})
    assert paths.find(tmp_path / "a", {"LIGHTFAST_HOME": "/b"}).home == tmp_path / "a"


def test_a_relative_home_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert paths.find("here", {}).state == tmp_path / "here/state"


def test_systemd_gives_the_folders() -> None:
    environ = {
        "STATE_DIRECTORY": "/var/lib/lightfast",
        "RUNTIME_DIRECTORY": "/run/lightfast:/run/other",
        "CONFIGURATION_DIRECTORY": "/etc/lightfast",
    }
    found = paths.find(None, environ)
    assert (str(found.config), str(found.state), str(found.runtime)) == (
        "/etc/lightfast",
        "/var/lib/lightfast",
        "/run/lightfast",
    )
    assert found.shared


def test_otherwise_they_are_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, folder in (("XDG_CONFIG_HOME", "c"), ("XDG_STATE_HOME", "s"), ("XDG_RUNTIME_DIR", "r")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    found = paths.find(None, {})
    assert (found.config, found.state, found.runtime) == tuple(tmp_path / one / "lightfast" for one in "csr")


def test_the_folders_are_private(tmp_path: Path) -> None:
    found = paths.find(tmp_path / "home", {})
    (tmp_path / "home/state").mkdir(parents=True, mode=0o777)
    (tmp_path / "home/state").chmod(0o777)
    found.create()
    assert mode(found.state) == mode(found.runtime) == 0o700


def test_under_the_system_unit_the_group_may_look_in(tmp_path: Path) -> None:
    for name in ("s", "r"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o755)
    found = paths.find(None, {"STATE_DIRECTORY": str(tmp_path / "s"), "RUNTIME_DIRECTORY": str(tmp_path / "r")})
    found.create()
    assert mode(found.state) == mode(found.runtime) == 0o750


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    found = paths.find(tmp_path / "home", {})
    found.state.mkdir(parents=True)
    os.chown(found.state, 12345, 12345)
    with pytest.raises(FailedPrecondition, match=r"belongs to user 12345, not to you \(0\): choose another"):
        found.create()


def test_a_long_socket_path_falls_back_to_a_short_private_folder(tmp_path: Path) -> None:
    short = paths.find(tmp_path, {})
    assert short.socket("grpc.sock") == tmp_path / "run/grpc.sock"
    deep = tmp_path / ("d" * 100)
    found = paths.find(deep, {})
    socket = found.socket("grpc.sock")
    assert len(str(socket)) <= paths.MAX_SOCKET_PATH
    assert socket != paths.find(tmp_path / ("e" * 100), {}).socket("grpc.sock")
    found.create()
    try:
        assert mode(socket.parent) == 0o700
    finally:
        socket.parent.rmdir()


@pytest.mark.parametrize("room", range(-2, 10))
def test_the_folder_of_every_socket_is_made_wherever_the_border_lies(tmp_path: Path, room: int) -> None:
    """Some names of sockets may still fit where the others do not."""
    missing = paths.MAX_SOCKET_PATH - len(str(tmp_path / "d" / "run" / "x")) - room
    if missing < 0:
        pytest.skip("the temporary folder has too long a name")
    found = paths.find(tmp_path / ("d" * (1 + missing)), {})
    found.create()
    places = {found.socket(name).parent for name in ("grpc.sock", "link.sock", "pub.sock")}
    try:
        assert all(place.is_dir() for place in places)
    finally:
        for place in places - {found.runtime}:
            place.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_folder_that_another_user_could_swap_is_refused(tmp_path: Path, kind: str) -> None:
    everybody, ours = tmp_path / "tmp", tmp_path / "ours"
    everybody.mkdir()
    everybody.chmod(0o1777)
    ours.mkdir()
    planted = everybody / "runtime-0"
    if kind == "link":
        planted.symlink_to(ours)
    else:
        planted.mkdir()
    os.chown(planted, 12345, 12345, follow_symlinks=False)
    found = paths.find(None, {"STATE_DIRECTORY": str(ours), "RUNTIME_DIRECTORY": str(planted / "lightfast")})
    with pytest.raises(FailedPrecondition, match="belongs to user 12345, who could put another one in its place"):
        found.create()
    assert not list(ours.iterdir())
    os.chown(planted, 0, 0, follow_symlinks=False)
    found.create()
