"""Embeddings by WordLlama: the averaged word pieces of a language model, 256 numbers, thousands of texts a second.

The weights and the tokenizer are inside the package; nothing is ever fetched.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightfast.sdk import Embedder, MissingDependency, hookimpl

INSTALL = "pip install 'lightfast[wordllama]'"


class WordLlama:
    """The model `l2_supercat_256`; 16 MB of weights, loaded with the first text."""

    name = "wordllama"
    dimensions = 256

    def __init__(self) -> None:
        self._model: Any = None

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one vector of length 1 for each text, (len(texts), 256); all zeros for one without content."""
        import numpy as np

        if self._model is None:
            self._load()
        # A lone surrogate is no text to the tokenizer; what stands for it must be text.
        plain = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        known = [index for index, text in enumerate(plain) if text.strip()]
        found = np.zeros((len(texts), self.dimensions), np.float32)
        if known:
            # Not with its own norm=True, which divides by zero where a text has no token of its own.
            made = np.asarray(self._model.embed([plain[index] for index in known]), np.float32)
            lengths = np.linalg.norm(made, axis=1, keepdims=True)
            found[known] = np.divide(made, lengths, out=np.zeros_like(made), where=lengths > 0)
        return [row.tolist() for row in found]

    def close(self) -> None:
        """Let go of the weights."""
        self._model = None

    def _load(self) -> None:
        import wordllama

        # Its own folder stands in for a cache: that is where the weights are, and there is nothing to download.
        self._model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)


@hookimpl
def lightfast_embedders(config: Mapping[str, Any]) -> Sequence[Embedder]:
    """Bring the model, where the package is installed."""
    if importlib.util.find_spec("wordllama") is None:
        raise MissingDependency("wordllama", INSTALL)
    return [WordLlama()]
