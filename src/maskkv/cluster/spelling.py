"""How many replicas: `2`, or `1-4` for as many as the load needs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from maskkv.errors import InputError

MOST = 1024


@dataclass(frozen=True)
class Replicas:
    """Say how many replicas there are, at least and at most.

    >>> Replicas.read("1-4")
    Replicas(least=1, most=4)
    """

    least: int
    most: int

    @classmethod
    def read(cls, spelt: object) -> Replicas:
        """Read a number or a range.

        Raises:
            InputError: It is neither.
        """
        found = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", str(spelt).strip())
        if found is not None:
            least, most = int(found[1]), int(found[2] or found[1])
            if 1 <= least <= most <= MOST:
                return cls(least, most)
        raise InputError(
            f"replicas {str(spelt)[:40]!r}: expected a number from 1 to {MOST:,}, or a range of such as in 1-4"
        )

    def options(self, max_batch: int) -> dict[str, object]:
        """Return what Ray Serve is told of the number.

        Of a range it takes as many as keep about `max_batch` requests on each: more would wait there for a place. It
        grows within seconds, and shrinks when there was less to do for five minutes.
        """
        if self.least == self.most:
            return {"num_replicas": self.most}
        return {
            "autoscaling_config": {
                "min_replicas": self.least,
                "initial_replicas": self.least,
                "max_replicas": self.most,
                "target_ongoing_requests": max_batch,
                "look_back_period_s": 15.0,
                "upscale_delay_s": 10.0,
                "downscale_delay_s": 300.0,
            }
        }
