"""An inspection as one HTML file that needs no network and runs no code but its own."""

from __future__ import annotations

import base64
import hashlib
import html as markup
import json
import re
import struct
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from string import Template
from typing import Any

from maskkv.lens.film import Film, Pair
from maskkv.lens.inspection import Inspection


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
        data=json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"),
    )


def packed(inspection: Inspection) -> dict[str, Any]:
    """Return what the page reads: the inspection with each segment's `order` as base64 of little-endian numbers.

    The numbers have 16 bits, or 32 in prompts of more than 65,536 tokens. Segment follows segment, each as long as the
    largest of its counts.
    """
    data = asdict(inspection)
    positions = [position for layer in inspection.sweep.order for order in layer for position in order]
    kind = "H" if len(inspection.tokens) <= 1 << 16 else "I"
    data["sweep"]["order"] = base64.b64encode(struct.pack(f"<{len(positions)}{kind}", *positions)).decode()
    data["tokens"] = [token.text for token in inspection.tokens]
    data["special"] = [index for index, token in enumerate(inspection.tokens) if token.special]
    del data["kept"]
    data["film"] = None if inspection.film is None else _packed_film(inspection.film)
    return data


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
    whole = "".join(_file(name) for name in ("parts.js", "recalls.js", "lens.js", "report.js"))
    return re.sub(r'^(im|ex)port \{[^}]*\} from "[^"]*";\n', "", whole, flags=re.MULTILINE)


def _file(name: str) -> str:
    return (resources.files("maskkv.lens") / "static" / name).read_text("utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
