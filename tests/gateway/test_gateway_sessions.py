"""Accounts: found at the first use, balanced, closed when a key is refused, opened when it changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog
from tests.support.sessions import Service, sessions, settled

from lightfast.core.errors import FailedPrecondition, NotFound
from lightfast.gateway.limits.rules import read_wanted
from lightfast.gateway.ports import Load
from lightfast.gateway.sessions.account import DENIED_AGAIN
from lightfast.gateway.sessions.records import ProviderTable, SessionState
from lightfast.sdk import Condition, Limit, Limits, ProviderError, Session, Usage
from lightfast.security.secrets.keeping import keep_in_file, remove_file

OLD, NEW = "sk-old-0123456789", "sk-new-0123456789"


def refused() -> ProviderError:
    return ProviderError("the key is wrong", kind="auth")


async def test_no_key_is_looked_for_before_it_is_needed(tmp_path: Path) -> None:
    async with sessions(tmp_path, keys=(), environ={}) as rooms:
        assert rooms.book.trouble("service") == ""
        assert rooms.book.records(["service"])[0].state is SessionState.NEW
        assert rooms.door.asked == 0
        with pytest.raises(FailedPrecondition, match=r"service has no key: run 'lightfast key set service'") as no:
            await rooms.reserve()
        assert no.value.reason == "NO_KEY"
        assert rooms.door.asked == 1
        assert "has no key" in rooms.book.trouble("service")
        keep_in_file(tmp_path / "keys", "service", NEW)
        await rooms.advance(1.0)
        place = await rooms.reserve()
        assert place.session.key.reveal() == NEW
        assert rooms.book.trouble("service") == ""


async def test_a_rotated_file_is_used_without_a_restart(tmp_path: Path) -> None:
    path = keep_in_file(tmp_path / "keys", "service", OLD)
    async with sessions(tmp_path, keys=()) as rooms:
        assert (await rooms.reserve()).session.key.reveal() == OLD
        keep_in_file(tmp_path / "keys", "service", NEW)
        await rooms.advance(1.0)
        place = await rooms.reserve()
        assert place.session.key.reveal() == NEW
        assert rooms.book.records(["service"])[0].key_source == f"file:{path}"
        assert remove_file(tmp_path / "keys", "service")
        await rooms.advance(1.0)
        with pytest.raises(FailedPrecondition, match="has no key"):
            await rooms.reserve()


async def test_a_refused_key_closes_the_account_until_it_is_another(tmp_path: Path) -> None:
    async with sessions(tmp_path, keys=("keyring:service",)) as rooms:
        rooms.door.held["service"] = OLD
        place = await rooms.reserve()
        place.refused(refused())
        place.release()
        await settled()
        with pytest.raises(FailedPrecondition, match="the key from keyring:service was refused") as no:
            await rooms.reserve()
        assert no.value.reason == "KEY_REFUSED"
        assert OLD not in no.value.message
        assert rooms.book.delay(rooms.record(), _load()) == float("inf")
        asked = rooms.door.asked
        await rooms.advance(1.0)
        with pytest.raises(FailedPrecondition):
            await rooms.reserve()
        assert rooms.door.asked == asked  # not at every request
        rooms.door.held["service"] = NEW
        await rooms.advance(5.0)
        assert (await rooms.reserve()).session.key.reveal() == NEW


async def test_a_refused_key_is_tried_once_more_after_a_while(tmp_path: Path) -> None:
    """A service that says no by mistake closes nothing for good; one that means it is not asked at every request."""
    async with sessions(tmp_path, keys=("keyring:service",)) as rooms:
        rooms.door.held["service"] = OLD
        for _ in range(3):
            place = await rooms.reserve()
            place.refused(refused())
            place.release()
            await settled()
            await rooms.advance(DENIED_AGAIN - 1)
            with pytest.raises(FailedPrecondition, match="was refused"):
                await rooms.reserve()
            await rooms.advance(1.0)
        place = await rooms.reserve()
        place.settle(Usage(), 0.1)
        assert rooms.book.records(["service"])[0].state is SessionState.READY


async def test_a_key_that_was_changed_meanwhile_is_taken_at_once(tmp_path: Path) -> None:
    async with sessions(tmp_path, keys=("keyring:service",)) as rooms:
        rooms.door.held["service"] = OLD
        place = await rooms.reserve()
        rooms.door.held["service"] = NEW
        place.refused(refused())
        place.release()
        assert (await rooms.reserve()).session.key.reveal() == NEW


async def test_requests_are_balanced_over_the_accounts(tmp_path: Path) -> None:
    async with sessions(
        tmp_path,
        environ={"A": "sk-a-0123456789", "B": "sk-b-0123456789"},
        keys=("env:A", "env:B"),
        limits={"requests_per_minute": 3},
    ) as rooms:
        places = [await rooms.reserve() for _ in range(6)]
        names = [place.session.account for place in places]
        assert names == ["env:A", "env:B"] * 3
        for place in places:
            place.settle(Usage(1, 1), 0.1)
        assert rooms.book.delay(rooms.record(), _load()) == 60.0
        await rooms.advance(60.0)
        assert (await rooms.reserve(account="env:B")).session.account == "env:B"
        place = await rooms.reserve()
        place.refused(refused())
        place.release()
        assert [(await rooms.reserve()).session.account for _ in range(2)] == ["env:B", "env:B"]
        assert (await rooms.book.any_session("service", "env:B")).account == "env:B"
        assert (await rooms.book.any_session("service")).account == "env:B"


async def test_one_key_at_two_places_is_one_account(tmp_path: Path) -> None:
    async with sessions(tmp_path, environ={"A": OLD, "B": OLD}, keys=("env:A", "env:B")) as rooms:
        assert [(await rooms.reserve()).session.account for _ in range(2)] == ["default", "default"]
        assert [record.key_source for record in rooms.book.records(["service"])] == ["env:A"]


async def test_an_address_that_does_not_answer_is_used_only_when_no_other_is_there(tmp_path: Path) -> None:
    service = Service(needs_key=False)
    urls = ("http://10.0.0.1:8000/v1", "http://10.0.0.2:8000/v1")
    async with sessions(tmp_path, service=service, keys=(), base_urls=urls) as rooms:
        for _ in range(3):
            place = await rooms.reserve(account="10.0.0.1:8000/v1")
            place.refused(ProviderError("no route", kind="unavailable"))
            place.release()
        assert {(await rooms.reserve()).session.base_url for _ in range(4)} == {urls[1]}
        states = {record.account: record.state for record in rooms.book.records(["service"])}
        assert states == {"10.0.0.1:8000/v1": SessionState.DOWN, "10.0.0.2:8000/v1": SessionState.NEW}
        (await rooms.reserve(account="10.0.0.1:8000/v1")).settle(Usage(1, 1), 0.2)
        assert rooms.book.records(["service"])[0].state is SessionState.READY


async def test_a_model_that_an_account_may_not_use_is_closed_for_a_while(tmp_path: Path) -> None:
    async with sessions(tmp_path) as rooms:
        place = await rooms.reserve()
        place.refused(ProviderError("not for your organisation", kind="denied"))
        place.release()
        with pytest.raises(FailedPrecondition, match="may use one: not for your organisation") as no:
            await rooms.reserve()
        assert no.value.reason == "MODEL_CLOSED"
        (await rooms.reserve(model="two")).release()
        await rooms.advance(300.0)
        (await rooms.reserve()).release()


async def test_a_check_asks_with_each_account(tmp_path: Path) -> None:
    def answer(session: Session) -> Condition:
        match session.account:
            case "env:A":
                return Condition("tier 2", Limits((Limit("requests", 60.0, 9.0, 9.0),), 5.0, "usd"), 3600.0)
            case "env:B":
                raise ProviderError(f"no such key {session.key.reveal()}", kind="auth")
        raise ProviderError("insufficient_quota", kind="limit", terminal=True)

    environ = {name: f"sk-{name}-0123456789" for name in "ABC"}
    async with sessions(tmp_path, environ=environ, keys=("env:A", "env:B", "env:C")) as rooms:
        rooms.service.answer = answer
        first, second, third = await rooms.book.check("service")
        assert (first.state, first.reason, first.balance, first.balance_unit) == (
            SessionState.READY, "tier 2", 5.0, "usd",
        )  # fmt: skip
        assert first.expire_time == rooms.clock.now_ns() + 3600 * 10**9
        assert (first.limits[0].limit, first.limits[0].source) == (9.0, "service")
        assert (second.state, "sk-B" in second.reason) == (SessionState.DENIED, False)
        assert third.state is SessionState.EXHAUSTED
        rooms.service.answer = lambda _: Condition()
        assert {record.state for record in await rooms.book.check("service")} == {SessionState.READY}
        assert len(rooms.service.probes) == 6


@pytest.mark.parametrize("error", [RuntimeError("odd"), TimeoutError(), SystemExit(3)], ids=lambda e: type(e).__name__)
async def test_a_probe_that_fails_says_so(tmp_path: Path, error: BaseException) -> None:
    def answer(_: Session) -> Condition:
        raise error

    async with sessions(tmp_path) as rooms:
        rooms.service.answer = answer
        (record,) = await rooms.book.check("service")
        assert record.state is SessionState.DOWN
        assert record.reason
        (await rooms.reserve()).release()


async def test_an_expired_session_is_new_again(tmp_path: Path) -> None:
    path = keep_in_file(tmp_path / "keys", "service", OLD)
    async with sessions(tmp_path, keys=(f"file:{path}",)) as rooms:
        rooms.service.answer = lambda _: Condition(expires_after=100.0)
        assert (await rooms.book.check("service"))[0].expire_time
        await rooms.advance(101.0)
        (await rooms.reserve()).release()
        assert rooms.book.records(["service"])[0].state is SessionState.NEW


async def test_other_settings_follow(tmp_path: Path) -> None:
    async with sessions(tmp_path, environ={"A": "sk-a-0123456789", "B": "sk-b-0123456789"}, keys=("env:A",),
                        limits={"requests_per_minute": 2}) as rooms:  # fmt: skip
        (await rooms.reserve()).settle(Usage(1, 1), 0.1)
        wanted = read_wanted({"requests_per_minute": 1})
        rooms.book.follow({"service": ProviderTable(keys=("env:A", "env:B"), wanted=wanted, tier="none")})
        assert (await rooms.reserve()).session.account == "env:B"  # what the first has used still counts
        limits = {record.account: record.limits for record in rooms.book.records(["service"])}
        assert [limit.remaining for limit in limits["env:A"]] == [0.0]


async def test_a_tier_of_the_provider_holds(tmp_path: Path) -> None:
    tiers = {"free": (("requests", 60.0, 3.0),), "paid": (("requests", 60.0, 30.0),)}
    for tier, expected in (("", 3.0), ("paid", 30.0), ("gold", 3.0)):
        async with sessions(tmp_path, service=Service(tiers=tiers), tier=tier) as rooms:
            with structlog.testing.capture_logs() as logs:
                (await rooms.reserve()).release()
            assert rooms.book.records(["service"])[0].limits[0].limit == expected
            assert [entry["tier"] for entry in logs if "no such tier" in entry["event"]] == ["gold"][: tier == "gold"]


async def test_latency_and_failures_are_counted(tmp_path: Path) -> None:
    async with sessions(tmp_path) as rooms:
        (await rooms.reserve()).settle(Usage(1, 1), 1.0)
        (await rooms.reserve()).settle(Usage(1, 1), 2.0)
        place = await rooms.reserve()
        place.refused(ProviderError("too busy", kind="overloaded", retry_after=0.0))
        place.release()
        (record,) = rooms.book.records(["service"])
        assert (record.requests, record.failures, round(record.latency, 3)) == (3, 1, 1.2)


async def test_an_unknown_provider_is_not_found(tmp_path: Path) -> None:
    async with sessions(tmp_path) as rooms:
        with pytest.raises(NotFound, match="there is no provider 'nobody'"):
            rooms.book.records(["nobody"])
        assert rooms.book.trouble("nobody") == ""


async def test_an_open_key_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = keep_in_file(tmp_path / "keys", "service", OLD)
    path.chmod(0o644)
    async with sessions(tmp_path, keys=()) as rooms:
        with pytest.raises(FailedPrecondition, match=f"run 'chmod 600 {path}'"):
            await rooms.reserve()
        path.chmod(0o600)
        await rooms.advance(1.0)
        (await rooms.reserve()).release()


def _load() -> Load:
    return Load(output="embedding")
