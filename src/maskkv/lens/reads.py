"""What each token of an answer reads of the kept pairs, once the answer is whole."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from maskkv.api import LanguageModel
from maskkv.budget import Budget
from maskkv.cache import EvictingCache, PackedCache, Refresh, WatchingCache
from maskkv.decoding.engine import Engine, Step
from maskkv.decoding.sequence import RunningSequence
from maskkv.eviction.policy import Policy
from maskkv.generation import Generation
from maskkv.models.step_cache import StepCache
from maskkv.ops.attention import Queries, UnrotatedKeys, fold_groups

MOST = 8
"""Pairs named for each row of each segment."""
MOST_ROWS = 2**17
"""Rows of segments that are shown: an answer of 128 tokens has as many on 32 layers of 32 KV heads."""


@dataclass(frozen=True)
class Read:
    """Say what the row that predicts a response token reads of one segment, in one more pass over the whole response.

    In that pass all live rows are recomputed, and read the prompt pairs that are kept at the end and each other. A
    weight is the row's softmax over both, the mean of the query heads that share the KV head. `positions` and `weights`
    name the pairs that are read most, the heaviest first; `prompt` is what all kept pairs get together.
    """

    positions: list[int]
    weights: list[float]
    prompt: float


Reads = list[list[list[Read]]]
"""Of each response token up to the end token, in each layer, of each KV head."""


def readable(llm: LanguageModel, generation: Generation) -> bool:
    """Tell whether what rows read can be shown: all live rows of a bidirectional, unguided answer are in one pass.

    There must not be more than `MOST_ROWS` of them, over all segments.
    """
    config = llm.model.config
    together = config.causal_block is None and not generation.cfg_scale and llm.model.ranks.count == 1
    return together and generation.gen_length * config.num_layers * config.num_kv_heads <= MOST_ROWS


def reading(
    llm: LanguageModel, prompt: Sequence[int], generation: Generation, policy: Policy, budget: Budget
) -> Generator[Step, None, Reads]:
    """Yield each step of an answer; the generator returns what its tokens read in the end."""
    engine = Engine(llm.model, llm.profile)
    number = llm.add_to(engine, prompt, generation, policy, budget)
    sequence = engine[number]
    while True:
        (step,) = engine.step()
        yield step
        if step.finished:
            break
    return _read(llm, sequence, len(llm.said(sequence.response())))


@torch.inference_mode()
def _read(llm: LanguageModel, sequence: RunningSequence, said: int) -> Reads:
    if not said:
        return []
    model, (branch,) = llm.model, sequence.branches
    cache = branch.cache
    assert cache is not None, "a policy that evicts has a cache"
    # It rides along: nothing comes back, so that the pairs stay those of the end.
    cache.begin(Refresh.RESPONSE, sequence.window.masked, rides=True)
    rows = sequence.window.rows
    rotation = model.rotation(torch.arange(rows.start, rows.stop, device=model.device), sequence.settings.rope_scale)
    packed = PackedCache([cache])
    packed.follow()
    probe = ReadsProbe(cache, said)
    watched: StepCache = WatchingCache(packed, on_pairs=probe.read)
    model(branch.tokens(sequence.canvas, rows), rotation, watched)
    return [[[own[token] for own in heads] for heads in probe.layers] for token in range(said)]


class ReadsProbe:
    """Collect, layer after layer and for each KV head, what the first `said` live rows read in a pass over all.

    Of a model with shifted logits live row i is the one that predicts response token i, as of any other.
    """

    def __init__(self, cache: EvictingCache, said: int) -> None:
        self._cache = cache
        self._said = said
        self.layers: Reads = []
        """Of each layer, of each KV head, of each row."""

    def read(
        self,
        layer: int,
        keys: Float[Tensor, "live kv_heads head_dim"],
        values: Float[Tensor, "live kv_heads head_dim"],
        queries: Queries,
        unrotated: UnrotatedKeys,
    ) -> None:
        """Weigh a layer's kept pairs beside the live rows' own."""
        kv_heads = keys.shape[1]
        asked = fold_groups(queries(slice(0, self._said)), kv_heads).float()
        held = self._slots(layer)
        kept = self._cache.state(layer).pairs.kept_keys().split([len(own) for own in held])
        heads: list[list[Read]] = []
        for head, (positions, own) in enumerate(zip(held, kept, strict=True)):
            both = torch.cat((own, keys[:, head])).float()
            weights = (asked[head] @ both.T * both.shape[-1] ** -0.5).softmax(-1)
            of_prompt = weights.view(-1, self._said, len(both)).mean(0)[:, : len(own)]
            most = of_prompt.topk(min(MOST, len(own)))
            places = torch.tensor(positions, dtype=torch.long)[most.indices.cpu()]
            columns = (places.tolist(), most.values.tolist(), of_prompt.sum(1).tolist())
            heads.append([Read(*each) for each in zip(*columns, strict=True)])
        self.layers.append(heads)

    def _slots(self, layer: int) -> list[list[int]]:
        """List the positions in a layer's slots, per KV head."""
        tier = None if self._cache.tiers is None else self._cache.tiers[layer]
        # What never changes lies in the order of its positions.
        return self._cache.kept()[layer] if tier is None else tier.slots()
