import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskkv.errors import ProfileError
from maskkv.eviction.profile import LayerProfile

PROFILE = LayerProfile("tiny", "ab" * 32, 8, 512, (0.5, 0.25, 1.0), (0.0, 0.125, 0.25))
number = st.floats(0, 2)


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
        ("importance", [0.5, 1e308, 1.0]),  # one minus a cosine is at most 2; the sum of larger ones may be infinite
        ("importance", [0.5, 2.5, 1.0]),
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


@pytest.mark.parametrize("depth", [500, 900, 100_000])
def test_deep_documents_are_refused(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    for text in (deep, f'{{"model": {deep}}}', f'{{"model": "x", "fingerprint": "x", "n": 1, "importance": {deep}}}'):
        with pytest.raises(ProfileError, match="not a layer profile"):
            LayerProfile.from_json(text)


def test_files_are_read_if_they_are_files(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    with pytest.raises(ProfileError, match=r"cannot read the layer profile .*profile\.json"):
        LayerProfile.read(path)
    path.write_text(PROFILE.to_json())
    assert LayerProfile.read(path) == PROFILE
    path.write_bytes(b"\xff")
    with pytest.raises(ProfileError, match=r"cannot read the layer profile .*utf-8"):
        LayerProfile.read(path)
    os.truncate(path, 10**12)
    with pytest.raises(ProfileError, match="1,000,000,000,000 bytes"):
        LayerProfile.read(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ProfileError, match="it is no regular file"):
        LayerProfile.read(path)
    for name in ("x" * 5000, "a\0b"):
        with pytest.raises(ProfileError, match="cannot read the layer profile"):
            LayerProfile.read(tmp_path / name)


def test_what_a_file_says_is_a_part_of_one_line() -> None:
    other = replace(PROFILE, model="x\n" * 5000, fingerprint="\x1b" * 64)
    with pytest.raises(ProfileError) as refusal:
        other.check("ab" * 32, 3)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 500


def test_belongs_to_one_model() -> None:
    PROFILE.check("ab" * 32, 3)
    with pytest.raises(ProfileError, match="3 layers and the model 4"):
        PROFILE.check("ab" * 32, 4)
    with pytest.raises(ProfileError, match=r"another model.*tiny"):
        PROFILE.check("cd" * 32, 3)
