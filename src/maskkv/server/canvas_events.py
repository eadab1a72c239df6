"""The extension of a stream that shows the canvas fill up: its three kinds of events, described in docs/serving.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maskkv.server.jobs import Kept, Progress
from maskkv.server.translate import EngineRequest
from maskkv.text.tokenizer import Text

Fields = dict[str, Any]

_MASKED: Fields = {"state": "masked", "text": None, "confidence": None}


class CanvasView:
    """Describe the canvas of one response, step by step."""

    def __init__(self, text: Text, request: EngineRequest) -> None:
        self._text = text
        self._request = request
        self._committed: dict[int, Fields] = {}

    def start(self) -> Fields:
        """Return the first event: policy, lengths, and the text of each prompt token."""
        pieces: Sequence[str] = [self._text.piece(token) for token in self._request.prompt]
        return {
            "event": "start", **about(self._request), "block_length": self._request.generation.block_length,
            "prompt": pieces,
        }  # fmt: skip

    def step(self, progress: Progress) -> Fields:
        """Return the event of a step: what it committed, the whole canvas after it, and the bytes held."""
        step = progress.step
        committed: list[Fields] = [
            {"position": position, "token": token, "text": self._text.piece(token), "confidence": confidence}
            for position, token, confidence in zip(step.positions, step.tokens, step.confidences, strict=True)
        ]
        for each in committed:
            self._committed[each["position"]] = self._cell("committed", each["token"], each["confidence"])
        guesses = {
            position: self._cell("provisional", token, confidence) for position, token, confidence in step.proposals()
        }
        cells = guesses | self._committed
        event: Fields = {
            "event": "step",
            "step": step.index,
            "refresh": None if step.refresh is None else step.refresh.value,
            "masks_left": step.masks_left,
            "committed": committed,
            "canvas": [cells.get(position, _MASKED) for position in range(self._request.generation.gen_length)],
            "cache_bytes": progress.cache_bytes,
            "full_cache_bytes": progress.full_cache_bytes,
            "host_bytes": progress.host_bytes,
            "recalled_pairs": progress.recalled,
        }
        if progress.kept is not None:
            kept = progress.kept
            event["kept"] = {
                "pairs_per_head": kept.pairs_per_head, "layers": kept.layers, "holders": kept.holders,
            }  # fmt: skip
        return event

    def _cell(self, state: str, token: int, confidence: float) -> Fields:
        return {"state": state, "text": self._text.piece(token), "confidence": confidence}


def about(request: EngineRequest) -> Fields:
    """Return the settings that a response is made with."""
    return {
        "policy": request.policy.name,
        "budget": request.budget,
        "seed": request.generation.seed,
        "prompt_length": len(request.prompt),
        "gen_length": request.generation.gen_length,
    }


def outcome(request: EngineRequest, last: Progress, kept: Kept | None) -> Fields:
    """Return what a complete response took, with the settings that it was made with."""
    return {
        **about(request),
        "steps": last.step.index + 1,
        "kept_pairs": None if kept is None else kept.pairs,
        "pairs_per_head": None if kept is None else kept.pairs_per_head,
        "cache_bytes": last.cache_bytes,
        "full_cache_bytes": last.full_cache_bytes,
        "host_bytes": last.host_bytes,
        "recalled_pairs": last.recalled,
    }
