"""Step 1 to 3 of the walk: an association delivers, bytes become rows, a study's clock starts or is told to stop.

These are the acts behind the listener (:class:`dicom_node.dimse.handlers.Handlers`): what they return is durable.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache, partial
from itertools import chain, repeat

from pydicom import Dataset
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from dicom_node.audit.acts import Audit
from dicom_node.config import Config, Scanner
from dicom_node.dimse.contexts import ContextDecision
from dicom_node.dimse.handlers import Caller, Ending, Handlers, StoreRequest
from dicom_node.dimse.peek import Header, as_data_set, peek
from dicom_node.dimse.status import SUCCESS, Answer, Status
from dicom_node.domain.identifiers import printable, uid_fault
from dicom_node.elements import Incomplete
from dicom_node.engine.job import Enqueue
from dicom_node.errors import SpoolFull, UnreadableDataset
from dicom_node.pipeline import jobs
from dicom_node.pipeline.auditing import AssociationAudit
from dicom_node.pipeline.scanner_requests import ScannerRequests
from dicom_node.store import associations
from dicom_node.store.database import Database, session_within
from dicom_node.store.generations import Timer
from dicom_node.store.group_commit import GroupCommit
from dicom_node.store.instances import Arrival, InstanceLog, InstanceState, Recorded
from dicom_node.store.part10 import file_meta
from dicom_node.store.spool import PartFile, Spool, StoredFile, is_intact

logger = logging.getLogger(__name__)

HEAD_BYTES = 64 * 1024  # the identifying elements are nearly always within the first few hundred bytes
SLOW_AFTER_S = 1.0  # an instance that takes longer to arrive holds its study open before it is there
WRITE_AGAIN_AFTER_S = (0.5, 2.0, 10.0, 60.0)  #: the last one again and again
_TRIES = 3  # of a transaction that met another receiver's or a closing (PostgreSQL only; SQLite takes turns)
_DEADLOCK = "40P01"  # SQLSTATE: two transactions wanted each other's studies, and the server rolled this one back

CommitmentReported = Callable[[str, Sequence[str], Sequence[tuple[str, int]]], None]


class Intake:
    """What one receiver process does with what it is sent.

    :param receiver: the name of this process; its lock tells others whether it lives.
    :param is_own_result: the loop guard, asked with what an instance says about its equipment.
    :param on_commitment_report: what to do with a destination's answer to our own commitment request.
    """

    def __init__(
        self,
        *,
        database: Database,
        spool: Spool,
        current_config: Callable[[], Config],
        enqueue: Enqueue,
        receiver: str,
        now: Callable[[], datetime],
        is_own_result: Callable[[Dataset], bool],
        on_commitment_report: CommitmentReported,
        audit: Audit,
    ) -> None:
        self._database = database
        self._spool = spool
        self._current_config = current_config
        self._enqueue = enqueue
        self._receiver = receiver
        self._now = now
        # A scanner's images all name the same equipment, so each answer of the rule is worked out once.
        self._is_our_own = lru_cache(maxsize=256)(lambda equipment: is_own_result(as_data_set(equipment)))
        self._on_commitment_report = on_commitment_report
        self._audit = AssociationAudit(audit, database, spool.data_dir)
        self._requests = ScannerRequests(database, spool.data_dir, enqueue, now)
        self._delivering: set[int] = set()  # open associations that have sent an instance
        self._instances = InstanceLog(partial(is_intact, spool.data_dir))
        self._commits: GroupCommit[tuple[Arrival, PartFile], Recorded] = GroupCommit(self._commit)

    def handlers(self) -> Handlers:
        """Give the record of functions that the listener calls."""
        return Handlers(
            association_opened=self.association_opened,
            association_rejected=self.association_rejected,
            handshake_failed=self._audit.handshake_failed,
            association_ended=self.association_ended,
            store=self.store,
            procedure_step_created=self._requests.procedure_step_created,
            procedure_step_set=self._requests.procedure_step_set,
            commitment_requested=self._requests.commitment_requested,
            commitment_report=self._requests.commitment_report,
            commitment_reported=self._requests.commitment_reported,
            on_commitment_report=self._on_commitment_report,
        )

    # The association log

    def association_opened(self, caller: Caller, contexts: Sequence[ContextDecision], reason: str | None) -> int:
        """Write down an association before it delivers."""
        with self._database.write() as session:
            association_id = associations.opened(session, self._entry(caller, contexts, reason), self._now())
        self._audit.opened(association_id, caller)
        return association_id

    def association_rejected(self, caller: Caller, contexts: Sequence[ContextDecision], reason: str) -> None:
        """Write down who was rejected, and why."""
        with self._database.write() as session:
            associations.rejected(session, self._entry(caller, contexts, reason), self._now())
        self._audit.rejected(caller, reason)

    def association_ended(self, association_id: int, ending: Ending) -> None:
        """Write down how an association ended; from here on it holds no study open.

        A row left open would hold its studies open for as long as this receiver lives, so a database that cannot be
        written is tried again until it can be. No new association is accepted meanwhile, so few threads wait here.
        """
        self._delivering.discard(association_id)
        for pause_s in chain(WRITE_AGAIN_AFTER_S, repeat(WRITE_AGAIN_AFTER_S[-1])):
            try:
                self._write_ending(association_id, ending)
            except (SQLAlchemyError, SpoolFull):
                logger.exception(
                    "the end of association %d cannot be written, next try in %g s", association_id, pause_s
                )
                time.sleep(pause_s)
            else:
                self._audit.ended(association_id, ending)
                return

    def _write_ending(self, association_id: int, ending: Ending) -> None:
        with self._database.write() as session:
            associations.ended(
                session,
                association_id,
                outcome=ending.outcome,
                reason=ending.reason,
                accepted=ending.instances_accepted,
                refused=ending.instances_refused,
                now=self._now(),
            )

    def _entry(self, caller: Caller, contexts: Sequence[ContextDecision], reason: str | None) -> associations.Entry:
        return associations.Entry(
            receiver=self._receiver,
            calling_ae_title=caller.calling_ae_title,
            called_ae_title=caller.called_ae_title,
            host=caller.host,
            contexts=tuple(context.as_row() for context in contexts),
            reason=reason,
        )

    # Storage

    def store(self, request: StoreRequest, pieces: Iterator[memoryview]) -> Answer:
        """Keep one instance: bytes first, row second, success third.

        What cannot be parsed is kept all the same and quarantined: the scanner has done its part, and a person can
        look at the bytes later. Only our own results, and what the disk cannot hold, are refused.
        """
        meta = file_meta(
            printable(request.sop_class_uid),
            printable(request.sop_instance_uid),
            request.transfer_syntax_uid,
            request.calling_ae_title,
        )
        self._delivering.add(request.association_id)
        try:
            with self._spool.begin(meta, self._now()) as part:
                head = _write(part, pieces, lambda head: self._hold_open(request, head))
                header, fault = _look(head, part, request)
                if header is not None and self._is_our_own(header.equipment):
                    self._audit.refused(request.association_id)
                    return Answer(Status.NOT_AUTHORISED, "a result of this node itself, not taken back")
                file = part.finish()
                if len(self._delivering) > 1 or self._database.is_in_demand:
                    part.flush()  # the database is in demand: hold it for the row only, not while the disk works
                arrival = _arrival(request, header, fault, file, self._now())
                # Should this fail, the file stays: the commit may have happened after all. Retention removes what has
                # no row.
                recorded = self._commits.submit((arrival, part))
        except SpoolFull as full:
            logger.error("%s", full)  # noqa: TRY400 - it is told once, in words
            return Answer(Status.OUT_OF_RESOURCES, str(full))
        self._audit.received(request.association_id, arrival.study_instance_uid, header)
        if not recorded.is_kept:
            self._spool.remove(file)
        if recorded.state is not InstanceState.STORED:
            logger.warning(
                "%s is %s: %s", printable(request.sop_instance_uid), recorded.state, recorded.reason or "as before"
            )
        return SUCCESS

    def _hold_open(self, request: StoreRequest, head: bytes) -> bool:
        """Note whose instance is on its way, so that its study does not close meanwhile; False when it is not clear."""
        try:
            study = peek(head, request.transfer_syntax_uid).study_instance_uid
        except UnreadableDataset:
            return False
        if not uid_fault(study):
            with self._database.write() as session:
                associations.is_receiving(session, request.association_id, study)
        return True

    def _commit(self, finished: Sequence[tuple[Arrival, PartFile]]) -> list[Recorded]:
        for _ in range(_TRIES - 1):
            try:
                return self._record(finished)
            except DBAPIError as error:
                if not _is_collision(error):
                    raise
                logger.debug("another process wrote the same study or instance first; looking again")
        return self._record(finished)

    def _record(self, finished: Sequence[tuple[Arrival, PartFile]]) -> list[Recorded]:
        with self._database.write_rows() as connection:
            outcomes = self._instances.record(connection, [arrival for arrival, _ in finished])
            timers = [outcome.timer for outcome in outcomes if outcome.timer is not None]
            if timers:
                with session_within(connection) as session:
                    for timer in timers:
                        self._start(session, timer, self._policy(timer).quiet_seconds)
            self._spool.flush([part for _, part in finished])  # which began before the rows: a lone sender waits less
        return outcomes

    def _policy(self, timer: Timer) -> Scanner:
        title = timer.scanner_ae_title
        return self._current_config().scanner(title) or Scanner(ae_title=title)

    def _start(self, session: Session, timer: Timer, delay_s: float) -> None:
        job = jobs.close_study(timer.study_instance_uid, timer.generation, timer.tick, delay=timedelta(seconds=delay_s))
        self._enqueue(session, job)


def _is_collision(error: DBAPIError) -> bool:
    """Tell whether a transaction only lost against another, so that it is made again at once."""
    return isinstance(error, IntegrityError) or getattr(error.orig, "sqlstate", None) == _DEADLOCK


def _write(part: PartFile, pieces: Iterator[memoryview], when_slow: Callable[[bytes], bool]) -> bytes:
    """Write the pieces as they arrive, and give back the beginning.

    An instance that takes long shows its beginning to ``when_slow``, again and again until that has seen enough.
    """
    head = b""
    show_at = time.monotonic() + SLOW_AFTER_S
    for piece in pieces:
        if len(head) < HEAD_BYTES:
            head += bytes(piece[: HEAD_BYTES - len(head)])
        part.write(piece)
        if time.monotonic() > show_at:
            show_at = math.inf if when_slow(head) else time.monotonic() + SLOW_AFTER_S
    return head


def _look(head: bytes, part: PartFile, request: StoreRequest) -> tuple[Header | None, str | None]:
    """Look who the instance is, and say why it must be quarantined, if it must."""
    try:
        try:
            header = peek(head, request.transfer_syntax_uid)
        except Incomplete:
            if part.size_bytes <= len(head):
                raise
            with part.data_set() as whole:
                header = peek(whole, request.transfer_syntax_uid)
    except UnreadableDataset as error:
        return None, f"the data set cannot be read: {error}"
    for name, uid in (
        ("SOP Instance UID of the request", request.sop_instance_uid),
        ("SOP Class UID of the request", request.sop_class_uid),
        ("Study Instance UID", header.study_instance_uid),
        ("Series Instance UID", header.series_instance_uid),
        ("SOP Instance UID", header.sop_instance_uid),
    ):
        if fault := uid_fault(uid):
            return header, f"the {name} {fault}"
    if header.sop_instance_uid != request.sop_instance_uid:
        return header, (
            f"the request names SOP Instance UID {request.sop_instance_uid}, the data set {header.sop_instance_uid}"
        )
    return header, None


def _arrival(
    request: StoreRequest, header: Header | None, fault: str | None, file: StoredFile, now: datetime
) -> Arrival:
    def usable(uid: str) -> str | None:
        return None if uid_fault(uid) else uid

    return Arrival(
        sop_instance_uid=printable(request.sop_instance_uid),
        sop_class_uid=printable(request.sop_class_uid),
        study_instance_uid=usable(header.study_instance_uid) if header else None,
        series_instance_uid=usable(header.series_instance_uid) if header else None,
        transfer_syntax_uid=request.transfer_syntax_uid,
        file=file,
        association_id=request.association_id,
        calling_ae_title=request.calling_ae_title,
        fault=fault,
        received_at=now,
    )
