"""What a request may bring about: whether it may cost anything, and whether what is sent may leave this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lightfast.core.errors import FailedPrecondition
from lightfast.gateway.ports import Load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightfast.gateway.calls import ModelRecord
    from lightfast.gateway.ports import CostEstimate
    from lightfast.gateway.rooms import Rooms
    from lightfast.sdk import Provider

NOT_APPROVED = "EFFECT_NOT_APPROVED"
"""The reason of an error that says: doing it would bring about what nobody has approved."""
_SOME = 1000


class Estimates(Protocol):
    """What is asked of the room of costs."""

    def estimate(self, record: ModelRecord, load: Load) -> CostEstimate:
        """Return what an attempt will cost."""
        ...


@dataclass(frozen=True, slots=True)
class Leash:
    """Without *spend* only models are used that cost nothing, without *network* only those on this machine."""

    spend: bool
    network: bool

    def forbids(self, record: ModelRecord, provider: Provider, costs: Estimates | None) -> str:
        """Return why *record* of *provider* may not be used, for a person; empty: it may."""
        if not self.network and not is_local(record, provider):
            return "runs on another machine, which was not approved"
        if not self.spend and not is_free(record, provider, costs):
            return "costs money, which was not approved"
        return ""


def is_local(record: ModelRecord, provider: Provider) -> bool:
    """Say whether *record* of *provider* runs on this machine."""
    return provider.local and not record.model.remote


def is_free(record: ModelRecord, provider: Provider, costs: Estimates | None) -> bool:
    """Say whether nothing is paid for *record*, whatever is asked of it."""
    if record.model.free or costs is None:
        return record.model.free or is_local(record, provider)
    some = Load(_SOME, _SOME, _SOME, record.model.outputs[0])
    return costs.estimate(record, some).most_usd == 0.0


def kept_to(leash: Leash, records: Sequence[ModelRecord], rooms: Rooms) -> list[ModelRecord]:
    """Return those of *records* that may be used; raise where that is none."""
    why = {
        record.name: leash.forbids(record, rooms.catalog.provider(record.provider), rooms.costs) for record in records
    }
    kept = [record for record in records if not why[record.name]]
    if not kept:
        raise not_approved(list(why.items()))
    return kept


def not_approved(kept_out: Sequence[tuple[str, str]]) -> FailedPrecondition:
    """Return the error where only models are left that the leash forbids: each with why."""
    named = "; ".join(f"{name} {why}" for name, why in kept_out[:5])
    more = f"; and {len(kept_out) - 5} more" if len(kept_out) > 5 else ""
    return FailedPrecondition(
        f"nothing can do this within what was approved: {named}{more}: start it again, so that it is asked for",
        reason=NOT_APPROVED,
        field="model",
    )
