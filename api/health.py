"""Health: ``/livez`` says that the process answers, ``/readyz`` that it can serve."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from api.problems import Problem
from api.service import Service, service_of

router = APIRouter(tags=["health"])


@router.get("/livez", summary="Whether the process answers")
async def livez() -> dict[str, str]:
    """Always 200: a process that cannot answer does not."""
    return {"status": "alive"}


@router.get("/readyz", summary="Whether the service can serve", responses={503: {"description": "It cannot"}})
async def readyz(request: Request) -> JSONResponse:
    """200, or 503 with the reasons."""
    reasons = await _reasons(service_of(request.scope))
    status = "not ready" if reasons else "ready"
    return JSONResponse({"status": status, "reasons": reasons}, 503 if reasons else 200, {"cache-control": "no-store"})


async def _reasons(service: Service) -> list[str]:
    reasons = []
    try:
        await service.database.fetch_row("SELECT 1", [])
    except Problem as problem:
        reasons.append(f"pool: {problem.message}")
    if not service.feed.loaded.is_set():
        reasons.append("catalog: not read yet")
    if not service.feed_alive:
        reasons.append("version feed: it ended")
    elif service.feed.trouble:
        reasons.append(f"version feed: {service.feed.trouble}")
    return reasons
