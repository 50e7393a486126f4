"""So many subscribers in one process, counting updates: `zmq SOCKET N` or `redis PORT N`.

Both are bare sockets that count the marks of an update in what arrives, so that the reader weighs the same on
both sides and the publisher is what is measured.
"""

from __future__ import annotations

import select
import socket
import sys

ZMTP_GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
ZMTP_READY = b"\x05READY" + b"\x0bSocket-Type" + (3).to_bytes(4, "big") + b"SUB"


def read_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += sock.recv(size - len(data))
    return data


def zmq_subscriber(path: str) -> socket.socket:
    """Speak ZMTP 3.0 with the NULL mechanism as a SUB socket (rfc.zeromq.org/spec/23)."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    sock.sendall(ZMTP_GREETING)
    read_exactly(sock, 64)
    sock.sendall(b"\x04" + bytes([len(ZMTP_READY)]) + ZMTP_READY)
    size = read_exactly(sock, 2)[1]
    read_exactly(sock, size)
    sock.sendall(b"\x00\x07\x01bench/")
    return sock


def redis_subscriber(port: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", int(port)))
    sock.sendall(b"*2\r\n$9\r\nSUBSCRIBE\r\n$5\r\nbench\r\n")
    answer = b""
    while not answer.endswith(b":1\r\n"):
        answer += sock.recv(100)
    return sock


def serve(sockets: list[socket.socket], mark: bytes) -> None:
    poller = select.poll()
    poller.register(sys.stdin, select.POLLIN)
    keep = len(mark) - 1
    tails = {}
    readers = {}
    for sock in sockets:
        sock.setblocking(False)
        poller.register(sock, select.POLLIN)
        tails[sock.fileno()] = b""
        readers[sock.fileno()] = sock.recv
    print("ready", flush=True)
    total = 0
    while True:
        for descriptor, _ in poller.poll():
            if descriptor == sys.stdin.fileno():
                if not sys.stdin.readline():
                    return
                print(total, flush=True)
                continue
            data = tails[descriptor] + readers[descriptor](1 << 20)
            total += data.count(mark)
            tails[descriptor] = data[-keep:]  # a mark may be cut in two


if __name__ == "__main__":
    kind, where, number = sys.argv[1:4]
    make = zmq_subscriber if kind == "zmq" else redis_subscriber
    serve([make(where) for _ in range(int(number))], b"/bench/" if kind == "zmq" else b"message\r\n")
