"""Assets on their way over the link, seen from the application.

Both ways a chunk is at most `CHUNK` bytes, and at most `WINDOW` bytes are on the way without an
`asset_ack`: a render result never crowds out values. A transfer that a lost connection cut short
begins anew with the next.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO, Any, Dict, List, Optional, Tuple, Union

from lightfast_link.frame import CHUNK, Frame
from lightfast_link.messages import LinkError
from lightfast_link.value import Asset

WINDOW = 4 * CHUNK
MAX_TRANSFERS = 32
MAX_IN_MEMORY = 64 << 20
"""The largest asset that is fetched into memory; larger ones need a path."""
Event = Tuple[Any, ...]


class _Put:
    """Bytes or a file on their way to the daemon."""

    def __init__(self, number: int, source: Union[bytes, str], name: str, media_type: str) -> None:
        self.number = number
        self._source = source
        self._begin = {"id": number, "name": name, "media_type": media_type}
        self._file: Optional[IO[bytes]] = None
        self.restart()

    def restart(self) -> None:
        self.close()
        self._sent = self._acknowledged = 0
        self._stage = "begin"
        self._hash = hashlib.sha256()

    def next_frame(self) -> Optional[Frame]:
        if self._stage == "begin":
            self._stage = "chunks"
            if not isinstance(self._source, bytes):
                self._file = Path(self._source).open("rb")  # noqa: SIM115  # closed by close()
            return Frame("asset_begin", dict(self._begin))
        if self._stage != "chunks" or self._sent - self._acknowledged > WINDOW - CHUNK:
            return None
        chunk = self._read()
        if chunk:
            frame = Frame("asset_chunk", {"id": self.number, "offset": self._sent}, [chunk])
            self._sent += len(chunk)
            self._hash.update(chunk)
            return frame
        self._stage = "end"
        self.close()
        return Frame("asset_end", {"id": self.number, "size": self._sent, "sha256": self._hash.hexdigest()})

    def _read(self) -> bytes:
        if isinstance(self._source, bytes):
            return self._source[self._sent : self._sent + CHUNK]
        return self._file.read(CHUNK) if self._file is not None else b""

    def receive(self, frame: Frame) -> Optional[Event]:
        if frame.type == "asset_ack":
            self._acknowledged = max(self._acknowledged, int(frame.header["offset"]))
            return None
        if frame.type == "asset_done":
            return ("stored", self.number, _asset(frame.header["asset"]))
        raise ValueError("%s does not belong to an asset that is being stored" % frame.type)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _Get:
    """An asset on its way from the daemon."""

    def __init__(self, number: int, sha256: str, path: str) -> None:
        self.number = number
        self._sha256 = sha256
        self._path = path
        self._file: Optional[IO[bytes]] = None
        self.restart()

    def restart(self) -> None:
        self.close()
        self._asked = False
        self._asset: Optional[Asset] = None
        self._received = 0
        self._acks: List[Frame] = []
        self._data = bytearray()
        self._hash = hashlib.sha256()

    def next_frame(self) -> Optional[Frame]:
        if not self._asked:
            self._asked = True
            return Frame("asset_get", {"id": self.number, "sha256": self._sha256})
        return self._acks.pop(0) if self._acks else None

    def receive(self, frame: Frame) -> Optional[Event]:
        if frame.type == "asset_begin":
            self._asset = _asset(frame.header["asset"])
            if self._path:
                self._file = Path(self._path + ".part").open("wb")  # noqa: SIM115  # closed by close()
            elif self._asset.size > MAX_IN_MEMORY:
                raise ValueError("the asset has %d bytes: fetch it into a file" % self._asset.size)
            return None
        if self._asset is None:
            raise ValueError("%s came before asset_begin" % frame.type)
        if frame.type == "asset_chunk":
            self._take(frame)
            return None
        if frame.type == "asset_end":
            return self._finish(self._asset)
        raise ValueError("%s does not belong to an asset that is being fetched" % frame.type)

    def _take(self, frame: Frame) -> None:
        (chunk,) = frame.blobs
        if frame.header["offset"] != self._received or self._received + len(chunk) > self._asset.size:  # type: ignore[union-attr]
            raise ValueError("a chunk of the asset is out of place")
        self._received += len(chunk)
        self._hash.update(chunk)
        if self._file is not None:
            self._file.write(chunk)
        else:
            self._data += chunk
        self._acks = [Frame("asset_ack", {"id": self.number, "offset": self._received})]

    def _finish(self, asset: Asset) -> Event:
        if self._hash.hexdigest() != self._sha256:
            raise ValueError("the bytes that came are not the asset %s" % self._sha256)
        if self._file is None:
            return ("asset", self.number, asset, bytes(self._data))
        self.close()
        Path(self._path + ".part").replace(self._path)
        return ("asset", self.number, asset, None)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class Transfers:
    """All transfers of one client; used under the lock of `LinkClient`."""

    def __init__(self) -> None:
        self._open: "Dict[int, Union[_Put, _Get]]" = {}
        self._count = 0

    def _number(self) -> int:
        if len(self._open) >= MAX_TRANSFERS:
            raise LinkError("LINK_BUSY", "%d assets are on their way already: wait for one" % len(self._open))
        self._count += 1
        return self._count

    def put(self, source: Union[bytes, str], name: str, media_type: str) -> int:
        """Begin to store; returns the transfer's number. Raises `LinkError` when too many are open."""
        number = self._number()
        self._open[number] = _Put(number, source, name, media_type)
        return number

    def get(self, sha256: str, path: str) -> int:
        """Begin to fetch; returns the transfer's number. Raises `LinkError` when too many are open."""
        number = self._number()
        self._open[number] = _Get(number, sha256, path)
        return number

    def restart(self) -> None:
        """Begin every transfer anew, because a new session is live."""
        for transfer in self._open.values():
            transfer.restart()

    def next_frames(self) -> Tuple[List[Frame], List[Event]]:
        """Return one frame of each transfer that may send now, and events of those that failed."""
        frames: List[Frame] = []
        events: List[Event] = []
        for transfer in list(self._open.values()):
            try:
                frame = transfer.next_frame()
            except OSError as error:
                events.append(self._fail(transfer, "cannot read the file: %s" % error))
            else:
                if frame is not None:
                    frames.append(frame)
        return frames, events

    def receive(self, frame: Frame) -> Optional[Event]:
        """Take in a frame about a transfer; returns its last event, once it is over."""
        transfer = self._open.get(frame.header.get("id"))  # type: ignore[arg-type]
        if transfer is None:
            return None  # it failed on our side, and the daemon does not know yet
        if frame.type == "asset_failed":
            return self._fail(transfer, str(frame.header.get("reason", "the daemon gave no reason")))
        try:
            event = transfer.receive(frame)
        except (OSError, ValueError, KeyError, TypeError) as error:
            return self._fail(transfer, str(error))
        if event is not None:
            transfer.close()
            del self._open[transfer.number]
        return event

    def _fail(self, transfer: "Union[_Put, _Get]", reason: str) -> Event:
        transfer.close()
        self._open.pop(transfer.number, None)
        return ("asset_failed", transfer.number, reason)

    def close(self) -> List[Event]:
        """Give up everything that is open."""
        return [self._fail(transfer, "the link was closed") for transfer in list(self._open.values())]


def _asset(data: Dict[str, Any]) -> Asset:
    return Asset(str(data["uri"]), str(data["media_type"]), str(data["sha256"]), int(data["size"]))
