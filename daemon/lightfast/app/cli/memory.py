"""remember, recall, relate, forget, memory: facts, notes and relations."""

from __future__ import annotations

import re
import sys
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from lightfast.app.cli import literal, times
from lightfast.app.cli.session import CURRENT, arguments_told, fail, say, table

app = typer.Typer()
memory = typer.Typer(no_args_is_help=True, help="List and show what is remembered.")

_RELATION = re.compile(r"relation-[0-9a-z]{16}")
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
_LONGEST = 100
RANKINGS = ("fused", "relevance", "newest")

Tags = Annotated[list[str] | None, typer.Option("--tag", help="A word to find it by; may be repeated.")]
Strength = Annotated[float | None, typer.Option(help="How much it matters, from 0 to 1.")]
Confidence = Annotated[float | None, typer.Option(help="How sure it is, from 0 to 1.")]
Source = Annotated[str, typer.Option(help="Where it comes from.")]
From = Annotated[str, typer.Option("--valid-from", help="True since: 'last Tuesday', 2026-03-01, -2h; now by default.")]
To = Annotated[str, typer.Option("--valid-to", help="True until; without end by default.")]
Meta = Annotated[list[str] | None, typer.Option("--meta", help="NAME=VALUE, kept with it; may be repeated.")]


@app.command()
def remember(
    words: Annotated[list[str], typer.Argument(metavar="TEXT", help="What to remember; - reads it from the input.")],
    key: Annotated[str, typer.Option(help="A name; the next text under it becomes its next version.")] = "",
    fact: Annotated[
        bool, typer.Option("--fact", help="A statement that is true for a time; else it is a note.")
    ] = False,
    tags: Tags = None,
    strength: Strength = None,
    confidence: Confidence = None,
    source: Source = "",
    valid_from: From = "",
    valid_to: To = "",
    metadata: Meta = None,
) -> None:
    """Remember a note or a fact: lightfast remember 'The cube is rendered in warm light' --key look.cube --fact."""
    fields: dict[str, Any] = {
        "text": sys.stdin.read() if words == ["-"] else " ".join(words),
        "kind": "MEMORY_KIND_FACT" if fact else "MEMORY_KIND_NOTE",
        "key": key,
        "tags": tags or [],
    }
    fields |= _common(strength, confidence, source, valid_from, valid_to, metadata)

    def render(found: dict[str, Any]) -> None:
        item = found["memory"]
        say(f"{item['memory_id']}  version {item['version']}  {_validity(item)}")
        if "similar" in found:
            fail(f"note: there is nearly the same: {found['similar']['memory_id']}  {_short(found['similar']['text'])}")

    CURRENT.call("MemoryService.Remember", fields, render)


@app.command()
def relate(
    subject: Annotated[str, typer.Argument(help="What it is about: a memory's id or key, a path, a name.")],
    predicate: Annotated[str, typer.Argument(help="What it says of it, for example uses.")],
    thing: Annotated[str, typer.Argument(metavar="OBJECT", help="The other thing.")],
    exclusive: Annotated[bool, typer.Option("--exclusive", help="There is one at a time: others end with it.")] = False,
    strength: Strength = None,
    confidence: Confidence = None,
    source: Source = "",
    valid_from: From = "",
    valid_to: To = "",
    metadata: Meta = None,
) -> None:
    """Relate two things: lightfast relate look.cube uses /blender/materials/Gold."""
    fields = {"subject": subject, "predicate": predicate, "object": thing, "exclusive": exclusive}
    fields |= _common(strength, confidence, source, valid_from, valid_to, metadata)

    def render(found: dict[str, Any]) -> None:
        say(f"{found['relation']['relation_id']}  {_relation(found['relation'])}")
        for item in found.get("closed", []):
            say(f"no longer: {_relation(item)}")

    CURRENT.call("MemoryService.Relate", fields, render)


@app.command()
def forget(
    names: Annotated[list[str], typer.Argument(help="Memories by id or key, relations by id.")],
    since: Annotated[str, typer.Option("--from", help="No longer true since; now by default.")] = "",
    reason: Annotated[str, typer.Option(help="Why.")] = "",
) -> None:
    """End the validity of memories and relations; what was known stays readable. To delete, see 'lightfast purge'."""
    relations = [name for name in names if _RELATION.fullmatch(name)]
    fields: dict[str, Any] = {
        "memories": [name for name in names if name not in relations],
        "relations": relations,
        "reason": reason,
        "request_id": uuid.uuid4().hex,
    }
    if since:
        fields["valid_to"] = _time(since)
    CURRENT.call(
        "MemoryService.Forget",
        fields,
        lambda found: say(f"{found.get('memories', 0)} memories and {found.get('relations', 0)} relations ended"),
    )


@app.command()
def recall(
    words: Annotated[list[str] | None, typer.Argument(help="What to look for; none: the newest.")] = None,
    as_of: Annotated[str, typer.Option("--as-of", help="What was true then: 'last Tuesday 18:00', -2h.")] = "",
    known_at: Annotated[str, typer.Option("--known-at", help="What was known then.")] = "",
    tags: Tags = None,
    subjects: Annotated[
        list[str] | None, typer.Option("--about", help="What is related to this thing; may be repeated.")
    ] = None,
    facts: Annotated[bool, typer.Option("--facts", help="Only facts.")] = False,
    depth: Annotated[int | None, typer.Option(help="How many relations to follow, 0 to 4.")] = None,
    ranking: Annotated[str, typer.Option(help="fused, relevance or newest.")] = "fused",
    embedder: Annotated[str, typer.Option(help="The embedder; the configured one by default.")] = "",
    archive: Annotated[bool, typer.Option("--archive", help="Look into the archive, too.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="The most hits.")] = 20,
    explain: Annotated[bool, typer.Option("--explain", help="Show how each was found.")] = False,
) -> None:
    """Recall what matches: lightfast recall 'which light for the cube' --as-of 'last Tuesday'."""
    if ranking not in RANKINGS:
        raise typer.BadParameter(f"--ranking {ranking}: use {', '.join(RANKINGS)}")
    fields: dict[str, Any] = {
        "query": " ".join(words or []),
        "tags": tags or [],
        "subjects": subjects or [],
        "ranking": f"RANKING_{ranking.upper()}",
        "embedder": embedder,
        "include_archive": archive,
        "page_size": limit,
    }
    if facts:
        fields["kind"] = "MEMORY_KIND_FACT"
    if depth is not None:
        fields["depth"] = depth
    if as_of:
        fields["as_of_valid"] = _time(as_of)
    if known_at:
        fields["as_of_record"] = _time(known_at)

    def render(found: dict[str, Any]) -> None:
        if explain:
            say(f"embedder: {found.get('embedder') or 'none'}")
        for hit in found.get("hits", []):
            say(_hit(hit, explain))
        if not found.get("hits"):
            say("Nothing matches.")

    CURRENT.call("MemoryService.Recall", fields, render)


@memory.command("list")
@memory.command("ls", hidden=True)
def list_memories(
    tags: Tags = None,
    facts: Annotated[bool, typer.Option("--facts", help="Only facts.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Also those that are no longer true.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="The most memories.")] = 100,
) -> None:
    """List memories, newest first."""
    fields = {
        "tags": tags or [],
        "kind": "MEMORY_KIND_FACT" if facts else "MEMORY_KIND_UNSPECIFIED",
        "include_closed": everything,
        "page_size": limit,
    }
    CURRENT.call(
        "MemoryService.ListMemories",
        fields,
        lambda found: table(
            ("MEMORY", "KEY", "KIND", "VERSION", "TRUE", "TEXT"),
            (
                (
                    item["memory_id"],
                    item.get("key", ""),
                    item["kind"].removeprefix("MEMORY_KIND_").lower(),
                    item["version"],
                    _validity(item),
                    _short(item["text"]),
                )
                for item in found.get("memories", [])
            ),
            "Nothing is remembered yet: lightfast remember TEXT",
        ),
    )


@memory.command()
def show(name: Annotated[str, typer.Argument(metavar="ID_OR_KEY")]) -> None:
    """Show a memory with all that was ever known of it, newest first."""

    def render(found: dict[str, Any]) -> None:
        newest = found["versions"][0]
        say(f"{newest['memory_id']}  {newest.get('key', '')}".rstrip())
        for item in found["versions"]:
            until = f" to {_local(item['superseded_time'])}" if "superseded_time" in item else ""
            notes = [f"tags {', '.join(item['tags'])}"] if item.get("tags") else []
            notes += [f"{name} {item[name]}" for name in ("source", "reason", "tier") if item.get(name)]
            notes += [f"{name} = {literal.show(value)}" for name, value in item.get("metadata", {}).items()]
            say(f"version {item['version']}: {item['text']}")
            say(f"  true {_validity(item)}; known since {_local(item['record_time'])}{until}; by {item['origin']}")
            weight = f"strength {item.get('strength', 0):g}, confidence {item.get('confidence', 0):g}"
            say("  " + "; ".join([weight, *notes]))
        for item in found.get("relations", []):
            say(f"{item['relation_id']}  {_relation(item)}")

    CURRENT.call("MemoryService.GetMemory", {"memory": name}, render)


def _common(
    strength: float | None,
    confidence: float | None,
    source: str,
    valid_from: str,
    valid_to: str,
    metadata: list[str] | None,
) -> dict[str, Any]:
    fields: dict[str, Any] = {"source": source, "request_id": uuid.uuid4().hex}
    fields |= {name: value for name, value in (("strength", strength), ("confidence", confidence)) if value is not None}
    fields |= {name: _time(text) for name, text in (("valid_from", valid_from), ("valid_to", valid_to)) if text}
    if metadata:
        with arguments_told():
            fields["metadata"] = literal.parse_named(metadata)
    return fields


def _time(text: str) -> str:
    """Return a moment of the past or of the future as proto JSON; `+2h` lies as far ahead as `-2h` lies behind."""
    if _STAMP.fullmatch(text):
        return text  # as --json prints it, to the nanosecond
    now = datetime.now(UTC)
    with arguments_told():
        if text.startswith("+"):
            return times.stamp(now + (now - times.parse(f"-{text[1:]}", now)))
        try:
            return times.stamp(times.parse(text, now))
        except ValueError:
            try:
                return times.stamp(datetime.fromisoformat(text).astimezone())
            except ValueError:
                pass
            raise


def _local(stamp: str) -> str:
    return f"{datetime.fromisoformat(stamp).astimezone():%Y-%m-%d %H:%M:%S}"


def _validity(item: dict[str, Any]) -> str:
    begin = _local(item["valid_from"])
    if "valid_to" not in item:
        return f"since {begin}"
    return "never" if item["valid_to"] == item["valid_from"] else f"{begin} to {_local(item['valid_to'])}"


def _relation(item: dict[str, Any]) -> str:
    return f"{item['subject']} {item['predicate']} {item['object']}  ({_validity(item)})"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _hit(hit: dict[str, Any], explain: bool) -> str:
    if "memory" in hit:
        item = hit["memory"]
        line = f"{item['memory_id']}  {_short(item['text'])}" + (f"  [{item['key']}]" if item.get("key") else "")
    else:
        line = f"{hit['relation']['relation_id']}  {_relation(hit['relation'])}"
    if not explain:
        return line
    ways = [f"{name} {hit[f'{name}_rank']}" for name in ("keyword", "vector", "graph") if hit.get(f"{name}_rank")]
    where = hit.get("memory", hit.get("relation", {})).get("tier", "")
    return f"{hit.get('score', 0):.4f}  {line}  ({', '.join([*ways, *([where] if where else [])]) or 'newest'})"
