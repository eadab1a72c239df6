import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskkv.errors import ProfileError
from maskkv.eviction.profile import LayerProfile

PROFILE = LayerProfile("tiny", "ab" * 32, 8, 512, (0.5, 0.25, 1.0), (0.0, 0.125, 0.25))
number = st.floats(0, 1e6)


@given(st.lists(st.tuples(number, number), min_size=1, max_size=6), st.text(max_size=8))
def test_survives_json(layers: list[tuple[float, float]], model: str) -> None:
    importance, spread = zip(*layers, strict=True)
    profile = LayerProfile(model, "ab" * 32, 8, 512, importance, spread)
    assert LayerProfile.from_json(profile.to_json()) == profile


def test_json_names_the_fields() -> None:
    assert json.loads(PROFILE.to_json()) == {
        "model": "tiny",
        "fingerprint": "ab" * 32,
        "n": 8,
        "prompt_length": 512,
        "importance": [0.5, 0.25, 1.0],
        "spread": [0.0, 0.125, 0.25],
    }


@pytest.mark.parametrize("key", ["model", "fingerprint", "n", "prompt_length", "importance", "spread"])
def test_every_field_is_needed(key: str) -> None:
    raw = json.loads(PROFILE.to_json())
    del raw[key]
    with pytest.raises(ProfileError, match=key):
        LayerProfile.from_json(json.dumps(raw))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", 1),
        ("fingerprint", None),
        ("n", "8"),
        ("n", 8.5),
        ("n", True),
        ("prompt_length", [512]),
        ("importance", 0.5),
        ("importance", {"0": 0.5}),
        ("importance", [0.5, None, 1.0]),
        ("importance", [0.5, "0.25", 1.0]),
        ("importance", [0.5, True, 1.0]),
        ("importance", [0.5, -0.25, 1.0]),
        ("importance", [0.5, float("nan"), 1.0]),
        ("importance", [0.5, float("inf"), 1.0]),
        ("importance", [0.5, 10**400, 1.0]),
        ("importance", [0.5, 0.25]),
        ("importance", []),
        ("spread", [0.0, 0.125]),
        ("spread", [0.0, -1, 0.0]),
    ],
)
def test_malformed_fields_are_refused_in_one_line(key: str, value: object) -> None:
    with pytest.raises(ProfileError, match=r"^not a layer profile .*") as caught:
        LayerProfile.from_json(json.dumps({**json.loads(PROFILE.to_json()), key: value}))
    assert key in str(caught.value)
    assert "\n" not in str(caught.value)


def test_both_lists_empty_is_refused() -> None:
    raw = {**json.loads(PROFILE.to_json()), "importance": [], "spread": []}
    with pytest.raises(ProfileError, match="empty"):
        LayerProfile.from_json(json.dumps(raw))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"profile"', "{}", "9" * 5000])
def test_other_documents_are_refused(text: str) -> None:
    with pytest.raises(ProfileError, match="not a layer profile"):
        LayerProfile.from_json(text)


def test_belongs_to_one_model() -> None:
    PROFILE.check("ab" * 32, 3)
    with pytest.raises(ProfileError, match="3 layers and the model 4"):
        PROFILE.check("ab" * 32, 4)
    with pytest.raises(ProfileError, match=r"another model.*tiny"):
        PROFILE.check("cd" * 32, 3)
