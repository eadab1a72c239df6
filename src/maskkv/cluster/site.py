"""What is served, stated once: the model, the settings, and how many replicas with which share of a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from maskkv import policies
from maskkv.cluster.shares import Share
from maskkv.cluster.spelling import Replicas
from maskkv.errors import InputError
from maskkv.loading import Loading
from maskkv.server.guard import digests
from maskkv.server.page_api import BUNDLED
from maskkv.server.settings import ServerSettings
from maskkv.server.streaming import LAST_WORDS_S


@dataclass(frozen=True)
class Served:
    """Say what each replica loads and how it answers; of the API keys only digests travel through the cluster."""

    loading: Loading
    settings: ServerSettings
    digests: tuple[bytes, ...]
    replicas: Replicas

    @classmethod
    def of(cls, loading: Loading, settings: ServerSettings, replicas: Replicas) -> Served:
        """Read the keys, and name local files so that a process in another folder finds them.

        Raises:
            InputError: The keys cannot be read, the policy is unknown, or the devices are chosen that Ray chooses.
        """
        policies.named(settings.policy)
        if loading.device not in ("auto", "cpu", "cuda"):
            raise InputError(f"device {loading.device}: Ray chooses it for each replica: expected auto, cpu or cuda")
        bare = settings.model_copy(update={"api_key": None, "api_keys": (), "api_key_file": None})
        return cls(_anywhere(loading), bare, digests(settings.accepted_keys()), replicas)

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Served:
        """Read the arguments of a config file: options of loading, settings of a server, and `replicas`.

        Raises:
            InputError: One of them is unknown or unusable.
        """
        of_loading = {field.name for field in fields(Loading)}
        known = of_loading | set(ServerSettings.model_fields) - {"port"} | {"replicas"}
        unknown = sorted(set(given) - known)
        if unknown:
            raise InputError(f"unknown argument {unknown[0]!r}: expected some of {', '.join(sorted(known))}")
        loading = Loading(**{name: value for name, value in given.items() if name in of_loading})
        # Other machines reach what a config file serves, unless it says that they do not: so a key is demanded.
        own = {"host": "0.0.0.0"} | {name: value for name, value in given.items() if name not in of_loading}
        replicas = Replicas.read(own.pop("replicas", 1))
        return cls.of(loading, ServerSettings.read(own), replicas)

    @property
    def drain_s(self) -> float:
        """Return the seconds that a replica which Ray Serve takes away has for its requests."""
        return float(self.settings.drain_timeout + LAST_WORDS_S)

    @property
    def longest_s(self) -> float:
        """Return the seconds that a front which Ray Serve takes away has: more than an answer that it passes on takes.

        In an update it is told to go at the beginning, and a replica that it asks perhaps minutes later.
        """
        return self.settings.timeout + 2 * self.drain_s

    @property
    def name(self) -> str:
        """Return what clients call the model."""
        return BUNDLED if self.loading.model is None else self.loading.name


@dataclass(frozen=True)
class Placed:
    """Say what is served, with which share of a device for each replica, and through how many fronts."""

    served: Served
    share: Share
    fronts: int


def _anywhere(loading: Loading) -> Loading:
    """Make the paths of local files absolute."""
    changed: dict[str, Any] = {}
    for name in ("model", "profile"):
        value = getattr(loading, name)
        if isinstance(value, str | Path) and (path := Path(value).expanduser()).exists():
            changed[name] = path.resolve()
    return replace(loading, **changed)
