"""The second part of the demo: a third application, one timeline, and what a show needs."""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
import uuid
from typing import TYPE_CHECKING, Any

from lightfast.app.cli.acting import FOLLOWER, TEMPO, THIRD, arrive, live, number, step
from lightfast.app.cli.session import say
from lightfast.app.cli.stage import Stage, wait_for
from lightfast.core.errors import FailedPrecondition
from lightfast_link.value import close

if TYPE_CHECKING:
    from lightfast.client import Client
    from lightfast.host.plugins import PluginHost

PATCH = """#N canvas 0 0 450 300 10;
#X obj 20 20 lightfast drone PORT;
#X obj 20 80 lightfast-param osc/freq 20 2000 440 0 Hz;
"""
PATCHED = "/drone"
FREQUENCY = PATCHED + "/osc/freq"
BARS = (100.0, 104.0, 108.0, 112.0, 116.0, 120.0, 124.0, 128.0)
RECORDED_S = 2.0
PLAYED_S = 0.8
FRAME, RATE = "/blender/scene/frame_current", "/blender/scene/render/frame_rate"
NEAR_FRAMES = 8


class Encore:
    """Plays on while Live and Blender are joined and their tempos are linked both ways."""

    def __init__(self, stage: Stage, plugins: PluginHost, client: Client, pd_port: int) -> None:
        """*pd_port* is where the daemon takes patches of Pure Data."""
        self._stage = stage
        self._plugins = plugins
        self._client = client
        self._pd_port = pd_port
        self.left_out: list[str] = []
        """What could not be played here, and why."""

    def play(self) -> None:
        """Play all acts."""
        self.third()
        self.timeline()
        self.hold()
        self.record()
        self.browse()
        self.patch()

    def third(self) -> None:
        """Let TouchDesigner join, and the link grow."""
        client = self._client
        with step("TouchDesigner joins (a simulator: its real component on a stand-in for TouchDesigner)"):
            environ = {"LIGHTFAST_HOME": str(self._stage.folder)}
            self._stage.start("touchdesigner", "-m", "lightfast", "sim", "touchdesigner", environ=environ)
            live(client, "/touchdesigner")
        for old in client.call_json("LinkService.ListLinks", {"page_size": 1000}).get("links", []):
            if old["target"] == THIRD:  # of an earlier demo in this folder
                client.call_json("LinkService.DeleteLink", {"link_id": old["link_id"]})
        link = client.link(FOLLOWER, THIRD, two_way=True)
        say(f"• the link grows: {TEMPO} <-> {FOLLOWER} <-> {THIRD} ({link.link_id})")
        arrive(client, THIRD, number(client, FOLLOWER))
        began = time.monotonic()
        client.set(THIRD, 126.5, label="demo: turned in TouchDesigner")
        arrive(client, TEMPO, 126.5)
        arrive(client, FOLLOWER, 126.5)
        took = (time.monotonic() - began) * 1000
        say(f"    set in TouchDesigner: Live and Blender have 126.5 bpm {took:.0f} ms later")

    def timeline(self) -> None:
        """Let Live lead the one timeline, and Blender follow it."""
        client = self._client
        follows = {"offset": 0.0, "tempo": False}  # the tempo is linked already
        client.set_many({"/transport/leader": "/ableton", "/transport/follows/blender": follows})
        try:
            with step("Live leads the timeline, Blender follows: play"):
                client.play()
                wait_for(self._moves, "Blender following the timeline", 15)
            time.sleep(PLAYED_S)
            found, frame = client.get_transport(), number(client, FRAME)
            phase = next(
                (app.phase_ms for app in found.apps if app.mount == "/blender" and app.HasField("phase_ms")), None
            )
            off = "" if phase is None else f", {phase:+.1f} ms off"
            say(f"    {found.position:.2f} s at {found.tempo:g} bpm, led by {found.leading}")
            say(f"    Blender is at frame {frame:g}{off}")
        finally:
            client.stop()
            client.set("/transport/leader", "internal")
            client.delete("/transport/follows/blender")

    def _moves(self) -> bool | None:
        """Say whether the timeline plays, led by Live, and Blender has got near it."""
        found = self._client.get_transport()
        due = found.position * number(self._client, RATE)
        near = abs(number(self._client, FRAME) - due) < NEAR_FRAMES
        return True if found.leading == "/ableton" and found.playing and due > NEAR_FRAMES and near else None

    def hold(self) -> None:
        """Lock the show, then press the panic button, and let go of both."""
        client = self._client
        client.call_json("ShowService.LockShow", {"reason": "the demo"})
        try:
            client.link("/demo/a", "/demo/b")
        except FailedPrecondition as error:
            say(f"• the show is locked; a new link: {error.message.partition(';')[0]}")
        else:
            raise FailedPrecondition("a locked show took a new link")
        finally:
            client.call_json("ShowService.UnlockShow", {})
        before = number(client, FOLLOWER)
        with step("panic: what the machine does by itself stops"):
            stopped = client.call_json("ShowService.Panic", {"reason": "the demo"}, 5.0)
        try:
            client.set(TEMPO, 90.0, label="demo: turned in a panic")
            held = client.get(TEMPO)
            if held.status != "PENDING" or not close(number(client, FOLLOWER), before):
                raise FailedPrecondition(f"the panic did not hold: {TEMPO} is {held.status}")
            say(f"    held: {', '.join(stopped['show'].get('holds', []))}")
            say(f"    90 bpm is wished and durable, and waits; Blender stays at {before:g} bpm")
        finally:
            with step("release"):
                client.call_json("ShowService.ReleasePanic", {})
                arrive(client, TEMPO, 90.0)
        client.set(TEMPO, 91.0, label="demo: after the panic")
        arrive(client, THIRD, 91.0)
        say("    all three turn together again")

    def record(self) -> None:
        """Record two seconds, play them again, and compare."""
        client, name = self._client, f"demo-{uuid.uuid4().hex[:8]}"
        with step(f"record {RECORDED_S:g} s while the tempo is turned"):
            client.call_json("ShowService.StartRecording", {"name": name, "patterns": [TEMPO, FOLLOWER, THIRD]})
            began = time.monotonic()
            for index, bpm in enumerate(BARS, 1):
                client.set(TEMPO, bpm, label="demo: recorded")
                arrive(client, THIRD, bpm)
                time.sleep(max(0.0, began + index * RECORDED_S / len(BARS) - time.monotonic()))
            made = client.call_json("ShowService.StopRecording", {"name": name}, 15)["recording"]
        result: dict[str, Any] = {}
        with step(f"replay --check of {made.get('transactions', 0)} transactions"):
            for message in client.stream_json("ShowService.Replay", {"name": name, "speed": 1.0, "check": True}):
                if "difference" in message:
                    found = message["difference"]
                    raise FailedPrecondition(f"the replay differs: {json.dumps(found, ensure_ascii=False)}")
                result = message.get("result", result)
        if not result.get("checked"):
            raise FailedPrecondition(f"the replay was not compared: {result}")
        say(f"    {result.get('transactions', 0)} of them were inputs; played again, there is no difference")

    def browse(self) -> None:
        """Read the tree as any OSCQuery browser does."""
        note = self._stage.folder / "run" / "endpoints.json"
        door = json.loads(note.read_text(encoding="utf-8"))["oscquery"]
        path = "/blender/scene/lightfast"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine, whatever the proxy
        with opener.open(f"http://{door}{path}", timeout=10) as answer:
            found = json.load(answer)
        told = ", ".join(f"{name} = {node.get('VALUE', ['?'])[0]}" for name, node in found.get("CONTENTS", {}).items())
        say(f"• OSCQuery: http://{door}{path} holds {told}")

    def patch(self) -> None:
        """Join a patch of Pure Data, where it is installed; nothing leaves this machine."""
        program = shutil.which("pd")
        pack = next((item for item in self._plugins.packs() if item.name == "puredata"), None)
        if program is None or pack is None:
            self.left_out.append("a patch of Pure Data (Debian: apt install puredata-core)")
            return
        with step("Pure Data joins (the real one, without sound)"):
            folder = self._stage.folder / "pd"
            folder.mkdir(exist_ok=True)
            abstractions, _ = pack.write(folder)
            file = folder / "drone.pd"
            file.write_text(PATCH.replace("PORT", str(self._pd_port)), encoding="utf-8")
            line = [program, "-nogui", "-noaudio", "-nomidi", "-nrt", "-noprefs", "-stderr"]
            self._stage.run("puredata", *line, "-path", str(abstractions.parent), "-open", str(file))
            live(self._client, PATCHED)
        client = self._client
        client.set(FREQUENCY, 220.0, label="demo: tune the drone")
        arrive(client, FREQUENCY, 220.0)
        say(f"    the patch has {FREQUENCY} at 220 Hz")
