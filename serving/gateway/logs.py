"""Structured logs: one JSON object a line. No prompts, answers, header values, paths of callers, or exception texts."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

access = logging.getLogger("medvlm.gateway.access")
events = logging.getLogger("medvlm.gateway")


class JsonFormatter(logging.Formatter):
    """`{"time", "level", "logger", "event", ...}`; what was given as `extra={"data": {...}}` is merged in."""

    def format(self, record: logging.LogRecord) -> str:
        out = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        out |= getattr(record, "data", {})
        if record.exc_info and record.exc_info[1]:
            out |= describe(record.exc_info[1])
        return json.dumps(out, separators=(",", ":"), default=str)


def describe(error: BaseException) -> dict[str, object]:
    """An exception for a log: its type and where it happened, without its text, which may quote a patient."""
    frames = traceback.extract_tb(error.__traceback__)[-12:]
    return {
        "error": type(error).__name__,
        "at": [f"{'/'.join(frame.filename.split('/')[-3:])}:{frame.lineno} {frame.name}" for frame in frames],
    }


def configure(level: int = logging.INFO) -> None:
    """Send the gateway's and uvicorn's logs to stderr as JSON. Called by `run_gateway`, never at import."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name in ("medvlm.gateway", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False
    # An upload id in a path, a name in a query: uvicorn's access log writes them, ours writes route templates.
    logging.getLogger("uvicorn.access").disabled = True
