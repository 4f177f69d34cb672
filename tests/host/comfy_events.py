"""What the host sends over its websocket, read with the standard library (RFC 6455, a client that only listens)."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import time
from collections.abc import Iterator

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10
_LAST = ("execution_success", "execution_error", "execution_interrupted")


class EventStream:
    """``with EventStream(port, client_id) as events``: open before the prompt is submitted, or its first events are lost."""

    def __init__(self, port: int, client_id: str):
        self._port, self._client_id = port, client_id
        self._buffer = b""

    def __enter__(self) -> EventStream:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET /ws?clientId={self._client_id} HTTP/1.1", f"Host: 127.0.0.1:{self._port}", "Upgrade: websocket", "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13",
        ]  # fmt: skip
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self._more()
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        if b" 101 " not in head.splitlines()[0]:
            raise ConnectionError(f"The host refused the websocket: {head.splitlines()[0].decode()}")
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def _more(self) -> bytes:
        got = self._socket.recv(1 << 16)
        if not got:
            raise ConnectionError("The host closed the websocket.")
        return got

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._buffer += self._more()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _frame(self) -> tuple[bool, int, bytes]:
        """(last of its message, opcode, payload); a server's frames are never masked."""
        first, second = self._take(2)
        length = second & 0x7F
        if length >= 126:
            form, size = (">H", 2) if length == 126 else (">Q", 8)
            (length,) = struct.unpack(form, self._take(size))
        return bool(first & 0x80), first & 0x0F, self._take(length)

    def _send(self, opcode: int, payload: bytes) -> None:
        """Control frames only, which are short; a client's frames must be masked."""
        mask = os.urandom(4)
        masked = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
        self._socket.sendall(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked)

    def _message(self) -> tuple[int, bytes]:
        kind, whole = 0, b""
        while True:
            last, opcode, payload = self._frame()
            if opcode == _PING:
                self._send(_PONG, payload)
            elif opcode == _CLOSE:
                raise ConnectionError("The host closed the websocket.")
            elif opcode != _PONG:
                kind, whole = opcode or kind, whole + payload
                if last:
                    return kind, whole

    def next(self, seconds: float = 60) -> tuple[str, object]:
        """(event, its data) of the next message; a preview picture is ("binary", bytes).

        Raises:
            TimeoutError: nothing came.
        """
        self._socket.settimeout(seconds)
        kind, payload = self._message()
        if kind == _BINARY:
            return "binary", payload
        event = json.loads(payload)
        return event["type"], event.get("data")

    def until_end(self, prompt_id: str, seconds: float = 300) -> Iterator[tuple[str, object]]:
        """Every event up to the one that ends ``prompt_id``, that one included."""
        end = time.monotonic() + seconds
        while True:
            event, data = self.next(max(end - time.monotonic(), 0.001))
            yield event, data
            if event in _LAST and data["prompt_id"] == prompt_id:
                return
