"""The way through a link, there and back: what its ends' units, scale, curve and formula make of a value.

In this order: a formula of the user's, which takes the place of the units; else the scale, or an end that says only
how much of the whole it is (0 to 1, percent, MIDI), which maps range onto range; else the units. A named curve shapes
the 0 to 1 in between where ranges are mapped, and otherwise, as one through points, what came out so far.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lightfast.context.entry import Declaration
from lightfast.core.clocked import at_rates, rates_between
from lightfast.core.colours import FORMS, Whole, colours_between
from lightfast.core.errors import InvalidArgument
from lightfast.core.measures import UNITS, between
from lightfast.core.scaling import NORMAL, Span
from lightfast.engine.links.expression import Expression, compile_expression
from lightfast.engine.links.link import Link

Function = Callable[[float], float]
FREQUENCY = "time.freq"


@dataclass(frozen=True, slots=True)
class Ways:
    """Functions of numbers (*there*, *back*; None: as it is), or of whole values, for colours."""

    there: Function | None = None
    back: Function | None = None
    whole_there: Whole | None = None
    whole_back: Whole | None = None


AS_IT_IS = Ways()


class Converter:
    """What a link's settings say of conversion; the ends' declarations come in with `ways`."""

    def __init__(self, link: Link) -> None:
        """Compile; raise `InvalidArgument` for a formula or a curve that cannot serve."""
        self._link = link
        self.expression: Expression | None = None
        self._formula: tuple[Function | None, Function | None] = (None, None)
        if not link.inputs:
            self.expression = compile_expression(link.expression)
            if not self.expression.identity:
                back = self.expression.inverse() if link.two_way else None
                self._formula = (self.expression.apply, back)
        self._curve: tuple[Function, Function | None] | None = None
        if link.curve is not None:
            self._curve = link.curve.functions()
            if link.two_way and self._curve[1] is None:
                raise InvalidArgument(
                    "a two-way link needs a curve that can be taken back: its points must go up, or down, all the way;"
                    " change them or make the link one-way",
                    reason="CURVE_NOT_INVERTIBLE",
                    field="link.curve",
                )
        self._shaped = self._curve if link.curve is not None and link.curve.shaped else None
        self._drawn = self._curve if self._shaped is None else None

    def rates(self, source: Declaration | None, target: Declaration | None) -> tuple[str, ...]:
        """Return the names of the rates that are needed between such ends."""
        if self._formula[0] is not None or self._link.inputs or self._link.raw_units:
            return ()
        return rates_between(*self._units(source, target)) or ()

    def ways(self, source: Declaration | None, target: Declaration | None, rates: Mapping[str, float]) -> Ways:
        """Return the ways between ends that are declared so; raise `ValueError` for ranges that cannot be mapped."""
        link = self._link
        if self._formula[0] is not None or link.inputs:
            return self._then_curve(*self._formula)
        if link.raw_units:
            return self._then_curve(None, None)
        here, there = self._units(source, target)
        if link.scale or _is_share(here, there, source, target):
            return self._by_ranges(here, there, source, target)
        whole = colours_between(here, there)
        if whole is not None:
            if self._curve is not None:
                raise ValueError("a curve does not shape a colour: leave it out")
            return Ways(whole_there=whole[0], whole_back=whole[1])
        if rates_between(here, there) is not None:
            return self._then_curve(*at_rates(here, there, rates))
        ways = between(here, there)
        if ways is None:
            self._check_asked(here, there)
            return self._then_curve(None, None)
        return self._then_curve(_silent_at(target, there, ways[0]), _silent_at(source, here, ways[1]))

    def _units(self, source: Declaration | None, target: Declaration | None) -> tuple[str, str]:
        here = self._link.from_unit or (source.unit if source is not None else "")
        there = self._link.to_unit or (target.unit if target is not None else "")
        return here, there

    def _check_asked(self, here: str, there: str) -> None:
        """Raise `ValueError` where units were asked for that have no way between them."""
        if (self._link.from_unit or self._link.to_unit) and here != there:
            raise ValueError(
                f"there is no way from {here or 'no unit'} to {there or 'no unit'}: set from_unit and to_unit to"
                " units of one kind, or leave them out"
            )

    def _by_ranges(self, here: str, there: str, source: Declaration | None, target: Declaration | None) -> Ways:
        named = {here, there}
        ratios = self._link.scale == "log" or (not self._link.scale and FREQUENCY in named)
        first = _span("source", here, source, ratios and (here == FREQUENCY or FREQUENCY not in named))
        last = _span("target", there, target, ratios and (there == FREQUENCY or FREQUENCY not in named))
        if self._link.scale == "log" and not (first.ratios or last.ratios):
            raise ValueError("a logarithmic scale needs an end whose range is above 0")
        shape, unshape = self._shaped or (None, None)

        def forward(value: float) -> float:
            share = first.share(value)
            return last.at(share if shape is None else shape(share))

        def back(value: float) -> float:
            share = last.share(value)
            return first.at(share if unshape is None else unshape(share))

        if self._drawn is None:
            return Ways(forward, back)
        return Ways(_chain(forward, self._drawn[0]), _chain(self._drawn[1], back))

    def _then_curve(self, there: Function | None, back: Function | None) -> Ways:
        if self._curve is None:
            return Ways(there, back) if there is not None or back is not None else AS_IT_IS
        return Ways(_chain(there, self._curve[0]), _chain(self._curve[1], back))


def _chain(first: Function | None, then: Function | None) -> Function | None:
    if first is None or then is None:
        return then if first is None else first
    return lambda value: then(first(value))


def _is_share(here: str, there: str, source: Declaration | None, target: Declaration | None) -> bool:
    """Say whether one end says only how much of the whole it is, and the other has a whole."""
    if (here in NORMAL) == (there in NORMAL):
        return here in NORMAL and here != there
    other = target if here in NORMAL else source
    return other is not None and other.minimum is not None and other.maximum is not None


def _span(which: str, unit: str, declared: Declaration | None, ratios: bool) -> Span:
    low, high = NORMAL.get(unit, (None, None))
    if declared is not None and (declared.minimum is not None and declared.maximum is not None):
        low, high = declared.minimum, declared.maximum
    if low is None or high is None:
        raise ValueError(f"the {which} has no declared range to scale: declare its minimum and maximum")
    return Span(low, high, ratios and low > 0)


def _silent_at(declared: Declaration | None, unit: str, way: Function) -> Function:
    """Return *way* to a level in dB so that silence is the least level the end knows, not -inf."""
    if unit != "gain.db" or declared is None or declared.minimum is None:
        return way
    least = declared.minimum
    return lambda value: max(way(value), least)


def check_units(link: Link) -> None:
    """Raise `InvalidArgument` where both units are asked for and nothing leads from one to the other."""
    here, there = link.from_unit, link.to_unit
    if not (here and there) or here == there or link.scale:
        return
    shares = here in NORMAL or there in NORMAL
    whole = here in FORMS and there in FORMS
    clocked = rates_between(here, there)
    if not (shares or whole or clocked or (here in UNITS and there in UNITS and between(here, there))):
        raise InvalidArgument(f"there is no way from {here} to {there}: use units of one kind", field="link.to_unit")
