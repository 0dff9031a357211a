"""What owner and sandbox say to each other: lines of JSON over a socket, orders with file descriptors."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from typing import Any

STOP = b"stop\n"


def receive(control: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The next order and its descriptors; None when the owner is gone."""
    data, descriptors = b"", []
    while True:
        part, more, _, _ = socket.recv_fds(control, 65536, 8)
        descriptors += more
        if not part:
            return None, descriptors
        # A program may have ended just before it was to be stopped.
        data = (data + part).replace(STOP, b"")
        if data.endswith(b"\n"):
            order: dict[str, Any] = json.loads(data)
            return order, descriptors


def send(control: socket.socket, answer: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Answer, with descriptors; without an owner, end."""
    try:
        socket.send_fds(control, [json.dumps(answer).encode() + b"\n"], descriptors)
    except OSError:
        os._exit(0)
