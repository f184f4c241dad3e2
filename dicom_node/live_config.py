"""The configuration in force: taken over from the file while the node runs, or refused whole."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from dicom_node.config import Config, load_config, parse_config
from dicom_node.errors import ConfigError

logger = logging.getLogger(__name__)

#: Sections whose change takes effect at once. The others name ports, folders and processes, and need a restart.
RELOADED = ("scanners", "accept_unknown_scanners", "destinations", "retention")
#: Of the analysis, only this does: the rest decides which models are loaded, and where.
RELOADED_OF_ANALYSIS = ("max_frames_per_cine",)
LOOK_EVERY_S = 0.5
SETTLE_S = 0.3  #: a file that changes again within this time is still being written


class LiveConfig:
    """Gives the current configuration and follows the file. A bad file changes nothing; :attr:`problem` says why."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()  # a link is followed anew at each look: it may lead elsewhere by then
        self.problem: str | None = None
        self.on_taken_over: Callable[[str], None] = lambda _changed: None  #: told the names of the changed sections
        self._config = load_config(self.path)
        self._seen = self._stamp()
        self._looked_at = time.monotonic()
        self._lock = threading.Lock()

    def __call__(self) -> Config:
        """Give the configuration in force now."""
        with self._lock:
            if time.monotonic() - self._looked_at >= LOOK_EVERY_S:
                self._looked_at = time.monotonic()
                stamp = self._stamp()
                if stamp != self._seen and self._has_settled(stamp):
                    self._seen = stamp
                    self._take_over()
            return self._config

    def _stamp(self) -> tuple[int, ...] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size

    def _has_settled(self, stamp: tuple[int, ...] | None) -> bool:
        """Tell whether nobody is writing the file: many programs empty it first, and half a file may be valid."""
        time.sleep(SETTLE_S)
        return self._stamp() == stamp

    def _take_over(self) -> None:
        try:
            new = load_config(self.path)
            if new == parse_config("", self.path):
                # A file without settings is valid where a node starts, and an accident where one runs.
                raise ConfigError(f"{self.path}: it holds no settings")  # noqa: TRY301
        except ConfigError as error:
            self.problem = str(error)
            logger.error("the new configuration is refused, the old one stays in force: %s", error)  # noqa: TRY400
            return
        old, (self._config, waiting) = self._config, merge(self._config, new)
        if waiting:
            logger.warning("changes in %s take effect after a restart", ", ".join(waiting))
        self.problem = None
        logger.info("configuration taken over from %s", self.path)
        self.on_taken_over(", ".join(name for name in Config.model_fields if getattr(old, name) != getattr(new, name)))


def merge(old: Config, new: Config) -> tuple[Config, list[str]]:
    """Take over from ``new`` what may change while the node runs; the names are of changes that wait for a restart."""
    analysis = old.analysis.model_copy(update={key: getattr(new.analysis, key) for key in RELOADED_OF_ANALYSIS})
    merged = old.model_copy(update={**{name: getattr(new, name) for name in RELOADED}, "analysis": analysis})
    return merged, [name for name in Config.model_fields if getattr(merged, name) != getattr(new, name)]
