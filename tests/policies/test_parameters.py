"""Shares that are none are refused when a policy is composed, not when it runs."""

import pytest

from maskkv.errors import InputError
from maskkv.policies.maskkv import BoundaryAware, PromptPreference


@pytest.mark.parametrize("changes", [{"layer_base": -0.1}, {"layer_base": 1.1}, {"boundary_layers": 0}])
def test_boundary_aware_refuses(changes):
    with pytest.raises(InputError, match="expected"):
        BoundaryAware(**changes)


@pytest.mark.parametrize("head_base", [-0.1, 1.1, float("nan")])
def test_prompt_preference_refuses(head_base):
    with pytest.raises(InputError, match="expected"):
        PromptPreference(head_base=head_base)
