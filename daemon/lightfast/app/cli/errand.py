"""The act of the demo that is asked for in words: planned, shown, done, taken back, approved, and done by itself."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

from lightfast.app.cli.acting import FOLLOWER, TEMPO, arrive, number, step
from lightfast.app.cli.approving import approver
from lightfast.app.cli.session import Session, say
from lightfast.app.cli.stage import Stage, wait_for
from lightfast.core.errors import Denied, FailedPrecondition

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lightfast.client import Client

BPM, SAID_BPM = 132.0, 120.0
CUBE = "/blender/objects/Star"
SENTENCE = f"set the tempo of Live to {BPM:g}, add a red cube called Star"
RENDERED = ", render it at 320 x 180"
SPARE = "/blender/objects/Spare"
DESTRUCTIVE = "delete Spare"
LOOP = "/show/loop"
SUCCEEDED, STUCK = 4, 8  # of engine.proto
PLANNER = "grammar"
"""Nobody is asked: the plan is made on this machine, without a model."""


class Errand:
    """Plays on while Live and Blender are joined and their tempos are linked; what it leaves out is in `left_out`."""

    def __init__(self, stage: Stage, client: Client, *, renders: bool) -> None:
        """Play with *client*; *renders* says that Blender is a real one, since its simulator has no renderer."""
        self._stage = stage
        self._client = client
        self._renders = renders
        self.left_out = [] if renders else ["rendering what a sentence asks for: the simulator has no renderer"]

    def play(self) -> None:
        """Play all of it."""
        self.sentence()
        self.approval()
        self.words()
        self.workflow()
        self.job()

    def sentence(self) -> None:
        """Plan a sentence, show what it would change, do exactly that, and take it back."""
        client = self._client
        before = number(client, TEMPO)
        sentence = SENTENCE + (RENDERED if self._renders else "")
        with step(f"plan {sentence!r} (by the grammar, no model, no network)"):
            plan = client.plan(sentence, model=PLANNER)
        if plan.problems:
            raise FailedPrecondition(f"the sentence was not understood: {plan.problems[0].message}")
        for line in filter(str.strip, plan.lines.splitlines()):
            say(f"    {line}")
        say(f"    before: {self._stands()}")
        with step("run exactly this plan"):
            run_id = self._done(plan.yaml, plan.digest)
            arrive(client, FOLLOWER, BPM)
            wait_for(lambda: self._there(CUBE) or None, f"{CUBE} being there", 15)
        say(f"    after: {self._stands()}{self._picture(run_id)}")
        with step("roll the run back"):
            stuck = [each.step.message for each in client.rollback(run_id) if each.step.state == STUCK]
            arrive(client, FOLLOWER, before)
            wait_for(lambda: not self._there(CUBE) or None, f"{CUBE} being gone", 15)
        if stuck:
            raise FailedPrecondition(f"the run could not be taken back whole: {stuck}")
        say(f"    rolled back: {self._stands()}")

    def _stands(self) -> str:
        both = f"Live {number(self._client, TEMPO):g} bpm, Blender {number(self._client, FOLLOWER):g} bpm"
        return f"{both}, {CUBE} {'is there' if self._there(CUBE) else 'is not there'}"

    def _picture(self, run_id: str) -> str:
        """Say what was rendered."""
        if not self._renders:
            return ""
        found = re.search(r'"media_type": "(image/[a-z]+)"', json.dumps(_plain(self._client.get_run(run_id))))
        if found is None:
            raise FailedPrecondition(f"{run_id} is over, but nothing was rendered")
        return f"; rendered: {found[1]}"

    def _done(self, program: str, digest: str = "") -> str:
        """Run a program to its end and return the identity of the run."""
        messages = self._client.run(program, digest=digest, optimize=False)
        return _succeeded(message.event for message in messages)

    def _there(self, path: str) -> bool:
        return bool(self._client.select(f"{path}//"))

    def approval(self) -> None:
        """Ask for what cannot be taken back: it waits, whoever asked cannot allow it, the owner's token can."""
        client = self._client
        if not self._there(SPARE):
            client.invoke("/blender", "create_object", kind="uv_sphere", name="Spare")
            wait_for(lambda: self._there(SPARE) or None, f"{SPARE} being there", 15)
        waiting = None
        for message in client.run(intent=DESTRUCTIVE, model=PLANNER):
            if message.event.HasField("run"):
                waiting = message.event.run
                break
        if waiting is None or waiting.approver or not waiting.approval_reasons:
            raise FailedPrecondition(f"{DESTRUCTIVE!r} asked for no approval")
        say(f"• {DESTRUCTIVE!r} waits: {waiting.approval_reasons[0]}")
        try:
            client.approve(waiting.run_id, waiting.digest)
        except Denied as error:
            say(f"    whoever asked cannot approve it: {error.message}")
        else:
            raise FailedPrecondition("whoever asked could approve it themselves")
        if not self._there(SPARE):
            raise FailedPrecondition("it was done before it was approved")
        with step("approve exactly this program with the owner's token"):
            with approver(Session(home=str(self._stage.folder))) as owner:
                owner.approve(waiting.run_id, waiting.digest, comment="the demo")
            _succeeded(client.watch_run(waiting.run_id))
            wait_for(lambda: not self._there(SPARE) or None, f"{SPARE} being gone", 15)
        done = client.get_run(waiting.run_id)
        say(f"    asked for by {done.requester}, approved by {done.approver}; it is gone from the scene")

    def words(self) -> None:
        """Say a line at the front desk, and time its answer and its end."""
        client, line = self._client, f"set the tempo of Live to {SAID_BPM:g}"
        client.say(f"cl:{TEMPO}")  # the desk is built when it is first asked for: that is not what is timed
        began = time.monotonic()
        answer = client.say(line)
        took = (time.monotonic() - began) * 1000
        if answer.line.startswith("er:"):
            raise FailedPrecondition(f"the desk did not take {line!r}: {answer.text}")
        arrive(client, FOLLOWER, SAID_BPM)
        whole = (time.monotonic() - began) * 1000
        say(f"• say {line!r}: answered after {took:.0f} ms: {answer.line}")
        say(f"    both are at {SAID_BPM:g} bpm {whole:.0f} ms after it was said")

    def workflow(self) -> None:
        """Run a workflow that comes with Lightfast."""
        client = self._client
        with step("run the workflow loop-at-tempo, one of the examples"):
            started = client.run_workflow("loop-at-tempo", {"mood": "calm", "bars": 1})
            _succeeded(client.watch_run(started.run_id))
        made, bpm = client.get(LOOP).value, number(client, "/show/loop-tempo")
        if getattr(made, "media_type", "") != "audio/wav":
            raise FailedPrecondition(f"{LOOP} holds {made!r}")
        say(f"    one bar at {bpm:g} bpm lies at {LOOP}; it ran as {started.run_id}")

    def job(self) -> None:
        """Queue a job that outlives a crash, and wait for it."""
        client = self._client
        payload: dict[str, Any] = {
            "workflow": "palette-to-lights",
            "parameters": {"colours": ["#0fa3b1", "#f7a072"], "dim": True},
        }
        with step("queue a job, which a restart would go on with: palette-to-lights"):
            done = client.wait_for_job(client.submit_job("workflow_execute", payload).job_id)
        colours = [client.get(f"/lights/{index}/colour").value for index in range(2)]
        if done.error or colours != payload["parameters"]["colours"]:
            raise FailedPrecondition(f"the job left {colours}: {done.error}")
        level = number(client, "/lights/level")
        say(f"    two lights have {' and '.join(map(str, colours))}, dimmed step by step to {level:g}")


def _succeeded(events: Iterable[Any]) -> str:
    """Follow a run to its end and return its identity; raises `FailedPrecondition` where it did not succeed."""
    last = None
    for event in events:
        if event.HasField("run"):
            last = event.run
    if last is None or last.state != SUCCEEDED:
        raise FailedPrecondition(f"the run did not succeed: {last.reason if last else 'nothing was heard of it'}")
    return str(last.run_id)


def _plain(message: Any) -> Any:
    from lightfast.client import generic

    return generic.to_json(message)
