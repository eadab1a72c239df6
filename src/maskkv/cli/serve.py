"""`maskkv serve`: an OpenAI-compatible HTTP server."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskkv.cli import terminal
from maskkv.cli.flags import flagged, load
from maskkv.errors import InputError
from maskkv.loading import Loading

if TYPE_CHECKING:
    from maskkv.api import LanguageModel


@dataclass(frozen=True)
class ServeFlags:
    """Override the settings that `MASKKV_…` variables give, and their defaults."""

    host: Annotated[str | None, typer.Option(help="Address to listen on; default: 127.0.0.1.")] = None
    port: Annotated[int | None, typer.Option(help="Port to listen on, 0 for a free one; default: 8000.")] = None
    policy: Annotated[str | None, typer.Option(help="Where requests name none; default: maskkv.")] = None
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="PAIRS|PERCENT",
            help="Pairs per KV head and layer, or 5% of each prompt, for requests that say none; default: 256.",
        ),
    ] = None
    evicted: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="What becomes of evicted pairs, for requests that do not say: drop, host, where they wait and come "
            "back, or device, for block-causal models; default: drop.",
        ),
    ] = None
    api_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="API keys, one a line; MASKKV_API_KEY gives a single one.")
    ] = None
    max_queue: Annotated[int | None, typer.Option(help="Requests that may wait; default: 64.")] = None
    max_batch: Annotated[int | None, typer.Option(help="Requests that run together; default: 16.")] = None
    memory: Annotated[
        int | None, typer.Option(metavar="BYTES", help="For running requests; default: nine tenths of what is free.")
    ] = None
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="How long a request may take; default: 300.")
    ] = None
    drain_timeout: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS", help="How long running requests may take to finish after SIGTERM; default: 30."
        ),
    ] = None
    max_body_bytes: Annotated[
        int | None, typer.Option(metavar="BYTES", help="Longest body of a request; default: 4 MiB.")
    ] = None
    max_prompt_length: Annotated[int | None, typer.Option(help="Tokens of the longest prompt; default: 32768.")] = None
    max_gen_length: Annotated[int | None, typer.Option(help="Tokens of the longest response; default: 4096.")] = None


@dataclass(frozen=True)
class ReplicaFlags:
    """Say how many copies serve, and on which cluster."""

    replicas: Annotated[
        str | None,
        typer.Option(
            metavar="N|N-M",
            help="Copies of the model behind one port, on Ray (needs `maskkv[ray]`); 1-4: as many as the load needs.",
        ),
    ] = None
    ray_address: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Ray cluster for --replicas: HOST:PORT or auto; default: its own, here."),
    ] = None


def _loaded(loading: Loading) -> LanguageModel:
    """Load the model; where logs go to a file, no other line than theirs does."""
    from maskkv import api

    return load(loading) if sys.stderr.isatty() else api.load_model(loading)


@flagged
def serve(*, loading: Loading, options: ServeFlags, copies: ReplicaFlags) -> None:
    """Serve a model over HTTP, as OpenAI's API does.

    Every option can also come from a variable: --max-queue from MASKKV_MAX_QUEUE. Keys: MASKKV_API_KEY, or
    MASKKV_API_KEYS with commas. Logs go to standard error, one JSON object a line. SIGTERM and Ctrl-C let running
    requests finish.
    """
    from maskkv import policies

    try:
        from maskkv.server.page_api import BUNDLED
        from maskkv.server.run import serve as run
        from maskkv.server.settings import ServerSettings
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed: pip install 'maskkv[serve]' brings the server") from None

    settings = ServerSettings.read({name: value for name, value in asdict(options).items() if value is not None})
    policies.named(settings.policy)
    name = BUNDLED if loading.model is None else loading.name

    def ready(url: str) -> None:
        terminal.put(f"serving {name} on {url}")

    if copies.replicas is None:
        if copies.ray_address is not None:
            raise InputError("--ray-address says where --replicas run: give their number too")
        run(_loaded(loading), name, settings, ready)
        return
    from maskkv.cluster.run import serve as run_replicas
    from maskkv.cluster.site import Served
    from maskkv.cluster.spelling import Replicas

    served = Served.of(loading, settings, Replicas.read(copies.replicas))
    run_replicas(served, settings, copies.ray_address, ready)
