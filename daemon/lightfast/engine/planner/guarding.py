"""What a model may have slipped into a plan: it is held back for a person, with the reason.

The check can only ask for more: it adds reasons for an approval, and takes none away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from lightfast.engine.programs.checked import Checked
from lightfast.engine.programs.program import Instruction
from lightfast.sdk import Effect

_DELETING = re.compile(
    r"\b(delet\w*|remov\w*|clear\w*|eras\w*|wip\w*|discard\w*|drop\w*|get rid|throw away|trash\w*|destroy\w*|"
    r"empt(?:y|ies)|reset\w*|overwrit\w*|purg\w*|forget\w*|lösch\w*|entfern\w*)\b",
    re.IGNORECASE,
)
_REMOVING = re.compile(r"(?:^|[._])(delete|remove|clear|erase|purge|reset|quit|forget|drop|close|open|new)(?:$|[._])")

_SHORT = 2
"""Words of a command up to this length say nothing: `to`, `by`."""


def asked_to_delete(intent: str) -> bool:
    """Say whether the user's own words ask for something to go."""
    return _DELETING.search(intent) is not None


def slipped_in(checked: Checked, intent: str) -> Mapping[str, str]:
    """Return why each instruction that takes something away is not covered by the words of the user, by instruction."""
    if asked_to_delete(intent):
        return {}
    found: dict[str, str] = {}
    for each in checked.program.walk():
        if what := _takes_away(each, checked.effects.get(each.id, frozenset()), intent.lower()):
            found[each.id] = f"{each.id} {what}: what was asked for says nothing of that"
    return found


def _takes_away(each: Instruction, effects: frozenset[Effect], intent: str) -> str:
    if each.op == "context.delete":
        return f"deletes {each.arguments.get('path', each.arguments.get('pattern', ''))}"
    if each.op == "app.command":
        command = str(each.arguments.get("command", ""))
        lasting = Effect.DESTRUCTIVE in effects and not _named(command.lower(), intent)
        if lasting or _REMOVING.search(command.lower()):
            return f"runs {command} in {each.arguments.get('app', '')}"
        return ""
    if Effect.DESTRUCTIVE in effects or _REMOVING.search(each.op):
        return f"({each.op}) takes something away"
    return ""


def _named(command: str, intent: str) -> bool:
    """Say whether the words of the user name the *command*, as "save the file" does `save`; both in lower case."""
    return any(len(word) > _SHORT and word in intent for word in re.split(r"[._]", command))


def guarded(checked: Checked, intent: str) -> Checked:
    """Return *checked* with these reasons for an approval added."""
    found = slipped_in(checked, intent)
    if not found:
        return checked
    reasons = dict(checked.approval_reasons)
    for identity, why in found.items():
        reasons[identity] = f"{reasons[identity]}; {why}" if identity in reasons else why
    return replace(checked, approval_reasons=reasons)
