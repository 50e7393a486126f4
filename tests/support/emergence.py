"""Clusters and relations of the labelled notes, as the layer finds them; its spaces; a small archive for layers."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from tests.support.judging import Note, Vectors

from lightfast.core.trigrams import TrigramEmbedder
from lightfast.sdk import Embedder
from lightfast.storage.archive.emergence.window import Window
from lightfast.storage.archive.emergence.words import content_words
from lightfast_providers import minilm, wordllama

HOUR_MS = 3_600_000


def spaces() -> dict[str, Embedder]:
    """Return the embedders that are installed."""
    found: dict[str, Embedder] = {"trigrams": TrigramEmbedder()}
    if find_spec("wordllama"):
        found["wordllama"] = wordllama.WordLlama()
    if all(find_spec(name) for name in minilm.NEEDED):
        found["minilm"] = minilm.MiniLM()
    return found


def clusters_of(order: Sequence[Note], vectors: Vectors) -> tuple[list[int], dict[tuple[int, int], float]]:
    """Return the cluster of each note (its own negative one where it is alone), and the strength of each relation."""
    window = Window(vectors.shape[1], 4096)
    for at in range(0, len(order), 16):
        part = order[at : at + 16]
        rows = [(at + n, f"{at + n:016x}", (at + n) * HOUR_MS, content_words(note.text)) for n, note in enumerate(part)]
        window.add(rows, vectors[at : at + 16])
    found, _ = window.cluster()
    homes = [community if community >= 0 else -1 - place for place, community in enumerate(found)]
    strength: dict[tuple[int, int], float] = {}
    for number, point in window.points.items():
        for other, strong, _ in window.relations(point):
            strength[min(number, other), max(number, other)] = strong
    return homes, strength
