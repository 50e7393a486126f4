"""Clauses that make pictures, films, sounds and texts, and those about memories."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lightfast.engine.planner.grammar.drafting import Draft, Made, Misunderstood
from lightfast.engine.planner.grammar.finding import PRONOUNS
from lightfast.engine.planner.grammar.words import Clause, Word

_MAKING = frozenset({"make", "create", "generate", "draw", "paint", "write", "compose", "add", "new"})
OUTPUTS = {
    **dict.fromkeys(("image", "picture", "photo", "poster", "drawing", "painting", "texture"), "image"),
    **dict.fromkeys(("video", "film", "movie", "animation"), "video"),
    **dict.fromkeys(("sound", "audio", "loop", "beat", "song", "music", "tune", "jingle", "drone"), "audio"),
    **dict.fromkeys(("text", "poem", "haiku", "story", "caption", "summary", "slogan"), "text"),
}
_MUSIC = frozenset({"loop", "beat", "song", "music", "tune", "jingle"})
_WITH = re.compile(
    r"\s+(?:with|using)\s+(?:the\s+model\s+)?([a-z0-9_.-]+/[\w.:-]+|the\s+model\s+\S+)\s*$", re.IGNORECASE
)
_USING = re.compile(r"\s+(?:with|using)\s+(\S+)\s*$", re.IGNORECASE)
_AT = re.compile(r"\s+(?:at|to|into|in)\s+(/[^\s,;]+)\s*$")
_SEED = re.compile(r"\s+with\s+seed\s+(\d{1,18})\s*$", re.IGNORECASE)


def media(clause: Clause, draft: Draft) -> bool:
    """Take `make an image of …`, `generate a 4-bar loop at 120 bpm`, `write a poem about …`."""
    words = clause.words
    if words[0].low not in _MAKING:
        return False
    at = next((i for i, word in enumerate(words[1:7], 1) if word.low in OUTPUTS), -1)
    if at < 0 or any(word.low in {"of", "about", "for", "at", "called", "to"} for word in words[1:at]):
        return False
    if words[0].low == "add" and draft.vocabulary.mounts and at > 3:
        return False
    kind = OUTPUTS[words[at].low]
    text, model, path, seed = _options(clause.rest(1))
    prompt = re.sub(r"^(?:an?|the|some)\s+", "", text, flags=re.IGNORECASE)
    if not model and (found := _USING.search(prompt)) and found.group(1) in _names(draft, kind):
        model, prompt = found.group(1), prompt[: found.start()]
    if kind in {"image", "video"}:
        prompt = re.sub(rf"^{words[at].low}\s+(?:of|showing|with)\s+", "", prompt, flags=re.IGNORECASE)
    if not prompt or (prompt.lower() in OUTPUTS and kind in {"image", "video"}):
        raise Misunderstood(f"say what the {words[at].low} is to be of", "PROMPT_MISSING")
    if not model and words[at].low in _MUSIC:
        model = _own_model(draft, "audio", ("music", "loop"))
    _generate(draft, kind, prompt, model, path, seed)
    return True


def say(clause: Clause, draft: Draft) -> bool:
    """Take `say hello in speech`, `say "good evening"`, `speak …`."""
    if clause.words[0].low not in {"say", "speak"} or len(clause.words) < 2:
        return False
    text, model, path, seed = _options(clause.rest(1))
    text = re.sub(r"\s+(?:in|as)\s+(?:a\s+)?(?:speech|voice|spoken words)\s*$|\s+(?:aloud|out loud)\s*$", "", text)
    text = text.strip().strip("\"“”'")
    if not text:
        raise Misunderstood("say what is to be said", "PROMPT_MISSING")
    _generate(draft, "audio", text, model or _own_model(draft, "audio", ("speech", "voice", "tts")), path, seed)
    return True


def _options(text: str) -> tuple[str, str, str, int | None]:
    """Return the text without model, path and seed at its end, and those."""
    model = path = ""
    seed: int | None = None
    for _ in range(3):
        if found := _SEED.search(text):
            seed, text = int(found.group(1)), text[: found.start()]
        elif found := _AT.search(text):
            path, text = found.group(1).rstrip("."), text[: found.start()]
        elif found := _WITH.search(text):
            model, text = found.group(1).split()[-1], text[: found.start()]
    return text.strip(), model, path, seed


def _own_model(draft: Draft, output: str, names: Sequence[str]) -> str:
    for record in draft.vocabulary.world.models(output):
        if record.available and record.local and record.name.rsplit("/", 1)[-1].lower() in names:
            return str(record.name)
    return ""


def _names(draft: Draft, kind: str) -> set[str]:
    records = draft.vocabulary.world.models(kind)
    return {str(record.name) for record in records} | {str(alias) for each in records for alias in each.aliases}


def _at_hand(draft: Draft, kind: str) -> str:
    """Return the model to name where nobody did: one of this machine, as long as no other can be used at all.

    Else the choice is the gateway's, which may cost money, and a person is asked.
    """
    there = [each for each in draft.vocabulary.world.models(kind) if each.available]
    if not there or not all(each.local and each.free for each in there):
        return ""
    alone = sorted((each for each in there if not _needs_sources(each)), key=lambda each: not _is_built_in(each))
    named = [str(each.name) for each in alone if str(each.name).rsplit("/", 1)[-1] == kind]
    return next(iter([*named, *(str(each.name) for each in alone)]), "")


def _is_built_in(model: Any) -> bool:
    """Say whether a model is a part of the daemon, and so is there for certain."""
    record = getattr(model, "record", None)
    return bool(record is not None and record.model.procedural)


def _needs_sources(model: Any) -> bool:
    """Say whether a model works on something that is there already, where it tells."""
    record = getattr(model, "record", None)
    return bool(record is not None and record.model.needs_sources)


def _generate(draft: Draft, kind: str, prompt: str, model: str, path: str, seed: int | None) -> None:
    records = draft.vocabulary.world.models(kind)
    if not records:
        raise Misunderstood(f"no model that makes {kind} is there: see lightfast models", "NO_MODEL")
    if model:
        names = _names(draft, kind)
        if model not in names:
            near = draft.vocabulary.near(model, names)
            hint = f": did you mean {' or '.join(near)}?" if near else f"; there are {', '.join(sorted(names)[:5])}"
            raise Misunderstood(f"there is no model {model} that makes {kind}{hint}", "MODEL_UNKNOWN")
    model = model or _at_hand(draft, kind)
    arguments: dict[str, Any] = {"prompt": prompt}
    if model:
        arguments["model"] = model
    if path:
        arguments["path"] = path
    if seed is not None:
        arguments["seed"] = seed
    draft.asset = draft.add(f"generate.{kind}", arguments)


def put_at(clause: Clause, draft: Draft) -> bool:
    """Take `put it at PATH`: the asset, text or value that was made last; `place it in blender` as a picture."""
    words = clause.words
    if words[0].low not in {"put", "place", "store", "save"} or len(words) < 2 or words[1].low not in PRONOUNS:
        return False
    path = words[-1].text if words[-1].kind == "path" else ""
    made = draft.find(draft.asset)
    if made is None:
        return False
    if path in draft.vocabulary.mounts or words[-1].low in draft.vocabulary.names:
        return _place(words, draft)
    if not path:
        return False
    if made.op.startswith("generate."):
        index = draft.instructions.index(made)
        given = {**made.arguments, "path": path}
        draft.instructions[index] = type(made)(made.id, made.op, given, made.after)
    else:
        draft.add("context.set", {"path": path, "value": Made(f"${{{made.id}}}")})
    draft.path = path
    return True


def _place(words: Sequence[Word], draft: Draft) -> bool:
    mount = words[-1].text if words[-1].kind == "path" else draft.vocabulary.names[words[-1].low]
    for name, each in sorted(draft.vocabulary.world.commands(mount).items()):
        asset = next((one for one in each.arguments if one.kind == "asset" and one.required), None)
        if asset is not None and name.split("_")[0] in {"place", "import", "load", "add"}:
            made = draft.find(draft.asset)
            reference = Made(
                f"${{{draft.asset}.asset}}" if made and made.op.startswith("generate.") else f"${{{draft.asset}}}"
            )
            arguments = {"app": mount, "command": name, "arguments": {asset.name: reference}}
            draft.spoken(made=draft.add("app.command", arguments), mount=mount)
            return True
    raise Misunderstood(f"{mount} has no command that takes an asset", "COMMAND_UNKNOWN")


def remember(clause: Clause, draft: Draft) -> bool:
    """Take `remember that …`."""
    if clause.words[0].low != "remember" or len(clause.words) < 2:
        return False
    text = clause.rest(2 if clause.words[1].low in {"that", "this"} else 1).strip('"“”: ')
    if not text:
        raise Misunderstood("say what is to be remembered", "TEXT_MISSING")
    draft.add("memory.remember", {"text": text})
    return True


_ASKING = re.compile(
    r"^(?:what\s+(?:do|did)\s+(?:you|i|we)\s+(?:know|remember|say|said)\s+(?:about|of)|what\s+is\s+known\s+about|"
    r"(?:recall|tell\s+me)\s+(?:what\s+(?:you|i|we)\s+(?:know|said|remember)\s+)?about|"
    r"what\s+does\s+(?=\w.*\b(?:like|want|prefer)s?\b))\s+",
    re.IGNORECASE,
)


def recall(clause: Clause, draft: Draft) -> bool:
    """Take `what do you know about …`, `recall about …`."""
    text = clause.rest(0)
    found = _ASKING.match(text + " ")
    if found is None:
        return False
    query = text[found.end() :].strip(' ?"“”')
    if not query:
        raise Misunderstood("say what about", "TEXT_MISSING")
    draft.add("memory.recall", {"query": query})
    return True
