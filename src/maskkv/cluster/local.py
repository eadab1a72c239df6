"""A Ray of this machine's own, or the one that runs already."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

from maskkv.cluster.reaching import check_reachable
from maskkv.errors import InputError

_ALONE = {
    # With it Ray's ports, at which nobody is asked for a key, listen on the loopback only.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_SECRETS = {"MASKKV_API_KEY", "MASKKV_API_KEYS"}
"""Variables that were read by now, and that Ray's processes, replicas included, would inherit."""
_ADDRESS = re.compile(r"auto|[^/\s]+:[0-9]{1,5}")
_RUNNING = Path("/tmp/ray/ray_current_cluster")
"""Where `ray start` notes the cluster of this host."""
_STORE_BYTES = 256 << 20
"""Ray's shared memory: requests and pieces of answers are small."""


def keep_to_loopback() -> None:
    """Have a Ray that this process starts listen on the loopback only; to be called before Ray is imported."""
    os.environ.update(_ALONE)


def cluster_here() -> bool:
    """Tell whether Ray would join a cluster by itself: one that a variable names, or that runs on this host."""
    return "RAY_ADDRESS" in os.environ or _RUNNING.exists()


def connect(address: str | None) -> None:
    """Join the cluster at an address, or start one on this machine that ends with this process.

    Raises:
        InputError: Ray is not installed, or there is no cluster at the address.
    """
    if address is not None and not _ADDRESS.fullmatch(address):
        raise InputError(f"--ray-address {address}: expected HOST:PORT or auto")
    for name in [each for each in os.environ if each.upper() in _SECRETS]:
        del os.environ[name]
    if address is None:
        keep_to_loopback()
    try:
        import ray
        from ray import serve
    except ModuleNotFoundError as error:
        if error.name != "ray" and not str(error.name).startswith("ray."):
            raise InputError(f"{error.name} is not installed: pip install 'maskkv[ray]' brings it") from None
        raise InputError("ray is not installed: pip install 'maskkv[ray]' brings it") from None
    del serve
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        ray.init(address="local", include_dashboard=False, object_store_memory=_STORE_BYTES, **quiet)
        return
    check_reachable(address)
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"no Ray cluster at {address}: {first}; expected HOST:PORT or auto") from None
