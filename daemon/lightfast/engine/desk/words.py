"""What the desk says to a person: the same as its coded events, in words. Common answers stand here, too."""

from __future__ import annotations

from lightfast.engine.desk.coded import Command, ContextLoad, MemoryStore, TaskCreate, TaskSplit, WorkflowStart

LONGEST = 80
TALK: tuple[tuple[tuple[str, ...], str], ...] = (
    (("thank", "thx", "cheers", "best", "nice", "great", "cool", "well done", "good job"), "Gladly."),
    (("bye", "see you", "good night", "later", "ciao"), "See you. What is queued goes on."),
    (("how are you", "going"), "All is well here. What shall be done?"),
    (("hello", "hi", "hey", "good", "howdy"), "Hello. What shall be done?"),
)
"""What is said to talk that asks for nothing, by a word of it."""


def short(text: str, most: int = LONGEST) -> str:
    """Return *text* on one line, cut to *most* characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def small_talk(said: str) -> str:
    """Return the answer to talk that asks for nothing."""
    lowered = said.lower()
    return next((answer for signs, answer in TALK if any(sign in lowered for sign in signs)), "I am listening.")


def taken(command: Command, routing: str, confidence: float) -> str:
    """Return what is said when *command* was taken."""
    match command:
        case TaskCreate() if routing == "split":
            return f"Taken: “{short(command.title)}”. It is large, so it is split into steps first."
        case TaskCreate():
            unsure = "" if confidence >= 0.6 else " I am not sure how; you will see what I make of it."
            return f"Taken: “{short(command.title)}”, in one go.{unsure}"
        case TaskSplit():
            what = command.reason if command.task == "auto" else command.task
            return f"Taken: “{short(what)}” is split into steps."
        case WorkflowStart():
            return f"The workflow {command.workflow} is about to start."
        case ContextLoad():
            return f"Looking up {short(command.context)}."
        case MemoryStore():
            return f"Remembering {short(command.key)}."


def waiting(behind: int, stopped: str) -> str:
    """Return what is said of the queue, where there is something to say: how many come first, and why none is taken."""
    parts = [f"queued behind {behind}"] if behind else ["queued"]
    if stopped:
        parts.append(f"the back is stopped: {short(stopped, 200)}")
    return f" ({'; '.join(parts)})" if behind or stopped else ""


def unclear(said: str, guess: str) -> tuple[str, str]:
    """Return message and recovery for words that nobody could act on."""
    recovery = (
        f"Say {guess} if that was meant, or say it in more words." if guess else "Say what is to be done to what."
    )
    return f"It is not clear what is meant by “{short(said)}”", recovery
