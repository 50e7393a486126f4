"""The acknowledgement of a line: by code alone, from what is in memory; nothing here waits or calls anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lightfast.core.clock import Clock
from lightfast.core.errors import InvalidArgument
from lightfast.core.ids import new_id
from lightfast.core.tokens import Estimate, TokenCounter
from lightfast.engine.desk.caches import RESPONSES, Kept
from lightfast.engine.desk.coded import (
    AUTO,
    CodedEvent,
    Command,
    ContextLoad,
    ContextLoaded,
    Fault,
    MemoryStore,
    StatusUpdate,
    TaskCreate,
    TaskReady,
    TaskSplit,
    WorkflowStart,
    complexity_of,
    fault,
    format_line,
    is_coded,
    parse_command,
)
from lightfast.engine.desk.context import check_message
from lightfast.engine.desk.grammar import CodedFault
from lightfast.engine.desk.judge import History, Judged, judge
from lightfast.engine.desk.records import Ack, Line, LineState
from lightfast.engine.desk.suggest import Suggester, signature
from lightfast.engine.desk.words import short, small_talk, taken, unclear, waiting
from lightfast.engine.ports import Asker

if TYPE_CHECKING:
    from lightfast.engine.desk.classify import Understood

NEXT = 2
MOST_OPEN = 10_000
"""So many lines may wait for the back; one more is refused, so that whoever says it knows."""


@dataclass(frozen=True, slots=True)
class Back:
    """How the back stands: how many lines and jobs wait there, and why it takes none (empty: it does)."""

    waiting: int = 0
    stopped: str = ""
    drowned: bool = False
    full: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a line is answered with; *line* is what is to be queued first, or kept as ANSWERED; `None`: nothing is."""

    ack: Ack
    line: Line | None = None
    command: Command | None = None


class Answering:
    """Answers lines. *workflows* returns the names of the workflows, *ready* what a `cl` has at hand."""

    def __init__(
        self,
        clock: Clock,
        history: History,
        suggester: Suggester,
        workflows: Callable[[], Sequence[str]],
        ready: Callable[[str, str, str], str | None],
        counter: TokenCounter | None = None,
    ) -> None:
        self.responses: Kept[Understood] = Kept("responses", RESPONSES, clock)
        self.counter = counter or Estimate()
        self._clock, self._history, self._suggester = clock, history, suggester
        self._workflows, self._ready = workflows, ready

    def answer(
        self, said: str, asker: Asker, client: str, back: Back, *, project: str = "", conversation: str = ""
    ) -> Answer:
        """Answer one line; whatever is wrong with it is an `er` event, nothing is raised."""
        said = said.strip()
        try:
            check_message(said, self.counter)
            coded = is_coded(said)
            if coded or not said:
                understood = None
                command = parse_command(said)
            else:
                understood = self.understand(said)
                if understood.command is None:
                    return self._no_command(said, understood)
                command = understood.command
                parse_command(format_line(command))  # what words became is held to the same bounds
            if isinstance(command, WorkflowStart):
                self._check_workflow(command)
            _check_room(back)
        except CodedFault as error:
            event = fault(error)
            return Answer(Ack(format_line(event), f"{event.message}. {event.recovery}", confidence=0.0))
        return self._taken(said, command, understood, asker, client, back, project, conversation)

    def understand(self, said: str) -> Understood:
        """Return what plain words mean; the same words are looked up."""
        names = tuple(self._workflows())
        key = " ".join(said.split())
        found = self.responses.get(key, names)
        if found is None:
            from lightfast.engine.desk.classify import classify  # loaded with the first plain words

            found = classify(said, names)
            self.responses.put(key, found, names)
        return found

    def _no_command(self, said: str, understood: Understood) -> Answer:
        if understood.letters == "none":
            text = small_talk(said)
            line = format_line(StatusUpdate("desk", "ready", 1.0))
            return Answer(Ack(line, text, confidence=round(understood.confidence, 4)))
        guess = format_line(understood.guess) if understood.guess is not None else ""
        message, recovery = unclear(said, guess)
        line = format_line(Fault("UNCLEAR", message, recovery))
        steps = (guess,) if guess else ()
        return Answer(Ack(line, f"{message}. {recovery}", confidence=0.0, next_steps=steps))

    def _check_workflow(self, command: WorkflowStart) -> None:
        names = self._workflows()
        if command.workflow in names:
            return
        from lightfast.engine.desk.classify import nearest

        near, _ = nearest(command.workflow.lower(), names)
        meant = f"Did you mean {near}?" if near else f"There are: {', '.join(sorted(names)[:20]) or 'none'}."
        raise CodedFault("WORKFLOW_UNKNOWN", f"there is no workflow {command.workflow!r:.80}", meant)

    def _taken(
        self,
        said: str,
        command: Command,
        understood: Understood | None,
        asker: Asker,
        client: str,
        back: Back,
        project: str,
        conversation: str,
    ) -> Answer:
        line_id = new_id("line")
        judged = self._judged(said, command, understood)
        loaded = self._ready(client, command.context, command.depth) if isinstance(command, ContextLoad) else None
        event, task_id, entity = _event(command, line_id, judged, loaded)
        text = taken(command, judged.routing, judged.confidence) if loaded is None else loaded
        if loaded is None and (back.stopped or back.drowned):
            text += waiting(back.waiting, back.stopped)
        coded = said if understood is None else format_line(command)
        steps = tuple(each.line for each in self._suggester.suggest(client, NEXT, (said,)) if each.line != coded)
        made = Ack(
            line=format_line(event),
            text=text,
            command="" if understood is None else coded,
            confidence=1.0 if understood is None else round(understood.confidence, 4),
            job=entity,
            line_id=line_id,
            next_steps=steps,
        )
        line = Line(
            line_id=line_id,
            client=client,
            said=said,
            command=coded,
            letters=format_line(command)[:2],
            asker=asker if asker.via == "mcp" else replace(asker, via="desk"),
            create_time=self._clock.now_ns(),
            signature=signature(command)[:200],
            project=project,
            conversation=conversation,
            state=LineState.OPEN if loaded is None else LineState.ANSWERED,
            task_id=task_id,
            confidence=judged.confidence,
            complexity=judged.complexity,
            routing=judged.routing,
            outcome="" if loaded is None else short(loaded, 200),
            ack=made,
        )
        return Answer(made, line, command)

    def _judged(self, said: str, command: Command, understood: Understood | None) -> Judged:
        match command:
            case TaskCreate() if understood is None:
                return judge(command.title, declared=complexity_of(command.complexity), history=self._history)
            case TaskSplit() if understood is None:
                judged = judge(command.reason, sure=command.confidence, history=self._history)
                return replace(judged, routing="split")
            case TaskCreate():
                return judge(said, history=self._history)
            case TaskSplit():
                return replace(judge(said, history=self._history), routing="split")
        return Judged(0.0, 1.0, "", 1)


def _event(command: Command, line_id: str, judged: Judged, loaded: str | None) -> tuple[CodedEvent, str, str]:
    """Return the event of an acknowledgement, the task it is about, and what it speaks of."""
    match command:
        case TaskCreate():
            task = new_id("task")
            return TaskReady(task, judged.confidence, judged.routing), task, task
        case TaskSplit():
            task = new_id("task") if command.task == AUTO else command.task
            return TaskReady(task, judged.confidence, "split"), task, task
        case WorkflowStart():
            run = new_id("run")  # the run that the back starts for it gets this name
            return StatusUpdate(run, "queued"), "", run
        case ContextLoad() if loaded is not None:
            return ContextLoaded(command.context, loaded), "", command.context
        case ContextLoad():
            return StatusUpdate(command.context, "loading"), "", line_id
        case MemoryStore():
            return StatusUpdate(command.key, "queued"), "", line_id


def _check_room(back: Back) -> None:
    if back.full:
        raise CodedFault("DESK_FULL", f"{back.waiting} lines wait already", "Say it again when some are done.")


def check_request_id(request_id: str) -> None:
    """Refuse what is no request id."""
    if len(request_id) > 128 or not request_id.isprintable():
        raise InvalidArgument("request_id is longer than 128 characters, or unprintable", field="request_id")
