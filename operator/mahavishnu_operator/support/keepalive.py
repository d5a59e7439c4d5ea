"""Connections on which nothing is said for a while, and whose other end may vanish without a word.

The pressure: a machine that lost its power says no goodbye, and whoever waits for an answer from it waits until his own
time is up. What must stay true: such an end is noticed within half a minute, by the kernels alone; a connection whose
other end is only slow is left alone.
"""

from __future__ import annotations

import socket

IDLE_SECONDS, AGAIN_SECONDS, TRIES = 15, 5, 3


def keep_alive(connection: socket.socket) -> None:
    """Probe the other end while nothing comes. Sockets that a listening one accepts inherit it on Linux."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", IDLE_SECONDS), ("TCP_KEEPINTVL", AGAIN_SECONDS), ("TCP_KEEPCNT", TRIES)):
        if (option := getattr(socket, name, None)) is not None:  # macOS has others, and its own two hours
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
