"""A language model of 468 KB with random weights, for the real llama.cpp: it says nothing, in valid tokens.

Byte-level BPE (two merges), so that every text can be said and constrained decoding works: a SentencePiece vocabulary
has an empty token, which breaks grammars.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

WIDTH, HIDDEN, LAYERS, HEADS, CONTEXT = 64, 128, 2, 4, 2048
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def _letters() -> list[str]:
    """Return what stands for each byte in a byte-level vocabulary: itself where it can be printed, else another."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    names = {byte: chr(byte) for byte in printed} | {byte: chr(256 + place) for place, byte in enumerate(others)}
    return [names[byte] for byte in range(256)]


def write(path: Path, seed: int = 0, context: int = CONTEXT, *, ascii_only: bool = False) -> None:
    """Write the model to *path*, made for *context* tokens; takes about half a second.

    With *ascii_only* a grammar lets it say ASCII alone: random bytes are rarely UTF-8, and llama.cpp says so.
    """
    import gguf
    import numpy as np

    chance = np.random.default_rng(seed)
    tokens = [*_letters(), "th", "the", "<|bos|>", "<|eos|>"]
    types = [gguf.TokenType.NORMAL] * 258 + [gguf.TokenType.CONTROL] * 2
    if ascii_only:
        types[128:256] = [gguf.TokenType.UNUSED] * 128
    out: Any = gguf.GGUFWriter(str(path), "llama")
    out.add_name("tiny-random")
    out.add_context_length(context)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(HIDDEN)
    out.add_head_count(HEADS)
    out.add_head_count_kv(HEADS)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(WIDTH // HEADS)
    out.add_vocab_size(len(tokens))
    out.add_file_type(gguf.LlamaFileType.ALL_F32)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(tokens)
    out.add_token_types(types)
    out.add_token_merges(["t h", "th e"])
    out.add_bos_token_id(258)
    out.add_eos_token_id(259)
    out.add_chat_template(TEMPLATE)

    def tensor(name: str, *shape: int, scale: float) -> None:
        out.add_tensor(name, (chance.standard_normal(shape) * scale).astype(np.float32))

    tensor("token_embd.weight", len(tokens), WIDTH, scale=1.0)
    tensor("output.weight", len(tokens), WIDTH, scale=0.3)
    out.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensor(f"blk.{layer}.{name}.weight", WIDTH, WIDTH, scale=0.2)
        for name, shape in (("gate", (HIDDEN, WIDTH)), ("up", (HIDDEN, WIDTH)), ("down", (WIDTH, HIDDEN))):
            tensor(f"blk.{layer}.ffn_{name}.weight", *shape, scale=0.2)
        for name in ("attn_norm", "ffn_norm"):
            out.add_tensor(f"blk.{layer}.{name}.weight", np.ones(WIDTH, np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
