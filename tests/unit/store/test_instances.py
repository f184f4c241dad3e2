import contextlib
import itertools
from datetime import UTC, datetime, timedelta

import pytest

from dicom_node.store import associations
from dicom_node.store.database import Database
from dicom_node.store.instances import Arrival, InstanceLog, InstanceState, has_path
from dicom_node.store.spool import StoredFile
from dicom_node.store.tables import AssociationRow, GenerationRow, InstanceRow, StudyRow

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
STUDY = "1.2.3"
_file_names = itertools.count()


@pytest.fixture
def database(sqlite_url):
    it = Database(sqlite_url)
    it.upgrade()
    with it.write() as session:
        associations.opened(session, associations.Entry("r", "A", "B", "h", (), None), NOW)
    yield it
    it.close()


def arrival(uid="1.2.3.1", digest="a", study=STUDY, fault=None, after_s=0, *, association=1):
    file = StoredFile(f"instances/{next(_file_names)}.dcm", digest * 64, 10)
    at = NOW + timedelta(seconds=after_s)
    return Arrival(uid, "1.2", study, "1.2.3.9", "1.2.840", file, association, "SCANNER", fault, at)


def record(database, *arrivals, log=None, exists=True):
    with database.write_rows() as connection:
        return (log or InstanceLog(lambda *_: exists)).record(connection, arrivals)


def all_rows(database, table):
    with database.read() as session:
        return session.query(table).all()


def test_a_batch_opens_one_generation_for_each_study_and_one_timer(database):
    outcomes = record(database, arrival("1.1"), arrival("1.2"), arrival("1.3", study="1.9"))
    assert [outcome.state for outcome in outcomes] == [InstanceState.STORED] * 3
    assert [outcome.timer.study_instance_uid if outcome.timer else None for outcome in outcomes] == [STUDY, None, "1.9"]
    assert {(row.study_instance_uid, row.number) for row in all_rows(database, GenerationRow)} == {
        (STUDY, 1),
        ("1.9", 1),
    }
    assert {row.scanner_ae_title for row in all_rows(database, StudyRow)} == {"SCANNER"}


def test_the_same_bytes_twice_in_one_batch_are_one_row(database):
    first, second = record(database, arrival(), arrival())
    assert (first.is_kept, second.is_kept) == (True, False)
    assert len(all_rows(database, InstanceRow)) == 1


def test_a_commit_whose_answer_was_lost_is_made_again_and_keeps_its_file(database):
    once = arrival()  # one file: not the same bytes sent once more
    assert record(database, once)[0].is_kept
    assert record(database, once)[0].is_kept
    assert len(all_rows(database, InstanceRow)) == 1


def test_a_repetition_counts_as_traffic_of_a_receiving_generation_only(database):
    log = InstanceLog(lambda *_: True)
    record(database, arrival(), log=log)
    record(database, arrival(after_s=5), log=log)
    assert all_rows(database, GenerationRow)[0].last_received_at == NOW + timedelta(seconds=5)
    with database.write() as session:
        session.query(GenerationRow).one().state = "closed"
    record(database, arrival(after_s=9), log=log)
    (generation,) = all_rows(database, GenerationRow)
    assert (generation.number, generation.last_received_at) == (1, NOW + timedelta(seconds=5))


def test_other_bytes_conflict_with_what_is_stored_but_not_with_what_is_quarantined(database):
    assert record(database, arrival(digest="a", fault="cut short"))[0].state is InstanceState.QUARANTINED
    assert record(database, arrival(digest="b"))[0].state is InstanceState.STORED
    assert record(database, arrival(digest="c"))[0].state is InstanceState.CONFLICT


def test_without_a_usable_study_there_is_no_generation(database):
    assert record(database, arrival(study=None, fault="no Study Instance UID"))[0].timer is None
    (row,) = all_rows(database, InstanceRow)
    assert (row.study_instance_uid, row.generation, row.reason) == (None, None, "no Study Instance UID")
    assert all_rows(database, GenerationRow) == []


def test_new_bytes_take_the_place_of_a_file_that_is_gone(database):
    record(database, arrival())
    new = arrival()
    (again,) = record(database, new, exists=False)
    assert again.is_kept
    with database.read() as session:
        assert has_path(session, new.file.path)
        assert not has_path(session, "instances/other")


def test_what_a_rolled_back_transaction_remembered_does_no_harm(database):
    log = InstanceLog(lambda *_: True)
    with contextlib.suppress(RuntimeError), database.write_rows() as connection:
        log.record(connection, [arrival()])
        raise RuntimeError
    (outcome,) = record(database, arrival(), log=log)
    assert outcome.timer is not None
    assert [(row.number, row.state) for row in all_rows(database, GenerationRow)] == [(1, "receiving")]


def test_a_repetition_through_another_receiver_counts_as_traffic_and_holds_its_study_open(database):
    record(database, arrival())
    with database.write() as session:
        session.query(AssociationRow).one().outcome = associations.RELEASED
        new = associations.opened(session, associations.Entry("s", "A", "B", "h", (), None), NOW)
    assert not record(database, arrival(after_s=5, association=new))[0].is_kept
    (generation,) = all_rows(database, GenerationRow)
    assert generation.last_received_at == NOW + timedelta(seconds=5)
    with database.read() as session:
        assert associations.is_delivering(session, STUDY)


def test_a_repetition_of_an_earlier_generation_counts_for_the_one_that_is_receiving(database):
    record(database, arrival())
    with database.write() as session:
        session.query(GenerationRow).one().state = "analysed"
    record(database, arrival("1.2.3.2", after_s=5))
    record(database, arrival(after_s=9))
    assert [row.last_received_at for row in all_rows(database, GenerationRow)] == [NOW, NOW + timedelta(seconds=9)]


def test_bytes_that_retention_removed_are_stored_again_when_they_are_sent_again(database):
    record(database, arrival("1.1"), arrival("1.1", digest="b"))
    with database.write() as session:
        for row in session.query(InstanceRow):
            row.state, row.reason = InstanceState.REMOVED, "the image was removed by retention"
    new = arrival("1.1", after_s=9)
    (again,) = record(database, new)
    assert (again.is_kept, again.state) == (True, InstanceState.STORED)
    row = all_rows(database, InstanceRow)[0]
    assert (row.state, row.reason, row.path, row.received_at) == ("stored", None, new.file.path, new.received_at)
    (other,) = record(database, arrival("1.1", digest="b"))
    assert (other.is_kept, other.state) == (True, InstanceState.CONFLICT)
    assert len(all_rows(database, InstanceRow)) == 2


def test_no_row_speaks_of_the_file_of_an_image_that_was_removed(database):
    kept = arrival()
    record(database, kept)
    with database.write() as session:
        session.query(InstanceRow).one().state = InstanceState.REMOVED
    with database.read() as session:
        assert not has_path(session, kept.file.path)
