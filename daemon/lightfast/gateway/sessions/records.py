"""What the settings say of a provider, and how its sessions are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lightfast.gateway.limits.rules import Wanted


@dataclass(frozen=True, slots=True)
class ProviderTable:
    """A table `[providers.NAME]`: references to *keys*, addresses, the *tier*, limits, further keys."""

    keys: tuple[str, ...] = ()
    base_urls: tuple[str, ...] = ()
    tier: str = ""
    wanted: Wanted = field(default_factory=Wanted)
    options: Mapping[str, Any] = field(default_factory=dict)


class SessionState(StrEnum):
    """How an account stands: nobody used it yet, it works, no key, a refused key, used up, no answer."""

    NEW = "NEW"
    READY = "READY"
    NO_KEY = "NO_KEY"
    DENIED = "DENIED"
    EXHAUSTED = "EXHAUSTED"
    DOWN = "DOWN"


@dataclass(frozen=True, slots=True)
class LimitRecord:
    """One limit, and what is left of it now; *source* is `settings`, `service` or `shipped`."""

    kind: str
    window: float
    limit: float
    remaining: float
    source: str


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One account as it stands; *key_source* says where the key is from, never the key.

    *expire_time* in ns since 1970, 0: it does not expire; *latency* in seconds.
    """

    provider: str
    account: str
    state: SessionState
    reason: str = ""
    key_source: str = ""
    base_url: str = ""
    tier: str = ""
    limits: tuple[LimitRecord, ...] = ()
    expire_time: int = 0
    balance: float | None = None
    balance_unit: str = ""
    requests: int = 0
    failures: int = 0
    latency: float = 0.0
