"""What is observed is what a plain loop over whole attention matrices sees."""

import math

import pytest
import torch

import maskkv
from maskkv import Generation, records
from maskkv.api import LanguageModel
from maskkv.cache import NoCache
from maskkv.errors import InputError
from maskkv.eval import observe as observing
from maskkv.eval.observe import binned, observe, run
from maskkv.loading import Loading
from maskkv.models.step_cache import Sublayer
from tests.eval.examples import task
from tests.reference import DREAM, random_model, random_prompt

GENERATION = Generation(gen_length=8, block_length=4)


class WholeMatrices(NoCache):
    """Write down every head's attention, rows × pairs, and the residual stream around each attention."""

    def __init__(self):
        super().__init__()
        self.attention, self.residuals = [], []

    def hold(self, layer, keys, values, queries, unrotated):
        rows = queries(slice(0, len(keys)))
        keys_of_head = keys.repeat_interleave(rows.shape[1] // keys.shape[1], dim=1)
        logits = torch.einsum("ihd,jhd->hij", rows, keys_of_head) / math.sqrt(keys.shape[2])
        self.attention.append(logits.double().softmax(-1))
        super().hold(layer, keys, values, queries, unrotated)

    def add(self, layer, sublayer, residual, fresh, span):
        after = super().add(layer, sublayer, residual, fresh, span)
        if sublayer is Sublayer.ATTENTION:
            self.residuals.append((residual, after))
        return after


@pytest.fixture(scope="module")
def dream(llm):
    """Answer with six query heads on two KV heads, the logits shifted."""
    return LanguageModel(random_model(DREAM), llm.text)


def steps(llm, prompt):
    """Yield what each step of the response looked like before it was taken: the tokens and the masked positions."""
    tokens = torch.tensor([*prompt, *[llm.model.config.mask_id] * GENERATION.gen_length])
    masked = list(range(GENERATION.gen_length))
    for step in llm.stream_ids(prompt, GENERATION, policy="none"):
        yield tokens.clone(), list(masked)
        for position, token in zip(step.positions, step.tokens, strict=True):
            tokens[len(prompt) + position] = token
            masked.remove(position)


def whole(llm, tokens, rope_scale=1.0):
    cache = WholeMatrices()
    llm.model(tokens, llm.model.rotation(torch.arange(len(tokens)), rope_scale), cache)
    return torch.stack(cache.attention), cache.residuals


def test_every_step_is_what_whole_matrices_show(dream):
    prompt = random_prompt(DREAM, 11)
    seen = observe(dream, prompt, GENERATION)
    taken = list(steps(dream, prompt))
    assert len(seen.mask) == len(seen.prompt) == len(seen.similarity) == len(taken) > 2
    for index, (tokens, masked) in enumerate(taken):
        attention, residuals = whole(dream, tokens)
        masks = attention[:, :, [11 + position for position in masked]]
        assert seen.mask[index] == pytest.approx(masks.mean((0, 1, 2))[:11].tolist(), rel=1e-3)
        assert seen.prompt[index] == pytest.approx(attention[:, :, :11].mean((0, 1, 2))[:11].tolist(), rel=1e-3)
        cosines = [torch.cosine_similarity(before, after).mean().item() for before, after in residuals]
        assert seen.similarity[index] == pytest.approx(cosines, rel=1e-3)


def test_the_first_step_is_seen_head_by_head(dream):
    prompt = random_prompt(DREAM, 11)
    seen = observe(dream, prompt, GENERATION)
    attention, _ = whole(dream, next(steps(dream, prompt))[0])
    # Three query heads share a KV head.
    masks = attention[:, :, 11:].unflatten(1, (2, 3)).mean((2, 3))
    of_prompt, of_response = masks[:, :, :11], masks[:, :, 11:]
    assert torch.allclose(torch.tensor(seen.heads_prompt).double(), of_prompt, rtol=1e-3)
    assert torch.allclose(torch.tensor(seen.heads_response).double(), of_response, rtol=1e-3)
    assert torch.allclose(torch.tensor(seen.preference).double(), of_prompt.sum(-1), rtol=1e-3)


def stretched(llm):
    return LanguageModel(llm.model, llm.text, loading=Loading(rope_scale=64.0))


def test_positions_are_stretched_as_in_an_answer(dream):
    prompt = random_prompt(DREAM, 11)
    seen = observe(stretched(dream), prompt, GENERATION)
    attention, _ = whole(dream, next(steps(dream, prompt))[0], 64.0)
    assert seen.mask[0] == pytest.approx(attention[:, :, 11:].mean((0, 1, 2))[:11].tolist(), rel=1e-3)
    assert seen.mask[0] != pytest.approx(observe(dream, prompt, GENERATION).mask[0], rel=1e-2)


def test_long_prompts_are_seen_in_bins(dream):
    prompt = random_prompt(DREAM, 2 * observing.MOST_BINS + 2)
    seen = observe(dream, prompt, GENERATION)
    assert (seen.prompt_bin_tokens, seen.response_bin_tokens) == (3, 1)
    assert len(seen.mask[0]) == len(seen.heads_prompt[0][0]) == 86
    sums = torch.tensor(seen.heads_prompt).sum(-1) + torch.tensor(seen.heads_response).sum(-1)
    assert torch.allclose(sums, torch.ones(4, 2), atol=1e-3)


def test_bins_add_neighbours_up():
    values = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])
    assert binned(values, 2).tolist() == [[3.0, 7.0, 5.0]]
    assert binned(values, 1).tolist() == values.tolist()


def test_guidance_is_refused(dream):
    with pytest.raises(InputError, match="observe it at 0"):
        observe(dream, [1], Generation(gen_length=8, cfg_scale=1.0))


def test_a_run_goes_on_where_it_stopped(llm, tmp_path):
    file = tmp_path / "observe.jsonl"
    first = list(run(llm, "tiny", [task(numbers=range(5, 6))], GENERATION, file))
    held = file.read_bytes()
    both = list(run(llm, "tiny", [task(numbers=range(5, 7))], GENERATION, file))
    assert file.read_bytes().startswith(held)
    assert [record["number"] for record in first + both] == [5, 5, 6]
    kept = list(records.read(file))
    assert [record["number"] for record in kept] == [5, 6]
    assert kept[0]["model"] == "tiny"
    assert kept[0]["prompt_length"] <= kept[0]["length"] == 64
    assert kept[0]["device"] == "cpu"
    # Another schedule is another observation, and so is another stretch.
    list(run(llm, "tiny", [task(numbers=range(5, 6))], Generation(block_length=8), file))
    list(run(stretched(llm), "tiny", [task(numbers=range(5, 6))], GENERATION, file))
    kept = list(records.read(file))
    assert [record["rope_scale"] for record in kept] == [None, None, None, 64.0]
    # A response has room for the answer in whole blocks, whatever length the schedule has.
    blocks = -(-task().example(llm, 5).gen_length // 8)
    assert kept[2]["gen_length"] == 8 * blocks < Generation().gen_length


def test_watching_changes_nothing(llm):
    prompt = llm.prompt_ids(maskkv.mini.sample("multi-key", 64, 5).content)
    seen = observe(llm, prompt, GENERATION)
    assert len(seen.mask) == llm.generate_ids(prompt, GENERATION, policy="none").steps
