"""archive search, add: find frames of the archive, and put one there."""

from __future__ import annotations

import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from lightfast.app.cli import literal, times
from lightfast.app.cli.session import CURRENT, arguments_told, fail, say

app = typer.Typer()
DEADLINE_S = 60.0
_WIDTH = 100


def _stamp(text: str, option: str) -> dict[str, str]:
    if not text:
        return {}
    with arguments_told():
        return {option: times.stamp(times.parse(text, datetime.now(UTC)))}


@app.command()
def search(
    words: Annotated[list[str] | None, typer.Argument(help="Words that all must be there; none: every frame.")] = None,
    any_word: Annotated[bool, typer.Option("--any", help="Any of the words is enough.")] = False,
    phrase: Annotated[bool, typer.Option("--phrase", help="The words must follow each other.")] = False,
    relevance: Annotated[bool, typer.Option("--relevance", help="The most relevant first, not the newest.")] = False,
    kind: Annotated[list[str] | None, typer.Option(help="Only frames of this kind; may be repeated.")] = None,
    after: Annotated[str, typer.Option(help="Only frames after this time, for example 'last Tuesday 18:00'.")] = "",
    before: Annotated[str, typer.Option(help="Only frames before this time.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 20,
    ids: Annotated[bool, typer.Option("--ids", help="Print the ids alone.")] = False,
) -> None:
    """Search the archive; hits are printed as they are found."""
    if any_word and phrase:
        raise typer.BadParameter("--any and --phrase exclude each other")
    fields: dict[str, Any] = {
        "query": " ".join(words or []),
        "match": f"FRAME_MATCH_{'ANY' if any_word else 'PHRASE' if phrase else 'ALL'}",
        "ranking": "RANKING_RELEVANCE" if relevance else "RANKING_NEWEST",
        "kinds": kind or [],
        "limit": limit,
        "ids_only": ids,
        **_stamp(after, "after"),
        **_stamp(before, "before"),
    }
    found = 0
    with CURRENT.client() as client:
        for message in client.stream_json("MemoryService.SearchFrames", fields, DEADLINE_S):
            found += len(message.get("hits", []))
            CURRENT.show(message, lambda one: _print(one, ids=ids, relevance=relevance))
    if not CURRENT.as_json and not found:
        fail("nothing matches")


def _print(message: dict[str, Any], *, ids: bool, relevance: bool) -> None:
    for hit in message.get("hits", []):
        frame = hit["frame"]
        if ids:
            say(frame["frame_id"])
            continue
        text = " ".join(frame["text"].split()) if "text" in frame else f"({_size(frame.get('data', '')):,} bytes)"
        score = f"{hit.get('score', 0.0):6.2f}  " if relevance else ""
        mark = " (private)" if frame.get("private") else ""
        say(f"{score}{frame['frame_id']}  {frame.get('time', '')}  {frame['kind']}{mark}  {_short(text)}")
    if unreadable := int(message.get("unreadable", 0)):
        fail(f"{unreadable} frames that match cannot be read: see 'lightfast archive verify'")


def _size(data: str) -> int:
    """Return how many bytes *data* is, which is in base64."""
    return len(data) * 3 // 4 - data[-2:].count("=")


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH or not sys.stdout.isatty() else text[: _WIDTH - 1] + "…"


@app.command()
def add(
    text: Annotated[str, typer.Argument(help="The text; - reads standard input.")] = "",
    file: Annotated[
        Path | None, typer.Option(help="A file whose bytes are the content, which is not searched.")
    ] = None,
    kind: Annotated[str, typer.Option(help="What it is.")] = "note",
    time: Annotated[str, typer.Option(help="When it happened; by default now.")] = "",
    meta: Annotated[list[str] | None, typer.Option(help="NAME=VALUE that is kept with it; may be repeated.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Seal it; the archive must be unlocked.")] = False,
) -> None:
    """Put a frame into the archive, and print its id when it is durable."""
    frame: dict[str, Any] = {"kind": kind, "private": private, **_stamp(time, "time")}
    if file is not None:
        import base64

        frame["data"] = base64.b64encode(_read(file)).decode()
    elif text:
        frame["text"] = sys.stdin.read() if text == "-" else text
    else:
        raise typer.BadParameter("give a text, - for standard input, or --file FILE")
    if meta:
        with arguments_told():
            frame["metadata"] = literal.parse_named(meta)
    fields = {"frames": [frame], "request_id": uuid.uuid4().hex}
    CURRENT.call("MemoryService.AppendFrames", fields, lambda message: say(message["frame_ids"][0]), DEADLINE_S)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"--file {file} cannot be read: {error.strerror or error}") from None
