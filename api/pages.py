"""Pages for people: the catalog at ``/`` and the API's documentation at ``/docs``. Nothing comes from another host."""

from functools import cache
from html import escape
from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from api.problems import from_status
from api.service import service_of

router = APIRouter(include_in_schema=False)

# The browser itself refuses what is not ours.
_POLICY = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}
_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_DOCS = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Pista: API documentation</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  docExpansion: "list",
  persistAuthorization: true,
  validatorUrl: null,
});
"""
_CATALOG = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Pista: datasets</title>
<link rel="icon" href="data:,">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; vertical-align: top; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #8884; }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
.stale {{ color: #c2410c; }}
small {{ opacity: .75; }}
</style>
</head>
<body>
<h1>Datasets</h1>
<p>Rows are at <code>/v1/NAME</code>, for holders of an API key. How to ask for them:
<a href="/docs">documentation</a>, <a href="/openapi.json">OpenAPI</a>.</p>
<table>
<thead><tr><th>Dataset</th><th>Rows</th><th>Version</th><th>Complete as of</th><th>Fresh</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""


@cache
def _asset(name: str) -> bytes:
    """A file of Swagger UI, from the wheel that carries it."""
    return (files("fastapi_offline") / "static" / name).read_bytes()


@router.get("/", response_class=HTMLResponse)
async def catalog_page(request: Request) -> HTMLResponse:
    """All datasets with their freshness."""
    feed = service_of(request.scope).feed
    rows = []
    for name, dataset in feed.catalog.datasets.items():
        version = feed.versions.get(name)
        if version is None:
            continue
        stale = version.stale(dataset.freshness)
        fresh = {True: '<span class="stale">stale</span>', False: "fresh", None: "no promise"}[stale]
        as_of = f"{version.as_of:%Y-%m-%d %H:%M:%S}Z" if version.as_of else "never"
        rows.append(
            f'<tr><td><a href="/docs#/{escape(name)}">{escape(name)}</a><br>'
            f"<small>{escape(dataset.description)}</small></td>"
            f'<td class="number">{version.row_count:,}</td><td class="number">{version.version}</td>'
            f"<td>{as_of}</td><td>{fresh}</td></tr>"
        )
    return HTMLResponse(_CATALOG.format(rows="\n".join(rows)), headers=_POLICY | {"cache-control": "no-cache"})


@router.get("/docs", response_class=HTMLResponse)
async def docs_page() -> HTMLResponse:
    """Swagger UI."""
    return HTMLResponse(_DOCS, headers=_POLICY)


@router.get("/docs/{name}")
async def docs_asset(name: str) -> Response:
    """Scripts and styles of the documentation."""
    if name == "start.js":
        return Response(_START, media_type="text/javascript", headers=_POLICY)
    if name not in _ASSETS:
        raise from_status(404)
    return Response(_asset(name), media_type=_ASSETS[name], headers=_POLICY | {"cache-control": "max-age=3600"})
