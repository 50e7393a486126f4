"""Hostile input at every door that an application has: nothing reaches code or files, and the daemon goes on.

One daemon, with a canary beside its folder. Real applications are joined through relays, so that what is thrown at a
bridge comes from the very address it listens to.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.chaos import UdpRelay
from tests.support.daemon import Daemon
from tests.support.joined import BRIDGES
from tests.support.studio import Studio, studio
from tests.support.waiting import until

from lightfast.api.v1 import links_pb2
from lightfast.client import Client
from lightfast.core.errors import LightfastError
from lightfast.core.osc_build import encode

pytestmark = pytest.mark.real_app
KINDS = ("puredata", "supercollider", "touchdesigner", "ableton")
SEED = int(os.environ.get("LIGHTFAST_FUZZ_SEED", "1"))
SECONDS = 60.0 if os.environ.get("LIGHTFAST_LONG") == "1" else 4.0
MOST_GROWTH = 200 << 20
HERE, GOOD, BAD = "10.99.0.1", "10.99.0.2", "10.99.0.3"
"""The daemon's address, one that may send to it, one that may not: all on the loopback of a network of its own."""
MAPS = {
    "tag": "kind: !!python/object/apply:os.system ['touch {canary}']\n",
    "name": "kind: !!python/name:os.system x\n",
    "bomb": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)),
    "deep": "a: " + "[" * 20_000 + "]" * 20_000 + "\n",
    "climbing": "kind: ../../evil\nremote: 127.0.0.1:7\nparameters:\n  a: {{send: /a}}\n",
    "paths": "kind: evil\nremote: 127.0.0.1:7\nparameters:\n  ../../canary: {{send: /a}}\n  'a#b': {{send: '/a b'}}\n"
    '  "c\\0d": {{send: "/a\\0"}}\n',
    "dots": "kind: dots\nremote: 127.0.0.1:7\nname: ../../evil\nparameters:\n  ok: {{send: /a}}\nalive: {{assumed: true}}\n",
    "away": "kind: away\nremote: 192.0.2.1:7\nparameters:\n  a: {{send: /a}}\n",
}
EVIL = (
    "__import__('os').system('touch {canary}')",
    "().__class__.__bases__[0].__subclasses__()",
    "x.__class__",
    "x.real",
    "open('{canary}', 'w')",
    "eval('1')",
    "exec('1')",
    "lambda: x",
    "[x for x in range(9)]",
    "(x := 1)",
    "f'{{x}}'",
    "x if x else 1",
    "x['a']",
    "x; x",
    "x\nx",
    "x\0",
    "globals()",
    "print(x)",
    "é",
    "(" * 300 + "x" + ")" * 300,
    "x" + "+x" * 10_000,
    "1e999",
)
"""No formulas."""
HEAVY = ("'a' * 1000000000", "9**9**9**9", "x**x**x**x**x", "exp(exp(exp(x)))", "1/0", "log(0-1)")
"""Formulas, of which no value may come, and no waiting."""
NAMES = (
    "..",
    "../..",
    "../../canary",
    "/etc/passwd",
    "a#b",
    "a b",
    "a\nb",
    "a\0b",
    "\x1b[2J",
    "%2e%2e",
    "a" * 5000,
    "~",
    "",
)


@contextmanager
def hostile_oscquery(net: Any) -> Iterator[int]:
    """Serve an OSCQuery tree that lies wherever it can."""
    deep: dict[str, Any] = {"FULL_PATH": "/deep", "CONTENTS": {}}
    for number in range(150):
        deep = {"FULL_PATH": f"/deep{number}", "CONTENTS": {"d": deep}}
    nodes: dict[str, Any] = {
        name or "empty": {"FULL_PATH": "/../../" + name, "TYPE": "f", "ACCESS": 3, "VALUE": [0.5]} for name in NAMES
    }
    nodes |= {
        "ok": {"FULL_PATH": "/ok", "TYPE": "f", "ACCESS": 3, "VALUE": [0.5]},
        "deep": deep,
        "types": {"FULL_PATH": "/types", "TYPE": "fsTFNI[[[", "ACCESS": 99, "VALUE": {"a": 1}},
        "range": {
            "FULL_PATH": "/range",
            "TYPE": "f",
            "ACCESS": 3,
            "VALUE": [1e400],
            "RANGE": [{"MIN": "x", "MAX": []}],
        },
        "code": {"FULL_PATH": "/code", "TYPE": "s", "ACCESS": 3, "VALUE": ["__import__('os').system('true')"]},
        "list": [1, 2, 3],
        "null": None,
    }
    tree = json.dumps({"FULL_PATH": "/", "CONTENTS": nodes}).encode()
    info = json.dumps(
        {"NAME": "../../evil", "OSC_IP": "192.0.2.1", "OSC_PORT": 7, "EXTENSIONS": {"LISTEN": 5}}
    ).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = info if "HOST_INFO" in self.path else tree
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with net.inside():
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("hostile")
    canary(folder).write_text("alive\n", encoding="utf-8")
    maps = folder / "maps"
    maps.mkdir()
    for name, text in MAPS.items():
        (maps / f"{name}.yaml").write_text(text.format(canary=canary(folder).with_name("touched")), encoding="utf-8")
    flags = [
        "osc.listen=0.0.0.0:0",
        f"osc.allow=['{GOOD}']",
        "osc.grants=['/osc//']",
        "plugins.osc.enabled=true",
        f"plugins.osc.folder={maps}",
        "oscquery.listen=127.0.0.1:0",
        "oscquery.grants=['/osc//']",
        "oscquery.write=['/osc/written/*']",
        "oscquery.mdns=false",
    ]
    with studio(folder, KINDS, flags) as found:
        for address in (HERE, GOOD, BAD):
            done = found.net.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], capture_output=True)
            assert done.returncode == 0, done.stderr
        yield found


def canary(folder: Path) -> Path:
    return folder / "canary"


def state(desk: Studio) -> dict[str, str]:
    """Return the files that nothing may touch, by their content; of the store and the logs only that they are there."""
    found: dict[str, str] = {}
    for path in sorted(desk.folder.rglob("*")):
        name = str(path.relative_to(desk.folder))
        if any(part in desk.members for part in path.parts):
            continue  # what the applications write
        if path.is_file() and not name.startswith(("home/state/", "home/daemon.log")):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = ""
    return {name: value for name, value in found.items() if not name.startswith("home/state/assets/")}


def memory(desk: Studio) -> int:
    status = Path(f"/proc/{desk.daemon.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


@pytest.fixture(autouse=True)
def unharmed(desk: Studio) -> Iterator[None]:
    """See that a test has changed no file, that the daemon answers and has not grown, and that nothing was raised."""
    before, size, log = state(desk), memory(desk), len(desk.daemon.log())
    yield
    desk.client.set("/still/there", 1)
    assert desk.client.get("/still/there").value == 1
    assert state(desk) == before
    assert canary(desk.folder).read_text(encoding="utf-8") == "alive\n"
    grown = memory(desk) - size
    print(f"grown by {grown / 2**20:.1f} MiB to {memory(desk) / 2**20:.0f} MiB")
    assert grown < MOST_GROWTH
    raised = [line for line in desk.daemon.log()[log:].splitlines() if "Traceback" in line]
    assert not raised, f"{len(raised)}: " + raised[0].replace("\\n", "\n")
    for kind in desk.members:
        desk.settle(kind)


def ports_of(pid: int) -> list[int]:
    """Return the UDP ports that a process has."""
    own: set[str] = set()
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            own.add(os.readlink(handle))  # noqa: PTH115  # it names no file
    found = []
    for line in Path(f"/proc/{pid}/net/udp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if f"socket:[{fields[9]}]" in own:
            found.append(int(fields[1].partition(":")[2], 16))
    return found


def bundle(depth: int, inner: bytes = b"") -> bytes:
    data = inner or encode("/osc/deep", 1)
    for _ in range(depth):
        data = b"#bundle\0" + bytes(8) + struct.pack(">i", len(data)) + data
    return data


def corpus(chance: random.Random) -> Iterator[bytes]:
    """Yield datagrams of every bad kind."""
    yield from (
        b"",
        b"\0",
        b"/",
        b"#bundle\0",
        b"#bundle\0" + bytes(8) + b"\xff" * 40,
        b"/a\0\0",
        b"/a\0\0,",
        b"," * 64,
    )
    yield from (bundle(depth) for depth in (2, 8, 9, 64, 1000))
    yield b"#bundle\0" + bytes(8) + struct.pack(">i", -4) + b"/a\0\0"
    yield b"#bundle\0" + bytes(8) + struct.pack(">i", 1 << 30) + b"/a\0\0"
    yield b"/" + b"a" * 60_000 + b"\0\0\0,f\0\0" + bytes(4)
    yield b"/a\0\0," + b"[" * 2000 + b"\0" * 4
    yield b"/a\0\0," + b"f" * 15_000 + b"\0" * 4 + bytes(40_000)
    yield b"/a\0\0,b\0\0" + struct.pack(">i", -1)
    yield b"/a\0\0,b\0\0" + struct.pack(">i", 1 << 30)
    for name in NAMES:
        yield (
            b"/osc/"
            + name.encode()[:4000].ljust(((len(name[:4000]) + 5) // 4 + 1) * 4 - 5, b"\0")
            + b",i\0\0"
            + bytes(4)
        )
    for _ in range(60):
        yield chance.randbytes(chance.choice((1, 3, 4, 16, 200, 1400, 9000)))


def test_garbage_at_every_socket_of_the_daemon(desk: Studio) -> None:
    chance, sent = random.Random(SEED), 0
    ports = ports_of(desk.daemon.pid)
    assert len(ports) >= 5, ports
    with desk.net.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for port in ports:
                for data in corpus(chance):
                    stranger.sendto(data, ("127.0.0.1", port))
                    sent += 1
            desk.client.set("/fuzz/round", sent)
    print(f"\n{sent} datagrams at {len(ports)} sockets")


@pytest.mark.parametrize("kind", ["puredata", "supercollider", "ableton"])
def test_garbage_in_the_name_of_the_application(desk: Studio, kind: str) -> None:
    relay = desk[kind].relay
    assert isinstance(relay, UdpRelay)
    chance = random.Random(SEED)
    for data in corpus(chance):
        relay.inject(data)
    before = relay.said
    relay.factor, relay.mode = 20, "mutate"
    try:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end or (relay.said == before and time.monotonic() < end + 60):
            desk.write(kind)
            time.sleep(0.05)
    finally:
        relay.mode = "pass"
    assert relay.said > before
    print(f"\n{kind}: {20 * (relay.said - before)} changed copies of what it said")
    desk.live(kind)


def test_only_who_is_on_the_list_may_send(desk: Studio) -> None:
    port = int(desk.daemon.endpoints["osc"].rpartition(":")[2])
    with desk.net.inside():
        for source, name in ((BAD, "bad"), (GOOD, "good")):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                peer.bind((source, 0))
                for _ in range(3):
                    peer.sendto(encode(f"/osc/{name}", 1), (HERE, port))
                    peer.sendto(encode(f"/elsewhere/{name}", 1), (HERE, port))
                    peer.sendto(encode("/lightfast/apps/puredata/state", name), (HERE, port))
                    peer.sendto(encode(f"/osc/last-{name}", 1), (HERE, port))
    until(lambda: desk.client.select("/osc/last-good"), "what the one on the list sent")
    assert desk.client.select("/osc/good")
    assert not desk.client.select("/osc/*bad")
    assert not desk.client.select("/elsewhere//")
    assert desk.client.get("/osc/good").origin == f"osc:{GOOD}"
    assert desk.client.get("/lightfast/apps/puredata/state").value not in {"bad", "good"}


def test_oscquery_served_to_who_means_no_good(desk: Studio) -> None:
    host, _, port = desk.daemon.endpoints["oscquery"].rpartition(":")
    chance = random.Random(SEED)
    requests = [
        b"GET /../../../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PUT /canary HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nbad",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n" + b"\xff" * 5000,
        *(chance.randbytes(500) for _ in range(50)),
    ]
    for request in requests:
        with desk.net.inside(), suppress(OSError), socket.create_connection((host, int(port)), 5) as peer:
            peer.settimeout(1.0)
            peer.sendall(request)
            answer = peer.recv(65_536)
            assert b"root:" not in answer
            assert canary(desk.folder).name.encode() not in answer


def test_an_oscquery_server_that_lies(desk: Studio, tmp_path: Path) -> None:
    home = tmp_path / "home"
    quiet = [f"plugins.{name}.enabled=false" for name in BRIDGES if name != "oscquery"]
    with hostile_oscquery(desk.net) as port, ExitStack() as stack:
        flags = [*quiet, f"plugins.oscquery.servers=['http://127.0.0.1:{port}']"]
        with desk.net.inside():
            daemon = stack.enter_context(Daemon(home, flags=flags))
        client = stack.enter_context(Client(home=home))
        until(lambda: client.select("/evil/ok") or client.select("/*/ok"), "the one honest value")
        for entry in client.select("//"):
            assert not {"..", "."} & set(entry.path.split("/")), entry
        client.set("/still/there", 1)
        assert client.get("/still/there").value == 1
        assert "Traceback" not in daemon.log(), daemon.log()[-5000:]
        assert {path.name for path in tmp_path.iterdir()} == {"home"}
        shown = [(app.mount, app.state_reason) for app in client.list_apps() if app.kind == "oscquery"]
        print(f"\n{shown}")
        assert all("/" not in mount[1:] and ".." not in mount.split("/") for mount, _ in shown)


def test_maps_that_want_more(desk: Studio) -> None:
    apps = {app.kind for app in desk.client.list_apps()}
    assert "evil" not in apps
    for name in MAPS:
        if name != "dots":
            until(lambda name=name: f"{name}.yaml" in desk.daemon.log(), f"a word about {name}.yaml")  # type: ignore[misc]
    for app in desk.client.list_apps():
        assert "/" not in app.mount[1:], app.mount
        assert app.mount[1:] not in {"..", "."}


@pytest.mark.parametrize("text", EVIL, ids=range(len(EVIL)))
def test_no_code_in_a_link(desk: Studio, text: str) -> None:
    text = text.format(canary=canary(desk.folder).with_name("touched"))
    for setting in ("expression", "condition"):
        began = time.monotonic()
        with pytest.raises((LightfastError, ValueError)):
            desk.client.link("/a/source", "/a/target", **{setting: text})
        assert time.monotonic() - began < 60
    with pytest.raises((LightfastError, ValueError)):
        desk.client.link("/a/source", "/a/target", inputs={text: "/a/other"}, expression="x")


@pytest.mark.parametrize("text", HEAVY)
def test_no_endless_formula_in_a_link(desk: Studio, text: str) -> None:
    began = time.monotonic()
    for setting in ("expression", "condition"):
        with suppress(LightfastError):
            link = desk.client.link("/heavy/source", "/heavy/target", **{setting: text})
            for value in (1e308, 9.0, -1.0, 0.0):
                desk.client.set("/heavy/source", value)
            desk.client.delete_link(link.link_id)
    assert time.monotonic() - began < 60


def test_curves_and_rates_of_no_use(desk: Studio) -> None:
    for points in ([], [(0.0, float("nan")), (1.0, 1.0)], [(float("inf"), 0.0), (1.0, 1.0)], [(0.0, 0.0)] * 100_000):
        curve = links_pb2.LinkCurve(name="linear", points=[links_pb2.LinkPoint(x=x, y=y) for x, y in points])
        message = links_pb2.Link(source="/a/source", target="/a/target", curve=curve)
        if not points:
            message.curve.name = "../../canary"
        request = links_pb2.CreateLinkRequest(link=message)
        with pytest.raises((LightfastError, ValueError)):
            desk.client.call(desk.client.aio.links.CreateLink, request)
    for setting in (
        {"tempo": "../../canary"},
        {"from_unit": "__class__"},
        {"smooth_s": -1.0},
        {"max_rate_hz": float("nan")},
    ):
        with pytest.raises((LightfastError, ValueError)):
            desk.client.link("/a/source", "/a/target", **setting)


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names_stay_names(desk: Studio, name: str) -> None:
    """A name is refused, or is only a name; none of them is a place."""
    client = desk.client
    for path in (f"/names/{name}", name, f"/names/x/{name}/y"):
        with suppress(LightfastError, ValueError):
            client.set(path, "x")
            client.delete(path)
        with suppress(LightfastError, ValueError):
            client.link(path, "/names/target")
    with suppress(LightfastError, ValueError):
        client.write_asset(b"x", "text/plain", name)
    for method in ("StartRecording", "DeleteRecording"):
        with pytest.raises((LightfastError, ValueError)):
            client.call_json(f"ShowService.{method}", {"name": name or "/"})
    with suppress(LightfastError, ValueError):
        client.invoke("/touchdesigner", "get_operator", path=name)
    for link in client.list_links("/names//"):
        client.delete_link(link.link_id)
