"""AssetService: immutable bytes, in and out in chunks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from typing import ClassVar

from google.protobuf.descriptor import ServiceDescriptor

from lightfast.api.v1 import assets_pb2 as pb
from lightfast.context.flow.probe import Facts
from lightfast.context.paging import Token, fingerprint, page_size, read_token, write_token
from lightfast.core.errors import DeadlineExceeded, InvalidArgument
from lightfast.security.tokens import Scope
from lightfast.storage.blobs import AssetRecord, BlobWriter, Provenance
from lightfast.wire.grpc.convert import put_time
from lightfast.wire.grpc.services import OPERATE, WATCH, Caller, Services

MAX_CHUNK = 1 << 20
MEDIA_WAIT = 1.0
"""How long, in seconds, who asks for an asset that has just arrived waits for what it is like."""
CHUNK_DEADLINE = 60.0
"""How long, in seconds, the next chunk of an asset may take."""


class AssetService:
    """The methods of `lightfast.api.v1.AssetService`."""

    DESCRIPTOR: ClassVar[ServiceDescriptor] = pb.DESCRIPTOR.services_by_name["AssetService"]
    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "WriteAsset": OPERATE,
        "ReadAsset": WATCH,
        "GetAsset": WATCH,
        "ListAssets": WATCH,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, services: Services) -> None:
        self._blobs = services.blobs
        self._store = services.store
        self._media = services.media

    async def WriteAsset(self, requests: AsyncIterator[pb.WriteAssetRequest], caller: Caller) -> pb.WriteAssetResponse:
        """Store one asset; nothing is kept when the stream breaks off."""
        messages = _each(requests)
        first = await anext(messages, None)
        if first is None:
            raise InvalidArgument("there was no message: the first one describes the asset", field="asset")
        writer = self._writer(first, caller)
        try:
            await writer.write(first.chunk)
            async for request in messages:
                await writer.write(_more(request))
            record = await writer.commit()
        except BaseException:
            await writer.abort()
            raise
        response = pb.WriteAssetResponse()
        put_asset(response.asset, record)
        return response

    def _writer(self, request: pb.WriteAssetRequest, caller: Caller) -> BlobWriter:
        if not request.HasField("asset"):
            raise InvalidArgument("the first message has no asset: describe it there", field="asset")
        asset = request.asset
        if asset.size < 0:
            raise InvalidArgument("asset.size is negative: leave it out, or give the bytes", field="asset.size")
        told = asset.provenance
        provenance = Provenance(caller.origin, told.generator, told.prompt, told.settings, tuple(told.sources))
        return self._blobs.writer(
            asset.media_type, asset.name, provenance, expect_sha256=asset.sha256, expect_size=asset.size
        )

    async def ReadAsset(
        self, request: pb.ReadAssetRequest, caller: Caller
    ) -> AsyncGenerator[pb.ReadAssetResponse, None]:
        """Send the description, then the bytes."""
        if request.offset < 0 or request.length < 0:
            raise InvalidArgument("offset and length are not negative; a length of 0 reads to the end", field="offset")
        record = await self._blobs.get(request.sha256)
        if request.offset > record.size:
            raise InvalidArgument(f"offset {request.offset} lies beyond the {record.size} bytes", field="offset")
        first = pb.ReadAssetResponse()
        put_asset(first.asset, record)
        yield first
        length = min(request.length or record.size, record.size - request.offset)
        if length:
            async for chunk in self._blobs.read(request.sha256, request.offset, length):
                yield pb.ReadAssetResponse(chunk=chunk)

    async def GetAsset(self, request: pb.GetAssetRequest, caller: Caller) -> pb.GetAssetResponse:
        """Describe one asset."""
        record = await self._blobs.get(request.sha256)
        response = pb.GetAssetResponse(revision=self._store.revision, store_id=self._store.store_id)
        put_asset(response.asset, record)
        if self._media is not None:
            await self._media.settled(record.sha256, MEDIA_WAIT)
            put_media([response.asset], await self._media.of([record.sha256]))
        return response

    async def ListAssets(self, request: pb.ListAssetsRequest, caller: Caller) -> pb.ListAssetsResponse:
        """List assets, newest first."""
        count = page_size(request.page_size, 100, 1000)
        query = fingerprint("ListAssets", request.media_type)
        before = read_token(request.page_token, query).after if request.page_token else ""
        records = await self._blobs.list(request.media_type, count + 1, before)
        response = pb.ListAssetsResponse(
            total_size=self._blobs.total_bytes,
            quota_size=self._blobs.quota_bytes,
            revision=self._store.revision,
            store_id=self._store.store_id,
        )
        for record in records[:count]:
            put_asset(response.assets.add(), record)
        if self._media is not None:
            put_media(response.assets, await self._media.of([asset.sha256 for asset in response.assets]))
        if len(records) > count:
            response.next_page_token = write_token(Token(query, 0, records[count - 1].sha256))
        return response


def _more(request: pb.WriteAssetRequest) -> bytes:
    if request.HasField("asset"):
        raise InvalidArgument("only the first message describes the asset", field="asset")
    return request.chunk


def put_asset(message: pb.Asset, record: AssetRecord) -> None:
    """Write *record* into an empty *message*."""
    message.uri = record.uri
    message.media_type = record.media_type
    message.sha256 = record.sha256
    message.size = record.size
    message.name = record.name
    put_time(message.create_time, record.create_time)
    told = record.provenance
    message.provenance.origin = told.origin
    message.provenance.generator = told.generator
    message.provenance.prompt = told.prompt
    message.provenance.settings = told.settings
    message.provenance.sources.extend(told.sources)
    message.file_path = str(record.path)


def put_media(messages: Iterable[pb.Asset], known: Mapping[str, Facts]) -> None:
    """Write what is *known* into *messages*."""
    for message in messages:
        facts = known.get(message.sha256)
        if facts is not None:
            for name in Facts.__struct_fields__:
                setattr(message.media, name, getattr(facts, name))


async def _each(requests: AsyncIterator[pb.WriteAssetRequest]) -> AsyncIterator[pb.WriteAssetRequest]:
    """Yield the messages; a client that stalls must not hold a half-written file for ever."""
    while True:
        try:
            async with asyncio.timeout(CHUNK_DEADLINE):
                request = await anext(requests, None)
        except TimeoutError:
            raise DeadlineExceeded(f"no chunk came for {CHUNK_DEADLINE:g} s: send the asset again") from None
        if request is None:
            return
        if len(request.chunk) > MAX_CHUNK:
            raise InvalidArgument(f"a chunk has {len(request.chunk)} bytes, the most is {MAX_CHUNK}", field="chunk")
        yield request
