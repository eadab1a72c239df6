"""Copies of blocks behind a sequence are each what they are as the end of that sequence."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference import MOE, SDAR, SlowModel, random_model, random_prompt
from tests.reference_blocks import run_block_causally

from maskkv.cache import BlockCopies, NoCache


def together(model, tokens, copies, block):
    """Run a sequence and, behind it, copies that each start at a row of it."""
    starts = [start for start, _ in copies]
    every = [*tokens, *(token for _, own in copies for token in own)]
    positions = [*range(len(tokens)), *(start + row for start in starts for row in range(block))]
    hidden = model(torch.tensor(every), model.rotation(torch.tensor(positions)), BlockCopies(starts, block))
    return hidden[: len(tokens)], hidden[len(tokens) :].split(block)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 5), st.integers(0, 4), st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(1, 30),
    st.integers(0, 99),
)  # fmt: skip
def test_a_copy_is_the_end_of_its_sequence(block, blocks, at, chunk_rows, seed):
    model = random_model(replace(SDAR, causal_block=block), seed, chunk_rows)
    tokens = random_prompt(SDAR, blocks * block, seed)
    copies = [(min(each, blocks) * block, random_prompt(SDAR, block, seed + index)) for index, each in enumerate(at)]
    clean, found = together(model, tokens, copies, block)
    if tokens:
        alone = model(torch.tensor(tokens), model.rotation(torch.arange(len(tokens))), NoCache(block))
        torch.testing.assert_close(clean, alone, atol=1e-4, rtol=1e-4)
    for (start, own), hidden in zip(copies, found, strict=True):
        whole = torch.tensor([*tokens[:start], *own])
        alone = model(whole, model.rotation(torch.arange(len(whole))), NoCache(block))
        torch.testing.assert_close(hidden, alone[start:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("config", [SDAR, replace(MOE, causal_block=4)])
def test_copies_are_those_of_the_list_based_model(config):
    model, tokens = random_model(config, chunk_rows=5), random_prompt(config, 8)
    copies = [(0, [60, 3, 60, 9]), (4, [60, 60, 60, 60]), (4, [1, 60, 2, 60]), (8, [60, 7, 7, 60])]
    _, found = together(model, tokens, copies, 4)
    for (start, own), hidden in zip(copies, found, strict=True):
        expected, _ = run_block_causally(SlowModel(model), [*tokens[:start], *own], 4)
        torch.testing.assert_close(hidden.double(), torch.stack(expected[start:]), atol=1e-5, rtol=1e-4)
