"""Finding the daemon: only a file that can be believed."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lightfast_link import discover, endpoints
from lightfast_link.endpoints import EndpointsError
from lightfast_link.tcp import TcpTransport
from lightfast_link.zmq_transport import ZmqTransport


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home whose daemon is this process: it runs and holds the lock."""
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    write(tmp_path)
    with (run / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield tmp_path


def write(home: Path, **changes: Any) -> Path:
    path = home / "run" / "endpoints.json"
    path.write_text(json.dumps({"pid": os.getpid(), "grpc": "127.0.0.1:1", **changes}))
    path.chmod(0o600)
    return path


def test_a_running_daemon_is_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert endpoints.find(str(home))["grpc"] == "127.0.0.1:1"
    monkeypatch.setenv("LIGHTFAST_HOME", str(home))
    assert endpoints.find()["pid"] == os.getpid()
    monkeypatch.setenv("LIGHTFAST_HOME", str(home / "other"))
    assert endpoints.find(str(home))["pid"] == os.getpid(), "what is asked for goes before the environment"


def test_no_file_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(EndpointsError) as caught:
        endpoints.find(str(tmp_path))
    assert str(caught.value) == (
        f"no daemon is running: there is no endpoints.json in {tmp_path}/run. Start it with 'lightfastd'"
    )


def test_a_file_left_behind_is_not_believed(home: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    path = write(home, pid=process.pid)
    with pytest.raises(EndpointsError) as caught:
        endpoints.find(str(home))
    assert str(caught.value) == (
        f"{path} was left behind by a daemon that is gone (process {process.pid}): start 'lightfastd'"
    )


def test_a_process_that_took_over_the_number_is_not_the_daemon(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    write(tmp_path)
    with pytest.raises(EndpointsError, match="was left behind"):
        endpoints.find(str(tmp_path))
    (tmp_path / "run" / "lock").write_text("")  # there, and held by nobody
    with pytest.raises(EndpointsError, match="was left behind"):
        endpoints.find(str(tmp_path))


def test_a_file_of_another_user_is_not_believed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(home)
    status = os.stat
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1000)
    monkeypatch.setattr(os, "fstat", lambda fd: _owned(os.stat_result(_stat(fd)), owner + 7))
    with pytest.raises(EndpointsError) as caught:
        endpoints.read(str(path))
    assert f"belongs to user {owner + 7}, not to you ({owner + 1000}), so it is not believed" in str(caught.value)
    assert os.stat is status


_stat = os.fstat


def _owned(status: os.stat_result, uid: int) -> os.stat_result:
    fields = list(status)
    fields[4] = uid
    return os.stat_result(fields)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files away needs root")
def test_a_planted_file_is_not_believed(home: Path) -> None:
    path = write(home)
    os.chown(path, 12345, 12345)
    home.chmod(0o777)
    path.parent.chmod(0o777)
    with pytest.raises(EndpointsError, match="belongs to user 12345, not to you"):
        endpoints.find(str(home))


@pytest.mark.parametrize("which", ["file", "folder"])
def test_what_others_can_change_is_not_believed(home: Path, which: str) -> None:
    path = write(home)
    (path if which == "file" else path.parent).chmod(0o777)
    with pytest.raises(EndpointsError, match="can be changed by others, so it is not believed: chmod go-w"):
        endpoints.find(str(home))


def test_a_link_is_not_followed(home: Path) -> None:
    path = write(home)
    path.rename(home / "elsewhere.json")
    path.symlink_to(home / "elsewhere.json")
    with pytest.raises(EndpointsError, match="cannot read"):
        endpoints.find(str(home))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"pid": "x"}', '{"pid": null}', "\udcff"])
def test_nonsense_is_malformed(home: Path, content: str) -> None:
    path = write(home)
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(EndpointsError, match="is malformed: restart the daemon"):
        endpoints.find(str(home))


@pytest.mark.parametrize("pid", [0, -1, 1 << 70])
def test_impossible_processes_are_gone(home: Path, pid: int) -> None:
    write(home, pid=pid)
    with pytest.raises(EndpointsError, match="was left behind"):
        endpoints.find(str(home))


def test_the_places_are_those_of_platformdirs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import platformdirs

    monkeypatch.delenv("LIGHTFAST_HOME", raising=False)
    private = tmp_path / "runtime"
    private.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(private))
    assert endpoints.folders()[0] == platformdirs.user_runtime_dir("lightfast", appauthor=False)
    assert endpoints.folders()[-1] == "/run/lightfast"


def test_the_best_way_is_chosen(home: Path) -> None:
    import zmq

    key = home / "link.key"
    key.write_text("ab" * 32 + "\n")
    choose = discover.transport(str(home), zmq)
    with pytest.raises(EndpointsError, match="the daemon has no link door for this host"):
        choose()
    write(home, zmq_router="ipc:///x/link.sock", link_tcp="127.0.0.1:50156", link_key_file=str(key))
    way = choose()
    assert isinstance(way, ZmqTransport)
    assert way.endpoint == "ipc:///x/link.sock"
    plain = discover.transport(str(home))()
    assert isinstance(plain, TcpTransport)
    assert (plain.host, plain.port, plain.key) == ("127.0.0.1", 50156, bytes.fromhex("ab" * 32))
    key.write_text("nonsense")
    with pytest.raises(ValueError, match="holds no link key: it needs 32 bytes in hex"):
        discover.transport(str(home))()


def test_curve_is_used_where_ipc_is_not_to_be_had(home: Path) -> None:
    import zmq

    from lightfast.wire.zmq.curve import CurveKeys

    keys = CurveKeys(home / "state" / "curve")
    write(
        home,
        zmq_router="tcp://127.0.0.1:50152",
        zmq_server_key=keys.server.public.decode(),
        link_key_file=str(home / "state" / "link.key"),
    )
    way = discover.transport(str(home), zmq)()
    assert way._curve == (keys.server.public, keys.client.public, keys.client.secret)
