"""What models cost: golden figures, reckoned by hand from the price pages, to the nano-dollar."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal

import pytest
from tests.support.costs import FREE, RIDDLE, price_book, record

from lightfast.core.clock import StillClock
from lightfast.gateway.cost.money import dollars, nano
from lightfast.gateway.cost.overrides import check_prices, parse_prices
from lightfast.sdk import Price, Usage

NOVEMBER = 1_795_132_800_000_000_000  # 2026-11-20


def cost(provider: str, model: str, usage: Usage, **settings: object) -> Decimal | None:
    """Return what a usage costs."""
    book = price_book(StillClock(NOVEMBER))
    return book.tariff(record(provider, model), settings).cost(usage)


GOLDEN = [
    # OpenAI: cached and reasoning tokens are within the totals. 1.25, 0.125 and 10 $ a million:
    # 200 000 fresh, 800 000 cached, 50 000 out: 0.25 + 0.10 + 0.50
    ("openai", "gpt-5", Usage(1_000_000, 50_000, cached_tokens=800_000, reasoning_tokens=30_000), {}, "0.85"),
    # The same without a cache: 1.25 + 0.50
    ("openai", "gpt-5", Usage(1_000_000, 50_000), {}, "1.75"),
    # In a batch half of it
    ("openai", "gpt-5", Usage(1_000_000, 50_000), {"processing": "batch"}, "0.875"),
    ("openai", "gpt-5", Usage(1_000_000, 50_000), {"service_tier": "flex"}, "0.875"),
    # Sound: 4 and 32 $ in, 16 and 64 out, 0.4 cached: 1000 text, 500 cached, 2000 sound; 300 text, 700 sound
    # 0.004 + 0.0002 + 0.064 + 0.0048 + 0.0448
    (
        *("openai", "gpt-realtime"),
        Usage(3500, 1000, cached_tokens=500, audio_input_tokens=2000, audio_output_tokens=700),
        {},
        "0.1178",
    ),
    # Pictures: 5 $ text, 10 $ picture, 40 $ out: 100 words and 1000 of a picture in, 4160 out
    ("openai", "gpt-image-1", Usage(1100, 4160, image_input_tokens=1000, images=1), {}, "0.1769"),
    # Anthropic: 3 $, read 0.30, written 3.75 (five minutes), 15 out: 1000 fresh, 9000 read, 2000 written, 400 out
    # 0.003 + 0.0027 + 0.0075 + 0.006
    ("anthropic", "claude-sonnet-4-5", Usage(12_000, 400, cached_tokens=9000, cache_write_tokens=2000), {}, "0.0192"),
    # Kept for an hour: 6 $ written
    (
        *("anthropic", "claude-sonnet-4-5"),
        Usage(12_000, 400, cached_tokens=9000, cache_write_tokens=2000),
        {"cache_ttl": "1h"},
        "0.0237",
    ),
    # A long request pays more for all of it: 6, 0.60, 22.50 beyond 200 000: 1.20 + 0.06 + 0.0225
    ("anthropic", "claude-sonnet-4-5", Usage(300_000, 1000, cached_tokens=100_000), {}, "1.2825"),
    ("anthropic", "claude-sonnet-4-5", Usage(200_000, 0), {}, "0.6"),
    # Gemini: thoughts are added to the answer by its provider, and cost what the answer does. 1.25, 10: 0.00125 + 0.012
    ("gemini", "gemini-2.5-pro", Usage(1000, 1200, reasoning_tokens=1000), {}, "0.01325"),
    # and 2.50, 15 beyond 200 000: 0.50025 + 0.015
    ("gemini", "gemini-2.5-pro", Usage(200_100, 1000), {}, "0.51525"),
    # Sound 1 $, text 0.30, answer 2.50: 0.0003 + 0.002 + 0.00025
    ("gemini", "gemini-2.5-flash", Usage(3000, 100, audio_input_tokens=2000), {}, "0.00255"),
    # A picture of 1290 tokens at 30 $, and 10 words at 0.30
    ("gemini", "gemini-2.5-flash-image", Usage(10, 1290, image_output_tokens=1290, images=1), {}, "0.038703"),
    ("openai", "text-embedding-3-small", Usage(1000), {}, "0.00002"),
    ("openai", "tts-1", Usage(characters=1000), {}, "0.015"),
    ("openai", "whisper-1", Usage(seconds=90.0), {}, "0.009"),
    # Media: what is made
    ("stability", "stable-image-core", Usage(images=3), {}, "0.09"),
    ("stability", "sd3.5-large", Usage(images=1, credits=6.5), {}, "0.065"),
    ("elevenlabs", "eleven_multilingual_v2", Usage(characters=250), {}, "0.025"),
    ("runway", "gen4_turbo", Usage(seconds=10.0), {}, "0.5"),
    ("runway", "gen4_turbo", Usage(seconds=10.0, credits=50.0), {}, "0.5"),
    ("replicate", "black-forest-labs/flux-schnell", Usage(images=2, seconds=1.5), {}, "0.006"),
    ("replicate", "someone/something", Usage(seconds=2.0), {"hardware": "gpu-t4"}, "0.00045"),
    ("fal", "fal-ai/flux/dev", Usage(images=2), {"width": 1024, "height": 1024}, "0.1"),
    ("fal", "fal-ai/flux/dev", Usage(images=2), {"image_size": "landscape_4_3"}, "0.05"),
    ("openai", "gpt-image-1", Usage(images=1), {"quality": "low", "size": "1024x1024"}, "0.011"),
    ("openai", "gpt-image-1", Usage(images=1), {"size": "1024x1024"}, "0.167"),
    ("gemini", "veo-3.1-fast-generate-001", Usage(seconds=8.0), {"resolution": "1080p"}, "0.96"),
]


@pytest.mark.parametrize(
    ("provider", "model", "usage", "settings", "usd"), GOLDEN, ids=[f"{i}-{g[1]}" for i, g in enumerate(GOLDEN)]
)
def test_what_a_usage_costs(provider: str, model: str, usage: Usage, settings: dict[str, object], usd: str) -> None:
    assert cost(provider, model, usage, **settings) == Decimal(usd)


def test_parts_beyond_their_total_are_not_paid_twice() -> None:
    # A service that counts 900 cached and 500 of sound in 1000 tokens: 400 of the sound were cached.
    # 900 at 0.4 $, 100 at 32 $ a million
    usage = Usage(1000, 0, cached_tokens=900, audio_input_tokens=500)
    assert cost("openai", "gpt-realtime", usage) == Decimal("0.00356")


def test_a_usage_that_counted_nothing_has_no_cost() -> None:
    assert cost("openai", "gpt-5", Usage()) is None
    assert cost("nobody", "riddle", Usage(1000, 1000)) is None


def test_who_is_asked_for_a_price_first() -> None:
    book = price_book(StillClock(NOVEMBER), {"openai": {"gpt-*": "input 2/M, output 8/M", "gpt-5": "free"}})
    usage = Usage(1_000_000, 1_000_000)
    plugin = record("openai", "gpt-4.1", prices=(Price("input_token", 1e-6, "page", "2026-01-01"),))
    assert book.tariff(record("openai", "gpt-5"), {}).free  # the settings, and the longer name
    assert book.tariff(plugin, {}).cost(usage) == 10  # the settings before the plugin
    assert book.tariff(record("house", "gpt-5"), {}).free  # a local provider
    assert book.tariff(FREE, {}).free
    bare = price_book(StillClock(NOVEMBER))
    assert bare.tariff(plugin, {}).cost(usage) == 1  # the plugin before the list
    assert bare.tariff(record("openai", "gpt-4.1"), {}).cost(usage) == 10  # 2 and 8 $ a million
    assert not bare.tariff(RIDDLE, {}).known
    assert bare.prices(plugin) == (Price("input_token", 1e-6, "page", "2026-01-01"),)


def test_prices_are_shown_with_their_source() -> None:
    book = price_book(StillClock(NOVEMBER))
    shown = {price.unit: price for price in book.prices(record("runway", "gen4_turbo", ("video",)))}
    assert shown["second"].usd == 0.05
    assert shown["second"].date == "2026-11-20"
    assert "runwayml.com" in shown["second"].source
    tokens = {price.unit: price for price in book.prices(record("openai", "gpt-5"))}
    assert tokens["cached_token"].usd == 0.125e-6
    assert tokens["cached_token"].source.startswith("genai-prices ")
    assert book.prices(FREE) == ()


@pytest.mark.parametrize(
    ("text", "unit", "usd"),
    [
        ("input 1.25/M", "input_token", "0.00000125"),
        ("audio_output 64 / M, image 0.04", "image", "0.04"),
        ("second $0.6/min", "second", "0.01"),
        ("request 2e-3", "request", "0.002"),
    ],
)
def test_prices_that_somebody_wrote(text: str, unit: str, usd: str) -> None:
    rate = parse_prices(text).by_unit(unit)
    assert rate is not None
    assert rate.usd == Decimal(usd)


@pytest.mark.parametrize("text", ["", "input", "input -1/M", "words 3", "input 1/G", "input 1/M output 2/M"])
def test_prices_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match="a price such as"):
        check_prices({"gpt-x": text})


def test_money_is_whole_and_bounds_lean_high() -> None:
    assert nano(0.1) == 100_000_000  # not the nearest double
    assert nano(Decimal("1e-10")) == 0
    assert nano(Decimal("1e-10"), up=True) == 1
    assert dollars(nano(0.01)) == 0.01


async def test_the_price_list_is_loaded_off_the_loop_and_only_when_it_is_needed() -> None:
    code = """
import asyncio, sys, threading
from lightfast.core.clock import StillClock
from tests.support.costs import FREE, PENNY, price_book, record
async def main():
    book = price_book(StillClock())
    await book.ready(FREE, PENNY, record("house", "x"))
    book.tariff(FREE, {}), book.prices(PENNY)
    assert "genai_prices" not in sys.modules and "tomllib" not in sys.modules
    seen = []
    real = book._tokens.load
    book._tokens.load = lambda: (seen.append(threading.current_thread()), real())
    await asyncio.gather(*(book.ready(record("openai", "gpt-5")) for _ in range(5)))
    assert "genai_prices" in sys.modules
    assert len(seen) == 1 and seen[0] is not threading.main_thread()
    from genai_prices import data_snapshot
    assert data_snapshot._custom_snapshot is None
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
