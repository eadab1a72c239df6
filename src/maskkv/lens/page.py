"""An inspection as one HTML file that needs no network and runs no code but its own."""

from __future__ import annotations

import base64
import hashlib
import html as markup
import json
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from string import Template
from typing import Any

from maskkv.lens.budget_sweep import BudgetSweep
from maskkv.lens.film import Film, Pair
from maskkv.lens.inspection import Inspection, Run
from maskkv.lens.reads import Reads

MODULES = ("parts", "shades", "recalls", "reads", "reader", "document", "map", "comparison", "lens", "report")
"""The page's modules, each behind those that it imports."""


def html(inspection: Inspection, title: str) -> str:
    """Return the page; the document is data in it, never markup or script."""
    return report(packed(inspection), title)


def report(data: dict[str, Any] | None, title: str) -> str:
    """Return the page of a packed inspection; None leaves `null` in its place, for whoever has the data to fill in."""
    style, script = _file("lens.css"), _script()
    return Template(_file("report.html")).substitute(
        title=markup.escape(title),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        # Only `<` could end the element or open a comment in it.
        data=json.dumps(data).replace("<", "\\u003c"),
    )


def packed(inspection: Inspection) -> dict[str, Any]:
    """Return what the page reads of an inspection: see `packed_fields`."""
    return packed_fields(vars(inspection))


def packed_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page reads of some of an inspection's fields.

    Of the sweep each segment's `order` is base64 of little-endian numbers, 16 bits each, or 32 in prompts of more than
    65,536 tokens. Segment follows segment, each as long as the largest of its counts. What is kept at the end is left
    out.
    """
    data = {name: asdict(each) if isinstance(each, Run | BudgetSweep) else each for name, each in fields.items()}
    data.pop("kept", None)
    if "sweep" in fields:
        tokens = fields["tokens"]
        positions = [position for layer in fields["sweep"].order for order in layer for position in order]
        kind = "H" if len(tokens) <= 1 << 16 else "I"
        data["sweep"]["order"] = base64.b64encode(struct.pack(f"<{len(positions)}{kind}", *positions)).decode()
        data["tokens"] = [token.text for token in tokens]
        data["special"] = [index for index, token in enumerate(tokens) if token.special]
    if fields.get("reads") is not None:
        data["reads"] = _packed_reads(fields["reads"])
    if fields.get("film") is not None:
        data["film"] = _packed_film(fields["film"])
    return data


def _packed_reads(reads: Reads) -> dict[str, Any]:
    """Return reads as base64 of little-endian numbers of 32 bits, and for how many `tokens` they are.

    For each token, layer and KV head: how many pairs are named, their positions, their weights, and what the whole
    prompt gets; the last two are counted in 2⁻³².
    """
    numbers: list[int] = []
    for each in [each for token in reads for heads in token for each in heads]:
        numbers += [len(each.positions), *each.positions, *map(_fixed, each.weights), _fixed(each.prompt)]
    return {"numbers": base64.b64encode(struct.pack(f"<{len(numbers)}I", *numbers)).decode(), "tokens": len(reads)}


def _fixed(weight: float) -> int:
    return min(2**32 - 1, round(weight * 2**32))


def _packed_film(film: Film) -> dict[str, Any]:
    """Return the film with all positions as base64 of little-endian numbers, `size` bytes each.

    First stand the kept positions of each segment, behind their number. Then for each frame: how many segments changed,
    and for each of those its number, how many pairs came and went, the positions that came, the rows that asked for
    them (from 1; 0 is a row of the prompt; missing where the prompt was read), and the positions that went.
    """
    heads = len(film.first[0])
    numbers = [number for layer in film.first for own in layer for number in (len(own), *own)]
    for frame in film.frames:
        rows = dict(zip(frame.came, frame.asked_by, strict=False))
        came, went = _by_segment(frame.came, heads), _by_segment(frame.went, heads)
        changed = sorted(came.keys() | went.keys())
        numbers.append(len(changed))
        for segment in changed:
            coming, going = came.get(segment, []), went.get(segment, [])
            numbers += [segment, len(coming), len(going), *(pair[2] for pair in coming)]
            numbers += [rows[pair] + 1 for pair in coming if pair in rows]
            numbers += [pair[2] for pair in going]
    size, kind = (2, "H") if max(numbers) < 1 << 16 else (4, "I")
    return {
        "changes": base64.b64encode(struct.pack(f"<{len(numbers)}{kind}", *numbers)).decode(),
        "size": size,
        "gen_length": film.gen_length,
        "frames": [
            {"refresh": frame.refresh, "positions": frame.positions, "pieces": frame.pieces} for frame in film.frames
        ],
    }


def _by_segment(pairs: Sequence[Pair], heads: int) -> dict[int, list[Pair]]:
    found: dict[int, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(pair[0] * heads + pair[1], []).append(pair)
    return found


def _script() -> str:
    """Join the page's modules into one, in which each finds what those before it declare."""
    whole = "".join(_file(f"{name}.js") for name in MODULES)
    return re.sub(r'^(im|ex)port \{[^}]*\} from "[^"]*";\n', "", whole, flags=re.MULTILINE)


def _file(name: str) -> str:
    return (resources.files("maskkv.lens") / "static" / name).read_text("utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
