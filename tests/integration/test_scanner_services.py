"""MPPS and storage commitment as a scanner, or a destination, uses them."""

import os
import queue

import pytest
import synthetic
from conftest import wait_until
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from receiver import running_receiver, scanner

from dicom_node.dimse import commitment_messages
from dicom_node.dimse.contexts import (
    MODALITY_PERFORMED_PROCEDURE_STEP,
    STORAGE_COMMITMENT_PUSH,
    STORAGE_COMMITMENT_PUSH_INSTANCE,
)
from dicom_node.dimse.handlers import CommitmentReport
from dicom_node.domain.result import SopReference
from dicom_node.store import commitment_requests, generations
from dicom_node.store.tables import CommitmentRequestRow, PerformedProcedureStepRow

US_CONTEXT = (synthetic.US_IMAGE, ExplicitVRLittleEndian)
MPPS_CONTEXT = (MODALITY_PERFORMED_PROCEDURE_STEP, ImplicitVRLittleEndian)
COMMITMENT_CONTEXT = (STORAGE_COMMITMENT_PUSH, ImplicitVRLittleEndian)
STEP = "1.2.3.4.5"


@pytest.fixture
def receiver(tmp_path, database_url):
    with running_receiver(tmp_path / "var", database_url) as running:
        yield running


def step(status: str, study: str | None = synthetic.STUDY_UID) -> Dataset:
    ds, scheduled = Dataset(), Dataset()
    ds.PerformedProcedureStepStatus = status
    if study is not None:
        scheduled.StudyInstanceUID = study
        ds.ScheduledStepAttributesSequence = [scheduled]
    return ds


def performed(status: str, *instances: str, other: str | None = None) -> Dataset:
    """Give an N-SET that lists images, and an object that is none."""
    ds, series = step(status, None), Dataset()
    series.ReferencedImageSequence = [reference(uid) for uid in instances]
    series.ReferencedNonImageCompositeSOPInstanceSequence = [reference(other)] if other else []
    ds.PerformedSeriesSequence = [series]
    return ds


def reference(uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = synthetic.US_IMAGE, uid
    return item


def create(association, status="IN PROGRESS", uid=STEP):
    return association.send_n_create(step(status), MODALITY_PERFORMED_PROCEDURE_STEP, uid)[0].Status


def update(association, status, uid=STEP):
    return association.send_n_set(step(status, None), MODALITY_PERFORMED_PROCEDURE_STEP, uid)[0].Status


def steps(receiver):
    with receiver.database.read() as session:
        return session.query(PerformedProcedureStepRow).all()


def requests(receiver):
    with receiver.database.read() as session:
        return session.query(CommitmentRequestRow).all()


def test_a_completed_procedure_step_closes_its_study(receiver):
    with scanner(receiver, US_CONTEXT, MPPS_CONTEXT) as association:
        assert create(association) == 0
        assert association.send_c_store(synthetic.image()).Status == 0
        assert update(association, "COMPLETED") == 0
    (generation,) = receiver.generations()
    assert (generation.close_asked, generation.tick, generation.state) == ("mpps", 1, "receiving")
    opening, closing = receiver.jobs
    assert closing.key == f"close:{synthetic.STUDY_UID}:1:1"
    assert (opening.delay.total_seconds(), closing.delay.total_seconds()) == (7, 0)
    (row,) = steps(receiver)
    assert (row.status, row.calling_ae_title, row.study_instance_uids) == (
        "COMPLETED",
        "SCANNER",
        [synthetic.STUDY_UID],
    )
    assert row.ended_at is not None


def test_a_discontinued_step_closes_nothing(receiver):
    with scanner(receiver, US_CONTEXT, MPPS_CONTEXT) as association:
        create(association)
        association.send_c_store(synthetic.image())
        assert update(association, "DISCONTINUED") == 0
    assert receiver.generations()[0].close_asked is None
    assert len(receiver.jobs) == 1


def test_a_step_completed_before_any_image_leaves_the_quiet_time_to_decide(receiver):
    with scanner(receiver, US_CONTEXT, MPPS_CONTEXT) as association:
        assert (create(association), update(association, "COMPLETED")) == (0, 0)
        assert association.send_c_store(synthetic.image()).Status == 0
    assert receiver.generations()[0].close_asked is None
    assert len(receiver.jobs) == 1


@pytest.mark.parametrize(
    ("images", "other", "asked"), [((1,), None, "mpps"), ((1, 2), None, None), ((1,), 2, None), ((), None, "mpps")]
)
def test_a_step_closes_its_study_early_only_when_all_that_it_lists_is_here(receiver, images, other, asked):
    with scanner(receiver, US_CONTEXT, MPPS_CONTEXT) as association:
        create(association)
        association.send_c_store(synthetic.image(number=1))
        uids = [f"{synthetic.SERIES_UID}.{number}" for number in images]
        ended = performed("COMPLETED", *uids, other=other and f"{synthetic.SERIES_UID}.{other}")
        assert association.send_n_set(ended, MODALITY_PERFORMED_PROCEDURE_STEP, STEP)[0].Status == 0
    assert receiver.generations()[0].close_asked == asked
    assert steps(receiver)[0].status == "COMPLETED"


def test_steps_follow_their_rules(receiver):
    with scanner(receiver, MPPS_CONTEXT) as association:
        assert update(association, "COMPLETED") == 0x0112  # never created
        assert create(association, "COMPLETED") == 0x0106
        assert create(association) == 0
        assert create(association) == 0x0111
        assert update(association, "FINISHED") == 0x0106
        assert update(association, "COMPLETED") == 0
        late, _ = association.send_n_set(step("IN PROGRESS", None), MODALITY_PERFORMED_PROCEDURE_STEP, STEP)
        assert (late.Status, late.ErrorID) == (0x0110, 0xA710)
        assert "may no longer be updated" in late.ErrorComment
    assert [row.status for row in steps(receiver)] == ["COMPLETED"]


def ask(association, *uids, transaction="1.2.3.99", action=1):
    references = [SopReference(synthetic.US_IMAGE, uid) for uid in uids]
    information = commitment_messages.action_information(transaction, references)
    instance = STORAGE_COMMITMENT_PUSH_INSTANCE
    return association.send_n_action(information, action, STORAGE_COMMITMENT_PUSH, instance)[0].Status


def test_a_commitment_request_is_answered_truthfully_on_the_same_association(receiver):
    reports: queue.Queue = queue.Queue()

    def take(event):
        reports.put((event.event_type, commitment_messages.reported(event.event_information)))
        return 0x0000, None

    kept, lost, damaged = (synthetic.image(number=n) for n in (1, 2, 3))
    handlers = [(evt.EVT_N_EVENT_REPORT, take)]
    with scanner(receiver, US_CONTEXT, COMMITMENT_CONTEXT, evt_handlers=handlers) as association:
        for ds in (kept, lost, damaged):
            assert association.send_c_store(ds).Status == 0
        _, of_lost, of_damaged = receiver.instances()
        (receiver.data_dir / of_lost.path).unlink()
        with (receiver.data_dir / of_damaged.path).open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\xff")
        assert ask(association, kept.SOPInstanceUID, lost.SOPInstanceUID, damaged.SOPInstanceUID, "1.9.9") == 0
        event_type, (transaction, committed, failed) = reports.get(timeout=20)
        wait_until(lambda: requests(receiver)[0].state == "answered")
    assert (event_type, transaction, committed) == (2, "1.2.3.99", [kept.SOPInstanceUID])
    assert failed == [(lost.SOPInstanceUID, 0x0110), (damaged.SOPInstanceUID, 0x0110), ("1.9.9", 0x0112)]
    (generation,) = receiver.generations()
    assert (generation.close_asked, generation.tick) == ("commitment", 1)
    assert [job.name for job in receiver.jobs] == [
        "close_study",
        "close_study",
        "answer_commitment",
        "answer_commitment",
    ]
    assert receiver.jobs[-2].delay.total_seconds() == 5


def test_a_scanner_that_releases_at_once_leaves_the_answer_to_the_job(receiver):
    with scanner(receiver, US_CONTEXT, COMMITMENT_CONTEXT) as association:
        association.send_c_store(synthetic.image())
        assert ask(association, f"{synthetic.SERIES_UID}.1") == 0
    (row,) = requests(receiver)
    assert (row.state, row.calling_ae_title, row.host) == ("pending", "SCANNER", "127.0.0.1")
    assert receiver.jobs[-1].arguments == (row.id, 0)


def test_the_same_transaction_again_is_answered_again(receiver):
    for _ in range(2):
        with scanner(receiver, COMMITMENT_CONTEXT) as association:
            assert ask(association, "1.9.9") == 0
    assert len(requests(receiver)) == 1
    assert [job.arguments[1] for job in receiver.jobs] == [0, 1]


def test_the_association_that_asked_claims_the_request_before_it_reads_everything_back(receiver, monkeypatch):
    claimed: queue.Queue = queue.Queue()
    assess = commitment_requests.assess

    def slow_assess(*arguments):
        claimed.put(requests(receiver)[0])
        return assess(*arguments)

    monkeypatch.setattr(commitment_requests, "assess", slow_assess)
    with scanner(receiver, COMMITMENT_CONTEXT, evt_handlers=[(evt.EVT_N_EVENT_REPORT, lambda _: (0, None))]) as asking:
        assert ask(asking, "1.9.9") == 0
        row = claimed.get(timeout=20)
        wait_until(lambda: requests(receiver)[0].state == "answered")
    elsewhere, later = receiver.jobs
    assert elsewhere.arguments == (row.id, 0)  # the 5 s job: its number has passed
    assert later.arguments == (row.id, row.attempts) == (row.id, 1)
    assert later.delay > elsewhere.delay


def test_a_request_for_more_instances_than_a_query_takes_is_answered(receiver):
    with receiver.database.read() as session:
        assert generations.studies_of(session, [f"1.2.{number}" for number in range(70_000)]) == []


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_senseless_commitment_requests_are_refused(receiver):
    with scanner(receiver, COMMITMENT_CONTEXT) as association:
        assert ask(association) == 0x0120
        assert ask(association, "1.2.3", action=2) == 0x0123
        assert ask(association, "1.2.3", transaction="1..2") == 0x0115
    assert requests(receiver) == []


def test_a_destinations_report_reaches_the_handler(receiver):
    report = CommitmentReport("1.2.3.7", (SopReference("1.2", "1.2.3.1"),), ((SopReference("1.2", "1.2.3.2"), 0x0112),))
    event_type, information = commitment_messages.event_information(report)
    entity = AE("PACS")
    entity.add_requested_context(*COMMITMENT_CONTEXT)
    role = build_role(STORAGE_COMMITMENT_PUSH, scp_role=True)
    association = entity.associate("127.0.0.1", receiver.port, ae_title="NODE", ext_neg=[role])
    assert association.is_established
    assert association.accepted_contexts[0].as_scp
    status, _ = association.send_n_event_report(
        information, event_type, STORAGE_COMMITMENT_PUSH, STORAGE_COMMITMENT_PUSH_INSTANCE
    )
    association.release()
    assert status.Status == 0
    assert receiver.reports == [("1.2.3.7", ["1.2.3.1"], [("1.2.3.2", 0x0112)])]
