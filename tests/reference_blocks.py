"""Block-causal generation with eviction, one row and one head at a time, over lists."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskkv.eviction.recall import BlockVote, Recall
from maskkv.generation import Generation
from maskkv.models.transformer import Transformer
from tests.reference import SlowBranch, SlowEviction, SlowModel, cosine, stacked


@dataclass(frozen=True)
class SlowBlockStep:
    hidden: list[Tensor]
    """The rows that the candidates' logits are read from."""
    positions: tuple[int, ...]
    tokens: tuple[int, ...]
    confidences: tuple[float, ...]
    kept: list[list[list[int]]]


def run_block_causally(model: SlowModel, tokens: Sequence[int], block: int) -> tuple[list[Tensor], list[float]]:
    """Run all rows without a cache; return the last hidden rows and each layer's importance."""
    h = [model.embed(token) for token in tokens]
    importance = []
    for layer in range(model.config.num_layers):
        keys = [model.rotate(model.project(layer, "k", x), i) for i, x in enumerate(h)]
        values = [model.project(layer, "v", x) for x in h]
        after = []
        for i, x in enumerate(h):
            seen = [j for j in range(len(h)) if j // block <= i // block]
            pairs = [
                stacked([keys[j] for j in seen], [values[j] for j in seen], head)
                for head in range(model.config.num_kv_heads)
            ]
            read, _ = model.read(model.rotate(model.project(layer, "q", x), i), pairs)
            after.append(x + model.attention_output(layer, read))
        importance.append(1 - sum(cosine(x, y) for x, y in zip(h, after, strict=True)) / len(h))
        h = [x + model.mlp_output(layer, x) for x in after]
    return h, importance


class SlowBlocks(SlowBranch):
    """The pairs of one sequence: what is kept of the prompt, of finished blocks, and of the block that is written."""

    def __init__(self, model: SlowModel, start: int, eviction: SlowEviction | None) -> None:
        self.block = model.config.causal_block or 0
        only = Generation(gen_length=self.block, block_length=self.block)
        super().__init__(model, start, only, eviction, None)
        self.done: list[int] = []
        self.passes = 0
        """Over live rows."""

    def first(self, tokens: Sequence[int], masked: set[int]) -> dict[int, Tensor]:
        """Read the prompt and the first block; every layer evicts before the next one runs."""
        model = self.model
        if self.eviction is not None and self.eviction.layer_base is not None:
            self.importance = run_block_causally(model, tokens, self.block)[1]
        h = {row: model.embed(token) for row, token in enumerate(tokens)}
        for layer, state in enumerate(self.layers):
            keys = {row: model.rotate(model.project(layer, "k", x), row) for row, x in h.items()}
            values = {row: model.project(layer, "v", x) for row, x in h.items()}
            attention = {}
            for row, x in h.items():
                seen = [other for other in h if other // self.block <= row // self.block]
                pairs = [
                    stacked([keys[other] for other in seen], [values[other] for other in seen], head)
                    for head in range(model.config.num_kv_heads)
                ]
                read, attention[row] = model.read(model.rotate(model.project(layer, "q", x), row), pairs)
                out = x + model.attention_output(layer, read)
                h[row] = out + model.mlp_output(layer, out)
            state.kept = self._choose(layer, attention, masked)
            state.keys, state.values = keys, values
        return {row: h[row] for row in range(self.first_live, len(tokens))}

    def later(self, tokens: Sequence[int], start: int, masked: set[int]) -> dict[int, Tensor]:
        """Run one block's rows over what is kept, the finished blocks and themselves."""
        model, rows = self.model, range(start, start + self.block)
        self.passes += 1
        recall = None if self.eviction is None else self.eviction.recall
        h = {row: model.embed(tokens[row]) for row in rows}
        for layer, state in enumerate(self.layers):
            for row, x in h.items():
                state.keys[row] = model.rotate(model.project(layer, "k", x), row)
                state.values[row] = model.project(layer, "v", x)
            everything = None
            if isinstance(recall, BlockVote):
                if masked and masked == set(rows) and start > self.first_live:
                    state.kept = self._wanted(layer, h, recall, masked)
                    everything = [*range(self.first_live)]
            elif recall is not None and self.passes % recall.recall_interval == 0:
                state.kept = self._wanted(layer, h, recall, masked)
            pairs = []
            for head, kept in enumerate(state.kept):
                seen = [*(everything or kept), *self.done, *rows]
                pairs.append(stacked([state.keys[row] for row in seen], [state.values[row] for row in seen], head))
            for row, x in h.items():
                read, _ = model.read(model.rotate(model.project(layer, "q", x), row), pairs)
                out = x + model.attention_output(layer, read)
                h[row] = out + model.mlp_output(layer, out)
        return h

    def _wanted(
        self, layer: int, h: dict[int, Tensor], recall: Recall | BlockVote, masked: set[int]
    ) -> list[list[int]]:
        """Return the prompt rows that get most weight of the block's voters, as many per head as before."""
        model, state = self.model, self.layers[layer]
        seen = [*range(self.first_live), *self.done, *h]
        join = max if recall.recall_tally == "max" else sum
        most = [[0.0] * self.first_live for _ in state.kept]
        if recall.recall_voters == "mask":
            h = {row: x for row, x in h.items() if row in masked}
        for row, x in h.items():
            for query_head, query in enumerate(model.rotate(model.project(layer, "q", x), row)):
                head = query_head // model.group
                keys = torch.stack([state.keys[each][head] for each in seen])
                weights = (keys @ query / model.config.head_dim**0.5).softmax(0).tolist()
                most[head] = [join(both) for both in zip(most[head], weights, strict=False)]
        return [
            sorted(sorted(range(self.first_live), key=lambda row: (-own[row], row))[: len(kept)])
            for own, kept in zip(most, state.kept, strict=True)
        ]


def slow_blocks(
    model: Transformer, prompt: Sequence[int], generation: Generation, eviction: SlowEviction | None
) -> Iterator[SlowBlockStep]:
    """Generate as SDAR does: fill a block, leave its final pairs, go on to the next."""
    slow, block = SlowModel(model), model.config.causal_block or 0
    asked = len(prompt) + generation.gen_length
    tokens = [*prompt, *[model.config.mask_id] * (-len(prompt) % block)]
    while len(tokens) < asked:
        tokens += [model.config.mask_id] * block
    masked = set(range(len(prompt), len(tokens)))
    first = len(prompt) // block * block
    branch = SlowBlocks(slow, first, eviction)
    steps = block if generation.steps is None else -(-generation.steps // -(-generation.gen_length // block))
    for start in range(first, len(tokens), block):
        rows = range(start, start + block)
        for step in range(block + 1):
            own = [row for row in rows if row in masked]
            if start == first and step == 0:
                h = branch.first(tokens[: start + block], set(own))
            else:
                h = branch.later(tokens, start, set(own))
            kept = [[*state.kept] for state in branch.layers]
            if not own:
                branch.done += rows
                yield SlowBlockStep([], (), (), (), kept)
                break
            found = {}
            for row in own:
                logits = slow.logits(h[row])
                logits[model.config.mask_id] = -torch.inf
                chances = logits.softmax(0)
                found[row] = (float(chances.max()), int(chances.argmax()))
            surest = sorted(own, key=lambda row: (-found[row][0], row))
            if generation.remasking == "sequential":
                surest = own
            count = block // steps + (step < block % steps)
            if generation.threshold is not None:
                surer = [row for row in own if found[row][0] > generation.threshold]
                count = max(count, len(surer))
            chosen = sorted(surest[:count])
            for row in chosen:
                tokens[row] = found[row][1]
                masked.discard(row)
            told = [row for row in chosen if row < asked]
            yield SlowBlockStep(
                [h[row] for row in own],
                tuple(row - len(prompt) for row in told),
                tuple(found[row][1] for row in told),
                tuple(found[row][0] for row in told),
                kept,
            )
            if not any(row < asked for row in masked):
                return
