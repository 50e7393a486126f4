"""The fields of a coded command, taken from plain words."""

from __future__ import annotations

import re
from typing import Any

from lightfast.engine.desk.coded import MOST_TITLE
from lightfast.engine.desk.lexicon import EMPTY_WORDS, INTENTS, POLITE

MOST_KEY = 60
_PATH = re.compile(r"(?:(?<=\s)|^)(/[^\s,;?!]+)")
_THING = re.compile(r"\b((?:task|run|job)[-_][a-z0-9]+)\b")
_TALK = re.compile(r"\b(?:discuss\w*|talk\w*|conversation|said|decide\w*)\b")
_TODAY = re.compile(r"\b(?:today|summary of today)\b")
_FULL = re.compile(r"\b(?:everything|full|in detail|complete|whole|entire|all about)\b")
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_OPENERS = re.compile(
    r"^(?:please\s+)?(?:remember|memori[sz]e|keep in mind|bear in mind|note|make a note|take a note|write down|"
    r"save the fact|store this(?: as a \w+)?|store that|don'?t forget|do not forget|from now on|for the record|"
    r"as a rule)\b\s*(?:this|that)?\s*[:,]?\s*",
    re.IGNORECASE,
)
_RULE = re.compile(r"^(?:always|never|from now on|as a rule)\b|\bfrom now on\b")
_HAPPENED = re.compile(r"\b(?:yesterday|today|last (?:night|week|month|year)|this morning|went)\b")
_PAIR = re.compile(r"\b([A-Za-z_][\w.-]*)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s,;]+))")
_FOR = re.compile(r"\b(?:for|called|named|about)\s+(?:\"([^\"]+)\"|'([^']+)'|([^\s,;?!]+))")


def title_of(said: str) -> str:
    """Return the title of a task: the request without what is only polite, beginning with a capital."""
    text = said.strip()
    lowered = text.lower()
    if match := POLITE.match(lowered):
        text = text[match.end() :] or text
    text = text.strip().rstrip(".!?;,").strip() or said.strip()
    return (text[:1].upper() + text[1:])[:MOST_TITLE]


def intent_of(plain: str) -> str:
    """Return the kind of intent: find, fix, plan, change or create."""
    for word in _WORD.findall(plain)[:6]:
        for name, verbs in INTENTS.items():
            if word in verbs:
                return name
    return "create"


def parameters_of(said: str, workflow: str) -> dict[str, Any]:
    """Return the parameters of a workflow that are named: `key=value`, and `for NAME` as the name."""
    found: dict[str, Any] = {}
    for match in _PAIR.finditer(said):
        text = next(group for group in match.groups()[1:] if group is not None)
        quoted = match[4] is None
        found[match[1]] = text if quoted else _typed(text)
    if not found and (named := _FOR.search(said)):
        name = next(group for group in named.groups() if group is not None)
        if name.lower() not in workflow.lower() and name.lower() not in EMPTY_WORDS:
            found["name"] = name
    return found


def _typed(text: str) -> Any:
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    if re.fullmatch(r"[+-]?\d{1,18}\.\d{1,18}", text):
        return float(text)
    return text


def context_of(said: str, plain: str) -> tuple[str, str]:
    """Return what is to be loaded, and how deep: a path, a task or run, the conversation, or what it is about."""
    depth = "full" if _FULL.search(plain) else "summary"
    if match := _PATH.search(said):
        return match[1].rstrip("."), depth
    if match := _THING.search(plain):
        return match[1], depth
    about = " ".join(word for word in _WORD.findall(plain) if word not in EMPTY_WORDS and not _TALK.match(word))
    if _TALK.search(plain):
        if "yesterday" in plain:
            return "conversation_yesterday", depth
        if _TODAY.search(plain):
            return "conversation_today", depth
        if not about:
            return "conversation", depth
    elif _TODAY.search(plain):
        return "conversation_today", depth
    return (about or "conversation")[:MOST_KEY].strip(), depth


def memory_of(said: str, plain: str) -> tuple[str, str, str]:
    """Return key, value and type of what is to be remembered: procedural, episodic or semantic."""
    value = _OPENERS.sub("", said.strip(), count=1).strip(" .") or said.strip()
    kind = "procedural" if _RULE.search(plain) else "episodic" if _HAPPENED.search(plain) else "semantic"
    words = [word for word in _WORD.findall(value.lower()) if word not in EMPTY_WORDS]
    key = "_".join(words[:4])[:MOST_KEY] or "note"
    return key, value, kind
