"""Maps and curves of what was observed show the numbers of the records, at the right places."""

import numpy as np
import pytest

from maskkv.errors import InputError
from maskkv.plots import draw
from maskkv.plots.attention import top_share
from maskkv.plots.heads import spread
from tests.plots.pictures import clashes, numbers


def observation(layers=3, heads=2, steps=4, bins=20, **fields):
    """Make an observation in which every number is another one."""

    def some(*shape):
        return np.reshape(numbers(int(np.prod(shape)), seed=str(shape)), shape).tolist()

    return {
        "benchmark": "observe", "model": "mini", "fingerprint": "f", "task": "multi-key", "number": 1000,
        "prompt_length": 10 * bins - 3, "gen_length": 8, "prompt_bin_tokens": 10, "response_bin_tokens": 1,
        "mask": some(steps, bins), "prompt": [[0.05] * bins] * steps, "heads_prompt": some(layers, heads, bins),
        "heads_response": some(layers, heads, 8), "preference": some(layers, heads), "similarity": some(steps, layers),
        **fields,
    }  # fmt: skip


def shown(axis):
    (image,) = axis.get_images()
    return image


def test_attention_maps_show_steps_downwards_and_positions_in_tokens():
    record = observation()
    mask, share, prompt, bar = draw("attention", [record]).axes
    assert np.array_equal(shown(mask).get_array(), record["mask"])
    assert np.array_equal(shown(prompt).get_array(), record["prompt"])
    assert shown(mask).get_extent() == [0, 200, 3.5, -0.5]
    # One scale for both, or neither could be compared with the other.
    assert shown(mask).norm is shown(prompt).norm
    assert bar.get_ylabel() == "attention per 10 tokens"
    ours, others = (line.get_ydata() for line in share.get_lines())
    assert list(ours) == pytest.approx([100 * max(step) / sum(step) for step in record["mask"]])
    assert list(others) == pytest.approx([5.0] * 4)


def test_the_top_share_is_that_of_the_best_twentieth():
    values = np.array([[1.0] * 38 + [3.0, 5.0], [1.0] * 40])
    assert top_share(values) == pytest.approx([8 / 46, 2 / 40])
    assert top_share(values[:, -3:]) == pytest.approx([5 / 9, 1 / 3])


def test_similarity_is_averaged_over_documents_for_the_first_and_the_last_step():
    records = [observation(similarity=[[0.9, 0.2], [0.5, 0.5], [0.7, 0.4]]), observation(similarity=[[0.7, 0.4]])]
    (axis,) = draw("similarity", records).axes
    first, last = (container.lines[0].get_data() for container in axis.containers)
    assert [*map(list, first)] == [[0, 1], pytest.approx([0.8, 0.3])]
    assert [*map(list, last)] == [[0, 1], pytest.approx([0.7, 0.4])]
    # Deviation 0.1 · √2, error 0.1.
    segments = axis.containers[0].lines[2][0].get_segments()
    assert list(segments[0][:, 1]) == pytest.approx([0.8 - 0.196, 0.8 + 0.196])


def test_one_document_has_no_interval():
    (axis,) = draw("similarity", [observation(similarity=[[0.9, 0.2]])]).axes
    segments = axis.containers[0].lines[2][0].get_segments()
    assert list(segments[0][:, 1]) == [0.9, 0.9]


def test_heads_are_shown_for_layers_from_the_first_to_the_last():
    record = observation(layers=9)
    axes = draw("heads", [record]).axes[:-1]
    assert [axis.get_ylabel() for axis in axes[::2]] == [f"layer {layer}\nKV head" for layer in (0, 3, 5, 8)]
    assert np.array_equal(shown(axes[2]).get_array(), record["heads_prompt"][3])
    assert np.array_equal(shown(axes[3]).get_array(), record["heads_response"][3])
    assert shown(axes[2]).get_extent() == [0, 200, 1.5, -0.5]
    assert shown(axes[3]).get_extent() == [0, 8, 1.5, -0.5]


@pytest.mark.parametrize(
    ("count", "layers"), [(1, [0]), (4, [0, 1, 2, 3]), (5, [0, 1, 3, 4]), (6, [0, 2, 3, 5]), (32, [0, 10, 21, 31])]
)
def test_layers_are_spread_evenly(count, layers):
    assert spread(count, 4) == layers


def test_preference_is_averaged_over_documents_and_printed():
    records = [observation(preference=[[0.1, 1.0], [0.5, 0.0]]), observation(preference=[[0.3, 1.0], [0.5, 0.2]])]
    axis, bar = draw("preference", records).axes
    assert np.allclose(shown(axis).get_array(), [[0.2, 1.0], [0.5, 0.1]])
    assert {text.get_position(): text.get_text() for text in axis.texts} == {
        (0, 0): ".20", (1, 0): "1.00", (0, 1): ".50", (1, 1): ".10",
    }  # fmt: skip
    assert bar.get_ylabel() == "prompt preference"


def test_titles_say_what_was_observed():
    one, other = observation(), observation(bins=30, similarity=[[0.5, 0.5, 0.5]])
    assert draw("similarity", [one]).get_suptitle() == "mini, multi-key 1000, 197 prompt tokens"
    assert draw("similarity", [one, one]).get_suptitle() == "mini, 2 documents, 197 prompt tokens"
    assert draw("similarity", [one, other]).get_suptitle() == "mini, 2 documents, 197–297 prompt tokens"


FIGURES = ["attention", "similarity", "heads", "preference"]


@pytest.mark.parametrize("figure", FIGURES)
def test_records_of_something_else_are_refused(figure):
    with pytest.raises(InputError, match="no record here is an observation of `maskkv eval observe`"):
        draw(figure, [{"task": "multi-key", "score": 1.0}])


@pytest.mark.parametrize("figure", ["similarity", "preference"])
def test_two_models_make_no_mean(figure):
    with pytest.raises(InputError, match="differ in fingerprint"):
        draw(figure, [observation(), observation(fingerprint="g")])


@pytest.mark.parametrize(
    ("figure", "field"),
    [("attention", "mask"), ("similarity", "similarity"), ("heads", "heads_prompt"), ("preference", "preference")],
)
def test_a_field_of_another_shape_is_named(figure, field):
    with pytest.raises(InputError, match=f"field {field} is"):
        draw(figure, [observation(**{field: [1.0]})])


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize(
    "record",
    [
        observation(),
        observation(layers=1, heads=1, steps=1, bins=1),
        observation(layers=32, heads=32, steps=64, bins=128, prompt_bin_tokens=250, model="GSAI-ML/LLaDA-8B-Instruct"),
    ],
    ids=["small", "least", "8b"],
)
def test_nothing_is_printed_over_anything(figure, record):
    assert clashes(draw(figure, [record])) == []
