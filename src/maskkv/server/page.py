"""The web page at `/`: files that come with maskkv, and nothing from elsewhere."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from maskkv import lens
from maskkv.server.service import service


def mount(app: FastAPI) -> None:
    """Serve the page at `/` and its files below `/static/`; the lens is that of `maskkv inspect`."""
    own, shared = (_folder(package) for package in ("maskkv.server", "maskkv.lens"))

    @app.get("/", include_in_schema=False, response_model=None)
    async def index() -> Response:
        return FileResponse(own / "index.html")

    @app.get("/static/report.html", include_in_schema=False, response_model=None)
    async def report(request: Request) -> Response:
        # Without data: the page has it, and fills it in where somebody keeps a report.
        return HTMLResponse(lens.report(None, f"What {service(request).model_name} kept of a prompt"))

    app.mount("/static/lens", StaticFiles(directory=shared))
    app.mount("/static", StaticFiles(directory=own))


def _folder(package: str) -> Path:
    return Path(str(resources.files(package) / "static"))
