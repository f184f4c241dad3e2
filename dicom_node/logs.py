"""Logging for people (text) or machines (json). Never pixels, never patient names: only UIDs, AE titles and counts."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from dicom_node.config import Logging

#: What every LogRecord has by itself; anything else was given as ``extra`` and belongs to the message.
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and every ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in _PLAIN},
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def set_up_logging(settings: Logging, process: str) -> None:
    """Send everything of this process to standard error in the configured shape."""
    handler = logging.StreamHandler(sys.stderr)
    text = f"%(asctime)s %(levelname)-7s {process:<10} %(message)s"
    handler.setFormatter(JsonFormatter() if settings.format == "json" else logging.Formatter(text))
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    # What is odd in a scanner's data set, and why a peer did not take an object, is told by us, once and in words.
    for told_by_us in ("pydicom", "pynetdicom"):
        logging.getLogger(told_by_us).setLevel(logging.CRITICAL)
    for chatty in ("alembic", "sqlalchemy", "dbos", "uvicorn", "PIL", "matplotlib"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
