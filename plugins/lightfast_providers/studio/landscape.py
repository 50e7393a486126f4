"""Landscapes: their subjects in the order they are laid on."""

from __future__ import annotations

from collections.abc import Callable

from lightfast_providers.studio import air, land, sky, towns, water
from lightfast_providers.studio.scene import Scene

ORDER: tuple[tuple[str, Callable[[Scene], None]], ...] = (
    ("stars", sky.stars),
    ("aurora", sky.aurora),
    ("sun", sky.sun),
    ("moon", sky.moon),
    ("clouds", sky.clouds),
    ("mountains", land.mountains),
    ("water", water.water),
    ("waves", water.waves),
    ("dunes", land.dunes),
    ("city", towns.city),
    ("hills", land.hills),
    ("forest", towns.forest),
    ("mist", air.mist),
    ("birds", air.birds),
    ("rain", air.rain),
    ("snow", air.snow),
)

"""From far to near."""
