import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference_sampler import Event, Model, dream, llada, make_model
from torch import Tensor

from maskkv.decoding.sampler import (
    Commit,
    Sampler,
    dream_rates,
    factor_count,
    finished,
    guide,
    llada_count,
    propose,
)
from maskkv.errors import CheckpointError
from maskkv.generation import Generation

MASK = 3
EOS, EOT = 4, 5
NEVER = 1e-30


def rows(*probabilities: list[float]) -> Tensor:
    """Make logits whose softmax over tokens 0, 1, 2 is given; the mask token and all others are impossible."""
    padded = [row + [NEVER] * (6 - len(row)) for row in probabilities]
    return torch.tensor(padded, dtype=torch.float64).log().float()


class Chooser(Sampler):
    """Propose and choose in one call, for one sequence."""

    def commit(self, logits: Tensor, masked: Tensor, *, put_off: bool = False) -> Commit:
        return super().commit(propose([self], [logits])[0], masked, put_off=put_off)


def sampler(generation: Generation) -> Chooser:
    return Chooser(generation, mask_id=MASK, eos_ids=(EOS, EOT), device="cpu")


def one_block(length: int, **fields: Any) -> Generation:
    return Generation(**{"gen_length": length, "block_length": length, **fields})


def masks(length: int) -> Tensor:
    return torch.ones(length, dtype=torch.bool)


def run(model: Model, generation: Generation) -> list[list[Event]]:
    """Generate as an engine does, and return what each step committed."""
    chooser, masked = sampler(generation), masks(generation.gen_length)
    canvas = torch.full((generation.gen_length,), MASK)
    history = []
    while masked.any():
        logits = model(canvas.tolist())[chooser.candidates(masked)]
        commit = chooser.commit(logits, masked)
        assert masked[commit.positions].all(), "a committed token is never changed"
        canvas[commit.positions] = commit.tokens
        masked[commit.positions] = False
        history.append(events(commit))
        assert len(history) <= generation.num_steps
    return history


def events(commit: Commit) -> list[Event]:
    columns = commit.positions.tolist(), commit.tokens.tolist(), commit.confidences.tolist()
    return list(zip(*columns, strict=True))


class TestLLaDA:
    def test_surest_positions_first(self) -> None:
        logits = rows([0.5, 0.3, 0.2], [0.05, 0.9, 0.05], [0.2, 0.2, 0.6], [0.8, 0.1, 0.1])
        commit = sampler(one_block(4, steps=2)).commit(logits, masks(4))
        assert commit.positions.tolist() == [1, 3]
        assert commit.tokens.tolist() == [1, 0]
        assert commit.confidences.tolist() == pytest.approx([0.9, 0.8])

    def test_shares_of_a_block(self) -> None:
        assert [llada_count(10, 4, step) for step in range(4)] == [3, 3, 2, 2]
        assert [llada_count(8, 8, step) for step in range(8)] == [1] * 8

    def test_shares_follow_the_masks_at_the_blocks_start(self) -> None:
        """Seven masks in three steps: 3, 2, 2. Counting what is left at each step would give 3, 1, 1."""
        chooser, masked = sampler(one_block(8, steps=3)), masks(8)
        masked[4] = False
        counts = []
        for _ in range(3):
            logits = rows(*[[0.5, 0.3, 0.2]] * len(chooser.candidates(masked)))
            commit = chooser.commit(logits, masked)
            masked[commit.positions] = False
            counts.append(len(commit.positions))
        assert counts == [3, 2, 2]

    def test_blocks_from_left_to_right(self) -> None:
        chooser, masked = sampler(Generation(gen_length=12, block_length=4)), masks(12)
        assert chooser.candidates(masked).tolist() == [0, 1, 2, 3]
        masked[[0, 1, 3]] = False
        assert chooser.candidates(masked).tolist() == [2]
        masked[2] = False
        masked[5] = False
        assert chooser.candidates(masked).tolist() == [4, 6, 7]
        masked[:] = False
        assert chooser.candidates(masked).tolist() == []

    def test_temperature_changes_the_tokens_and_not_the_confidences(self) -> None:
        """exp(l) / (-ln u)^T is softmax(l / T) in law: at T = 0.5, .7 : .3 becomes .49 : .09, or 84.5 %."""
        generation = one_block(4000, steps=1, temperature=0.5)
        commit = sampler(generation).commit(rows([0.7, 0.3]).expand(4000, -1), masks(4000))
        assert (commit.tokens == 0).double().mean().item() == pytest.approx(0.845, abs=0.025)
        assert commit.confidences[commit.tokens == 0].unique().tolist() == pytest.approx([0.7])
        assert commit.confidences[commit.tokens == 1].unique().tolist() == pytest.approx([0.3])

    def test_random_remasking_ignores_the_confidences(self) -> None:
        logits = rows([0.99, 0.01], [0.5, 0.4], [0.4, 0.3], [0.6, 0.4])
        first = []
        for seed in range(400):
            commit = sampler(one_block(4, remasking="random", seed=seed)).commit(logits, masks(4))
            first.append(int(commit.positions))
            assert commit.confidences.item() == pytest.approx(logits.softmax(-1).amax(-1)[first[-1]].item())
        assert all(60 < first.count(position) < 140 for position in range(4))

    @pytest.mark.parametrize("temperature", [0.0, 1e-3])
    @pytest.mark.parametrize("remasking", ["low_confidence", "random"])
    def test_end_tokens_come_last_when_asked(self, temperature: float, remasking: str) -> None:
        generation = one_block(3, temperature=temperature, remasking=remasking, confidence_eos_eot_inf=True, seed=5)
        logits = rows([0.05, 0, 0, 0, 0.95, 0], [0.05, 0, 0, 0, 0, 0.95], [0.4, 0.3, 0.3])
        commit = sampler(generation).commit(logits.clamp_min(-60), masks(3))
        assert commit.positions.tolist() == [2]

    def test_end_tokens_give_their_probability_to_the_others_in_the_ranking(self) -> None:
        """.5 of the .55 that do not end is surer than .6 of 1, as in the published code; .5 is reported."""
        logits = rows([0.6, 0.4], [0.5, 0.05, 0, 0, 0.4, 0.05]).clamp_min(-60)
        commit = sampler(one_block(2, confidence_eos_eot_inf=True)).commit(logits, masks(2))
        assert commit.positions.tolist() == [1]
        assert commit.confidences.tolist() == pytest.approx([0.5])
        assert sampler(one_block(2)).commit(logits, masks(2)).positions.tolist() == [0]

    @pytest.mark.parametrize("temperature", [0.0, 1.0])
    def test_the_end_of_sequence_is_never_predicted_when_asked(self, temperature: float) -> None:
        generation = one_block(200, steps=1, temperature=temperature, logits_eos_inf=True)
        logits = rows([0.1, 0, 0, 0, 0.8, 0.1]).clamp_min(-60).expand(200, -1)
        commit = sampler(generation).commit(logits, masks(200))
        assert EOS not in commit.tokens
        assert commit.confidences.tolist() == pytest.approx([0.5] * 200)


class TestDream:
    def test_rates(self) -> None:
        """Levels 1, .75025, .5005, .25075, .001."""
        expected = [0.24975, 1 - 0.5005 / 0.75025, 1 - 0.25075 / 0.5005, 1.0]
        assert dream_rates(4, 1e-3).tolist() == pytest.approx(expected)

    @pytest.mark.parametrize(
        ("length", "steps", "counts"),
        [
            (4, 4, [0, 1, 1, 2]),  # 4 × .24975 = .999, 4 × .333 = 1.33, 3 × .499 = 1.497, the rest
            (8, 4, [1, 2, 2, 3]),  # 1.998, 7 × .333 = 2.33, 5 × .499 = 2.495, the rest
            (4, 1, [4]),
            (64, 64, [0] + [1] * 62 + [2]),
        ],
    )
    def test_counts(self, length: int, steps: int, counts: list[int]) -> None:
        generation = one_block(length, steps=steps, alg="maskgit_plus")
        assert [len(step) for step in run(make_model(length, 8, 0), generation)] == counts

    def test_a_block_has_its_own_schedule(self) -> None:
        generation = Generation(gen_length=8, block_length=4, alg="maskgit_plus")
        history = run(make_model(8, 8, 0), generation)
        assert [len(step) for step in history] == [0, 1, 1, 2] * 2
        assert {position for step in history[:4] for position, _, _ in step} == {0, 1, 2, 3}

    @pytest.mark.parametrize(("alg", "position"), [("maskgit_plus", 0), ("topk_margin", 1), ("entropy", 2)])
    def test_each_algorithm_has_its_own_favourite(self, alg: Any, position: int) -> None:
        """Largest maximum .6; largest margin .58 - .105; smallest entropy .688."""
        logits = torch.tensor(
            [
                [0.6, 0.134, 0.133, 0, 0.133, 0],
                [0.58, 0.105, 0.105, 0, 0.105, 0.105],
                [0.55, 0.45, 0, 0, 0, 0],
            ]
        ).log()
        chooser = sampler(one_block(3, steps=2, alg=alg))
        commit = chooser.commit(logits, masks(3))
        assert commit.positions.tolist() == [position]
        assert commit.confidences.tolist() == pytest.approx([[0.6], [0.58], [0.55]][position])

    def test_origin_transfers_each_mask_with_the_steps_rate(self) -> None:
        generation = one_block(4000, steps=4, alg="origin")
        chooser, masked = sampler(generation), masks(4000)
        counts = []
        for _ in range(4):
            left = int(masked.sum())
            commit = chooser.commit(rows([0.6, 0.4]).expand(left, -1), masked)
            masked[commit.positions] = False
            counts.append(len(commit.positions))
        assert counts[:3] == pytest.approx([1000] * 3, abs=130)
        assert sum(counts) == 4000
        assert not masked.any()

    def test_algorithm_temperature_draws_positions(self) -> None:
        """Weights e^(.9/.4), e^(.5/.4) twice: the first of three positions is drawn e : 2, or 57.6 %."""
        logits = rows([0.9, 0.1], [0.5, 0.3, 0.2], [0.5, 0.4, 0.1])
        drawn: list[int] = []
        for seed in range(800):
            generation = one_block(3, steps=2, alg="maskgit_plus", alg_temp=0.4, seed=seed)
            drawn += sampler(generation).commit(logits, masks(3)).positions.tolist()
        assert len(drawn) == 800
        assert drawn.count(0) / 800 == pytest.approx(0.576, abs=0.06)
        assert drawn.count(1) / 800 == pytest.approx(0.212, abs=0.06)

    def test_a_tiny_algorithm_temperature_takes_the_surest(self) -> None:
        """Every weight but one underflows, and two positions must be drawn all the same."""
        generation = one_block(5, steps=2, alg="maskgit_plus", alg_temp=1e-6)
        logits = rows([0.5, 0.5], [0.7, 0.3], [0.6, 0.4], [0.9, 0.1], [0.8, 0.2])
        assert sampler(generation).commit(logits, masks(5)).positions.tolist() == [3, 4]

    def test_temperature_sharpens_tokens_and_confidences(self) -> None:
        generation = one_block(4000, steps=1, alg="maskgit_plus", temperature=0.5)
        commit = sampler(generation).commit(rows([0.7, 0.3]).expand(4000, -1), masks(4000))
        assert (commit.tokens == 0).double().mean().item() == pytest.approx(0.845, abs=0.025)
        assert commit.confidences[commit.tokens == 0].unique().tolist() == pytest.approx([0.49 / 0.58])

    @pytest.mark.parametrize("temperature", [1e-44, 1e-300, 5e-324])
    @pytest.mark.parametrize("top_p", [None, 5e-324, 0.9, 1 - 2**-53])
    def test_no_temperature_is_too_small(self, temperature: float, top_p: float | None) -> None:
        generation = one_block(2, steps=1, alg="maskgit_plus", temperature=temperature, top_p=top_p)
        commit = sampler(generation).commit(rows([0.2, 0.8], [0.6, 0.4]), masks(2))
        assert events(commit) == [(0, 1, 1.0), (1, 0, 1.0)]

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ({}, 0.5),
            ({"top_p": 0.45}, 1.0),  # the first token crosses the line, and is kept
            ({"top_p": 0.6}, 0.5 / 0.8),
            ({"top_p": 0.85}, 0.5),
            ({"top_p": 1.0}, 0.5),
            ({"top_k": 1}, 1.0),
            ({"top_k": 2}, 0.5 / 0.8),
            ({"top_k": 1000}, 0.5),
            ({"top_p": 0.85, "top_k": 2}, 0.5 / 0.8),
        ],
    )
    def test_filters(self, fields: dict[str, Any], expected: float) -> None:
        generation = one_block(2, steps=1, alg="maskgit_plus", **fields)
        commit = sampler(generation).commit(rows([0.3, 0.5, 0.2], [0.2, 0.3, 0.5]), masks(2))
        assert commit.tokens.tolist() == [1, 2]
        assert commit.confidences.tolist() == pytest.approx([expected] * 2)

    def test_a_nucleus_that_just_reaches_the_line_has_not_crossed_it(self) -> None:
        """As published: two halves and `top_p` 0.5 keep both, since the first does not exceed it."""
        generation = one_block(1, steps=1, alg="maskgit_plus", top_p=0.5)
        assert events(sampler(generation).commit(rows([0.5, 0.5]), masks(1))) == [(0, 0, 0.5)]

    def test_filtered_tokens_are_not_drawn(self) -> None:
        generation = one_block(500, steps=1, alg="entropy", temperature=1.0, top_k=2)
        commit = sampler(generation).commit(rows([0.4, 0.3, 0.3 - 1e-3]).expand(500, -1), masks(500))
        assert set(commit.tokens.tolist()) == {0, 1}


class TestParallel:
    def commit(self, **fields: Any) -> list[int]:
        logits = rows([0.7, 0.3], [0.95, 0.05], [0.45, 0.3, 0.25], [0.9, 0.1])
        return sampler(one_block(4, **fields)).commit(logits, masks(4)).positions.tolist()

    @pytest.mark.parametrize("alg", [None, "maskgit_plus"])
    @pytest.mark.parametrize(
        ("threshold", "positions"), [(0.99, [1]), (0.94, [1]), (0.8, [1, 3]), (0.5, [0, 1, 3]), (0.0, [0, 1, 2, 3])]
    )
    def test_threshold(self, alg: Any, threshold: float, positions: list[int]) -> None:
        assert self.commit(threshold=threshold, alg=alg) == positions

    def test_a_confidence_equal_to_the_threshold_is_enough(self) -> None:
        logits = rows([0.5, 0.5], [0.5, 0.5])
        assert len(sampler(one_block(2, threshold=0.5)).commit(logits, masks(2)).positions) == 2

    @pytest.mark.parametrize(
        ("factor", "count"),
        [(0.05, 1), (0.2, 1), (0.31, 2), (1.1, 2), (1.21, 3), (2.7, 3), (2.76, 4)],
    )
    def test_factor(self, factor: float, count: int) -> None:
        """2 × .05 = .1, 3 × .1 = .3, 4 × .3 = 1.2, 5 × .55 = 2.75."""
        assert factor_count(torch.tensor([0.95, 0.9, 0.7, 0.45]), factor) == count
        surest_first = [1, 3, 0, 2]
        assert self.commit(factor=factor) == sorted(surest_first[:count])

    def test_a_block_is_finished_before_the_next_begins(self) -> None:
        generation = Generation(gen_length=8, block_length=4, threshold=0.0)
        history = run(make_model(8, 8, 0), generation)
        assert [[position for position, _, _ in step] for step in history] == [[0, 1, 2, 3], [4, 5, 6, 7]]

    def test_positions_that_end_the_response_are_never_sure(self) -> None:
        generation = one_block(2, threshold=0.5, confidence_eos_eot_inf=True)
        logits = rows([0.01, 0, 0, 0, 0.99], [0.6, 0.4]).clamp_min(-60)
        assert sampler(generation).commit(logits, masks(2)).positions.tolist() == [1]


ALGS = [None, "maskgit_plus", "topk_margin", "entropy", "origin"]


class TestEverySampler:
    @pytest.mark.parametrize("alg", ALGS)
    def test_the_mask_token_is_never_committed(self, alg: Any) -> None:
        """It has the largest logit by far, and the other probabilities are those of a model without it."""
        logits = rows([0.7, 0.3])
        logits[:, MASK] = 50.0
        commit = sampler(one_block(1, alg=alg)).commit(logits, masks(1))
        assert events(commit) == [(0, 0, pytest.approx(0.7))]

    @pytest.mark.parametrize("alg", ALGS[:-1])
    def test_ties_go_to_the_first_position_and_token(self, alg: Any) -> None:
        generation = one_block(64, steps=4, alg=alg)
        commit = sampler(generation).commit(rows([0.2, 0.4, 0.4]).expand(64, -1), masks(64))
        count = 16 if alg is None else 15
        assert commit.positions.tolist() == list(range(count))
        assert commit.tokens.tolist() == [1] * count

    @pytest.mark.parametrize("alg", ALGS)
    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_logits_that_are_no_numbers_are_an_error(self, alg: Any, value: float) -> None:
        logits = rows([0.7, 0.3], [0.5, 0.5])
        logits[1, 2] = value
        with pytest.raises(CheckpointError, match="not numbers"):
            sampler(one_block(2, alg=alg)).commit(logits, masks(2))

    @pytest.mark.parametrize("alg", ALGS)
    def test_logits_are_read_only_and_may_be_narrow(self, alg: Any) -> None:
        logits = rows([0.7, 0.3], [0.4, 0.6]).bfloat16()
        before = logits.clone()
        commit = sampler(one_block(2, steps=1, alg=alg, logits_eos_inf=True)).commit(logits, masks(2))
        assert torch.equal(logits, before)
        assert commit.confidences.dtype == torch.float32
        assert commit.confidences.tolist() == pytest.approx([0.7, 0.6], abs=5e-3)

    @pytest.mark.parametrize(
        "fields",
        [
            {"temperature": 1.0},
            {"temperature": 0.7, "remasking": "random"},
            {"alg": "origin"},
            {"alg": "entropy", "temperature": 0.8, "alg_temp": 0.5},
        ],
    )
    def test_sequences_do_not_share_random_numbers(self, fields: dict[str, Any]) -> None:
        model, generation = make_model(16, 12, 3), Generation(gen_length=16, seed=11, **fields)
        alone = run(model, generation)
        state = torch.get_rng_state()
        neighbour = sampler(generation)
        neighbour.commit(torch.randn(8, 12, generator=torch.Generator().manual_seed(0)), masks(16))
        torch.manual_seed(999)
        assert run(model, generation) == alone
        torch.set_rng_state(state)
        run(model, generation)
        assert torch.equal(torch.get_rng_state(), state), "the global generator is left alone"
        other = run(model, Generation(gen_length=16, seed=12, **fields))
        assert other != alone, "the seed matters"


TEMPERATURES = st.one_of(
    st.sampled_from([5e-324, 1e-300, 2**-150, 2**-127, 2**-126, 1e-30, 1e30, 2.0**127, 2.0**128, 1e300, 1.7e308]),
    st.floats(min_value=5e-324, allow_infinity=False),
)
SEEDS = st.integers(0, 2**63 - 1)


@st.composite
def distinct_logits(draw: st.DrawFn) -> Tensor:
    """Rows of logits, the mask token's the largest, in which no two are alike, nor are two rows equally sure."""
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(6, 9))
    order = torch.stack([torch.tensor(draw(st.permutations(range(columns)))) for _ in range(rows)])
    logits = order * (0.3 + 0.1 * torch.arange(rows)[:, None]) * draw(st.sampled_from([0.01, 1.0, 30.0]))
    logits[:, MASK] = logits.max() + 1
    return logits


class TestExtremes:
    """No number that a setting may be is too small or too large to compute with."""

    @given(distinct_logits(), TEMPERATURES, st.sampled_from(ALGS), SEEDS)
    @settings(max_examples=120, deadline=None)
    def test_any_temperature_draws_tokens_with_probabilities(
        self, logits: Tensor, temperature: float, alg: Any, seed: int
    ) -> None:
        generation = one_block(len(logits), steps=1, temperature=temperature, alg=alg, seed=seed)
        commit = sampler(generation).commit(logits, masks(len(logits)))
        assert MASK not in commit.tokens
        assert ((commit.confidences >= 0) & (commit.confidences <= 1)).all()
        if temperature < 1e-6:
            greedy = sampler(replace(generation, temperature=0.0)).commit(logits, masks(len(logits)))
            assert commit.tokens.tolist() == greedy.tokens.tolist()

    @given(distinct_logits(), st.floats(5e-324, 1e-12), st.sampled_from(ALGS[1:4]), SEEDS)
    @settings(max_examples=80, deadline=None)
    def test_the_limit_of_a_low_algorithm_temperature_is_the_surest(
        self, logits: Tensor, alg_temp: float, alg: Any, seed: int
    ) -> None:
        generation = one_block(5, steps=2, alg=alg, seed=seed)
        logits = torch.cat((logits, -logits.abs()))[:5] if len(logits) >= 5 else logits[torch.arange(5) % len(logits)]
        surest, drawn = (sampler(replace(generation, alg_temp=own)).commit(logits, masks(5)) for own in (0.0, alg_temp))
        scores = surest.proposals.scores.double()
        gaps = (scores[:, None] - scores)[~torch.eye(5, dtype=torch.bool)].abs()
        if gaps.min() > 1e-10:
            assert drawn.positions.tolist() == surest.positions.tolist()

    @pytest.mark.parametrize("alg_temp", [1e300, 1.7e308])
    def test_a_high_algorithm_temperature_draws_any_position(self, alg_temp: float) -> None:
        logits = rows([0.99, 0.01], [0.5, 0.4], [0.4, 0.3], [0.6, 0.4])
        first = [
            int(sampler(one_block(4, alg="maskgit_plus", steps=3, alg_temp=alg_temp, seed=seed))
                .commit(logits, masks(4)).positions[0])
            for seed in range(400)
        ]  # fmt: skip
        assert all(60 < first.count(position) < 140 for position in range(4))

    @pytest.mark.parametrize("temperature", [1e30, 1e39, 1e300, 1.7e308])
    @pytest.mark.parametrize("alg", ALGS)
    def test_a_high_temperature_draws_any_token_but_the_mask(self, alg: Any, temperature: float) -> None:
        logits = rows([0.9, 0.06, 0.04]).expand(1000, -1).clone()
        logits[:, MASK] = 50
        commit = sampler(one_block(1000, steps=1, alg=alg, temperature=temperature)).commit(logits, masks(1000))
        drawn = commit.tokens.bincount(minlength=6).tolist()
        assert drawn.pop(MASK) == 0
        assert all(150 < count < 250 for count in drawn)

    @pytest.mark.parametrize("alg", ALGS[1:])
    @pytest.mark.parametrize("eps", [5e-324, 1e-46, 1 - 2**-53, 1.0])
    def test_any_noise_level_ends_the_schedule(self, alg: Any, eps: float) -> None:
        history = run(make_model(6, 8, 0), one_block(6, steps=4, alg=alg, eps=eps))
        assert sum(map(len, history)) == 6

    @pytest.mark.parametrize("scale", [1e38, 1e39, 1e300, 1.7e308])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_a_strong_guidance_prefers_what_the_prompt_makes_likelier(self, scale: float, dtype: torch.dtype) -> None:
        without = torch.tensor([[3.0, 1.0, -2.0, 0.0]], dtype=dtype)
        given = without + torch.tensor([[0.0, 0.0, 0.5, -0.5]], dtype=dtype)
        guided = guide(given, without, scale)
        assert guided.isfinite().all()
        assert guided.argmax() == 2
        assert guided.softmax(-1).tolist() == [[0, 0, 1, 0]]

    @pytest.mark.parametrize("scale", [0.5, 1e300])
    def test_guidance_leaves_out_what_is_impossible(self, scale: float) -> None:
        without, given = torch.tensor([[1.0, -math.inf, 0.0]]), torch.tensor([[2.0, -math.inf, -math.inf]])
        assert guide(given, without, scale).softmax(-1).tolist() == [[1, 0, 0]]
        assert guide(torch.tensor([[math.nan]]), torch.tensor([[0.0]]), scale).isnan().all()


class TestAgain:
    """A step that fails half way is taken again as if it were the first time."""

    @pytest.mark.parametrize("fields", [{"temperature": 1.0}, {"alg": "origin"}, {"remasking": "random"}])
    def test_until_its_commit_a_step_draws_the_same(self, fields: dict[str, Any]) -> None:
        model, generation = make_model(8, 12, 3), Generation(gen_length=8, **fields)
        once = run(model, generation)

        class Twice(Chooser):
            def commit(self, logits: Tensor, masked: Tensor, *, put_off: bool = False) -> Commit:
                propose([self], [logits])
                with pytest.raises(CheckpointError):
                    super().commit(logits * math.nan, masked)
                return super().commit(logits, masked)

        chooser, masked, canvas, twice = Twice(generation, mask_id=MASK, eos_ids=(EOS, EOT)), masks(8), [MASK] * 8, []
        while masked.any():
            commit = chooser.commit(model(canvas)[chooser.candidates(masked)], masked)
            masked[commit.positions] = False
            for position, token, _ in events(commit):
                canvas[position] = token
            twice.append(events(commit))
        assert twice == once


@st.composite
def llada_fields(draw: st.DrawFn) -> dict[str, Any]:
    block_length = draw(st.integers(1, 6))
    blocks = draw(st.integers(1, 3))
    fields: dict[str, Any] = {
        "gen_length": block_length * blocks,
        "block_length": block_length,
        "steps": blocks * draw(st.integers(1, block_length)),
        "temperature": draw(st.sampled_from([0.0, 0.6, 1.5])),
        "seed": draw(st.integers(0, 2**63 - 1)),
        "logits_eos_inf": draw(st.booleans()),
        "confidence_eos_eot_inf": draw(st.booleans()),
    }
    rule = draw(st.sampled_from(["low_confidence", "random", "threshold", "factor"]))
    if rule in ("threshold", "factor"):
        fields[rule] = draw(st.sampled_from([0.2, 0.5, 0.9]))
    else:
        fields["remasking"] = rule
    return fields


@st.composite
def dream_fields(draw: st.DrawFn) -> dict[str, Any]:
    block_length = draw(st.integers(1, 6))
    blocks = draw(st.integers(1, 3))
    fields: dict[str, Any] = {
        "gen_length": block_length * blocks,
        "block_length": block_length,
        "steps": blocks * draw(st.integers(1, block_length + 3)),
        "temperature": draw(st.sampled_from([0.0, 0.6, 1.5])),
        "seed": draw(st.integers(0, 2**63 - 1)),
        "logits_eos_inf": draw(st.booleans()),
        "alg": draw(st.sampled_from(["maskgit_plus", "topk_margin", "entropy", "origin"])),
        "eps": draw(st.sampled_from([1e-3, 0.1, 0.5])),
        "top_p": draw(st.sampled_from([None, 0.3, 0.8, 1.0])),
        "top_k": draw(st.sampled_from([None, 1, 3, 50])),
    }
    rule = draw(st.sampled_from(["schedule", "alg_temp", "threshold", "factor"]))
    if rule in ("threshold", "factor"):
        fields |= {rule: draw(st.sampled_from([0.2, 0.5, 0.9])), "alg": "maskgit_plus"}
    elif rule == "alg_temp" and fields["alg"] != "origin":
        fields["alg_temp"] = draw(st.sampled_from([0.1, 1.0]))
    return fields


def same(ours: list[list[Event]], theirs: list[list[Event]]) -> None:
    assert [[event[:2] for event in step] for step in ours] == [[event[:2] for event in step] for step in theirs]
    confidences = [event[2] for step in ours for event in step]
    assert confidences == pytest.approx([event[2] for step in theirs for event in step], rel=1e-4, abs=1e-7)


@given(llada_fields(), st.integers(0, 10**6))
def test_llada_equals_its_slow_restatement(fields: dict[str, Any], seed: int) -> None:
    generation = Generation(**fields)
    model = make_model(generation.gen_length, 9, seed)
    same(run(model, generation), llada(model, generation, MASK, (EOS, EOT)))


@given(dream_fields(), st.integers(0, 10**6))
def test_dream_equals_its_slow_restatement(fields: dict[str, Any], seed: int) -> None:
    generation = Generation(**fields)
    model = make_model(generation.gen_length, 9, seed)
    same(run(model, generation), dream(model, generation, MASK, (EOS, EOT)))


@settings(max_examples=60)
@given(st.one_of(llada_fields(), dream_fields()), st.integers(0, 10**6))
def test_every_generation_commits_everything_once(fields: dict[str, Any], seed: int) -> None:
    generation = Generation(**fields)
    model = make_model(generation.gen_length, 9, seed)
    history = run(model, generation)
    assert run(model, generation) == history, "the same seed gives the same response"
    flat = [event for step in history for event in step]
    positions = [position for position, _, _ in flat]
    assert sorted(positions) == list(range(generation.gen_length))
    blocks = [position // generation.block_length for position in positions]
    assert blocks == sorted(blocks), "a block is begun when the one before is finished"
    assert all(step == sorted(step) for step in history)
    assert MASK not in {token for _, token, _ in flat}
    assert all(0 < confidence <= 1 + 1e-6 for _, _, confidence in flat)
    assert not generation.logits_eos_inf or EOS not in {token for _, token, _ in flat}
    if not generation.confidence_decides and generation.alg != "origin":
        assert generation.alg is not None or len(history) == generation.num_steps
    if generation.alg is None or generation.confidence_decides:
        assert all(history), "only Dream's schedule has steps that commit nothing"


class TestGuide:
    def test_scales(self) -> None:
        conditional, unconditional = torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 4.0]])
        assert guide(conditional, unconditional, 0.0).tolist() == [[3.0, 0.0]]
        assert guide(conditional, unconditional, 2.0).tolist() == [[7.0, -8.0]]


class TestFinished:
    @pytest.mark.parametrize(
        ("response", "done"),
        [
            ([7, 8, 9], True),
            ([MASK, MASK, MASK], False),
            ([7, EOS, MASK], True),
            ([7, EOT, MASK], True),
            ([EOS, MASK, MASK], True),
            ([MASK, EOS, 7], False),
            ([7, MASK, EOS], False),
            ([7, 8, MASK], False),
            ([EOS, MASK, EOS], True),
        ],
    )
    def test_an_end_token_with_no_mask_before_it(self, response: list[int], done: bool) -> None:
        tokens = torch.tensor(response)
        assert finished(tokens, tokens == MASK, (EOS, EOT)) is done

    def test_without_end_tokens_only_the_end_counts(self) -> None:
        tokens = torch.tensor([EOS, MASK])
        assert not finished(tokens, tokens == MASK, ())
        assert finished(tokens, torch.tensor([False, False]), ())

    def test_masked_is_what_the_caller_says(self) -> None:
        """What a masked position holds does not matter, be it an end token."""
        assert not finished(torch.tensor([EOS, 7]), torch.tensor([True, False]), (EOS,))
