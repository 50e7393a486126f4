"""From the errors of Lightfast to a gRPC status with the details of AIP-193."""

from __future__ import annotations

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from lightfast.api.v1 import types_pb2
from lightfast.context.entry import Entry
from lightfast.core.errors import LightfastError
from lightfast.wire.grpc.convert import put_duration, put_entry

DOMAIN = "lightfast"
DETAILS_KEY = "grpc-status-details-bin"
MAX_MESSAGE = 1024
"""The longest message, in bytes: it travels in a header, where each may count three times."""
MAX_DETAILS = 3072
"""The most bytes of all details together: clients refuse trailers of more than 8 KiB."""

Trailers = tuple[tuple[str, bytes], ...]


def status_of(error: LightfastError) -> tuple[grpc.StatusCode, str, Trailers]:
    """Return the code, the message and the trailing metadata that carry *error*.

    Details that would make the trailer too large are left out, the entries first.
    """
    code = grpc.StatusCode[error.status]
    message = _cut(error.message, MAX_MESSAGE)
    status = status_pb2.Status(code=code.value[0], message=message)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    for name, text in error.metadata.items():
        if info.ByteSize() < MAX_DETAILS // 4:
            info.metadata[_cut(name, 64)] = _cut(text, 256)
    _add(status, info)
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        put_duration(retry.retry_delay, error.retry_after)
        _add(status, retry)
    if error.field:
        request = error_details_pb2.BadRequest()
        violation = request.field_violations.add()
        violation.field = _cut(error.field, 256)
        violation.description = _cut(message, 256)
        violation.reason = error.reason
        _add(status, request)
    for detail in error.details:
        if isinstance(detail, Entry):
            entry = types_pb2.Entry()
            put_entry(entry, detail)
            _add(status, entry)
    return code, message, ((DETAILS_KEY, status.SerializeToString()),)


def _add(status: status_pb2.Status, detail: Message) -> None:
    status.details.add().Pack(detail)
    if status.ByteSize() > MAX_DETAILS:
        del status.details[-1]


def _cut(text: str, limit: int) -> str:
    """Return *text* in at most *limit* bytes of valid UTF-8."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit:
        return raw.decode("utf-8")
    return raw[: limit - 3].decode("utf-8", "ignore") + "…"
