"""Approvals on a real daemon: by whom, of what, through which door; each refusal with its exact error."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.burning import BURN as BURNING
from tests.support.daemon import Daemon, daemon
from tests.support.mistakes import run

from lightfast.api.v1 import engine_pb2 as pb
from lightfast.client import Client
from lightfast.core.errors import Denied, FailedPrecondition, LightfastError, Unauthenticated

BURN = "s1 = test.burn\n"
WAITING = pb.RUN_STATE_AWAITING_APPROVAL


class House:
    """A daemon, and clients with tokens of it."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon

    def said(self, *arguments: str | Path, code: int = 0) -> str:
        """Run a command, and return what it printed."""
        done = run("--home", self.daemon.home, *arguments)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def token(self, name: str, *scopes: str) -> dict[str, Any]:
        """Issue a token."""
        with Client(home=self.daemon.home) as client:
            found: dict[str, Any] = client.call_json("AdminService.IssueToken", {"name": name, "scopes": list(scopes)})
        return found

    @contextmanager
    def client(self, token: str, session: str | None = None) -> Iterator[Client]:
        """Open a client."""
        more = {} if session is None else {"session": session}
        with Client(self.daemon.endpoints["grpc"], token=token, home=self.daemon.home, **more) as client:
            yield client

    def ask(self, client: Client, program: str = BURN) -> pb.EngineRun:
        """Ask for a run that waits for an approval."""
        for message in client.run(program):
            if message.HasField("event"):
                found = client.get_run(message.event.run.run_id)
                assert found.state == WAITING
                return found
        raise AssertionError("there was no run")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home = tmp_path_factory.mktemp("approvals") / "home"
    plugins = home / "config/plugins"
    plugins.mkdir(parents=True, mode=0o700)
    (plugins / "burning.py").write_text(BURNING, encoding="utf-8")
    with daemon(home) as found:
        yield House(found)


def refusal(act: Callable[[], object], kind: type[LightfastError] = Denied) -> tuple[str, str]:
    """Return the reason and the message of what *act* is refused with."""
    with pytest.raises(kind) as error:
        act()
    return error.value.reason, error.value.message


def test_what_the_local_user_asked_for_is_approved_by_the_owner(house: House, tmp_path: Path) -> None:
    file = tmp_path / "burn.txt"
    file.write_text(BURN, encoding="utf-8")
    told = house.said("run", file, code=1)
    found = re.search(r"lightfast approve (\S+) --digest (\S+)", told)
    assert found is not None, told
    identity, digest = found.groups()
    assert "approved by client:owner" not in house.said("runs", "show", identity)
    house.said("approve", identity, "--digest", digest)
    house.said("runs", "watch", identity)
    assert "approved by client:owner" in house.said("runs", "show", identity)


def test_who_asked_cannot_approve_in_any_session(house: House) -> None:
    token = house.token("asker", "watch", "operate", "approve")["secret"]
    with house.client(token) as first, house.client(token, "another") as second:
        asked = house.ask(first)
        assert asked.requester == "client:asker"
        for client in (first, second):
            reason, message = refusal(lambda client=client: client.approve(asked.run_id, asked.digest))  # type: ignore[misc]
            assert reason == "APPROVAL_BY_REQUESTER"
            assert message == (
                f"client:asker asked for the run {asked.run_id} and cannot approve it, too: somebody else must,"
                " with another token"
            )
        assert first.get_run(asked.run_id).state == WAITING


def test_a_token_that_is_issued_anew_under_a_name_is_still_who_asked(house: House) -> None:
    old = house.token("twice", "watch", "operate", "approve")
    with house.client(old["secret"]) as client:
        asked = house.ask(client)
    assert "there is a token 'twice' already" in house.said("token", "issue", "twice", "--scope", "approve", code=2)
    with Client(home=house.daemon.home) as local:
        local.call_json("AdminService.RevokeToken", {"token_id": old["token"]["token_id"]})
    with house.client(old["secret"]) as client:
        refusal(lambda: client.approve(asked.run_id, asked.digest), Unauthenticated)
    new = house.token("twice", "watch", "approve")
    with house.client(new["secret"]) as client:
        assert refusal(lambda: client.approve(asked.run_id, asked.digest))[0] == "APPROVAL_BY_REQUESTER"
    with house.client(house.token("else", "watch", "approve")["secret"]) as client:
        assert client.approve(asked.run_id, asked.digest).approver == "client:else"


def test_the_scope_is_needed(house: House) -> None:
    weak = house.token("weak", "watch", "operate", "admin")["secret"]
    with house.client(house.daemon.token) as owner, house.client(weak) as client:
        asked = house.ask(owner)
        assert refusal(lambda: client.approve(asked.run_id, asked.digest)) == (
            "APPROVAL_SCOPE",
            "client:weak lacks the scope approve: use a token issued with --scope approve",
        )
        assert refusal(lambda: client.resume(asked.run_id), FailedPrecondition)[0] == "RUN_NOT_PAUSED"
        assert refusal(lambda: client.pause(asked.run_id), FailedPrecondition)[0] == "RUN_NOT_RUNNING"
        assert owner.get_run(asked.run_id).state == WAITING


def test_a_token_of_an_mcp_client_approves_nothing(house: House) -> None:
    mcp = house.token("mcp", "watch", "operate")["secret"]
    strong = house.token("strong", "watch", "operate", "approve")["secret"]
    with house.client(house.daemon.token) as owner:
        asked = house.ask(owner)
    with house.client(mcp) as client:
        assert refusal(lambda: client.approve(asked.run_id, asked.digest))[0] == "APPROVAL_SCOPE"
    with house.client(strong, "mcp123") as client:
        assert refusal(lambda: client.approve(asked.run_id, asked.digest)) == (
            "APPROVAL_DOOR",
            f"nobody approves a run through mcp: a person does, with lightfast approve {asked.run_id}",
        )


def test_another_program_is_not_approved(house: House) -> None:
    with (
        house.client(house.token("worker", "watch", "operate")["secret"]) as worker,
        house.client(house.token("boss", "watch", "approve")["secret"]) as boss,
    ):
        one, other = house.ask(worker), house.ask(worker, "s1 = test.burn what=more\n")
        assert one.digest != other.digest
        for digest in (other.digest, one.digest[:-1], one.digest.upper(), ""):
            reason, message = refusal(
                lambda digest=digest: boss.approve(one.run_id, digest),  # type: ignore[misc]
                FailedPrecondition,
            )
            assert reason == "DIGEST_CHANGED"
            assert f"lightfast runs show {one.run_id}" in message
        assert boss.get_run(one.run_id).state == WAITING
        told = house.said("approve", one.run_id, "--digest", other.digest, code=1)
        assert f"has the digest {one.digest[:12]}" in told


def test_what_waits_for_nothing_is_not_approved(house: House) -> None:
    with (
        house.client(house.daemon.token) as owner,
        house.client(house.token("late", "watch", "approve")["secret"]) as late,
    ):
        *_, last = owner.run("s1 = context.set /approvals/a 1\n")
        ended = owner.get_run(last.event.run.run_id)
        reason, message = refusal(lambda: late.approve(ended.run_id, ended.digest), FailedPrecondition)
        assert (reason, message) == (
            "NOTHING_TO_APPROVE",
            f"the run {ended.run_id} is succeeded and waits for no approval",
        )
        asked = house.ask(owner)
        late.approve(asked.run_id, asked.digest, refuse=True, comment="no")
        assert owner.get_run(asked.run_id).reason == "refused by client:late: no"
        assert refusal(lambda: late.approve(asked.run_id, asked.digest), FailedPrecondition)[0] == "NOTHING_TO_APPROVE"
        assert refusal(lambda: late.approve("run-none", asked.digest), LightfastError)[0] == "RUN_UNKNOWN"
