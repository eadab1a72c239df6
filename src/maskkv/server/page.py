"""The web page at `/`: files that come with maskkv, and nothing from elsewhere."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles


def mount(app: FastAPI) -> None:
    """Serve the page at `/` and its files below `/static/`; the lens is that of `maskkv inspect`."""
    own, shared = (_folder(package) for package in ("maskkv.server", "maskkv.lens"))

    @app.get("/", include_in_schema=False, response_model=None)
    async def index() -> Response:
        return FileResponse(own / "index.html")

    app.mount("/static/lens", StaticFiles(directory=shared))
    app.mount("/static", StaticFiles(directory=own))


def _folder(package: str) -> Path:
    return Path(str(resources.files(package) / "static"))
