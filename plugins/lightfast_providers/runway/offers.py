"""The models of Runway: by which endpoint each is asked, with what, for how many credits, within which limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightfast.sdk import Model, Price

CREDIT_USD = 0.01
_DATE = "2026-11-20"
_SOURCE = "https://docs.dev.runwayml.com/guides/pricing"

TIERS: Mapping[str, Sequence[tuple[str, float, float]]] = {
    name: (
        ("concurrency", 0.0, float(at_once)),
        ("requests", 86400.0, float(daily)),
        ("spend", 2592000.0, float(spend)),
    )
    for name, at_once, daily, spend in (
        ("tier1", 1, 50, 100),
        ("tier2", 3, 500, 500),
        ("tier3", 5, 1000, 2000),
        ("tier4", 10, 5000, 20_000),
        ("tier5", 20, 25_000, 100_000),
    )
}
"""For each model, the lowest of all modalities (docs.dev.runwayml.com/usage/tiers, read 2026-11-20): so many tasks at
once (more wait as THROTTLED), so many in a day (more are a 429), US dollars in a month."""

_WIDE, _HIGH = "1280:720", "720:1280"
_VIDEO = [_WIDE, _HIGH, "1104:832", "832:1104", "960:960", "1584:672"]
_VEO = [_WIDE, _HIGH, "1920:1080", "1080:1920"]
_IMAGE = [
    *("1920:1080", "1080:1920", "1024:1024", "1360:768", "1080:1080", "1168:880", "1440:1080", "1080:1440", "1808:768"),
    *("2112:912", "1280:720", "720:1280", "720:720", "960:720", "720:960", "1680:720"),
]
_VOICES = [
    *("Maya", "Arjun", "Serene", "Bernard", "Billy", "Mark", "Clint", "Mabel", "Chad", "Leslie", "Eleanor", "Elias"),
    *("Elliot", "Grungle", "Brodie", "Sandra", "Kirk", "Kylie", "Lara", "Lisa", "Malachi", "Marlene", "Martin"),
    *("Miriam", "Monster", "Paula", "Pip", "Rusty", "Ragnar", "Xylar", "Maggie", "Jack", "Katie", "Noah", "James"),
    *("Rina", "Ella", "Mariah", "Frank", "Claudia", "Niki", "Vincent", "Kendrick", "Myrna", "Tom", "Wanda"),
    *("Benjamin", "Kiana", "Rachel"),
]


@dataclass(frozen=True, slots=True)
class Offer:
    """A model, and the resources of the SDK that make it: with an image (*pictured*), and without (*plain*)."""

    model: Model
    plain: str = ""
    pictured: str = ""
    seed: bool = True


def _schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _choice(values: list[str]) -> dict[str, Any]:
    return {"type": "string", "enum": values, "default": values[0]}


def _prices(unit: str, credits_each: float) -> tuple[Price, ...]:
    """Return the price of a credit, which is what is booked, and of a unit, by which it is estimated."""
    each = round(credits_each * CREDIT_USD, 6)
    return (Price("credit", CREDIT_USD, _SOURCE, _DATE), Price(unit, each, _SOURCE, _DATE))


def _video(
    name: str, text: str, each: float, settings: dict[str, Any], *, plain: bool = True, tags: tuple[str, ...] = ()
) -> Offer:
    return Offer(
        Model(
            name,
            outputs=("video",),
            inputs=("text", "image"),
            description=text,
            settings=settings,
            capabilities=("jobs", "seed", "edit"),
            tags=tags,
            prices=_prices("second", each),
            needs_sources=0 if plain else 1,
        ),
        plain="text_to_video" if plain else "",
        pictured="image_to_video",
    )


_TEN = {"type": "integer", "minimum": 2, "maximum": 10, "default": 5, "description": "In seconds."}
_EIGHT = {"type": "integer", "enum": [4, 6, 8], "default": 8, "description": "In seconds."}
_SOUND = {"type": "boolean", "default": True, "description": "Whether it has sound; it costs more with it."}

OFFERS = (
    _video(
        "gen4.5",
        "Gen-4.5: film from a text, or one that begins with an image; with a text alone it is wide or high.",
        12,
        _schema(ratio=_choice(_VIDEO), duration=_TEN),
        tags=("best",),
    ),
    _video(
        "gen4_turbo",
        "Gen-4 Turbo: film that begins with an image, fast.",
        5,
        _schema(ratio=_choice(_VIDEO), duration=_TEN),
        plain=False,
        tags=("fast", "cheap"),
    ),
    _video("veo3.1", "Veo 3.1: film with sound.", 40, _schema(ratio=_choice(_VEO), duration=_EIGHT, audio=_SOUND)),
    _video(
        "veo3.1_fast",
        "Veo 3.1 Fast: film with sound.",
        15,
        _schema(ratio=_choice(_VEO), duration=_EIGHT, audio=_SOUND),
    ),
    Offer(
        Model(
            "gen4_image",
            outputs=("image",),
            inputs=("text", "image"),
            description="Gen-4 Image: an image from a text and up to three others.",
            settings=_schema(ratio=_choice(_IMAGE)),
            capabilities=("jobs", "seed", "edit"),
            prices=_prices("image", 8),
        ),
        plain="text_to_image",
        pictured="text_to_image",
    ),
    Offer(
        Model(
            "gen4_image_turbo",
            outputs=("image",),
            inputs=("text", "image"),
            description="Gen-4 Image Turbo: an image from a text and one to three others, fast.",
            settings=_schema(ratio=_choice(_IMAGE)),
            capabilities=("jobs", "seed", "edit"),
            tags=("fast", "cheap"),
            prices=_prices("image", 2),
            needs_sources=1,
        ),
        pictured="text_to_image",
    ),
    Offer(
        Model(
            "eleven_text_to_sound_v2",
            outputs=("audio",),
            description="A sound effect from a text, by ElevenLabs.",
            settings=_schema(
                duration={
                    "type": "number",
                    "minimum": 0.5,
                    "maximum": 30,
                    "description": "In seconds; left out: by the text.",
                },
                loop={"type": "boolean", "default": False},
            ),
            capabilities=("jobs",),
            prices=_prices("request", 2),
        ),
        plain="sound_effect",
        seed=False,
    ),
    Offer(
        Model(
            "eleven_multilingual_v2",
            outputs=("audio",),
            description="Speech from a text, by ElevenLabs.",
            settings=_schema(voice=_choice(_VOICES)),
            capabilities=("jobs",),
            tags=("speech",),
            prices=_prices("character", 0.02),
        ),
        plain="text_to_speech",
        seed=False,
    ),
)
BY_NAME = {offer.model.name: offer for offer in OFFERS}
