import torch

from maskkv.decoding.canvas import Canvas

MASK = 9


def test_starts_as_prompt_and_masks() -> None:
    canvas = Canvas([1, 2, 3], 4, MASK)
    assert canvas.tokens.tolist() == [1, 2, 3, MASK, MASK, MASK, MASK]
    assert canvas.tokens.dtype == torch.int64
    assert canvas.response.tolist() == [MASK] * 4
    assert canvas.masked.tolist() == [True] * 4
    assert canvas.prompt_length == 3


def test_commits_count_from_the_first_response_token() -> None:
    canvas = Canvas([1, 2, 3], 4, MASK)
    canvas.commit(torch.tensor([2, 0]), torch.tensor([7, 8]))
    assert canvas.tokens.tolist() == [1, 2, 3, 8, MASK, 7, MASK]
    assert canvas.masked.tolist() == [False, True, False, True]


def test_masks_in_the_prompt_are_prompt() -> None:
    canvas = Canvas([MASK, MASK], 2, MASK)
    canvas.commit(torch.tensor([0, 1]), torch.tensor([4, 5]))
    assert canvas.tokens.tolist() == [MASK, MASK, 4, 5]
    assert not canvas.masked.any()


def test_committing_nothing_changes_nothing() -> None:
    canvas = Canvas([1], 2, MASK)
    none = torch.tensor([], dtype=torch.int64)
    canvas.commit(none, none)
    assert canvas.tokens.tolist() == [1, MASK, MASK]
