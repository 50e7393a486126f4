"""The one error of the contract suites."""

from __future__ import annotations


class ContractBroken(AssertionError):
    """A promise was not kept; the message says which, and what to do."""


def require(kept: object, message: str) -> None:
    """Raise `ContractBroken` with *message* unless *kept* is true."""
    if not kept:
        raise ContractBroken(message)
