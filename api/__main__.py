"""``python -m api``: the HTTP server."""

import logging
import logging.config
import sys

import uvicorn

from api.app import create_app
from pista.settings import get_settings

_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
        "line": {"format": "%(message)s"},
    },
    "handlers": {
        "text": {"class": "logging.StreamHandler", "formatter": "text", "stream": "ext://sys.stderr"},
        "line": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stdout"},
    },
    "root": {"level": "INFO", "handlers": ["text"]},
    "loggers": {"pista.api.access": {"level": "INFO", "handlers": ["line"], "propagate": False}},
}


def main() -> None:
    """Serve until SIGTERM or SIGINT; then requests under way may end within 10 seconds."""
    settings = get_settings()
    logging.config.dictConfig(_LOGGING)
    try:
        app = create_app(settings)
    except RuntimeError as error:
        sys.exit(str(error))
    uvicorn.run(
        app,
        host=settings.api_host,
        port=settings.api_port,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    main()
