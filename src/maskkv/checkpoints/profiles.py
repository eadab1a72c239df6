"""The layer profile that goes with a model: one from a user, or one that maskkv ships."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path

from maskkv.eviction.profile import LayerProfile


def find(
    given: Path | str | LayerProfile | None, num_layers: int, fingerprint: Callable[[], str]
) -> LayerProfile | None:
    """Return a profile, read from its file if need be; None finds the one shipped for these very weights, if any.

    Whose weights they are their `fingerprint` tells, which is asked for only if a profile has as many layers.

    Raises:
        ProfileError: The profile is malformed or belongs to another model.
    """
    if given is None:
        shipped = resources.files("maskkv") / "profiles"
        known = (LayerProfile.from_json(file.read_text("utf-8")) for file in shipped.iterdir())
        fitting = [each for each in known if len(each.importance) == num_layers]
        own = fingerprint() if fitting else ""
        return next((each for each in fitting if each.fingerprint == own), None)
    profile = given if isinstance(given, LayerProfile) else LayerProfile.read(Path(given))
    profile.check(fingerprint(), num_layers)
    return profile
