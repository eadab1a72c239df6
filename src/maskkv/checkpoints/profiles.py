"""The layer profile that goes with a model: one from a user, or one that maskkv ships."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from maskkv.checkpoints import weights
from maskkv.eviction.profile import LayerProfile
from maskkv.models.transformer import Transformer


def find(given: Path | str | LayerProfile | None, model: Transformer) -> LayerProfile | None:
    """Return a profile, read from its file if need be; None finds the one shipped for these very weights, if any.

    Raises:
        ProfileError: The profile is malformed or belongs to another model.
    """
    fingerprint = weights.fingerprint(model)
    if given is None:
        shipped = resources.files("maskkv") / "profiles"
        known = (LayerProfile.from_json(file.read_text("utf-8")) for file in shipped.iterdir())
        return next((each for each in known if each.fingerprint == fingerprint), None)
    profile = given if isinstance(given, LayerProfile) else LayerProfile.read(Path(given))
    profile.check(fingerprint, model.config.num_layers)
    return profile
