"""A real daemon process: it starts, says where it is, reloads, refuses what it must, and drains."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import stat
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.support.daemon import Daemon, daemon

from lightfast.app.endpoints import KEYS


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def running(home: Path) -> Iterator[Daemon]:
    with daemon(home) as found:
        yield found


def fetch(found: Daemon, path: str, token: str = "") -> tuple[int, str]:
    request = urllib.request.Request(f"http://{found.endpoints['http']}{path}")
    if token:
        request.add_header("authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_it_starts_says_where_it_is_and_drains(home: Path) -> None:
    found = Daemon(home).start()
    known = found.endpoints
    assert tuple(known) == KEYS
    assert known["pid"] == found.pid
    assert known["store_id"].startswith("store-")
    assert stat.S_IMODE((home / "run/endpoints.json").stat().st_mode) == 0o600
    assert found.token.startswith("lf_")
    assert stat.S_IMODE((home / "state/token").stat().st_mode) == 0o600
    for door in ("grpc", "http", "link_tcp", "osc"):
        host, _, port = known[door].rpartition(":")
        assert host == "127.0.0.1", door
        assert int(port) > 0, door
    assert stat.S_ISSOCK(Path(known["grpc_unix"]).stat().st_mode)
    assert found.stop() == 0, "each stage kept its budget"
    assert not (home / "run/endpoints.json").exists()
    assert not Path(known["grpc_unix"]).exists()
    assert '"event": "stopped"' in found.log()


def test_secrets_stay_out_of_the_log(home: Path) -> None:
    with daemon(home, flags=["log.level=debug"]) as found:
        secret = found.token
    assert secret not in found.log()
    assert (home / "state/link.key").read_text().strip() not in found.log()


def test_token_and_store_are_the_same_after_a_restart(home: Path) -> None:
    with daemon(home) as found:
        first = (found.token, found.endpoints["store_id"])
    with daemon(home) as found:
        assert (found.token, found.endpoints["store_id"]) == first


def test_a_killed_daemon_leaves_nothing_in_the_way(home: Path) -> None:
    found = Daemon(home).start()
    store_id = found.endpoints["store_id"]
    found.kill()
    with daemon(home) as again:
        assert again.endpoints["store_id"] == store_id


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_both_signals_drain(home: Path, number: int) -> None:
    found = Daemon(home).start()
    os.kill(found.pid, number)
    assert found.wait() == 0


def test_the_first_start_writes_a_settings_file_that_changes_nothing(home: Path) -> None:
    with daemon(home):
        text = (home / "config/lightfast.toml").read_text(encoding="utf-8")
    assert '#listen = "127.0.0.1:50151"' in text
    with daemon(home):
        assert (home / "config/lightfast.toml").read_text(encoding="utf-8") == text


def test_http_serves_health_and_metrics(running: Daemon) -> None:
    assert fetch(running, "/health") == (200, '{"status":"SERVING"}')
    assert fetch(running, "/metrics")[0] == 401
    deadline = time.monotonic() + 60
    body = ""
    while not re.search(r"(?m)^lightfast_plugins\{", body):  # they load after the start
        assert time.monotonic() < deadline, body
        status, body = fetch(running, "/metrics", running.token)
        assert status == 200
    numbers = re.findall(r"(?m)^(lightfast_\w+)(?:\{.*\})? [-+.e\d]+$", body)
    assert {
        "lightfast_info",
        "lightfast_revision",
        "lightfast_commits_total",
        "lightfast_watchers",
        "lightfast_entries",
        "lightfast_loop_lag_seconds",
        "lightfast_asset_bytes",
        "lightfast_grpc_calls",
        "lightfast_grpc_streams",
        "lightfast_generations",
        "lightfast_link_peers",
        "lightfast_links",
        "lightfast_plugins",
        "lightfast_errors_total",
        "lightfast_log_lines_lost_total",
        "lightfast_osc_total",
        "lightfast_process_resident_memory_bytes",
        "lightfast_process_open_fds",
        "lightfast_process_cpu_seconds_total",
    } <= set(numbers)
    assert len(re.findall(r"(?m)^# HELP", body)) == len(re.findall(r"(?m)^# TYPE", body))


def test_random_bytes_do_not_stop_it(running: Daemon) -> None:
    chance = Random(5)
    doors = [running.endpoints[name] for name in ("http", "grpc", "link_tcp")]
    for _ in range(60):
        for door in doors:
            host, _, port = door.rpartition(":")
            with socket.create_connection((host, int(port)), timeout=5) as connection:
                connection.sendall(chance.randbytes(chance.randrange(1, 3000)))
    host, _, port = running.endpoints["osc"].rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(200):
            sender.sendto(
                chance.choice([b"", b"/", b"#bundle\0"]) + chance.randbytes(chance.randrange(300)), (host, int(port))
            )
    assert fetch(running, "/health")[0] == 200


def test_a_second_daemon_on_one_folder_is_refused(running: Daemon) -> None:
    before = (running.home / "run/endpoints.json").read_text()
    ended = Daemon(running.home).run_to_end()
    assert ended.returncode == 1
    assert re.fullmatch(
        rf"lightfastd: a daemon is running already on {re.escape(str(running.home))}/state "
        rf"\(process {running.pid}, since \S+\): stop it first, or give this one a folder of its own with --home DIR\n",
        ended.stderr,
    ), ended.stderr
    assert (running.home / "run/endpoints.json").read_text() == before
    assert fetch(running, "/health")[0] == 200


def test_every_mistake_in_the_settings_is_told(home: Path) -> None:
    (home / "config").mkdir(parents=True)
    (home / "config/lightfast.toml").write_text('[grpc]\nlisten = 5\n[osc]\nlisen = "x"\n')
    ended = Daemon(home, flags=["log.level=loud"], environ={"LIGHTFAST_HTTP__LISTEN": "everywhere"}).run_to_end()
    file = home / "config/lightfast.toml"
    assert ended.returncode == 2
    assert ended.stderr == (
        "lightfastd: the settings have 4 mistakes:\n"
        f'  {file}:2: grpc.listen = 5: expected an address such as "127.0.0.1:50151"\n'
        f"  {file}:4: unknown key osc.lisen; did you mean osc.listen?\n"
        '  environment LIGHTFAST_HTTP__LISTEN: http.listen = "everywhere": expected HOST:PORT with a port from 0 to '
        '65535, for example "127.0.0.1:50151"\n'
        '  --set log.level: log.level = "loud": expected one of debug, info, warning, error\n'
    )
    assert not (home / "state").exists()


@pytest.mark.parametrize("key", ["grpc.listen", "http.listen", "link.tcp"])
def test_a_taken_port_names_port_key_and_holder(home: Path, key: str) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        ended = Daemon(home, flags=[f"{key}=127.0.0.1:{port}"]).run_to_end()
    assert ended.returncode == 1
    assert re.fullmatch(
        rf"lightfastd: the TCP port {port} on 127\.0\.0\.1 is taken by \S+ \(process {os.getpid()}\): stop it, or set "
        rf"{re.escape(key)} to another address, for example --set {re.escape(key)}=127\.0\.0\.1:0 for any free port\n",
        ended.stderr,
    ), ended.stderr


def test_a_taken_udp_port_is_told_too(home: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        ended = Daemon(home, flags=[f"osc.listen=127.0.0.1:{port}"]).run_to_end()
    assert ended.returncode == 1
    assert f"the UDP port {port} on 127.0.0.1 is taken by " in ended.stderr
    assert "set osc.listen to another address" in ended.stderr


def test_an_address_that_is_not_ours_is_refused(home: Path) -> None:
    flags = ["grpc.listen=192.0.2.7:0", "http.listen=0.0.0.0:0"]
    ended = Daemon(home, flags=flags).run_to_end()
    assert ended.returncode == 2
    assert ended.stderr == (
        "lightfastd: the settings have a mistake:\n"
        '  --set http.listen: http.listen = "0.0.0.0:0": expected a loopback address such as "127.0.0.1:0": this door '
        "is not encrypted, so it opens to this machine only; to reach it from another one, forward the port through SSH\n"
    )
    ended = Daemon(home, flags=flags[:1]).run_to_end()
    assert ended.returncode == 2
    assert ended.stderr == (
        "lightfastd: the settings have a mistake:\n"
        "  grpc.listen: 192.0.2.7:0 can be reached from other machines, and there is no TLS: set grpc.tls_cert and "
        "grpc.tls_key, or listen on 127.0.0.1 and forward the port through SSH\n"
    )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is missing: apt-get install openssl")
def test_off_loopback_it_speaks_tls_alone(home: Path, tmp_path: Path) -> None:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True, timeout=150,
    )  # fmt: skip
    flags = ["grpc.listen=0.0.0.0:0", f"grpc.tls_cert={cert}", f"grpc.tls_key={key}"]
    with daemon(home, flags=flags) as found:
        port = found.endpoints["grpc"].rpartition(":")[2]
        credentials = grpc.ssl_channel_credentials(cert.read_bytes())
        with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with grpc.insecure_channel(f"localhost:{port}") as channel, pytest.raises(grpc.RpcError):
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=3)


def test_a_newer_store_is_refused_untouched(home: Path) -> None:
    with daemon(home):
        pass
    file = home / "state/lightfast.db"
    connection = sqlite3.connect(file)
    with connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()
    before = (file.read_bytes(), file.stat().st_mtime_ns)
    ended = Daemon(home).run_to_end()
    assert ended.returncode == 1
    assert "newer" in ended.stderr
    assert "9999" in ended.stderr
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before


def test_hangup_reloads_and_names_what_needs_a_restart(running: Daemon) -> None:
    file = running.home / "config/lightfast.toml"
    file.write_text('[log]\nlevel = "debug"\n[assets]\nquota = "1 GiB"\n', encoding="utf-8")
    os.kill(running.pid, signal.SIGHUP)
    waiting = json.loads(running.wait_log("wait for a restart"))
    assert waiting["keys"] == ["assets.quota"]
    assert json.loads(running.wait_log("settings reloaded"))["changed"] == ["log.level"]
    file.write_text("[log]\nlevel = 1\n", encoding="utf-8")
    os.kill(running.pid, signal.SIGHUP)
    kept = json.loads(running.wait_log("the settings stay as they are"))
    assert kept["mistakes"] == [f"{file}:2: log.level = 1: expected text in quotes"]
    assert fetch(running, "/health")[0] == 200


def test_hangup_changes_what_osc_may_write(running: Daemon) -> None:
    from lightfast.client import Client
    from lightfast.core.errors import NotFound

    file = running.home / "config/lightfast.toml"
    host, _, port = running.endpoints["osc"].rpartition(":")
    message = b"/desk/fader\0" + b",f\0\0" + struct.pack(">f", 0.5)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, Client(home=str(running.home)) as client:
        sender.sendto(message, (host, int(port)))
        deadline = time.monotonic() + 60
        while 'outcome="not_granted"} 1.0' not in (text := fetch(running, "/metrics", running.token)[1]):
            assert time.monotonic() < deadline, text
        with pytest.raises(NotFound):
            client.get("/desk/fader")
        file.write_text('[osc]\ngrants = ["/desk//"]\n', encoding="utf-8")
        os.kill(running.pid, signal.SIGHUP)
        assert json.loads(running.wait_log("settings reloaded"))["changed"] == ["osc.grants"]
        assert 'outcome="not_granted"} 1.0' in fetch(running, "/metrics", running.token)[1]
        while True:
            sender.sendto(message, (host, int(port)))
            try:
                assert client.get("/desk/fader").value == 0.5
                break
            except NotFound:
                assert time.monotonic() < deadline


def test_hangup_switches_plugins(running: Daemon) -> None:
    from lightfast.client import Client

    def studio(client: Client) -> dict[str, Any]:
        found: list[dict[str, Any]] = client.call_json("AdminService.ListPlugins", {})["plugins"]
        return next(plugin for plugin in found if plugin["name"] == "studio")

    file = running.home / "config/lightfast.toml"
    running.wait_log('"plugin": "studio"')
    with Client(home=str(running.home)) as client:
        for text, state in (
            ("[plugins.studio]\nenabled = false\n", "PLUGIN_STATE_DISABLED"),
            ("[plugins.studio]\nenabled = true\n", "PLUGIN_STATE_READY"),
        ):
            file.write_text(text, encoding="utf-8")
            os.kill(running.pid, signal.SIGHUP)
            deadline = time.monotonic() + 60
            while (found := studio(client))["state"] != state:
                assert time.monotonic() < deadline, found
                time.sleep(0.02)
        assert [model["name"] for model in client.call_json("GenerationService.ListModels", {})["models"]]


def test_the_service_manager_is_told(home: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
        found = Daemon(home, environ=environ).start()

        def hear(wanted: str) -> None:
            while not (message := manager.recv(4096).decode()).startswith(wanted):
                # The status: this machine stood still for a moment, or its disk did.
                assert message == "WATCHDOG=1" or message.startswith("STATUS="), message

        assert manager.recv(4096).decode().startswith("READY=1\nSTATUS=serving")
        hear("WATCHDOG=1")
        os.kill(found.pid, signal.SIGHUP)
        hear("RELOADING=1\nMONOTONIC_USEC=")
        hear("READY=1")
        assert found.stop() == 0
        hear("STOPPING=1")


def test_a_second_wish_to_stop_does_not_hang(home: Path) -> None:
    found = Daemon(home).start()
    os.kill(found.pid, signal.SIGTERM)
    os.kill(found.pid, signal.SIGTERM)
    assert found.wait() in {0, 1}
    assert '"event": "stopped"' in found.log()
    assert "Traceback" not in found.log()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "lightfast", "serve", "--home", str(tmp_path / "file/home")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        f"lightfastd: the folder {tmp_path}/file/home/state cannot be made (Not a directory): choose another with "
        "--home DIR or LIGHTFAST_HOME\n"
    )


def test_a_hanging_daemon_says_where_it_hung(home: Path) -> None:
    found = Daemon(home)
    for _ in range(5):
        found.start()
        os.kill(found.pid, signal.SIGABRT)
        assert found.wait() == -signal.SIGABRT
        assert "Fatal Python error: Aborted" in found.log()
        if "app/run.py" in found.log():
            return  # now and then the system gives the signal to another thread than the first
    raise AssertionError(found.log())


def test_the_flags_explain_themselves() -> None:
    for arguments in (["serve", "--help"], ["serve", "--version"], ["serve", "--print-config"]):
        done = subprocess.run(
            [sys.executable, "-m", "lightfast", *arguments], capture_output=True, text=True, timeout=120, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
    wrong = subprocess.run(
        [sys.executable, "-m", "lightfast", "serve", "--hom"], capture_output=True, text=True, timeout=120, check=False
    )
    assert wrong.returncode == 2
