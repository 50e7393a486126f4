"""A stand-in for TouchDesigner's module `td`: as much of it as the Lightfast component touches, and its tests.

It is made by `make_td`, handed to whoever wants it, and never put where `import td` would find it. It is no
TouchDesigner. What it leaves out is listed in `LEFT_OUT`; its classes follow the Python classes of Derivative's wiki in
names and manners, as far as they go: the same members, the same constant mode after a write, names that get other
digits when taken, clamping only where `clampMin`/`clampMax` say so, `OP.id`s that differ in each session, storage that
stays with the operator.
"""

from lightfast_bridges.touchdesigner.standin.module import LEFT_OUT, Td, make_td

__all__ = ["LEFT_OUT", "Td", "make_td"]
