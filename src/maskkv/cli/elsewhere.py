"""How the work of `maskkv eval` is shared out: over processes of this machine, or over a Ray cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from maskkv.cli.help_pages import Grouped
from maskkv.errors import InputError

if TYPE_CHECKING:
    from maskkv.eval.runs import Elsewhere

ANY = ""
"""What `--ray` means by itself: the cluster that runs on this host, or else one that is started."""
_ADDRESS = re.compile(r"auto|local|(ray://)?[^/\s]+:[0-9]{1,5}")


class WithRay(Grouped):
    """Let `--ray` stand with an address behind it or by itself: a word that is no address stays an argument."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the address that is meant behind a `--ray` that has none."""
        return super().parse_args(ctx, list(_spelt_out(args)))


def _spelt_out(args: Sequence[str]) -> Iterator[str]:
    for word, following in zip(args, [*args[1:], ""], strict=True):
        yield word
        if word == "--ray" and not _ADDRESS.fullmatch(following):
            yield ANY


def check_address(address: str | None) -> None:
    """Refuse what is no address of a cluster."""
    if address and not _ADDRESS.fullmatch(address):
        raise InputError(f"--ray {address}: expected auto, local, HOST:PORT or ray://HOST:PORT, or nothing")


@contextmanager
def sharing(ray: str | None, jobs: int | None) -> Iterator[Elsewhere | None]:
    """Hand over what answers units in other processes, if there are to be any."""
    if ray is not None:
        from maskkv.cluster import evaluating

        with evaluating.connected(ray, jobs) as over:
            yield over
    elif jobs is None or jobs == 1:
        yield None
    else:
        from maskkv.eval.workers import side_by_side

        yield partial(side_by_side, jobs=jobs)
