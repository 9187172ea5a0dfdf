"""The application: everything wired together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.routing import Route

from api import datasets, health, openapi, pages
from api.boundary import Boundary
from api.catalog import Catalog
from api.problems import Problem, from_status
from api.rows import Rows
from api.service import RELEASE, Service
from pista.settings import Settings, get_settings

_DESCRIPTION = """Curated tables, read only. `GET /v1/{dataset}` speaks PostgREST's read grammar: `carrier=eq.UA`,
`departure_delay=gte.15`, `select=`, `order=`, `limit=`. Pages are followed by the `Link` header."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API as an ASGI application.

    Args:
        settings: Configuration; default: the environment's.

    Raises:
        RuntimeError: PISTA_API_DSN is not set.
    """
    service = Service(settings or get_settings())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="Pista",
        version=RELEASE,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.add_middleware(Boundary)
    app.add_exception_handler(HTTPException, _raise_http_problem)
    app.add_exception_handler(RequestValidationError, _raise_validation_problem)
    app.router.routes.append(Route("/v1/{dataset}", Rows(single=False), methods=["GET"]))  # first: the hot one
    app.router.routes.append(Route("/v1/{dataset}/{key:path}", Rows(single=True), methods=["GET"]))
    for router in (datasets.router, health.router, pages.router):
        app.include_router(router)
    app.openapi = _OpenAPI(app, service)  # type: ignore[method-assign]
    return app


class _OpenAPI:
    """The document of the current catalog, made once for each."""

    def __init__(self, app: FastAPI, service: Service) -> None:
        self._app, self._service = app, service
        self._catalog: Catalog | None = None
        self._document: dict[str, Any] = {}

    def __call__(self) -> dict[str, Any]:
        catalog = self._service.feed.catalog
        if catalog is not self._catalog:
            app = self._app
            base = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            self._document = openapi.document(base, catalog.datasets.values())
            self._catalog = catalog
        return self._document


async def _raise_http_problem(_: Request, error: Exception) -> NoReturn:
    """Errors of the framework leave as problems too."""
    assert isinstance(error, HTTPException)
    problem = from_status(error.status_code)
    problem.headers |= {name.lower(): value for name, value in (error.headers or {}).items()}
    raise problem from error


async def _raise_validation_problem(_: Request, error: Exception) -> NoReturn:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    raise Problem("invalid-value", f"{'.'.join(map(str, first['loc']))}: {first['msg']}.") from error
