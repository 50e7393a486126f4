"""Who owns that port: every dialect is recognized, nobody is hung, and the whole look has a bound."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.support import creative_ports as fakes
from tests.support.ports import free_port

from lightfast.app.cli import checks
from lightfast.app.cli.ports import asking, json_bridges, osc, web
from lightfast.app.cli.ports.survey import survey
from lightfast.app.cli.ports.table import PORTS, Known
from lightfast.core.ports import Holder, holders

SHORT = 0.4
"""Seconds for a question that nobody answers."""
LONG = 60.0
"""Seconds for one that is answered."""
PATIENT = 6.0
"""Seconds for each question to one that answers only the second."""


def place(served: fakes.Served) -> asking.Place:
    return asking.Place("127.0.0.1", served.port)


async def client_of_blender_mcp(port: int) -> Any:
    """Ask blender-mcp as its own client does, and return what it says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b'{"type": "get_scene_info", "params": {}}')
        async with asyncio.timeout(60):
            return json.loads(await reader.read(8192))
    finally:
        writer.close()


@pytest.mark.parametrize("ableton_first", [False, True])
@pytest.mark.parametrize(
    ("handle", "what", "budget"),
    [
        (fakes.blender_mcp(), "blender-mcp answers here", LONG),
        (fakes.blender_lab, "Blender Lab MCP answers here", PATIENT),
        (fakes.djeada, "djeada/blender-mcp-server answers here", LONG),
        (fakes.ableton_mcp(), "ableton-mcp 1.7.0 answers here", LONG),
        (fakes.silent, None, SHORT),
        (fakes.bare_json({}), "it answers JSON, but none of the dialects that are known here", LONG),
        (fakes.http({}), None, SHORT),
    ],
)
async def test_the_dialects_are_told_apart(handle: Any, what: str | None, budget: float, ableton_first: bool) -> None:
    recognize = json_bridges.recognizer(ableton_first=ableton_first, budget=budget)
    async with fakes.serving(handle) as served:
        seen = await recognize(place(served))
        assert (seen.what if seen is not None else None) == what
        async with asyncio.timeout(60):
            while served.open:  # every connection was closed
                await asyncio.sleep(0.01)


async def test_blender_mcp_hears_one_harmless_question_and_serves_on() -> None:
    recognize = json_bridges.recognizer(budget=LONG)
    async with fakes.serving(fakes.blender_mcp(delay=0.3)) as served:
        seen = await recognize(place(served))
        assert seen is json_bridges.BLENDER_MCP
        assert served.requests == [b'{"type":"get_scene_info"}\n']
        assert served.accepted == 1
        assert (await client_of_blender_mcp(served.port))["status"] == "success"


async def test_one_that_is_too_busy_to_answer_is_not_hung_by_the_second_question() -> None:
    recognize = json_bridges.recognizer(budget=0.2)
    async with fakes.serving(fakes.blender_mcp(delay=0.6)) as served:
        assert await recognize(place(served)) is None
        async with asyncio.timeout(60):
            while served.open:
                await asyncio.sleep(0.01)
        assert (await client_of_blender_mcp(served.port))["status"] == "success"


async def test_the_fake_hangs_as_the_real_one_does() -> None:
    async with fakes.serving(fakes.blender_mcp()) as served:
        for wedge in (b'{"type":"get_scene_info"}\0', b'{"type":"get_scene_info"}{"type":"get_scene_info"}'):
            assert await asking.ask(place(served), wedge, lambda _: True, SHORT) == b""


JSON = "application/json"
HOST_INFO = json.dumps({"NAME": "patch", "EXTENSIONS": {}, "OSC_PORT": 1234, "OSC_TRANSPORT": "UDP"}).encode()
PRODUCT = json.dumps({"name": "Arena", "major": 7, "minor": 16, "micro": 0}).encode()


@pytest.mark.parametrize(
    ("recognize", "pages", "what"),
    [
        (
            web.touchdesigner(LONG),
            {"/api/td/server/td": (200, JSON, b'{"success": true, "data": {}, "error": null}')},
            "the REST bridge of touchdesigner-mcp answers here",
        ),
        (web.touchdesigner(LONG), {}, "an HTTP server answers here (status 404), not the bridge that is known"),
        (web.tdmcp(LONG), {"/mcp": (401, JSON, b"{}")}, "TouchDesigner's MCP server answers here, and asks who you"),
        (web.tdmcp(LONG), {"/mcp": (200, "text/event-stream", b": hi\n\n")}, "TouchDesigner's MCP server answers"),
        (web.tdmcp(LONG), {}, "but no MCP server"),
        (web.resolume(LONG), {"/api/v1/product": (200, JSON, PRODUCT)}, "Resolume Arena 7.16.0 answers here"),
        (web.resolume(LONG), {}, "not Resolume's"),
        (web.companion(LONG), {"/": (200, "text/html", b"<title>Bitfocus Companion</title>")}, "Companion answers"),
        (web.companion(LONG), {"/": (200, "text/html", b"<title>Router</title>")}, "not Companion's"),
        (web.oscquery(LONG), {"/?HOST_INFO": (200, JSON, HOST_INFO)}, "'patch' answers here, OSC on UDP 1234"),
        (web.obs(LONG), {}, "(status 404), not OBS"),
    ],
)
async def test_web_servers_are_recognized(recognize: asking.Recognizer, pages: Any, what: str) -> None:
    async with fakes.serving(fakes.http(pages)) as served:
        seen = await recognize(place(served))
        assert seen is not None
        assert what in seen.what
        assert all(request.startswith(b"GET ") for request in served.requests)


@pytest.mark.parametrize("locked", [False, True])
async def test_obs_is_recognized_and_nothing_is_sent_to_it(locked: bool) -> None:
    async with fakes.serving(fakes.obs_socket(locked=locked)) as served:
        seen = await web.obs(LONG)(place(served))
        assert seen is not None
        assert seen.what == "OBS answers here (obs-websocket 5.6.3)"
        assert "password" in seen.advice
        assert ("give the bridge" in seen.advice) is locked
        async with asyncio.timeout(60):
            while served.open:
                await asyncio.sleep(0.01)
        assert served.requests in ([b""], [])


async def test_osc_servers_are_recognized() -> None:
    status = fakes.osc("/status.reply", 1, 12, 3, 2, 40, 0.5, 0.9, 48000.0, 48000.0)
    async with fakes.serving_udp({"/status": status}) as (server, port):
        seen = await osc.scsynth(LONG)(asking.Place("127.0.0.1", port))
        assert seen is not None
        assert seen.what == "scsynth answers here, with 3 synths running"
        assert server.heard == ["/status"]
    async with fakes.serving_udp({}) as (_, port):
        assert await osc.scsynth(SHORT)(asking.Place("127.0.0.1", port)) is None
    async with fakes.serving(fakes.qlab) as served:
        seen = await osc.qlab(LONG)(place(served))
        assert seen is not None
        assert seen.what == "QLab answers here"


async def test_abletonosc_answers_to_one_port_only() -> None:
    reply = free_port()
    async with fakes.serving_udp({"/live/test": fakes.osc("/live/test", "ok")}, reply) as (server, port):
        recognize = osc.abletonosc(reply, LONG)
        seen = await recognize(asking.Place("127.0.0.1", port))
        assert seen is not None
        assert seen.what == "AbletonOSC answers here"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", reply))
            seen = await recognize(asking.Place("127.0.0.1", port))
            assert seen is not None
            assert f"answers to UDP port {reply}, which is taken" in seen.what
        assert server.heard == ["/live/test"], "where nobody can hear the answer, it is not asked"


async def run(table: list[Known], own_pid: int = 0, budget: float = LONG) -> list[checks.Finding]:
    return await asyncio.to_thread(lambda: survey(own_pid, table, budget))


async def test_a_survey_names_holder_program_and_remedy() -> None:
    me = os.getpid()
    async with (
        fakes.serving(fakes.blender_lab) as lab,
        fakes.serving(fakes.silent) as mute,
        fakes.serving(fakes.http({})) as shared,
        fakes.serving_udp({}) as (_, ardour),
    ):
        table = [
            Known(lab.port, "tcp", "four", ("blender",), json_bridges.recognizer(budget=PATIENT), "move one"),
            Known(mute.port, "tcp", "ableton-mcp", ("nobody",), json_bridges.recognizer(budget=SHORT), "move one"),
            Known(shared.port, "tcp", "Resolume (REST)", ("arena",), web.resolume(LONG), shared=True),
            Known(ardour, "udp", "Ardour (OSC)", ("python", "pytest"), told="it is not asked"),
            Known(ardour, "udp", "Ardour (OSC)", ("ardour",), advice="take 3820"),
            Known(1, "udp", "nobody", ()),
        ]
        found = await run(table)
        assert [finding.level for finding in found] == ["ok", "warn", "ok", "ok", "warn"]
        assert f"(process {me})" in found[0].what
        assert found[0].what.startswith(f"tcp port {lab.port}: ")
        assert found[0].what.endswith("Blender Lab MCP answers here")
        assert "NUL-terminated JSON, one request per connection" in found[0].advice
        assert "holds it, and does not answer as ableton-mcp would" in found[1].what
        assert found[1].advice == "move one"
        assert "not Resolume's (Resolume (REST) would be here)" in found[2].what
        assert found[3].advice == "it is not asked"
        assert "where Ardour (OSC) would be" in found[4].what
        (own,) = await run(table[:1], own_pid=me)
        assert own == checks.Finding("ok", f"tcp port {lab.port}: the daemon's")


async def test_a_survey_has_a_bound_whatever_answers() -> None:
    """Without one it would wait for ever."""

    async def never(_: asking.Place) -> asking.Seen | None:
        await asyncio.Event().wait()
        return None

    async def broken(_: asking.Place) -> asking.Seen | None:
        raise ZeroDivisionError("a bug")

    async def refused(_: asking.Place) -> asking.Seen | None:
        raise ConnectionRefusedError(111, "Connection refused")

    async with fakes.serving(fakes.silent) as served:
        looks = (never, broken, refused)
        found = await run([Known(served.port, "tcp", "x", (), look) for look in looks], budget=2.0)
    assert [finding.level for finding in found] == ["warn", "warn", "warn"]
    assert found[0].what.endswith("did not answer in time")
    assert "could not be asked: a bug" in found[1].what
    assert "it does not let itself be asked (Connection refused)" in found[2].what


async def test_two_programs_on_one_port_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Known(7, "udp", "Ardour", ("ardour",), told="fine")
    both = {(7, "udp"): [Holder(3, "ardour-7.3.0", "0.0.0.0"), Holder(4, "touchosc", "127.0.0.1")]}
    monkeypatch.setattr("lightfast.app.cli.ports.survey.holders", lambda _: both)
    found = await run([known])
    assert "two programs want this port: ardour-7.3.0 (process 3) and touchosc (process 4)" in found[0].what
    assert "which of them is reached is chance" in found[0].advice
    assert "as expected: Ardour" in found[1].what
    assert "touchosc (process 4) holds it, where Ardour would be" in found[2].what


async def test_a_bridge_that_other_machines_reach_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fakes.serving(fakes.ableton_mcp()) as served:
        known = Known(served.port, "tcp", "x", (), json_bridges.recognizer(ableton_first=True, budget=LONG))
        held = {(served.port, "tcp"): [Holder(3, "Live", "0.0.0.0")]}
        monkeypatch.setattr("lightfast.app.cli.ports.survey.holders", lambda _: held)
        (found,) = await run([known])
    assert found.level == "warn"
    assert "it listens on all interfaces" in found.what


def test_clients_do_not_hold_the_port_they_speak_from() -> None:
    with socket.socket() as server, socket.socket() as client, socket.socket(type=socket.SOCK_DGRAM) as udp:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
        udp.connect(("127.0.0.1", 9))
        here, there = server.getsockname()[1], client.getsockname()[1]
        out = udp.getsockname()[1]
        found = holders([(here, "tcp"), (there, "tcp"), (out, "udp"), (here, "udp")])
    mine = [place for place, held in found.items() if os.getpid() in [each.pid for each in held]]
    assert mine == [(here, "tcp")]  # a port of UDP of that number may be somebody else's
    (holder,) = found[here, "tcp"]
    assert (holder.pid, holder.address) == (os.getpid(), "127.0.0.1")


def test_the_table_is_in_order() -> None:
    places = [(known.port, known.kind) for known in PORTS]
    assert len(places) == len(set(places))
    for port in (9876, 9877, 11000, 11001, 3819, 57110, 57120, 9980, 9981, 13316, 53000, 12321, 4455, 5678):
        assert port in {known.port for known in PORTS}, port
    assert all(name == name.lower() for known in PORTS for name in known.names)
    assert {known.kind for known in PORTS} == {"tcp", "udp"}


def test_the_doctor_shows_ports_in_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightfast.app.cli import doctor, session

    monkeypatch.setattr(session.CURRENT, "home", str(tmp_path))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        found = doctor.examine([Known(port, "udp", "Ardour (OSC)", ("ardour",), advice="take 3820")])
    (finding,) = [finding for finding in found if f"udp port {port}:" in finding.what]
    assert (finding.level, finding.advice) == ("warn", "take 3820")
    assert [finding for finding in found if finding.what.startswith("no daemon answers")]
    assert [f.what for f in doctor.examine([]) if "port of an application" in f.what] == [
        "no port of an application is in use"
    ]


def test_what_takes_too_long_is_a_finding() -> None:
    from lightfast.app.cli.doctor import _Aside

    end = threading.Event()
    stuck = _Aside("the ports", lambda: end.wait(30))
    assert stuck.result(0.05) is None
    end.set()
    quick: _Aside[list[checks.Finding]] = _Aside("nothing", list)
    assert quick.findings("none") == [checks.Finding("ok", "none")]
