"""The outermost layer: request ids, errors as problems, CORS, one log line a request. Pure ASGI, for speed."""

import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from api.problems import CONTENT_TYPE, Problem

log = logging.getLogger("pista.api")
access_log = logging.getLogger("pista.api.access")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_MAX_QUERY = 8192  # bytes
# Keys travel in headers that a browser sends for no page on its own, so any page may ask.
_EXPOSED = b"Content-Range, Dataset-Version, ETag, Last-Modified, Link, Retry-After, X-Request-Id"
_ASKED = (
    b"Accept, Accept-Profile, Apikey, Authorization, Content-Type, If-None-Match, Prefer, "
    b"X-Api-Key, X-Client-Info, X-Request-Id"
)
_CORS = [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", _EXPOSED)]
_PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, HEAD, OPTIONS"),
    (b"access-control-allow-headers", _ASKED),
    (b"access-control-max-age", b"86400"),
    (b"allow", b"GET, HEAD, OPTIONS"),
]


class Boundary:
    """Wraps the application. ``scope["pista"]`` carries what the log line tells beyond HTTP."""

    def __init__(self, app: App) -> None:
        """Wrap that application."""
        self.app = app

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Handle one connection event; anything but HTTP passes through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _request_id(scope["headers"])
        context: dict[str, Any] = {"request_id": request_id}
        scope["pista"] = context
        marks = [(b"x-request-id", request_id.encode()), *_CORS]
        sent: list[int] = []  # the status, then sizes of body parts

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *marks]
                sent.append(message["status"])
            else:
                sent.append(len(message.get("body", b"")))
            await send(message)

        try:
            if scope["method"] == "OPTIONS":
                await send_marked({"type": "http.response.start", "status": 204, "headers": _PREFLIGHT})
                await send_marked({"type": "http.response.body", "body": b""})
            elif len(scope["query_string"]) > _MAX_QUERY:
                raise Problem(
                    "uri-too-long",
                    f"The query string has {len(scope['query_string'])} bytes.",
                    f"At most {_MAX_QUERY} are read.",
                )
            else:
                await self.app(scope, receive, send_marked)
        except Problem as problem:
            await _answer(problem, scope, send_marked, sent)
        except Exception:
            log.exception("unexpected error, request_id=%s", request_id)
            if sent:
                raise  # half an answer must not look whole
            hint = "Quote the request_id when you report it."
            unexpected = Problem("internal", "Something went wrong on our side.", None, hint)
            await _answer(unexpected, scope, send_marked, sent)
        finally:
            _write_log(scope, context, sent, started)


async def _answer(problem: Problem, scope: Any, send: Send, sent: list[int]) -> None:
    if sent:
        raise problem
    await send_problem(problem, scope, send)


async def send_problem(problem: Problem, scope: Any, send: Send) -> None:
    """Answer with a problem."""
    scope["pista"]["problem"] = problem.code
    body = problem.body(scope["pista"]["request_id"], scope["path"])
    headers = [
        (b"content-type", CONTENT_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *((name.encode(), value.encode()) for name, value in problem.headers.items()),
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _request_id(headers: list[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return value.decode()
    return os.urandom(8).hex()


def _write_log(scope: Any, context: dict[str, Any], sent: list[int], started: float) -> None:
    """One JSON line. Query strings stay out of it: filters may hold what nobody should read in a log."""
    if not access_log.isEnabledFor(logging.INFO):
        return
    line = {
        "time": round(time.time(), 3),
        "method": scope["method"],
        "path": scope["path"],
        "status": sent[0] if sent else None,
        "ms": round((time.perf_counter() - started) * 1000, 2),
        "bytes": sum(sent[1:]),
        **context,
    }
    access_log.info("%s", orjson.dumps(line).decode())
