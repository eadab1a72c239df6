"""Sequences that one pass computes are each what they are alone."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.saved_models import DREAM

from maskkv.cache import NoCache, SeparateSequences
from maskkv.models.families import dream
from maskkv.models.transformer import Transformer


@settings(max_examples=15)
@given(count=st.integers(1, 4), length=st.integers(1, 6), chunk_rows=st.integers(1, 30), seed=st.integers(0, 2**31))
def test_a_sequence_among_others_is_what_it_is_alone(count, length, chunk_rows, seed):
    torch.manual_seed(seed)
    model = Transformer(dream.read_config(DREAM), chunk_rows)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3)
    tokens = torch.randint(DREAM["vocab_size"], (count, length))
    positions = torch.arange(length)
    with torch.inference_mode():
        together = model(tokens.flatten(), model.rotation(positions.repeat(count)), SeparateSequences(count))
        alone = torch.cat([model(own, model.rotation(positions), NoCache()) for own in tokens])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
