"""A budget as users give it: a number of pairs, a part of the prompt, or None."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from maskkv.checks import MOST, quoted, whole
from maskkv.errors import InputError

Budget = int | str | None
"""Pairs that a KV head keeps per layer, on average; `"5%"` is that part of the prompt; None evicts nothing."""
DEFAULT_BUDGET = 256
"""What a policy that evicts keeps where nothing is said: in Python, on the command line and in the server."""

_PART = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*%\s*")
_PAIRS = re.compile(r"\s*([+-]?[0-9]{1,18})\s*")


def check_budget(budget: object) -> Budget:
    """Return a budget, a number of any library's as Python's own.

    Raises:
        InputError: It is neither a whole number of at least 1, nor a part above 0% and up to 100%, nor None.
    """
    if budget is None:
        return None
    if isinstance(budget, str):
        spelt = _PART.fullmatch(budget)
        if spelt is not None and 0 < Fraction(spelt[1]) <= 100:
            return budget
        what = "" if spelt is None else ", above 0% and at most 100%"
        raise InputError(f"budget {quoted(budget)}: expected pairs, as in 256, or a part of the prompt, as in 5%{what}")
    pairs = whole(budget)
    if pairs is None or pairs > MOST:
        raise InputError(f"budget {quoted(budget)}: expected a whole number of pairs, or a part of the prompt as '5%'")
    if pairs < 1:
        raise InputError(f"budget {quoted(pairs)}: expected at least 1 pair per KV head and layer")
    return pairs


def read_budget(text: str) -> Budget:
    """Read what stands on a command line: `256` or `5%`.

    Raises:
        InputError: It is no budget.
    """
    spelt = _PAIRS.fullmatch(text)
    return check_budget(text if spelt is None else int(spelt[1]))


def pairs_of(budget: Budget, prompt_length: int) -> int | None:
    """Return the pairs that a budget, which was checked, is for a prompt: a part is rounded up, so at least 1.

    >>> pairs_of("5%", 1000), pairs_of("5%", 1001), pairs_of("0.1%", 3), pairs_of(256, 3)
    (50, 51, 1, 256)
    """
    if not isinstance(budget, str):
        return budget
    return math.ceil(Fraction(budget.strip().rstrip("%").rstrip()) * prompt_length / 100)
