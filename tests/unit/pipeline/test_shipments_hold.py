"""Whatever happens to a shipment, in whatever order: nothing is lost, nothing committed is sent again, and it ends."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select
from world import STUDY, World

from dicom_node.dimse.storage_scu import Outcome
from dicom_node.errors import PermanentDeliveryError, TransientDeliveryError
from dicom_node.pipeline import commitment, delivery
from dicom_node.pipeline.reconciliation import reconcile
from dicom_node.store.tables import CommitmentRow, DeliveryRow

OBJECTS = 3
STEPS = {"deliver": delivery.deliver, "request_commitment": commitment.request, "check_commitment": commitment.check}
ERRORS = {"busy": TransientDeliveryError("busy"), "never": PermanentDeliveryError("never"), "taken": None}


class Shipments(RuleBasedStateMachine):
    """A PACS of any mood, an engine that may forget, reports of any kind at any time."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.world = World(self.folder)
        self.world.deliverable(OBJECTS)
        self.mood = ["taken"] * OBJECTS
        self.committed: set[int] = set()
        self.patches = [
            patch.object(delivery, "send_instances", self.send),
            patch.object(commitment, "request_commitment", lambda *_, **__: None),
        ]
        for it in self.patches:
            it.start()

    def teardown(self) -> None:
        if hasattr(self, "patches"):
            for it in self.patches:
                it.stop()
            self.world.database.close()
            shutil.rmtree(self.folder)

    def send(self, _peer: Any, _ae: str, paths: Sequence[Path]) -> list[Outcome]:
        return [Outcome(path, status=0, error=ERRORS[mood]) for path, mood in zip(paths, self.mood, strict=False)]

    def rows(self) -> list[DeliveryRow]:
        with self.world.database.read() as session:
            return list(session.scalars(select(DeliveryRow).order_by(DeliveryRow.id)))

    @rule(
        mood=st.lists(st.sampled_from(sorted(ERRORS)), min_size=OBJECTS, max_size=OBJECTS), minutes=st.integers(0, 20)
    )
    def time_passes(self, mood: list[str], minutes: int) -> None:
        self.mood = mood
        self.world.later(minutes=minutes)
        self.world.run_due(STEPS)

    @rule(data=st.data())
    def a_report_comes(self, data: st.DataObject) -> None:
        with self.world.database.read() as session:
            uids = list(session.scalars(select(CommitmentRow.transaction_uid)))
        if not uids:
            return
        said = [data.draw(st.sampled_from(["kept", "lost", "unsaid"])) for _ in range(OBJECTS)]
        names = [f"{STUDY}.9.1.{number}" for number in range(OBJECTS)]
        kept = [name for name, word in zip(names, said, strict=True) if word == "kept"]
        lost = [(name, 0x0112) for name, word in zip(names, said, strict=True) if word == "lost"]
        commitment.on_report(self.world.services, data.draw(st.sampled_from(uids)), kept, lost)

    @rule()
    def an_operator_retries(self) -> None:
        delivery.retry(self.world.services)

    @precondition(lambda self: self.world.desk.live)
    @rule(data=st.data())
    def the_engine_forgets_a_job(self, data: st.DataObject) -> None:
        del self.world.desk.live[data.draw(st.sampled_from(self.world.keys))]

    @rule()
    def the_reconciler_looks(self) -> None:
        reconcile(self.world.services)
        pending = [row for row in self.rows() if row.state == "pending"]
        if pending:
            number = max(row.attempts for row in self.rows())
            assert f"deliver:{STUDY}:1:main-pacs:{number}" in self.world.desk.live

    @invariant()
    def what_is_committed_stays_so(self) -> None:
        if hasattr(self, "world"):
            now = {row.id for row in self.rows() if row.state == "committed"}
            assert self.committed <= now
            self.committed = now

    @invariant()
    def at_most_one_job_may_act(self) -> None:
        if hasattr(self, "world"):
            number = max(row.attempts for row in self.rows())
            assert all(int(key.rsplit(":", 1)[1]) <= number for key in self.world.keys if key.startswith("deliver:"))

    @invariant()
    def every_failure_says_why(self) -> None:
        if hasattr(self, "world"):
            assert all(row.error for row in self.rows() if row.state == "failed")


Shipments.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestShipments = Shipments.TestCase
