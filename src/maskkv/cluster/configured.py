"""The application of a Serve config file, such as `deploy/ray-serve.yaml`."""

from __future__ import annotations

from typing import Any

from ray import serve

from maskkv.cluster.deployments import application
from maskkv.cluster.resources import place
from maskkv.cluster.site import Served


def build(args: dict[str, Any]) -> serve.Application:
    """Build the application from the file's `args`: options of loading, settings of a server, and `replicas`.

    Raises:
        InputError: One of them is unknown or unusable, or the replicas do not fit on the cluster.
    """
    return application(place(Served.read(args)))
