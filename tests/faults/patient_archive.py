"""A PACS that keeps what each object was when it came, and reports a commitment until somebody takes the report."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from conftest import listens
from fake_pacs import FakePacs
from pydicom import Dataset

REPORT_WITHIN_S = 300


@dataclass
class PatientArchive(FakePacs):
    """A storage and commitment SCP as archives are: what it took, it says until it is heard.

    :ivar digests: of what came under each SOP Instance UID, one for each time it came.
    :ivar study_of: the Study Instance UID of each object.
    :ivar heard: the commitment transactions whose report was taken.
    """

    digests: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    study_of: dict[str, str] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)

    def _store(self, event: Any) -> int | Dataset:
        answer = super()._store(event)
        uid = str(event.request.AffectedSOPInstanceUID)
        self.digests[uid].append(hashlib.sha256(event.request.DataSet.getvalue()).hexdigest())
        self.study_of[uid] = str(self.held[uid].StudyInstanceUID)
        self.held[uid] = Dataset()  # the pictures of hours would not fit into memory
        return answer

    def _report(self, association: Any, request: Dataset) -> None:
        deadline = time.monotonic() + REPORT_WITHIN_S
        while request.TransactionUID not in self.heard and time.monotonic() < deadline and not self._released.is_set():
            if listens(self.reports_to[1]):
                super()._report(association, request)
            self._released.wait(0.2)

    def _send_report(self, association: Any, request: Dataset) -> bool:
        try:
            taken = super()._send_report(association, request)
        except RuntimeError:  # pynetdicom: the node died after it had accepted the association
            return False
        if taken:
            self.heard.add(request.TransactionUID)
        return taken
