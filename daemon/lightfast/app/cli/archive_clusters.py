"""archive clusters: what belongs together in the archive, as far as it was found."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lightfast.app.cli.session import CURRENT, say, table

app = typer.Typer()
_WIDTH = 80


@app.command()
def clusters(
    frame: Annotated[str, typer.Argument(help="Only the cluster of this frame, with what it has to do with.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
) -> None:
    """List clusters of frames, largest first; with FRAME its cluster, and its relations, strongest first."""
    fields: dict[str, Any] = {"frame_id": frame} if frame else {"page_size": limit}
    CURRENT.call("MemoryService.ListClusters", fields, _around if frame else _list)


def _list(message: dict[str, Any]) -> None:
    table(
        ("CLUSTER", "FRAMES", "CLOSE", "WORDS", "TYPICAL"),
        (
            (
                one["cluster_id"],
                one.get("size", 0),
                f"{one.get('coherence', 0.0):.2f}",
                " ".join(one.get("words", [])),
                next(iter(one.get("frame_ids", [])), ""),
            )
            for one in message.get("clusters", [])
        ),
        "No clusters yet: they are looked for in the background.",
    )


def _around(message: dict[str, Any]) -> None:
    found = message.get("clusters", [])
    relations = message.get("relations", [])
    if found:
        one = found[0]
        say(f"{one['cluster_id']}: {one.get('size', 0)} frames, {' '.join(one.get('words', []))}")
    else:
        say("It is in no cluster.")
    texts = _texts([one["other_frame_id"] for one in relations])
    table(
        ("FRAME", "STRENGTH", "WHY", "TEXT"),
        (
            (
                one["other_frame_id"],
                f"{one.get('strength', 0.0):.2f}",
                one.get("reason", ""),
                texts.get(one["other_frame_id"], ""),
            )
            for one in relations
        ),
        "It has to do with no other frame, as far as was found.",
    )


def _texts(frame_ids: list[str]) -> dict[str, str]:
    """Return the beginnings of the frames that can be read."""
    if not frame_ids:
        return {}
    with CURRENT.client() as client:
        found = client.get_frames(frame_ids)
    return {frame.frame_id: " ".join(frame.text.split())[:_WIDTH] for frame in found.frames}
