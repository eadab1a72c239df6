"""What a loaded model comes with: its tokenizer, if its folder has one, and its layer profile."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from maskkv.checkpoints import tokenizer_files, weights
from maskkv.checks import quoted
from maskkv.errors import InputError
from maskkv.eviction.profile import LayerProfile
from maskkv.models.transformer import Transformer
from maskkv.text.tokenizer import Text


def tokenizer(folder: Path) -> Text | None:
    """Read a folder's tokenizer; None if it has none, CheckpointError if that is broken."""
    return Text.load(folder) if tokenizer_files.present(folder) else None


def layer_profile(given: LayerProfile | str | Path | None, model: Transformer) -> LayerProfile | None:
    """Return a profile, checked, from its file where that is given; None gives the one shipped for this very model.

    Raises:
        ProfileError: The profile is malformed or belongs to another model.
    """
    fingerprint = weights.fingerprint(model)
    if given is None:
        shipped = resources.files("maskkv") / "profiles"
        known = (LayerProfile.from_json(file.read_text("utf-8")) for file in shipped.iterdir())
        return next((each for each in known if each.fingerprint == fingerprint), None)
    if not isinstance(given, str | Path | LayerProfile):
        raise InputError(f"profile {quoted(given)}: expected a LayerProfile or its file")
    profile = given if isinstance(given, LayerProfile) else LayerProfile.read(Path(given))
    profile.check(fingerprint, model.config.num_layers)
    return profile
