"""Who looked at which study: an open page asks again by itself, and that is still one look."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

SAME_LOOK = timedelta(minutes=15)  #: after so long without a request the next one is a look of its own
REMEMBERED = 10_000


class Looks:
    """Remembers the requests of the last while."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], datetime] = {}
        self._lock = threading.Lock()

    def is_new(self, host: str, study_instance_uid: str, now: datetime) -> bool:
        """Tell whether a request begins a look, and remember it."""
        who = host, study_instance_uid
        with self._lock:
            last = self._last.get(who)
            if last is None and len(self._last) >= REMEMBERED:
                self._last.clear()  # a look is told twice rather than never
            self._last[who] = now
        return last is None or now - last >= SAME_LOOK
