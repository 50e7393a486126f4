"""Manners that hold for every service: revision and store id, pages of one revision, etags, whose lease it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.duration_pb2 import Duration
from grpc import aio
from tests.support.grpc_daemon import Daemon, refused, running

from lightfast.api.v1 import (
    admin_pb2,
    apps_pb2,
    assets_pb2,
    context_pb2,
    generation_pb2,
    links_pb2,
    types_pb2,
)
from lightfast.context.leases import SWEEP_INTERVAL
from lightfast.core.clock import StillClock
from lightfast.core.errors import OutOfRange
from lightfast.wire.grpc.pages import MAX_LISTS, Pages

FILES = (admin_pb2, apps_pb2, assets_pb2, context_pb2, generation_pb2, links_pb2)
STATELESS = {
    # They answer with what was just made or done, and read nothing of the store.
    "CancelOperationResponse", "GenerateResponse", "InvokeResponse", "IssueTokenResponse", "KeepLeaseResponse",
    "OpenLeaseResponse", "PublishResponse", "ReadAssetResponse", "RevokeTokenResponse", "WriteAssetResponse",
    # They show the process, not the store.
    "GetConfigResponse", "ListErrorsResponse", "ListModelsResponse", "ListPluginsResponse", "ListProvidersResponse",
    "ListTokensResponse", "ReloadPluginResponse",
    # They tell how far a long piece of work has come, or list files.
    "BackupResponse", "CollectGarbageResponse", "ListBackupsResponse", "PurgeResponse",
    # They speak of AI services, of what is paid and of templates: none of it is in the context.
    "CheckProviderResponse", "CountTokensResponse", "DeletePromptResponse", "EmbedResponse", "EstimateCostResponse",
    "GetPromptResponse", "GetUsageResponse", "ListBudgetsResponse", "ListFailuresResponse", "ListOperationsResponse",
    "ListPromptsResponse", "ListSessionsResponse", "SavePromptResponse", "SetBudgetResponse", "SubmitBatchResponse",
}  # fmt: skip


def setting(path: str, value: float = 1.0) -> types_pb2.Mutation:
    return types_pb2.Mutation(set=types_pb2.Mutation.Set(path=path, value=types_pb2.Value(double_value=value)))


async def write(stub: Any, *mutations: types_pb2.Mutation, **fields: Any) -> Any:
    metadata = fields.pop("metadata", None)
    return await stub.Apply(context_pb2.ApplyRequest(mutations=mutations, **fields), metadata=metadata)


def responses() -> list[Descriptor]:
    services = [service for file in FILES for service in file.DESCRIPTOR.services_by_name.values()]
    return [method.output_type for service in services for method in service.methods]


def test_every_response_that_reads_state_carries_revision_and_store_id() -> None:
    names = {response.name for response in responses()}
    assert names >= STATELESS
    for response in responses():
        if response.name not in STATELESS:
            fields = set(response.fields_by_name)
            assert "store_id" in fields, response.name
            assert fields & {"revision", "oldest_revision"}, response.name


async def test_revision_and_store_id_are_filled_in(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        context, links, assets = await daemon.stub(), await daemon.stub("links"), await daemon.stub("assets")
        apps = await daemon.stub("apps")
        revision = (await write(context, setting("/a"))).revision
        link, other = links_pb2.Link(source="/b", target="/c"), links_pb2.Link(source="/d", target="/e")
        created = await links.CreateLink(links_pb2.CreateLinkRequest(link=link))
        first = assets_pb2.WriteAssetRequest(asset=assets_pb2.Asset(media_type="text/plain"), chunk=b"x")
        asset = (await assets.WriteAsset(iter([first]))).asset
        value = types_pb2.Value(double_value=1)
        answers = [
            created,
            await context.Get(context_pb2.GetRequest(pattern="//")),
            await context.List(context_pb2.ListRequest()),
            await context.History(context_pb2.HistoryRequest()),
            await context.Describe(context_pb2.DescribeRequest()),
            await links.GetLink(links_pb2.GetLinkRequest(link_id=created.link.link_id)),
            await links.ListLinks(links_pb2.ListLinksRequest()),
            await links.TestLink(links_pb2.TestLinkRequest(link=other, value=value)),
            await links.UpdateLink(links_pb2.UpdateLinkRequest(link=created.link)),
            await links.DeleteLink(links_pb2.DeleteLinkRequest(link_id=created.link.link_id)),
            await assets.GetAsset(assets_pb2.GetAssetRequest(sha256=asset.sha256)),
            await assets.ListAssets(assets_pb2.ListAssetsRequest()),
            await apps.ListApps(apps_pb2.ListAppsRequest()),
        ]
        for answer in answers:
            assert (answer.revision, answer.store_id) == (revision, daemon.store.store_id), answer


# ---- pages


async def test_lists_show_one_revision_whatever_is_written(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        await write(stub, *[setting(f"/{number:02}") for number in range(10)])
        declared = [context_pb2.Declaration(pattern=f"/{number:02}", type="double") for number in range(10)]
        await stub.Declare(context_pb2.DeclareRequest(declarations=declared))
        children, patterns = [], []
        listing = context_pb2.ListRequest(path="/", page_size=3)
        describing = context_pb2.DescribeRequest(page_size=4)
        for number in range(4):
            page = await stub.List(listing)
            children += [child.path for child in page.children]
            assert page.revision == 1
            listing.page_token = page.next_page_token
            gone = types_pb2.Mutation(delete=types_pb2.Mutation.Delete(path=f"/{9 - number:02}"))
            await write(stub, gone, setting(f"/0{number}-new"))
        assert not listing.page_token
        assert children == [f"/{number:02}" for number in range(10)]
        for number in range(3):
            shown = await stub.Describe(describing)
            patterns += [declaration.pattern for declaration in shown.declarations]
            describing.page_token = shown.next_page_token
            await stub.Declare(context_pb2.DeclareRequest(remove=[f"/{9 - number:02}"]))
        assert not describing.page_token
        assert patterns == [f"/{number:02}" for number in range(10)]


async def test_pages_of_a_pattern_show_one_revision_while_others_write(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub, other = await daemon.stub(), await daemon.stub()
        await write(stub, *[setting(f"/{number:03}", -1.0) for number in range(100)])
        done = asyncio.Event()

        async def disturb() -> None:
            number = 0
            while not done.is_set():
                number += 1
                await write(other, setting(f"/{number % 100:03}", float(number)), setting(f"/new/{number}"))

        disturbing = asyncio.ensure_future(disturb())
        for _ in range(5):
            request, seen, revisions = context_pb2.GetRequest(pattern="//", page_size=7), [], set()
            while True:
                page = await stub.Get(request)
                seen += page.entries
                revisions.add(page.revision)
                request.page_token = page.next_page_token
                if not request.page_token:
                    break
            (revision,) = revisions
            whole = await stub.Get(context_pb2.GetRequest(pattern="//", at_revision=revision, page_size=10_000))
            assert list(whole.entries) == seen
        done.set()
        await disturbing


async def test_a_changed_token_is_refused_by_every_list(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub, assets = await daemon.stub(), await daemon.stub("assets")
        for number in range(3):
            await write(stub, setting(f"/a/{number}"))
            first = assets_pb2.WriteAssetRequest(asset=assets_pb2.Asset(media_type="text/plain"), chunk=b"%d" % number)
            await assets.WriteAsset(iter([first]))
        declared = [context_pb2.Declaration(pattern=f"/a/{number}", type="double") for number in range(3)]
        await stub.Declare(context_pb2.DeclareRequest(declarations=declared))
        calls: list[tuple[Any, Any]] = [
            (stub.Get, context_pb2.GetRequest(pattern="//", page_size=1)),
            (stub.List, context_pb2.ListRequest(path="/a", page_size=1)),
            (stub.History, context_pb2.HistoryRequest(page_size=1)),
            (stub.Describe, context_pb2.DescribeRequest(page_size=1)),
            (assets.ListAssets, assets_pb2.ListAssetsRequest(page_size=1)),
        ]
        for method, request in calls:
            token = (await method(request)).next_page_token
            assert token
            for changed in (token[:-1], token[:20] + ("A" if token[20] != "A" else "B") + token[21:], "x", "%%%"):
                request.page_token = changed
                found = await refused(method(request))
                assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
                assert found.fields == ["page_token"]
            request.page_token = token
            assert (await method(request)).store_id == daemon.store.store_id


async def test_a_list_that_is_no_longer_kept_says_so(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        await write(stub, *[setting(f"/{number}") for number in range(3)])
        request = context_pb2.ListRequest(page_size=1)
        old = (await stub.List(request)).next_page_token
        for _ in range(MAX_LISTS):
            await stub.List(request)
        request.page_token = old
        found = await refused(stub.List(request))
        assert (found.code, found.reason) == (grpc.StatusCode.OUT_OF_RANGE, "PAGE_TOKEN_EXPIRED")


def test_what_lists_keep_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightfast.wire.grpc.pages.MAX_ITEMS", 25)
    pages = Pages()
    found = [pages.first(list(range(10)), 1, 4, query=("a",)) for _ in range(4)]
    kept: list[object] = []
    for page in found:
        try:
            kept.append(pages.later(page.token, 4, query=("a",)).items)
        except OutOfRange as error:
            kept.append(error.reason)
    assert kept == ["PAGE_TOKEN_EXPIRED", "PAGE_TOKEN_EXPIRED", [4, 5, 6, 7], [4, 5, 6, 7]]
    large = pages.first(list(range(1000)), 1, 4, query=("a",))
    assert pages.later(large.token, 2, query=("a",)).items == [4, 5]


# ---- etags


async def test_an_etag_guards_a_link(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub, context = await daemon.stub("links"), await daemon.stub()
        link = links_pb2.Link(source="/a", target="/b", expression="x * 2")
        mine = (await stub.CreateLink(links_pb2.CreateLinkRequest(link=link))).link
        assert mine.etag
        await write(context, setting("/a"))
        async with asyncio.timeout(60):
            while not (carried := (await stub.GetLink(links_pb2.GetLinkRequest(link_id=mine.link_id))).link).carried:
                await asyncio.sleep(0.01)
        assert carried.etag == mine.etag  # what it carries is no change of the link
        theirs = links_pb2.Link()
        theirs.CopyFrom(mine)
        theirs.expression = "x * 3"
        changed = (await stub.UpdateLink(links_pb2.UpdateLinkRequest(link=theirs))).link
        assert changed.etag != mine.etag
        mine.expression = "x * 4"
        for call in (
            stub.UpdateLink(links_pb2.UpdateLinkRequest(link=mine)),
            stub.DeleteLink(links_pb2.DeleteLinkRequest(link_id=mine.link_id, etag=mine.etag)),
        ):
            found = await refused(call)
            assert (found.code, found.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
            assert found.metadata["etag"] == changed.etag
            assert "get it again" in found.message
        assert (await stub.GetLink(links_pb2.GetLinkRequest(link_id=mine.link_id))).link.expression == "x * 3"
        mine.etag = ""  # over whatever is there
        last = (await stub.UpdateLink(links_pb2.UpdateLinkRequest(link=mine))).link
        await stub.DeleteLink(links_pb2.DeleteLinkRequest(link_id=mine.link_id, etag=last.etag))


async def test_one_of_many_updates_with_an_etag_wins(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub("links")
        link = links_pb2.Link(source="/a", target="/b")
        link = (await stub.CreateLink(links_pb2.CreateLinkRequest(link=link))).link
        calls = []
        for number in range(5):
            wanted = links_pb2.Link()
            wanted.CopyFrom(link)
            wanted.expression = f"x + {number + 1}"
            calls.append(stub.UpdateLink(links_pb2.UpdateLinkRequest(link=wanted)))
        codes = [await _code(call) for call in calls]
        assert sorted(code.name for code in codes) == ["ABORTED"] * 4 + ["OK"]


async def _code(call: Any) -> grpc.StatusCode:
    try:
        await call
    except aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


# ---- leases


async def _clients(daemon: Daemon) -> dict[str, tuple[tuple[str, str], ...]]:
    secrets = {"me": ("operate",), "you": ("operate",), "boss": ("operate", "admin")}
    return {
        name: (("authorization", f"Bearer {await daemon.token(name, *scopes)}"),) for name, scopes in secrets.items()
    }


async def test_only_its_opener_or_an_admin_uses_a_lease(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub, who = await daemon.stub(), await _clients(daemon)
        opening = context_pb2.OpenLeaseRequest(ttl=Duration(seconds=30))
        session = (("lightfast-session", "one"),)
        lease = (await stub.OpenLease(opening, metadata=who["me"] + session)).lease_id
        found = await refused(write(stub, setting("/a"), lease_id=lease, metadata=who["you"]))
        assert (found.code, found.reason) == (grpc.StatusCode.PERMISSION_DENIED, "LEASE_OF_ANOTHER")
        assert found.metadata == {"lease_id": lease, "owner": "client:me"}
        close = context_pb2.CloseLeaseRequest(lease_id=lease)
        assert (await refused(stub.CloseLease(close, metadata=who["you"]))).reason == "LEASE_OF_ANOTHER"
        keeping = stub.KeepLease(iter([context_pb2.KeepLeaseRequest(lease_id=lease)]), metadata=who["you"])
        assert (await refused(keeping.read())).reason == "LEASE_OF_ANOTHER"
        # Another session of the same client is the same client.
        await write(stub, setting("/a"), lease_id=lease, metadata=who["me"] + (("lightfast-session", "two"),))
        assert (await stub.CloseLease(close, metadata=who["boss"])).revision == 2
        found = await refused(stub.CloseLease(close, metadata=who["me"]))
        assert (found.code, found.reason) == (grpc.StatusCode.NOT_FOUND, "LEASE_GONE")


async def test_a_lease_ends_between_its_time_and_two_seconds_later(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub, clock = await daemon.stub(), StillClock()
        daemon.services.leases._clock = clock
        lease = (await stub.OpenLease(context_pb2.OpenLeaseRequest(ttl=Duration(seconds=1)))).lease_id
        await write(stub, setting("/presence/me"), lease_id=lease)
        watching = stub.Watch(context_pb2.WatchRequest(patterns=["/presence//"]))
        assert (await watching.read()).synced
        keeping = stub.KeepLease()
        clock.advance(0.9)
        await keeping.write(context_pb2.KeepLeaseRequest(lease_id=lease))
        await keeping.read()
        clock.advance(0.9)
        await asyncio.sleep(2 * SWEEP_INTERVAL)
        assert daemon.store.get("/presence/me") is not None
        clock.advance(0.2)
        async with asyncio.timeout(60):
            while not (batch := await watching.read()).events:
                pass  # a bookmark
        (gone,) = batch.events
        assert (gone.type, gone.entry.path, gone.entry.origin) == (
            types_pb2.EVENT_TYPE_DELETE,
            "/presence/me",
            "lease",
        )
        await keeping.write(context_pb2.KeepLeaseRequest(lease_id=lease))
        found = await refused(keeping.read())
        assert (found.code, found.reason) == (grpc.StatusCode.NOT_FOUND, "LEASE_GONE")
        assert "open a new one" in found.message
        watching.cancel()


# ---- bounds, request ids, undo


async def test_too_large_transactions_name_the_bound(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        many = await refused(write(stub, *[setting("/a")] * 10_001))
        assert (many.code, many.reason, many.fields) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "TRANSACTION_TOO_LARGE",
            ["mutations"],
        )
        assert "the most is 10000" in many.message
        text = types_pb2.Value(string_value="x" * 800_000)
        heavy = [types_pb2.Mutation(set=types_pb2.Mutation.Set(path=f"/{number}", value=text)) for number in range(3)]
        large = await refused(write(stub, *heavy))
        assert (large.code, large.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "TRANSACTION_TOO_LARGE")
        assert "the most is 2097152" in large.message
        listed = types_pb2.Value(list_value=types_pb2.List(values=[text] * 3))
        alone = types_pb2.Mutation(set=types_pb2.Mutation.Set(path="/a", value=listed))
        assert (await refused(write(stub, alone))).reason == "TRANSACTION_TOO_LARGE"
        assert (await write(stub, *[setting(f"/{number}") for number in range(10_000)])).revision == 1


@pytest.mark.parametrize("path", ["/state", "/signal/a"])
async def test_a_request_id_belongs_to_a_client_not_to_a_session(tmp_path: Path, path: str) -> None:
    async with running(tmp_path) as daemon:
        stub, who = await daemon.stub(), await _clients(daemon)
        declared = context_pb2.Declaration(pattern="/signal/*", entry_class=types_pb2.ENTRY_CLASS_SIGNAL)
        await stub.Declare(context_pb2.DeclareRequest(declarations=[declared]))
        sessions = [who["me"] + (("lightfast-session", name),) for name in ("one", "two", "three")]
        calls = [write(stub, setting(path), request_id="id-1", metadata=session) for session in sessions]
        first, *others = await asyncio.gather(*calls)
        assert others == [first, first]
        version = daemon.store.get(path)
        assert version is not None
        assert version.version == 1
        again = await refused(write(stub, setting(path, 2.0), request_id="id-1", metadata=sessions[0]))
        assert (again.code, again.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
        assert again.metadata == {"request_id": "id-1"}
        other = await write(stub, setting(path, 3.0), request_id="id-1", metadata=who["you"])
        assert other.entries[0].version == 2


async def test_undo_twice_says_what_to_do(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        await write(stub, setting("/a"))
        undone = await stub.Undo(context_pb2.UndoRequest(revision=1, request_id="u"))
        assert await stub.Undo(context_pb2.UndoRequest(revision=1, request_id="u")) == undone
        again = await refused(stub.Undo(context_pb2.UndoRequest(revision=1)))
        assert (again.code, again.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ALREADY_UNDONE")
        assert again.message == "revision 1 was taken back already, by revision 2: redo it to bring it back"
        redone = await stub.Redo(context_pb2.RedoRequest(revision=1, request_id="u"))
        assert list(redone.redone_revisions) == [2]
        found = await refused(stub.Redo(context_pb2.RedoRequest(revision=1)))
        assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_UNDONE")
        # An undo is a transaction like others: undoing the redo takes it back again.
        assert (await stub.Undo(context_pb2.UndoRequest(revision=redone.revision))).revision == 4
        assert daemon.store.get("/a") is None


async def test_published_updates_stand_each_for_itself(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        declared = context_pb2.Declaration(
            pattern="/signal/*", entry_class=types_pb2.ENTRY_CLASS_SIGNAL, minimum=0, maximum=1
        )
        await stub.Declare(context_pb2.DeclareRequest(declarations=[declared]))
        daemon.server.door.flow.pulse.target = 60.0  # while the loop is late, older values of a path give way

        async def batches() -> AsyncIterator[context_pb2.PublishRequest]:
            empty = types_pb2.Mutation(set=types_pb2.Mutation.Set(path="/signal/a"))
            bad = [types_pb2.Mutation(), empty, setting("/signal/a", 2.0), setting("/state"), setting("no path")]
            yield context_pb2.PublishRequest(mutations=[*bad, setting("/signal/a", 0.5)])
            yield context_pb2.PublishRequest(mutations=[setting("/signal/b", 0.25)])

        published = await stub.Publish(batches())
        assert (published.accepted, published.dropped) == (2, 5)
        assert published.first_drop_reason == "mutations[0] is empty: set one of set, delete, merge, move"
        too_many = context_pb2.PublishRequest(mutations=[setting("/signal/a", 0.5)] * 10_001)
        found = await refused(stub.Publish(iter([too_many])))
        assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "TRANSACTION_TOO_LARGE")

        only = await stub.Publish(iter([context_pb2.PublishRequest(mutations=[setting("/state")])]))
        assert (only.accepted, only.dropped) == (0, 1)
        assert "/state is not declared a signal" in only.first_drop_reason


async def test_include_tier(tmp_path: Path) -> None:
    async with running(tmp_path) as daemon:
        stub = await daemon.stub()
        await write(stub, setting("/a"))
        now, then = context_pb2.GetRequest(paths=["/a"]), context_pb2.GetRequest(paths=["/a"], at_revision=1)
        for request, tier in ((now, "live"), (then, "history")):
            assert [entry.tier for entry in (await stub.Get(request)).entries] == [""]
            request.include_tier = True
            assert [entry.tier for entry in (await stub.Get(request)).entries] == [tier]
