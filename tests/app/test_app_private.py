"""What a daemon keeps to itself: its files, its secrets, its doors."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tests.support.daemon import READY_S, Daemon, daemon
from tests.support.files import modes
from tests.support.waiting import until

from lightfast.client import Client
from lightfast.core.errors import LightfastError, Unauthenticated
from lightfast_link.client import LinkClient
from lightfast_link.tcp import TcpTransport


def scrape(found: Daemon, token: str) -> str:
    request = urllib.request.Request(f"http://{found.endpoints['http']}/metrics")
    request.add_header("authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            body: bytes = answer.read()
    except urllib.error.HTTPError as error:
        with error:
            body = error.read()
    return body.decode()


def knock(found: Daemon, secret: str) -> str:
    """Use a token at gRPC, wrong ones included, and return everything that was said."""
    said = []
    with Client(found.endpoints["grpc"], token=secret) as client:
        for name in ("GetConfig", "ListErrors", "GetInfo", "ListPlugins", "ListTokens"):
            try:
                said.append(json.dumps(client.call_json(f"AdminService.{name}", {})))
            except LightfastError as error:
                said.append(f"{type(error).__name__}: {error}")
    return "\n".join(said)


def test_secrets_are_seen_nowhere(tmp_path: Path) -> None:
    secret, home = "lf_" + "wrong" * 8, tmp_path / "home"
    plugin = home / "config/plugins/leaky.py"
    plugin.parent.mkdir(parents=True, mode=0o700)
    plugin.write_text(
        "from lightfast.sdk import hookimpl\n@hookimpl\ndef lightfast_providers(config):\n"
        f"    raise ValueError('401 with {secret} and ' + config['api_key'])\n"
    )
    (home / "config/lightfast.toml").write_text('[plugins.leaky]\napi_key = "env:LEAKY"\n')
    with daemon(home, flags=["log.level=debug"], environ={"LEAKY": "s3cret-of-leaky"}) as found:
        token, key = found.token, (home / "state/link.key").read_text().strip()
        found.wait_log("plugin failed")
        host, _, port = found.endpoints["link_tcp"].rpartition(":")
        link = LinkClient(TcpTransport(host, int(port)), {"app": "x"}, key=bytes(32))
        link.start()
        said = [
            knock(found, token),
            knock(found, secret),
            scrape(found, token),
            scrape(found, secret),
            scrape(found, ""),
        ]
        assert "TOKEN_UNKNOWN" in said[3]
        assert "plugins.leaky.api_key" in said[0]
        assert "lightfast_commits_total" in said[2]
        assert "401 with *** and ***" in said[0]
        deadline = time.monotonic() + 60
        while not (refused := [event for event in link.poll(limit=10) if event[0] == "refused"]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        said.append(str(refused))
        link.close()
    everything = "\n".join([*said, found.log()])
    for hidden in (token, secret, "s3cret-of-leaky", key, repr(bytes.fromhex(key))[2:-1]):
        assert hidden not in everything
    assert token not in (home / "config/lightfast.toml").read_text()
    assert token.encode() not in b"".join(path.read_bytes() for path in (home / "state").glob("lightfast.db*"))


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with daemon(tmp_path / "home") as found, Client(home=str(found.home)) as client:
            client.set("/desk/a", 1)
            assert list(client.generate("image", "a red circle"))
            seen = modes(found.home)
    finally:
        os.umask(before)
    ours = {path: mode for path, mode in seen.items() if path != found.log_file}
    assert len(ours) > 15
    private = ("config", "state", "run")
    assert {path.name: seen[path] for path in ours if path.name in private} == dict.fromkeys(private, 0o700)
    assets = {path: mode for path, mode in ours.items() if len(path.name) == 64}
    assert all(mode & 0o222 == 0 for mode in assets.values())  # below 0700
    sockets = {path for path in ours if path.suffix == ".sock"}
    assert {
        f"{path}: {mode:o}" for path, mode in ours.items() if mode & 0o077 and path not in assets.keys() | sockets
    } == set()


@pytest.mark.parametrize("address", ["0.0.0.0", "[::]", "192.0.2.1", "example.org"])
@pytest.mark.parametrize("key", ["grpc.listen", "http.listen", "link.tcp", "link.router", "link.pub", "osc.listen"])
def test_no_door_opens_to_other_machines_unprotected(tmp_path: Path, key: str, address: str) -> None:
    from lightfast.app.run import load_settings
    from lightfast.core.config import ConfigError

    with pytest.raises(ConfigError) as caught:
        load_settings(None, [f"{key}={address}:0"])
    (problem,) = caught.value.problems
    assert key in str(problem)
    todo = {"grpc.listen": "grpc.tls_key", "osc.listen": "osc.allow"}.get(key, "through SSH")
    assert todo in problem.text
    assert "127.0.0.1" in problem.text


def test_it_goes_on_when_nobody_reads_its_log(tmp_path: Path) -> None:
    found = Daemon(tmp_path / "home", flags=["log.level=debug"])
    found.home.mkdir()
    reader, writer = os.pipe()
    found.process = subprocess.Popen(
        found.command(), stdout=writer, stderr=writer, stdin=subprocess.DEVNULL, env=found.clean_environ(), text=True
    )
    os.close(writer)
    os.close(reader)
    found.wait_ready(READY_S)
    with Client(home=str(found.home)) as client:
        client.set("/desk/a", 1)
        assert client.get("/desk/a").value == 1
    until(lambda: "lightfast_log_lines_lost_total 0.0" not in scrape(found, found.token), "the count")
    assert found.stop() == 0


def test_a_token_that_was_revoked_opens_no_door(tmp_path: Path) -> None:
    with daemon(tmp_path / "home") as found, Client(home=str(found.home)) as client:
        made = client.call_json("AdminService.IssueToken", {"name": "guest", "scopes": ["watch"]})
        assert "lightfast_entries" in scrape(found, made["secret"])
        client.call_json("AdminService.RevokeToken", {"token_id": made["token"]["token_id"]})
        assert "TOKEN_UNKNOWN" in scrape(found, made["secret"])
        with Client(found.endpoints["grpc"], token=made["secret"]) as guest, pytest.raises(Unauthenticated):
            guest.get("/desk/a")
