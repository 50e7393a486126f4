"""What an attempt will cost: likely, and at most; by tokens, pictures, seconds, characters, and where nobody knows."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.costs import price_book, record

from lightfast.core.clock import StillClock
from lightfast.gateway.cost.estimates import Estimated, estimate, seconds_of
from lightfast.gateway.ports import Load

NOVEMBER = 1_795_132_800_000_000_000  # 2026-11-20


def of(provider: str, name: str, output: str, load: Load, **model: Any) -> Estimated:
    """Return an estimate by the price lists."""
    book = price_book(StillClock(NOVEMBER))
    asked = record(provider, name, (output,), **model)
    tariff = book.tariff(asked, load.settings)
    return estimate(
        tariff, asked, load, context_tokens=book.context_tokens(asked), most_seconds=book.most_seconds(asked)
    )


ESTIMATES = [
    # 1.25 and 10 $ a million: 1000 in, 500 likely and 2000 at most out
    ("openai", "gpt-5", "text", Load(1000, 2000), {}, 0.00625, 0.02125),
    # the model's own bound, and else its window (400 000)
    ("openai", "gpt-5", "text", Load(1000), {"max_output_tokens": 100}, 0.00225, 0.00225),
    ("openai", "gpt-5", "text", Load(0), {}, 0.005, 4.0),
    # all of it may be written to the cache: 3.75 instead of 3 $; 15 $ out
    ("anthropic", "claude-sonnet-4-5", "text", Load(1000, 100), {}, 0.0045, 0.00525),
    # beyond 200 000 tokens 6, 7.50 and 22.50 $
    ("anthropic", "claude-sonnet-4-5", "text", Load(300_000, 100), {}, 1.80225, 2.25225),
    # where the model takes sound, all of it may be sound: 1 instead of 0.30 $; 2.50 $ out
    ("gemini", "gemini-2.5-flash", "text", Load(1000, 100), {"inputs": ("text", "audio")}, 0.00055, 0.00125),
    ("openai", "text-embedding-3-small", "embedding", Load(1000), {}, 0.00002, 0.00002),
    # pictures: the words at 5 $ a million (10 $ where they may be of a picture), and so many of that size
    (
        *("openai", "gpt-image-1", "image"),
        Load(100, settings={"quality": "medium", "size": "1024x1024", "count": 2}),
        {},
        *(0.0845, 0.0845),
    ),
    ("openai", "gpt-image-1", "image", Load(0), {}, 0.25, 0.25),
    ("stability", "stable-image-ultra", "image", Load(10), {}, 0.08, 0.08),
    ("fal", "fal-ai/flux/dev", "image", Load(10, settings={"num_images": 3, "image_size": "square"}), {}, 0.075, 0.075),
    ("fal", "fal-ai/nano-banana-pro", "image", Load(10, settings={"resolution": "4K"}), {}, 0.3, 0.3),
    ("replicate", "black-forest-labs/flux-dev", "image", Load(10), {}, 0.025, 0.025),
    # seconds: those asked for, else those the schema lets through, else those the price list knows of
    ("runway", "gen4_turbo", "video", Load(10, settings={"duration": 5}), {}, 0.25, 0.25),
    ("runway", "gen4_turbo", "video", Load(10, settings={"duration": "10s"}), {}, 0.5, 0.5),
    ("runway", "gen4_turbo", "video", Load(10), {}, 0.5, 0.5),
    (
        *("gemini", "veo-3.1-generate-001", "video", Load(10)),
        {"settings": {"properties": {"seconds": {"type": "integer", "enum": [4, 6]}}}},
        *(3.6, 3.6),  # and the dearest resolution
    ),
    ("elevenlabs", "eleven_flash_v2_5", "audio", Load(9, characters=1000), {}, 0.05, 0.05),
    ("elevenlabs", "music_v1", "audio", Load(9, settings={"music_length_ms": 30_000}), {}, 0.15, 0.15),
    # sources: a picture takes 1000 tokens likely, 10 000 at most; a minute of 128 kbit/s sound is known by its bytes
    (
        *("openai", "gpt-5", "text", Load(1000, 100, sources=(("image/png", 50_000),))),
        {"inputs": ("text", "image")},
        *(0.0035, 0.01475),
    ),
    ("openai", "whisper-1", "text", Load(0, sources=(("audio/mpeg", 960_000),)), {}, 0.006, 0.128),
    (
        *("gemini", "gemini-2.5-flash", "text", Load(0, 100, sources=(("audio/mpeg", 960_000),))),
        {"inputs": ("text", "audio")},
        *(0.000826, 0.04121),  # 1920 likely at 0.30 $, 40 960 at most at 1 $
    ),
    # nobody knows
    ("openai", "whisper-1", "text", Load(0), {}, 0.0, None),
    ("nobody", "riddle", "text", Load(10, 10), {}, 0.0, None),
    ("runway", "unheard_of", "video", Load(10), {}, 0.0, None),  # a credit has a price, and nobody knows how many
    ("replicate", "someone/something", "image", Load(10), {}, 0.0, None),
]


@pytest.mark.parametrize(
    ("provider", "name", "output", "load", "model", "likely", "most"),
    ESTIMATES,
    ids=[f"{index}-{one[1]}" for index, one in enumerate(ESTIMATES)],
)
def test_estimates(
    provider: str, name: str, output: str, load: Load, model: dict[str, Any], likely: float, most: float | None
) -> None:
    found = of(provider, name, output, load, **model)
    assert found.likely_usd == pytest.approx(likely)
    assert (found.most_usd is None) == (most is None)
    if most is not None:
        assert found.most_usd == pytest.approx(most)


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        ({"duration": "8"}, 8.0),
        ({"length": 2.5}, 2.5),
        ({"seconds": True}, 0.0),
        ({"duration": "auto"}, 0.0),
        ({}, 0.0),
    ],
    ids=str,
)
def test_lengths(settings: dict[str, Any], seconds: float) -> None:
    assert seconds_of(settings) == seconds
