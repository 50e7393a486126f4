"""Units of time that need a clock: beats, frames and samples, each a number of seconds only at some rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lightfast.core.measures import UNITS, Function


@dataclass(frozen=True, slots=True)
class Clocked:
    """A unit that lasts `numerator / rate` seconds, with the rate in the unit that *rate* (a parameter) names."""

    name: str
    rate: str
    numerator: float


CLOCKED: dict[str, Clocked] = {
    name: Clocked(name, rate, numerator)
    for rate, numerator, names in (
        ("tempo", 60.0, ("time.beats", "time.beat", "beats")),
        ("frame_rate", 1.0, ("time.frames", "time.frame", "frames")),
        ("sample_rate", 1.0, ("time.samples", "time.sample", "samples")),
    )
    for name in names
}
"""By all the names that applications use. `tempo` is in beats a minute, `frame_rate` in frames a second, `sample_rate`
in Hz."""

_SECONDS = ("time.second", "time.ms")


def rates_between(source: str, target: str) -> tuple[str, ...] | None:
    """Return the rates that the way from unit *source* to *target* needs; None where no clocked unit is on it."""
    if source == target or not (source in CLOCKED or target in CLOCKED):
        return None
    if not all(name in CLOCKED or name in _SECONDS for name in (source, target)):
        return None
    if _same(source, target):
        return ()
    needed = {CLOCKED[name].rate for name in (source, target) if name in CLOCKED}
    return tuple(sorted(needed))


def at_rates(source: str, target: str, rates: Mapping[str, float]) -> tuple[Function, Function]:
    """Return the way from *source* to *target* and back, at *rates*; raise `ValueError` for a rate that is none."""
    if _same(source, target):
        return (lambda value: value), (lambda value: value)
    factor = _length(source, rates) / _length(target, rates)
    return (lambda value: value * factor), (lambda value: value / factor)


def _same(source: str, target: str) -> bool:
    return source in CLOCKED and target in CLOCKED and CLOCKED[source].rate == CLOCKED[target].rate


def _length(name: str, rates: Mapping[str, float]) -> float:
    unit = CLOCKED.get(name)
    if unit is None:
        return UNITS[name].to_base(1.0)
    rate = rates[unit.rate]
    if not 0 < rate < float("inf"):
        raise ValueError(f"a {unit.rate.replace('_', ' ')} of {rate:g} makes no {name}")
    return unit.numerator / rate
