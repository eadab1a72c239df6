"""The web page at `/`: files that come with maskkv, and nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

_FOLDER = Path(__file__).parent / "static"


def mount(app: FastAPI) -> None:
    """Serve the page at `/` and its files below `/static/`."""
    if not (_FOLDER / "index.html").exists():
        return

    @app.get("/", include_in_schema=False, response_model=None)
    async def index() -> Response:
        return FileResponse(_FOLDER / "index.html")

    app.mount("/static", StaticFiles(directory=_FOLDER))
