"""An inspection as one HTML file that needs no network and runs no code but its own."""

from __future__ import annotations

import base64
import hashlib
import html as markup
import json
import struct
from dataclasses import asdict
from importlib import resources
from string import Template
from typing import Any

from maskkv.lens.inspection import Inspection


def html(inspection: Inspection, title: str) -> str:
    """Return the page; the document is data in it, never markup or script."""
    style, script = _file("lens.css"), _file("lens.js") + _file("report.js")
    # Only `<` could end the element or open a comment in it.
    data = json.dumps(packed(inspection), ensure_ascii=False).replace("<", "\\u003c")
    return Template(_file("report.html")).substitute(
        title=markup.escape(title),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        data=data,
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
    return data


def _file(name: str) -> str:
    return (resources.files("maskkv.lens") / "static" / name).read_text("utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
