"""What the demo plays: the acts, in order."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightfast.app.cli.acting import APP_STATE_LIVE, FOLLOWER, TEMPO, arrive, live, number, step
from lightfast.app.cli.audience import Audience
from lightfast.app.cli.encore import Encore
from lightfast.app.cli.errand import Errand
from lightfast.app.cli.finale import Finale
from lightfast.app.cli.gallery import Gallery
from lightfast.app.cli.local import load_plugins
from lightfast.app.cli.session import say
from lightfast.app.cli.stage import Stage, free_udp_port, wait_for
from lightfast.core import osc_build
from lightfast.core.errors import FailedPrecondition
from lightfast_link.value import Asset

if TYPE_CHECKING:
    import subprocess

    from lightfast.client import Client

TURN = "/live/song/set/tempo"
"""What AbletonOSC calls turning the tempo."""
PLAYERS = ("ableton", "blender", "puredata", "touchdesigner")
"""The bridges of the demo; the others are off, so that it leaves alone what else is open on this desk."""
ATTEMPTS = 3


class Show:
    """The acts of the demo on one stage."""

    def __init__(self, stage: Stage, *, simulate: bool) -> None:
        self.stage = stage
        self.simulate = simulate
        self.home = stage.folder
        self.blend = self.home / "demo.blend"
        self.plugins = load_plugins()
        self.blender: subprocess.Popen[bytes] | None = None
        self.real_blender = False
        self.live_port = 0
        self.pd_port = 0
        self.left_out: list[str] = []

    def run(self) -> None:
        """Play all acts."""
        from lightfast.client import Client

        self.open_house()
        with Client(home=str(self.home)) as client, Client(home=str(self.home)) as second:
            audience = Audience(second)
            self.join(client)
            self.link(client)
            self.make(client)
            self.crash(client)
            self.undo(client)
            encore = Encore(self.stage, self.plugins, client, self.pd_port)
            encore.play()
            gallery = Gallery(self.stage, client)
            gallery.play()
            errand = Errand(self.stage, client, renders=self.real_blender)
            errand.play()
            Finale(self.stage, client, self._others_off(players=())).play()
            self.left_out = [*encore.left_out, *gallery.left_out, *errand.left_out]
            last = client.set("/demo/done", value=True).revision
            say(f"• somebody watched all this over gRPC: {audience.report(last)}")

    # Act 1: the house opens

    def open_house(self) -> None:
        """Start the Live simulator and the daemon; where a port was taken meanwhile, again with others."""
        for attempt in range(1, ATTEMPTS + 1):
            reply, self.pd_port = free_udp_port(), free_udp_port()
            try:
                self._open(reply)
            except FailedPrecondition as error:
                if attempt == ATTEMPTS or "taken" not in error.message:
                    raise
                say(f"  {error.message.splitlines()[0]}: once more with other ports")
                self.stage.close()
            else:
                return

    def _open(self, reply: int) -> None:
        with step("start the Live simulator (AbletonOSC's protocol on a real socket)"):
            before = self._size("live")
            arguments = ("sim", "ableton", "--listen", "127.0.0.1:0", "--reply-port", str(reply))
            process = self.stage.start("live", "-m", "lightfast", *arguments)
            said = wait_for(
                lambda: self._said("live", before, "listening on", process), "the start of the simulator", 15
            )
            self.live_port = int(said.rpartition(":")[2])
        with step("start a private daemon"):
            self.stage.daemon(
                *self._others_off(),
                f"plugins.ableton.remote=127.0.0.1:{self.live_port}",
                f"plugins.ableton.reply_port={reply}",
                f"plugins.puredata.listen=127.0.0.1:{self.pd_port}",
                "oscquery.listen=127.0.0.1:0",
                'oscquery.grants=["/blender//"]',
                "oscquery.mdns=false",
            )
            self._listening(reply)

    def _others_off(self, players: Sequence[str] = PLAYERS) -> list[str]:
        found = [plugin.name for plugin in self.plugins.records() if f"bridge:{plugin.name}" in plugin.brings]
        return [f"plugins.{name}.enabled=false" for name in found if name not in players]

    def _listening(self, reply: int) -> None:
        """Wait until the daemon hears Live, or cannot because somebody has taken the port."""
        from lightfast.client import Client

        with Client(home=str(self.home)) as client:

            def look() -> bool | None:
                for item in client.list_apps():
                    if item.mount == "/ableton" and item.state == APP_STATE_LIVE:
                        return True
                    if item.mount == "/ableton" and f"{reply} is taken" in item.state_reason:
                        raise FailedPrecondition(item.state_reason)
                return None

            wait_for(look, "Live joining", 20)

    def _size(self, name: str) -> int:
        log = self.stage.log(name)
        return log.stat().st_size if log.exists() else 0

    def _said(self, name: str, after: int, word: str, process: subprocess.Popen[bytes]) -> str | None:
        said = self.stage.log(name).read_bytes()[after:].decode(errors="replace")
        for line in said.splitlines(keepends=True):
            if word in line and line.endswith("\n"):
                return line.strip()
        if process.poll() is not None:
            raise FailedPrecondition(f"{name} ended with code {process.returncode}:\n{said[-2000:]}")
        return None

    # Act 2: the applications join

    def start_blender(self, document: Path | None = None) -> None:
        """Start a real Blender where there is one, else the simulator, and say which."""
        launcher = next((item for item in self.plugins.launchers() if item.name == "blender"), None)
        found = launcher.find() if launcher and not self.simulate else None
        if launcher and found:
            self.real_blender = True
            with step(f"start {found}"):
                process = launcher.start(self.home, document=document, log=self.stage.log("blender"))
                self.blender = self.stage.add("blender", process)
            return
        if not self.simulate:
            say("  Blender is not here (Debian: apt install blender); a simulator stands in for it.")
        with step("start the Blender simulator"):
            self.blender = self.stage.start(
                "blender", "-m", "lightfast", "sim", "blender", environ={"LIGHTFAST_HOME": str(self.home)}
            )

    def join(self, client: Client) -> None:
        """Wait until both applications are in step."""
        self.start_blender()
        with step("both join and are in step"):
            for mount in ("/ableton", "/blender"):
                live(client, mount, check=self._look_at_blender)
        for item in [item for item in client.list_apps() if item.state == APP_STATE_LIVE]:
            kind = "simulator" if item.simulator else "real"
            say(f"    {item.mount}: {kind}, {item.app_version or '?'}, over {item.transport}")
        say(f"    Blender's log: {self.stage.log('blender')}")

    def _look_at_blender(self) -> None:
        if self.blender is not None and self.blender.poll() is not None:
            raise FailedPrecondition(f"Blender ended with code {self.blender.returncode}: see its log below")

    # Act 3: one turns, the other follows

    def link(self, client: Client) -> None:
        """Link the tempo to a property in Blender, turn it on either side, and time its way."""
        for old in client.call_json("LinkService.ListLinks", {"page_size": 1000}).get("links", []):
            if old["source"] == TEMPO:  # of an earlier demo in this folder
                client.call_json("LinkService.DeleteLink", {"link_id": old["link_id"]})
        link = client.link(TEMPO, FOLLOWER, two_way=True)
        say(f"• link {TEMPO} <-> {FOLLOWER} ({link.link_id})")
        arrive(client, FOLLOWER, number(client, TEMPO))
        self._turn(client, FOLLOWER, 97.0, "set through Lightfast: Blender has 97 bpm", self._wish)
        self._turn(
            client, FOLLOWER, 128.0, "turned in Live itself (its tick is 100 ms): Blender has 128 bpm", self._knob
        )
        self._turn(client, TEMPO, 111.5, "set in Blender: Live has 111.5 bpm", self._wish_in_blender)

    def _turn(self, client: Client, target: str, bpm: float, told: str, turn: Callable[[Client, float], None]) -> None:
        began = time.monotonic()
        turn(client, bpm)
        arrive(client, target, bpm)
        say(f"    {told} {(time.monotonic() - began) * 1000:.0f} ms later")

    @staticmethod
    def _wish(client: Client, bpm: float) -> None:
        client.set(TEMPO, bpm, label="demo: turn the tempo")

    @staticmethod
    def _wish_in_blender(client: Client, bpm: float) -> None:
        client.set(FOLLOWER, bpm, label="demo: change it in Blender")

    def _knob(self, _: Client, bpm: float) -> None:
        """Turn the tempo in Live behind the daemon's back, as a hand on the knob does."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hand:
            hand.sendto(osc_build.encode(TURN, bpm), ("127.0.0.1", self.live_port))

    # Act 4: something is made

    def make(self, client: Client) -> None:
        """Generate an image and place it in the scene."""
        asset: Any = None
        with step("generate an image (procedural, no model, no network)"):
            for message in client.generate("image", "warm red sunset over a calm sea", target_path="/demo/sunset"):
                if message.WhichOneof("kind") == "asset":
                    asset = message.asset
        say(f"    {asset.file_path} ({asset.size} bytes)")
        with step("place it in the scene"):
            reference = Asset(asset.uri, asset.media_type, asset.sha256, asset.size)
            placed = client.invoke("/blender", "place_image", asset=reference, name="Sunset")
        if isinstance(placed, dict) and "path" in placed:
            say(f"    it is /blender/{placed['path']}")

    # Act 5: a crash, and what an undo takes back

    def crash(self, client: Client) -> None:
        """Kill Blender, start it again, and see it in step."""
        document: Path | None = None
        if self.real_blender:
            document = self.blend
            with step(f"save {self.blend.name}"):
                client.invoke("/blender", "save", path=str(self.blend))
        with step("turn the tempo once more, unsaved in Blender"):
            client.set(TEMPO, 93.0)
            arrive(client, FOLLOWER, 93.0)
        if self.blender is None:
            raise FailedPrecondition("Blender was not started")
        pid = next(item.pid for item in client.list_apps() if item.mount == "/blender")
        with step("kill -9 Blender"):
            self.stage.kill(self.blender)
        self.start_blender(document)
        with step("it returns and is put in step"):
            app_again = live(client, "/blender", pid, self._look_at_blender)
            arrive(client, FOLLOWER, 93.0)
        recovered = app_again.recovery_duration.ToMilliseconds()
        say(f"    Blender reports 93 bpm again; in step {recovered} ms after it came back")
        for path in app_again.lost_paths:
            say(f"    lost: {path}")

    def undo(self, client: Client) -> None:
        """Change both applications in one gesture, and take it back."""
        group = f"demo-{uuid.uuid4().hex[:8]}"
        client.set(TEMPO, 150.0, group=group, label="demo: one gesture")
        arrive(client, FOLLOWER, 150.0)
        with step("undo the last change across both"):
            undone = client.undo(group=group)
            arrive(client, TEMPO, 93.0)
            arrive(client, FOLLOWER, 93.0)
        say(f"    revision {undone.revision} took back {', '.join(map(str, undone.revisions))}; both are at 93 bpm")

    def invite(self) -> None:
        """Say how to talk to what stays up."""
        say("\nStaying up; Ctrl-C ends it. From another terminal:")
        say(f"  export LIGHTFAST_HOME={self.home}")
        say("  lightfast apps")
        say("  lightfast watch '//tempo' '//bpm'")
        say(f"  lightfast set {TEMPO} 140")
        say("  lightfast get '/blender//'")
        say("  lightfast apps invoke /blender create_object kind=uv_sphere")
        say("  lightfast history --limit 5")
        say(f"Turn the knob in Live from any OSC tool: {TURN} FLOAT to UDP 127.0.0.1:{self.live_port}")
