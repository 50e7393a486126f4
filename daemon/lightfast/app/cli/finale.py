"""The last act of the demo: what the daemon remembers, keeps, hides, forgets for ever and brings back."""

from __future__ import annotations

import subprocess
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lightfast.app.cli.acting import FOLLOWER, TEMPO, arrive, number, step
from lightfast.app.cli.session import say
from lightfast.app.cli.stage import Stage
from lightfast.core.errors import AlreadyExists, FailedPrecondition
from lightfast_link.value import close

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightfast.client import Client

MORPH_S = 1.0
SAVED_BPM, CHANGED_BPM = 120.0, 90.0
SAVED_PLACE, CHANGED_PLACE = (1.0, 2.0, 3.0), (-4.0, 0.0, 0.5)
SECRET = "open the demo"  # noqa: S105  (it protects what the demo makes up, and is said here)
LIGHT, WARM, COLD = "demo.light", "the cube is lit warm", "the cube is lit cold"


class Finale:
    """Plays on while Live and Blender are joined and their tempos are linked."""

    def __init__(self, stage: Stage, client: Client, others_off: Sequence[str]) -> None:
        """*others_off* are the settings of a daemon without bridges."""
        self._stage = stage
        self._client = client
        self._others_off = others_off
        self._run = uuid.uuid4().hex[:8]
        self._cube = ""

    def play(self) -> None:
        """Play all acts."""
        self.scene()
        self.remember()
        self.frames()
        self.purge()
        self.backup()
        self.view()

    def scene(self) -> None:
        """Save a scene, change both applications, bring it back, and look at what was in between."""
        client = self._client
        places = client.select("/blender/objects/*/location")
        if not places:
            raise FailedPrecondition("Blender's scene has no object: the demo moves one")
        self._cube = next((entry.path for entry in places if "/Cube" in entry.path), places[0].path)
        client.set_many({TEMPO: SAVED_BPM, self._cube: SAVED_PLACE}, label="demo: how it is to be")
        arrive(client, FOLLOWER, SAVED_BPM)
        found = client.save_scene("demo", TEMPO, self._cube)
        say(f"• scene {found.name!r} saved: {found.entries} values of {', '.join(found.mounts)}")
        client.set_many({TEMPO: CHANGED_BPM, self._cube: CHANGED_PLACE}, label="demo: and now otherwise")
        arrive(client, FOLLOWER, CHANGED_BPM)
        between = datetime.now(UTC)
        with step(f"recall it, {MORPH_S:g} s on the way"):
            *_, last = client.recall_scene("demo", morph=MORPH_S, curve="smooth")
            arrive(client, FOLLOWER, SAVED_BPM)
        if last.problems:
            raise FailedPrecondition(f"the scene did not come back: {last.problems}")
        say(f"    the applications report {last.settled} of {found.entries} values, {len(last.problems)} differ")
        ago = (datetime.now(UTC) - between).total_seconds()
        fields = {"paths": [TEMPO], "at_time": between.isoformat().replace("+00:00", "Z")}
        then = client.call_json("ContextService.Get", fields)["entries"][0]["value"]["double_value"]
        if not close(then, CHANGED_BPM):
            raise FailedPrecondition(f"{TEMPO} is said to have been {then:g} bpm then, not {CHANGED_BPM:g}")
        say(f"    at -{ago:.1f}s it was {then:g} bpm; now it is {number(client, TEMPO):g}")

    def remember(self) -> None:
        """Remember two facts that contradict each other, and recall as of either time."""
        client = self._client
        first = client.remember(WARM, key=LIGHT, fact=True)
        before = first.memory.record_time.ToNanoseconds()
        client.remember(COLD, key=LIGHT, fact=True)
        then = client.recall("which light has the cube", as_of_ns=before, limit=5)
        now = client.recall("which light has the cube", limit=5)
        told = [next((hit.memory.text for hit in hits if hit.memory.key == LIGHT), "nothing") for hits in (then, now)]
        if told != [WARM, COLD]:
            raise FailedPrecondition(f"recalled {told}, not {[WARM, COLD]}")
        say(f"• remember: first {WARM!r}, then {COLD!r}")
        say(f"    recalled as of then: {told[0]!r}; as of now: {told[1]!r}; nothing was overwritten")

    def frames(self) -> None:
        """Append to the archive and search it; seal a private frame, and lock it."""
        client, word = self._client, f"cue{self._run}"
        with step("append 200 frames to the archive, durable, and search them"):
            client.append_frames(*[f"{word}: take {index}, the fog came late" for index in range(200)])
            found = list(client.search_frames(f"{word} fog late", limit=20))
        with step("unlock the private frames, append one, lock them"):
            try:
                client.unlock_archive(SECRET, create=True)
            except AlreadyExists:  # of an earlier demo in this folder
                client.unlock_archive(SECRET)
            from lightfast.client.frames import frame

            (private,) = client.append_frames(frame(f"{word}: the key hangs behind the rack", private=True))
            open_hits = list(client.search_frames(f"{word} rack"))
            client.lock_archive()
        locked_hits = list(client.search_frames(f"{word} rack"))
        locked = client.get_frames([private])
        if len(open_hits) != 1 or locked_hits or locked.frames:
            raise FailedPrecondition("a locked private frame could be read or found, or an unlocked one not")
        say(
            f"    {len(found)} newest of 200 found; the private one was found while open, and is neither found nor read"
        )

    def purge(self) -> None:
        """Plant a secret in four places, purge it, and look for its bytes."""
        client, secret = self._client, f"password-{uuid.uuid4().hex}"
        client.set("/demo/login", f"my {secret}", label=f"demo: {secret}")
        client.set("/demo/login", "changed", label="demo: but it is still in the history")
        client.remember(f"do not tell anybody {secret}", key="demo.secret")
        client.append_frames(f"a note with {secret} in it")
        held = self._holders(secret)
        if not held:
            raise FailedPrecondition("the planted secret is nowhere")
        with step(f"purge a secret that {len(held)} files hold: values, history, labels, memories, frames"):
            *_, last = client.purge(text=secret, reason="the demo")
        if left := self._holders(secret):
            raise FailedPrecondition(f"after the purge the secret is still in {', '.join(map(str, left))}")
        gone = ", ".join(f"{count} of {name}" for name, count in sorted(last.tombstone.removed.items()))
        say(f"    {gone}; no byte of it is left below {self._stage.folder}")

    def _holders(self, text: str) -> list[Path]:
        needle, found = text.encode(), []
        for path in self._stage.folder.rglob("*"):
            try:
                if path.is_file() and needle in path.read_bytes():
                    found.append(path)
            except FileNotFoundError:  # a log of SQLite that was just cut
                continue
        return found

    def backup(self) -> None:
        """Copy everything while the daemon runs, restore it into a new home, and compare the two daemons."""
        from lightfast.client import Client

        client = self._client
        file = self._stage.folder / f"demo-{self._run}.lfbackup"
        home = self._stage.folder / f"restored-{self._run}"
        with step("back up while it runs, restore into another home"):
            *_, last = client.backup(str(file))
            line = [sys.executable, "-m", "lightfast", "backup", "restore", str(file), "--home", str(home), "--yes"]
            done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise FailedPrecondition(f"the backup could not be restored: {done.stderr}")
        revision = last.backup.revision
        second = Stage(home)
        try:
            with step("start a second daemon on it, and compare"):
                second.daemon(*self._others_off)
                with Client(home=str(home)) as other:
                    values = [
                        {entry.path: entry.value for entry in one.select("//", at_revision=revision)}
                        for one in (client, other)
                    ]
                    same = client.recall(LIGHT, limit=1)[0].memory.text == other.recall(LIGHT, limit=1)[0].memory.text
                    ids = {one.info().store_id for one in (client, other)}
        finally:
            second.close()
        if values[0] != values[1] or not same or len(ids) != 2:
            raise FailedPrecondition("the restored daemon differs from the one that was backed up")
        say(
            f"    {len(values[0])} values as of revision {revision} and the memories are the same, under a new store id"
        )

    def view(self) -> None:
        """Show Blender's object in the units and axes of TouchDesigner."""
        found = self._client.view_for_app("touchdesigner", [self._cube])
        told = ", ".join(f"{item.name.rpartition('/')[2]} = {item.value.double_value:g}" for item in found.items)
        if not told:
            raise FailedPrecondition(f"{self._cube} has no counterpart in TouchDesigner")
        place = ", ".join(f"{number:g}" for number in SAVED_PLACE)
        say(f"• view: Blender's ({place}), Z up, is in TouchDesigner, Y up: {told}")
