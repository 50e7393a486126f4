"""Whoever knows only the address of a daemon finds every method, calls it, and is told where it may not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tests.support.daemon import Daemon, daemon

from lightfast.client import Client

DEADLINE_S = 20.0
PACKAGE = "lightfast.api.v1."
NEW = {
    "ContextService": {
        "SaveScene": "operate", "GetScene": "watch", "ListScenes": "watch", "DeleteScene": "operate",
        "DiffScenes": "watch", "RecallScene": "operate", "Recontextualize": "watch", "Purge": "admin",
        "CollectGarbage": "admin",
    },
    "MemoryService": {
        "Remember": "operate", "Recall": "watch", "Relate": "operate", "Forget": "operate", "GetMemory": "watch",
        "ListMemories": "watch", "AppendFrames": "operate", "GetFrames": "watch", "SearchFrames": "watch",
        "ListClusters": "watch", "ArchiveStats": "watch", "VerifyArchive": "admin", "RepairArchive": "admin",
        "MigrateArchive": "admin", "ExportArchive": "admin", "ImportArchive": "admin", "Unlock": "admin",
        "Lock": "operate", "RotateSecret": "admin",
    },
    "AdminService": {"Backup": "admin", "ListBackups": "admin"},
}  # fmt: skip
"""The methods of the memory, and the scope that each needs."""
LOCKED: dict[str, dict[str, Any]] = {
    "ContextService.Purge": {"patterns": ["/nothing"]},
    "ContextService.CollectGarbage": {},
    "ContextService.DeleteScene": {"name": "s"},
    "ContextService.SaveScene": {"name": "s", "patterns": ["/a"]},
    "MemoryService.RepairArchive": {},
    "MemoryService.MigrateArchive": {},
    "MemoryService.ImportArchive": {},
}
"""What a locked show refuses."""
ALLOWED: dict[str, dict[str, Any]] = {
    "ContextService.RecallScene": {"name": "s"},
    "ContextService.GetScene": {"name": "s"},
    "ContextService.Purge": {"patterns": ["/nothing"], "validate_only": True},
    "ContextService.CollectGarbage": {"validate_only": True},
    "MemoryService.RepairArchive": {"validate_only": True},
    "MemoryService.Remember": {"text": "said in the show"},
    "MemoryService.Recall": {"query": "said"},
    "MemoryService.VerifyArchive": {},
    "AdminService.Backup": {},
}
"""What it does not."""


@dataclass
class Stranger:
    """A client that has no stubs: it learns everything by reflection."""

    channel: grpc.Channel
    pool: descriptor_pool.DescriptorPool
    methods: dict[str, MethodDescriptor]
    metadata: tuple[tuple[str, str], ...]

    def call(self, name: str, fields: dict[str, Any] | None = None, token: str = "") -> dict[str, Any]:
        """Make one call with one request, and return its first answer; it may be a stream on either side."""
        method = self.methods[name]
        request = json_format.ParseDict(fields or {}, message_factory.GetMessageClass(method.input_type)())
        answer = message_factory.GetMessageClass(method.output_type)
        kind = (
            ("stream" if method.client_streaming else "unary")
            + "_"
            + ("stream" if method.server_streaming else "unary")
        )
        multi = getattr(self.channel, kind)(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        metadata = (("authorization", f"Bearer {token}"),) if token else self.metadata
        given = iter([request]) if method.client_streaming else request
        found = multi(given, metadata=metadata, timeout=DEADLINE_S)
        if method.server_streaming:
            stream, found = found, None
            try:
                found = next(iter(stream), None)
            finally:
                stream.cancel()
        return {} if found is None else json_format.MessageToDict(found, preserving_proto_field_name=True)

    def refusal(self, name: str, fields: dict[str, Any] | None = None, token: str = "") -> tuple[grpc.StatusCode, str]:
        """Return how a call is refused: the code and the reason; OK where it is not."""
        try:
            self.call(name, fields, token)
        except grpc.RpcError as error:
            return error.code(), _reason(error)
        return grpc.StatusCode.OK, ""


def _reason(error: Any) -> str:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return str(info.reason)
    return ""


@contextmanager
def stranger(house: Daemon) -> Iterator[Stranger]:
    """Connect, and learn all methods by reflection alone."""
    metadata = (("authorization", f"Bearer {house.token}"),)
    with grpc.insecure_channel(house.endpoints["grpc"]) as channel:
        ask = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )

        def asked(*requests: reflection_pb2.ServerReflectionRequest) -> list[reflection_pb2.ServerReflectionResponse]:
            return list(ask(iter(requests), metadata=metadata, timeout=DEADLINE_S))

        (listed,) = asked(reflection_pb2.ServerReflectionRequest(list_services=""))
        names = [one.name for one in listed.list_services_response.service if one.name.startswith(PACKAGE)]
        files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
        for answer in asked(*[reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in names]):
            for data in answer.file_descriptor_response.file_descriptor_proto:
                file = descriptor_pb2.FileDescriptorProto.FromString(data)
                files[file.name] = file
        while missing := {name for file in files.values() for name in file.dependency} - set(files):
            wanted = [reflection_pb2.ServerReflectionRequest(file_by_filename=name) for name in sorted(missing)]
            for answer in asked(*wanted):
                for data in answer.file_descriptor_response.file_descriptor_proto:
                    file = descriptor_pb2.FileDescriptorProto.FromString(data)
                    files[file.name] = file
        pool = descriptor_pool.DescriptorPool()
        left = dict(files)
        while left:  # a file after those it builds on
            ready = [file for file in left.values() if not set(file.dependency) & set(left)]
            assert ready
            for file in ready:
                pool.Add(left.pop(file.name))
        methods = {
            f"{name.removeprefix(PACKAGE)}.{method.name}": method
            for name in names
            for method in pool.FindServiceByName(name).methods
        }
        yield Stranger(channel, pool, methods, metadata)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon(tmp_path_factory.mktemp("reflection") / "home") as found:
        yield found


def test_every_method_is_found_and_answers(house: Daemon) -> None:
    with stranger(house) as client:
        found = {(name.split(".")[0], name.split(".")[1]) for name in client.methods}
        assert found >= {(service, method) for service, methods in NEW.items() for method in methods}
        odd = {
            name: answer
            for name in sorted(client.methods)
            if (answer := client.refusal(name))[0]
            in {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}
        }
        assert odd == {}
        for release in ("ShowService.ReleasePanic", "ShowService.UnlockShow"):
            client.call(release)


def test_the_memory_is_driven_without_stubs(house: Daemon) -> None:
    with stranger(house) as client:
        client.call("MemoryService.Remember", {"text": "the fog machine is empty", "key": "fog"})
        (hit,) = client.call("MemoryService.Recall", {"query": "fog machine", "page_size": 1})["hits"]
        assert hit["memory"]["key"] == "fog"
        (frame,) = client.call("MemoryService.AppendFrames", {"frames": [{"text": "the fog came late"}]})["frame_ids"]
        (found,) = client.call("MemoryService.SearchFrames", {"query": "fog late"})["hits"]
        assert found["frame"]["frame_id"] == frame
        assert client.call("MemoryService.ArchiveStats")["frames"] != "0"


def test_each_method_needs_its_scope(house: Daemon) -> None:
    order = ["watch", "operate", "approve", "admin"]
    with Client(home=str(house.home)) as owner, stranger(house) as client:
        tokens = {}
        for scope in ("watch", "operate"):
            request = {"name": scope, "scopes": order[: order.index(scope) + 1]}
            tokens[scope] = owner.call_json("AdminService.IssueToken", request)["secret"]
        wrong = {}
        for service, methods in NEW.items():
            for method, scope in methods.items():
                for held, token in tokens.items():
                    denied = client.refusal(f"{service}.{method}", token=token)[0] is grpc.StatusCode.PERMISSION_DENIED
                    if denied != (order.index(scope) > order.index(held)):
                        wrong[f"{service}.{method}"] = held
        assert wrong == {}


def test_a_locked_show_keeps_what_it_stands_on(house: Daemon) -> None:
    with stranger(house) as client:
        client.call("ContextService.Apply", {"mutations": [{"set": {"path": "/a", "value": {"int_value": "1"}}}]})
        client.call("ContextService.SaveScene", {"name": "s", "patterns": ["/a"]})
        client.call("ShowService.LockShow", {"reason": "tonight"})
        try:
            refused = {name: client.refusal(name, fields) for name, fields in LOCKED.items()}
            assert refused == dict.fromkeys(LOCKED, (grpc.StatusCode.FAILED_PRECONDITION, "SHOW_LOCKED"))
            allowed = {name: client.refusal(name, fields)[1] for name, fields in ALLOWED.items()}
            assert "SHOW_LOCKED" not in allowed.values()
            assert allowed["ContextService.RecallScene"] == ""
        finally:
            client.call("ShowService.UnlockShow")
        assert client.refusal("ContextService.DeleteScene", {"name": "s"})[0] is grpc.StatusCode.OK
