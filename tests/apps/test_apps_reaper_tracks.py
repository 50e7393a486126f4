"""Which track is which: names, GUIDs from the script, tracks that come, go and move, and other pattern files."""

from __future__ import annotations

import asyncio
import ctypes
import ctypes.util
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.daemon import Daemon
from tests.support.ending import ended
from tests.support.ports import free_port
from tests.support.reaper import DEFAULT, bridged, holds, joined, joint, refusal, running, song, wish, written

from lightfast.client import AsyncClient
from lightfast.core.errors import LightfastError
from lightfast.sdk import Wish
from lightfast.sdk.testing import FakeBridgeHost
from lightfast_bridges.reaper.bridge import ReaperBridge
from lightfast_bridges.reaper.guids import read_sheet, resource_path
from lightfast_bridges.reaper.layout import Place, lay_out
from lightfast_bridges.reaper.pack import FILES, SCRIPT, ReaperPack, files_folder
from lightfast_bridges.reaper.project import Project, Track, to_db
from lightfast_link.value import close


def moves(session: Any) -> list[tuple[str, str]]:
    return [(change.moved_from, change.path) for change in session.changes if change.moved_from]


async def test_a_track_inserted_above_takes_nobodys_values(tmp_path: Path) -> None:
    async with joint(tmp_path) as (reaper, session):
        session.changes.clear()
        reaper.user.insert(1, Track("Click", volume=0.1))
        await holds(session, "tracks/Click/volume", -20.0)
        await holds(session, "tracks/Drums/number", 2)
        assert session.values["tracks/Drums/volume"] == pytest.approx(-3.0, abs=1e-3)
        assert not [one for one in session.changes if one.path == "tracks/Drums/volume"], "it has not changed"
        await wish(session, 1, "tracks/Drums/volume", -4.0)
        assert to_db(reaper.project.tracks[1].volume) == pytest.approx(-4.0)
        reaper.user.delete(1)
        await holds(session, "tracks/Click/volume", None)
        await wish(session, 2, "tracks/Bass/mute", True)
        assert reaper.project.tracks[1].mute


async def test_wishes_for_tracks_wait_until_it_is_known_which_is_which(tmp_path: Path) -> None:
    async with joint(tmp_path) as (reaper, session):
        channel: Any = session.channel
        channel._mirror.alarm()
        session.channel.apply([Wish(1, "tracks/Reverb/volume", -40.0, 1), Wish(2, "transport/tempo", 90.0, 2)])
        assert len(channel._kept) == 1
        await session.until(lambda: {1, 2} <= session.settled.keys(), "both settled")
        assert to_db(reaper.project.tracks[2].volume) == pytest.approx(-40.0)


async def test_without_guids_a_rename_in_reaper_is_one_gone_and_one_new(tmp_path: Path) -> None:
    async with joint(tmp_path) as (reaper, session):
        reaper.user.rename(2, "Sub")
        await holds(session, "tracks/Sub/pan", -0.1)
        await holds(session, "tracks/Bass/pan", None)
        assert moves(session) == []


async def test_our_own_rename_moves_the_track(tmp_path: Path) -> None:
    async with joint(tmp_path) as (reaper, session):
        await wish(session, 1, "tracks/Bass/name", "Sub / low")
        assert reaper.project.tracks[1].name == "Sub / low"
        assert moves(session) == [("tracks/Bass", "tracks/Sub%20%2F%20low")]
        await wish(session, 2, "tracks/Keys", None, moved_from="tracks/Drums")
        assert reaper.project.tracks[0].name == "Keys"
        assert moves(session)[1:] == [("tracks/Drums", "tracks/Keys")]
        await wish(session, 3, "tracks/Keys/volume", -8.0)
        assert to_db(reaper.project.tracks[0].volume) == pytest.approx(-8.0)


async def test_tracks_of_one_name_and_of_none(tmp_path: Path) -> None:
    project = Project(tracks=[Track("Gtr", pan=-0.5), Track(""), Track("Gtr", pan=0.5), Track("4")])
    async with joint(tmp_path, project) as (_, session):
        assert session.values["tracks/Gtr/pan"] == -0.5
        assert session.values["tracks/Gtr%20(2)/pan"] == 0.5
        assert {"tracks/Track%202/pan", "tracks/Track%204/pan"} <= session.values.keys()
        assert "tracks/Track%205/pan" not in session.values


async def test_with_guids_a_rename_is_a_move(tmp_path: Path) -> None:
    async with running() as reaper:
        written(tmp_path, reaper.project.tracks)
        async with bridged(reaper, tmp_path) as host:
            session = await joined(host)
            guid = reaper.project.tracks[1].guid
            assert session.hello.document_id == "/songs/one.rpp"
            assert session.hello.app_version == "7.22"
            (change,) = [one for one in session.changes if one.path == "tracks/Bass/pan"][-1:]
            assert change.object_id == guid
            reaper.user.rename(2, "Sub")
            written(tmp_path, reaper.project.tracks, sequence=2)
            await holds(session, "tracks/Sub/pan", -0.1)
            assert moves(session) == [("tracks/Bass", "tracks/Sub")]
            # swapped names: neither runs over the other
            reaper.user.rename(1, "Sub")
            reaper.user.rename(2, "Drums")
            written(tmp_path, reaper.project.tracks, sequence=3)
            await holds(session, "tracks/Drums/pan", -0.1)
            await holds(session, "tracks/Sub/volume", -3.0)


async def test_with_guids_a_track_is_followed_to_another_place(tmp_path: Path) -> None:
    async with running(Project(tracks=[Track("A", pan=-1.0), Track("A", pan=1.0), Track("B")])) as reaper:
        tracks = reaper.project.tracks
        written(tmp_path, tracks)
        async with bridged(reaper, tmp_path) as host:
            session = await joined(host)
            assert session.values["tracks/A%20(2)/pan"] == 1.0
            reaper.user.insert(1, Track("A", pan=0.25))  # a third of that name, above both
            written(tmp_path, tracks, sequence=2)
            await holds(session, "tracks/A%20(3)/pan", 0.25)
            assert session.values["tracks/A/pan"] == -1.0
            await wish(session, 1, "tracks/A/volume", -5.0)
            assert to_db(tracks[1].volume) == pytest.approx(-5.0)
            # the script stops: names are what is left
            (tmp_path / "lightfast" / "tracks.json").unlink()
            reaper.user.rename(4, "C")
            await holds(session, "tracks/C/number", 4)


async def test_another_project_is_another_document(tmp_path: Path) -> None:
    async with running() as reaper:
        written(tmp_path, reaper.project.tracks)
        async with bridged(reaper, tmp_path) as host:
            first = await joined(host)
            other = Project(tracks=[Track("Alone")])
            reaper.user.open(other)
            written(tmp_path, other.tracks, "/songs/two.rpp", 2)
            await first.until(lambda: first.lost_reason, "the end")
            second = await joined(host, 2)
            assert second.hello.document_id == "/songs/two.rpp"
            assert "tracks/Drums/volume" not in second.values


async def test_a_stale_or_broken_file_of_the_script_is_left_out(tmp_path: Path) -> None:
    async with running() as reaper:
        written(tmp_path, [Track("Long"), Track("ago")])
        async with bridged(reaper, tmp_path) as host:
            session = await joined(host)
            assert session.hello.document_id.startswith("tracks-")
            (tmp_path / "lightfast" / "tracks.json").write_text("{]")
            reaper.user.rename(1, "Kit")
            await holds(session, "tracks/Kit/number", 1)


def test_sheets_are_read_with_care() -> None:
    good: dict[str, Any] = {
        "version": 1,
        "project": "",
        "tracks": [{"guid": "{A}", "name": ""}, {"guid": "{B}", "name": "2"}],
    }
    sheet = read_sheet(json.dumps(good).encode())
    assert sheet.fits(["Track 1", "Track 2"])
    assert not sheet.fits(["Track 1"])
    assert not sheet.fits(["Track 1", "Bass"])
    for wrong in (
        {**good, "version": 2},
        {**good, "tracks": [{"guid": 1}]},
        {**good, "tracks": [good["tracks"][0]] * 2},
    ):
        with pytest.raises(ValueError, match=r"version|GUID"):
            read_sheet(json.dumps(wrong).encode())
    assert resource_path("~/x") == Path.home() / "x"


def test_layouts() -> None:
    before = [Place(1, "tracks/A", "A", "{1}"), Place(2, "tracks/B", "B", "{2}"), Place(3, "tracks/C", "C", "{3}")]
    swapped = lay_out(["B", "A", "C"], ["{1}", "{2}", "{3}"], before)
    assert [place.base for place in swapped.places] == ["tracks/B", "tracks/A", "tracks/C"]
    where = {one.base: one.guid for one in before}
    for source, target in swapped.moves:
        assert target not in where, "a move ran over a track"
        where[target] = where.pop(source)
    assert where == {"tracks/B": "{1}", "tracks/A": "{2}", "tracks/C": "{3}"}
    gone = lay_out(["A", "C"], ["{1}", "{3}"], before)
    assert (gone.gone, gone.moves) == (("tracks/B",), ())
    replaced = lay_out(["A", "B", "C"], ["{1}", "{9}", "{3}"], before)  # another track of that name
    assert replaced.gone == ("tracks/B",)
    assert lay_out(["C", "A"], None, before).gone == ("tracks/B",)


# ---------------------------------------------------------------------- other pattern files


async def test_the_default_pattern_file_is_degraded_and_says_what_to_do(tmp_path: Path) -> None:
    async with joint(tmp_path, patterns=DEFAULT) as (reaper, session):
        assert "lightfast pack reaper" in session.trouble
        assert "choose the pattern config Lightfast" in session.trouble
        assert session.values["surface/patterns"] == "other"
        assert session.values["tracks/Drums/volume"] == pytest.approx(-3.0, abs=1e-3)
        assert await wish(session, 1, "tracks/Drums/volume", -6.0) == pytest.approx(-6.0, abs=1e-3)
        assert await wish(session, 2, "tracks/Reverb/pan", 0.5) == pytest.approx(0.5)
        assert await wish(session, 3, "transport/tempo", 98.5) == pytest.approx(98.5)
        assert await wish(session, 4, "transport/repeat", True) is True
        assert await wish(session, 5, "transport/repeat", True) is True  # a toggle: the second is not sent
        assert reaper.project.repeat
        assert session.values["tracks/Drums/sends/1/volume"] == pytest.approx(-12.0)
        assert "choose Lightfast as pattern config" in await refusal(session, 6, "tracks/Drums/sends/1/volume", -1.0)
        assert "choose Lightfast as pattern config" in await refusal(session, 7, "master/volume", -1.0)
        assert not [path for path in session.values if "/parameters/" in path]
        reaper.user.volume(2, -11.0)
        await holds(session, "tracks/Bass/volume", -11.0)


async def test_duplicates_for_the_selected_track_are_not_taken_for_tracks(tmp_path: Path) -> None:
    async with joint(tmp_path, song(12), patterns=DEFAULT) as (reaper, session):
        assert session.values["surface/tracks"] == 12
        reaper.user.volume(12, -17.0)  # the device's selected track: told on /track/volume, too
        await holds(session, "tracks/T012/volume", -17.0)
        paths = {change.path for change in session.changes if change.path.startswith("tracks/")}
        assert {path.split("/")[1] for path in paths} == {f"T{number:03d}" for number in range(1, 13)}


async def test_a_file_that_cannot_be_asked_is_explained(tmp_path: Path) -> None:
    mute = "TRACK_VOLUME f/track/@/volume/db\nTIME f/time\n"
    async with running(patterns=mute) as reaper, bridged(reaper, tmp_path) as host:
        reaper.project.playing = True
        await host.until(lambda: any("is heard" in one for one in host.absences), "the reason")
        assert "/device/track/select" in host.absences[-1]
        assert not host.sessions


# ---------------------------------------------------------------------- diagnosis, pack, script, daemon


async def test_nothing_heard_gives_the_steps(tmp_path: Path) -> None:
    remote, reply = free_port(), free_port()
    config = {"remote": f"127.0.0.1:{remote}", "reply_port": reply, "resource_path": str(tmp_path)}
    findings = {one.subject: one for one in await ReaperBridge().diagnose(config)}
    assert findings[f"UDP port {reply}"].level == "warning"
    there = findings[f"UDP port {remote}"]
    assert there.level == "error"
    for step in ("Control/OSC/web", "pattern config Lightfast", f"device port {reply}", f"local listen port {remote}"):
        assert step in there.remedy
    assert findings["pattern file"].level == "warning"


async def test_a_taken_reply_port_is_named_with_its_holder(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as squatter:
        squatter.bind(("127.0.0.1", 0))
        port = squatter.getsockname()[1]
        config = {"remote": f"127.0.0.1:{free_port()}", "reply_port": port, "resource_path": str(tmp_path)}
        found = {one.subject: one for one in await ReaperBridge().diagnose(config)}[f"UDP port {port}"]
        assert found.level == "error"
        assert f"process {os.getpid()}" in found.what
        async with running() as reaper, bridged(reaper, tmp_path, reply_port=port) as host:
            await host.until(lambda: host.absences, "the reason")
            assert "plugins.reaper.reply_port" in host.absences[0]


async def test_diagnosis_of_a_joined_reaper_and_of_its_settings(tmp_path: Path) -> None:
    async with running() as reaper:
        (tmp_path / "OSC").mkdir()
        ReaperPack().write(tmp_path)
        (tmp_path / "reaper" / FILES[0]).rename(tmp_path / "OSC" / FILES[0])
        line = f'csurf_0=OSC "desk" 3 {reaper.port} "127.0.0.1" {{}} 1024 10 "{{}}"\ncsurf_1=HUI 0 0\n'
        (tmp_path / "reaper.ini").write_text("[reaper]\n" + line.format(reaper.device_port, "Lightfast"))
        bridge = ReaperBridge()
        table = {"remote": f"127.0.0.1:{reaper.port}", "reply_port": reaper.device_port, "resource_path": str(tmp_path)}
        host = FakeBridgeHost({**table, "poll": 0.2})
        task = asyncio.ensure_future(bridge.run(host))
        try:
            await joined(host)
            assert {one.level for one in await bridge.diagnose(table)} <= {"ok", "note"}
            (tmp_path / "reaper.ini").write_text("[reaper]\n" + line.format(12345, "Default"))
            (wrong,) = [one for one in await bridge.diagnose(table) if one.level == "warning"]
            assert "it sends to port 12345" in wrong.what
            assert "its pattern config is Default" in wrong.what
        finally:
            await ended(task, "the bridge")
            host.close()


def test_pack_writes_what_the_readme_names(tmp_path: Path) -> None:
    main, advice = ReaperPack().write(tmp_path)
    assert main == tmp_path / "reaper" / "Lightfast.ReaperOSC"
    assert sorted(path.name for path in main.parent.iterdir()) == sorted(FILES)
    assert "Control/OSC/web" in advice


def _lua() -> ctypes.CDLL:
    name = ctypes.util.find_library("luajit-5.1")
    if name is None:
        pytest.skip("LuaJIT is missing: apt-get install --no-install-recommends libluajit-5.1-2")
    lua = ctypes.CDLL(name)
    lua.luaL_newstate.restype = ctypes.c_void_p
    lua.lua_tolstring.restype = ctypes.c_char_p
    return lua


FAKE_REAPER = """
local defers, exits, clock, count, path = {}, {}, 0, 1, "/songs/one.rpp"
local tracks = {{guid = "{1}", name = "Drums"}, {guid = "{2}", name = 'a "b" \\\\ \\n é'}}
reaper = {
  GetResourcePath = function() return FOLDER end,
  RecursiveCreateDirectory = function(where) os.execute('mkdir -p "' .. where .. '"') end,
  atexit = function(run) exits[#exits + 1] = run end,
  defer = function(run) defers[#defers + 1] = run end,
  time_precise = function() clock = clock + 1 return clock end,
  EnumProjects = function(index) return "project", path end,
  GetProjectStateChangeCount = function() return count end,
  CountTracks = function() return #tracks end,
  GetTrack = function(_, index) return tracks[index + 1] end,
  GetSetMediaTrackInfo_String = function(track) return true, track.name end,
  GetTrackGUID = function(track) return track.guid end,
  GetAppVersion = function() return "7.22/linux" end,
  ShowConsoleMsg = function(text) error(text) end,
}
function turn(step)
  if step == "rename" then tracks[1].name, count = "Kit", count + 1 end
  if step == "exit" then for _, run in ipairs(exits) do run() end return end
  local now = defers
  defers = {}
  for _, run in ipairs(now) do run() end
end
"""


def test_the_script_writes_what_the_bridge_reads(tmp_path: Path) -> None:
    """In a real Lua, with REAPER's functions played."""
    lua = _lua()
    state = ctypes.c_void_p(lua.luaL_newstate())

    def run(code: str) -> None:
        wrong = lua.luaL_loadstring(state, code.encode()) or lua.lua_pcall(state, 0, 0, 0)
        assert not wrong, lua.lua_tolstring(state, -1, None)

    target = tmp_path / "lightfast" / "tracks.json"
    try:
        lua.luaL_openlibs(state)
        run(f"FOLDER = {json.dumps(str(tmp_path))}" + FAKE_REAPER)
        run((files_folder() / SCRIPT).read_text(encoding="utf-8"))
        sheet = read_sheet(target.read_bytes())
        assert sheet.names == ("Drums", 'a "b" \\ \n é')
        assert (sheet.guids, sheet.project, sheet.version) == (("{1}", "{2}"), "/songs/one.rpp", "7.22/linux")
        before = target.stat().st_mtime_ns
        run("turn('nothing')")
        assert target.stat().st_mtime_ns == before
        run("turn('rename')")
        assert read_sheet(target.read_bytes()).names[0] == "Kit"
        run("turn('exit')")
        assert not target.exists()
    finally:
        lua.lua_close(state)


@pytest.mark.slow
async def test_through_a_real_daemon(tmp_path: Path) -> None:
    """A daemon process, `lightfast sim reaper` in another, a client over gRPC."""
    port, reply = free_port(), free_port()
    flags = [f"plugins.reaper.remote=127.0.0.1:{port}", f"plugins.reaper.reply_port={reply}"]
    flags.append(f"plugins.reaper.resource_path={tmp_path}")
    daemon = Daemon(tmp_path / "home", flags=flags).start()
    line = [
        sys.executable,
        "-m",
        "lightfast",
        "sim",
        "reaper",
        "--listen",
        f"127.0.0.1:{port}",
        "--reply-port",
        str(reply),
    ]
    simulator = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        async with AsyncClient(home=daemon.home) as client:

            async def settled(path: str, value: float) -> bool:
                try:
                    entry = await client.get(path)
                except LightfastError:
                    return False
                return entry.status == "SETTLED" and entry.value is not None and close(entry.value, value, 1e-3)

            async def seen(path: str, value: float) -> None:
                end = time.monotonic() + 60
                while not await settled(path, value):
                    assert time.monotonic() < end, f"{path} = {value}\n{daemon.log()[-3000:]}"
                    await asyncio.sleep(0.05)

            await seen("/reaper/tracks/Drums/volume", -3.0)
            await client.set("/reaper/tracks/Drums/volume", -10.5)
            await seen("/reaper/tracks/Drums/volume", -10.5)
            await client.set("/reaper/transport/tempo", 101.5)
            await seen("/reaper/transport/tempo", 101.5)
            (app,) = [one for one in await client.list_apps() if one.mount == "/reaper"]
            assert app.simulator
    finally:
        simulator.terminate()
        simulator.wait(60)
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.stop()
