"""Whether anybody listens where a Ray cluster is said to be."""

from __future__ import annotations

import socket

from maskkv.errors import InputError

_PATIENCE_S = 10
"""Seconds within which a cluster's head must be reached."""


def check_reachable(address: str) -> None:
    """Refuse at once an address that nobody listens at: Ray itself tries for more than a minute.

    Raises:
        InputError: Nobody does.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_S).close()
        except (OSError, OverflowError) as error:
            raise InputError(f"no Ray cluster at {address}: {error}") from None
