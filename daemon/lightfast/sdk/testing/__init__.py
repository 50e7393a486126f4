"""The contract as tests, and fakes to write one's own with.

    from lightfast.sdk.testing import check_provider

    async def test_contract():
        await check_provider(MyProvider(), prompts={"my-model": "something it can do at once"})

A check that fails raises `ContractBroken`, an `AssertionError` whose message says what was
promised, what happened instead, and what to do.
"""

from lightfast.core.clock import StillClock
from lightfast.sdk.testing.bridges import check_bridge
from lightfast.sdk.testing.embedders import check_embedder
from lightfast.sdk.testing.errors import ContractBroken
from lightfast.sdk.testing.fakes import FakeAppSession, FakeBench, FakeBridgeHost
from lightfast.sdk.testing.operations import FakeOperationBench, FakeWorld, check_operation
from lightfast.sdk.testing.providers import check_provider, complete_settings

__all__ = [
    "ContractBroken",
    "FakeAppSession",
    "FakeBench",
    "FakeBridgeHost",
    "FakeOperationBench",
    "FakeWorld",
    "StillClock",
    "check_bridge",
    "check_embedder",
    "check_operation",
    "check_provider",
    "complete_settings",
]
