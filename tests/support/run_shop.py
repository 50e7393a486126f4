"""A plugin whose operations and provider act on a folder that outlasts the daemon, and that kills the daemon.

Every boundary of the journal (before and after each of its calls, and of each change of the run's own row) is written
to the file `boundaries`; at those that the file `kills` names the daemon kills itself, once at each.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

PLUGIN = """
import os, signal
from pathlib import Path

from lightfast.engine.runs.drive import Drive
from lightfast.engine.runs.journal import Journal
from lightfast.sdk import Artifact, Effect, Job, Model, Operation, Outcome, Progress, Provider, Undoing, Usage, hookimpl

FOLDER = Path("{folder}")


def note(file, text):
    with open(FOLDER / file, "a") as out:
        out.write(text + "\\n")


def noted(file):
    return (FOLDER / file).read_text().split("\\n") if (FOLDER / file).exists() else []


def act(what, key=""):
    if key:
        try:
            os.close(os.open(FOLDER / "keys" / key.replace("/", "~"), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
    note("log", what)


def boundary(name):
    note("boundaries", name)
    if name in noted("kills") and name not in noted("killed"):
        note("killed", name)
        os.kill(os.getpid(), signal.SIGKILL)


def watched(kind, method, name_of):
    plain = getattr(kind, method)

    async def call(self, *args, **kwargs):
        name = name_of(*args, **kwargs)
        boundary(name + " before")
        found = await plain(self, *args, **kwargs)
        boundary(name + " after")
        return found

    setattr(kind, method, call)


watched(Journal, "started", lambda step: step.step_id + " started")
watched(Journal, "kept", lambda step_id, text: step_id + " kept")
watched(Journal, "committed", lambda step, changes: step.step_id + " committed")
watched(Journal, "ended", lambda step: step.step_id + " ended " + step.state)
watched(Drive, "change", lambda live, **changes: "run " + str(changes.get("state", "kept")))


class Shop(Operation):
    summary = "Acts in the shop."
    arguments = {{"type": "object", "properties": {{"what": {{"type": "string"}}}}}}
    possible_effects = frozenset((Effect.REVERSIBLE,))
    pool = "application"

    def writes(self, arguments):
        return ("/shop/" + arguments["what"],)

    async def perform(self, call, bench):
        what = call.arguments["what"]
        act(what, call.key if self.keyed else "")
        boundary(call.step_id + " acted")
        return Outcome({{"did": what}}, undo=Undoing("shop.undo", {{"what": "un" + what}}))


class Keyed(Shop):
    name, keyed = "shop.keyed", True


class Undo(Shop):
    name, keyed = "shop.undo", True


class Plain(Shop):
    name = "shop.plain"

    async def recover(self, call, bench):
        what = call.arguments["what"]
        if what not in noted("log"):
            return await self.perform(call, bench)
        return Outcome({{"did": call.arguments["what"]}}, undo=Undoing("shop.undo", {{"what": "un" + what}}))


class Mystery(Shop):
    name = "shop.mystery"


class Films(Provider):
    name = "films"
    description = "makes films by jobs"
    local = True

    def models(self):
        return [Model("slow", outputs=("video",), capabilities=("jobs",), free=True)]

    async def generate(self, request, bench):
        job = request.job
        if not job:
            job = "job-" + request.idempotency_key
            act("film " + request.prompt, job)
            yield Job(job)  # the daemon has it on the disk when it goes on
            boundary("film " + request.prompt + " kept")
        yield Progress(0.5, "rendering")
        boundary("film " + request.prompt + " polled")
        yield Artifact("video/mp4", ("film of " + request.prompt).encode(), "film.mp4")
        yield Usage(seconds=2.0)

    async def cancel(self, session, job):
        note("log", "cancelled " + job)


@hookimpl
def lightfast_operations(config):
    return [Keyed(), Plain(), Mystery(), Undo()]


@hookimpl
def lightfast_providers(config):
    return [Films()]
"""


class Shop:
    """The folder, as the test sees it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clear()

    @property
    def plugin(self) -> str:
        """The source of the plugin."""
        return PLUGIN.format(folder=self.folder)

    def clear(self) -> None:
        """Forget everything."""
        (self.folder / "keys").mkdir(parents=True, exist_ok=True)
        for file in (*self.folder.glob("keys/*"), *(each for each in self.folder.iterdir() if each.is_file())):
            file.unlink()

    def lines(self, name: str) -> list[str]:
        """Return the lines of a file."""
        file = self.folder / name
        return file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []

    def kill_at(self, *boundaries: str) -> None:
        """Let the daemon kill itself at each of these, once."""
        (self.folder / "kills").write_text("".join(f"{each}\n" for each in boundaries), encoding="utf-8")

    def counts(self) -> Counter[str]:
        """Return how often each act happened."""
        return Counter(self.lines("log"))


def twenty() -> tuple[str, dict[str, Any], Counter[str]]:
    """Return a program of twenty steps, the values it leaves, and what it does in the shop."""
    steps: list[dict[str, Any]] = []

    def add(name: str, op: str, after: list[str] | None = None, **arguments: Any) -> None:
        steps.append({"id": name, "op": op, "arguments": arguments, **({"after": after} if after else {})})

    for n in (1, 2, 3):
        add(f"set{n}", "context.set", path=f"/show/v{n}", value=n)
        add(f"keyed{n}", "shop.keyed", what=f"k{n}")
        add(f"plain{n}", "shop.plain", what=f"p{n}")
    for n in (1, 2):
        add(f"mystery{n}", "shop.mystery", what=f"m{n}")
    for n in (4, 5):
        add(f"keyed{n}", "shop.keyed", what=f"k{n}")
        add(f"told{n}", "context.set", path=f"/show/told{n}", value=f"${{keyed{n}.did}}")
    add("plain4", "shop.plain", what="p4")
    add("last", "context.set", path="/show/v1", value=9)
    add("sum", "value.compute", expression="value('/show/v1') + 1")
    # Nothing else goes on beside them: between a service's answer and its identity on the disk nobody may kill.
    add("film1", "generate.video", [each["id"] for each in steps], model="films/slow", prompt="f1", path="/show/film1")
    add("film2", "generate.video", ["film1"], model="films/slow", prompt="f2", path="/show/film2")
    assert len(steps) == 20
    values = {"/show/v1": 9, "/show/v2": 2, "/show/v3": 3, "/show/told4": "k4", "/show/told5": "k5"}
    acts = [*(f"k{n}" for n in range(1, 6)), *(f"p{n}" for n in range(1, 5)), "m1", "m2", "film f1", "film f2"]
    return json.dumps({"instructions": steps, "returns": "${sum}"}), values, Counter(acts)
