"""The commands of a device: what they send, and when they are done."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lightfast.sdk import Call, Value
from lightfast_bridges.midi.sender import MAX_WAITING, Sender
from lightfast_bridges.midi.surface import raw, silence


def run(sender: Sender, call: Call, held: Mapping[str, Value], done: Callable[[str, int], None]) -> None:
    """Send what *call* says; raise `ValueError` for what it cannot mean.

    *done* is called once, from the sender's thread, with why it failed (empty: it did not) and how many messages went.
    """
    if call.command == "send":
        messages = raw(call.arguments.get("bytes"))
    elif call.command in {"all_notes_off", "panic"}:
        messages = silence(held, call.arguments.get("channel"), panic=call.command == "panic")
    else:
        raise ValueError(f"MIDI has no command {call.command}")
    reasons: list[str] = []
    left = len(messages)

    def sent(reason: str) -> None:
        nonlocal left
        left -= 1
        if reason:
            reasons.append(reason)
        if left == 0:
            done(reasons[0] if reasons else "", len(messages))

    for message in messages:
        if not sender.post(message, done=sent):
            raise ValueError(f"the device does not keep up: {MAX_WAITING} messages wait for it")


def ended(call: Call, held: Mapping[str, Value]) -> list[str]:
    """Return the notes that *call* ended, *held* being what is known to sound."""
    if call.command not in {"all_notes_off", "panic"}:
        return []
    channel = call.arguments.get("channel")
    prefix = f"ch/{channel:d}/note/" if isinstance(channel, int) else "ch/"
    return [path for path, value in held.items() if path.startswith(prefix) and "/note/" in path and value]
