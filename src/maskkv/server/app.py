"""The ASGI application: routes, what stands before them, and the model's thread behind them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

import maskkv
from maskkv.api import LanguageModel
from maskkv.server import errors, page, page_api, routes
from maskkv.server.access_log import AccessLog
from maskkv.server.errors import ApiError
from maskkv.server.guard import Guard, digests
from maskkv.server.metrics import Metrics
from maskkv.server.reading import Readers
from maskkv.server.runner import Runner
from maskkv.server.service import Service
from maskkv.server.settings import ServerSettings


def create_app(llm: LanguageModel, model_name: str, settings: ServerSettings) -> FastAPI:
    """Make a server for a model; the model's thread runs while the application does."""
    metrics = Metrics()
    runner = Runner(llm, metrics, max_queue=settings.max_queue, max_batch=settings.max_batch, memory=settings.memory)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        runner.start()
        yield
        runner.stop()

    app = FastAPI(
        title="maskkv",
        version=maskkv.__version__,
        lifespan=lifespan,
        # The interactive documents load scripts from other servers.
        docs_url=None,
        redoc_url=None,
        # It would name this server as it is called behind a proxy.
        redirect_slashes=False,
    )
    app.state.service = Service(llm, model_name, settings, metrics, runner, Readers(settings.max_queue))
    app.include_router(routes.router)
    app.include_router(page_api.router)
    page.mount(app)
    app.add_exception_handler(ApiError, _problem)
    app.add_exception_handler(HTTPException, _status)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_middleware(Guard, settings=settings, keys=digests(settings.accepted_keys()))
    app.add_middleware(AccessLog, metrics=metrics)
    return app


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _status(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    return errors.of_status(error.status_code, headers).response()


async def _malformed(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return errors.of_validation(error.errors()).response()
