"""Why replicas did not start, found in all that Ray Serve says of it."""

from __future__ import annotations

from collections.abc import Sequence

_OWN = "maskkv.errors."


def said_most(messages: Sequence[str]) -> str:
    """Return the line that says most: an error of maskkv's or torch's, else the last line of the first message."""
    lines = [[line.strip() for line in message.splitlines() if line.strip()] for message in messages]
    own = [line for each in lines for line in each if line.startswith((_OWN, "torch."))]
    first = next((each[-1] for each in lines if each), "Ray's logs say more")
    return (own or [first])[-1].removeprefix(_OWN)
