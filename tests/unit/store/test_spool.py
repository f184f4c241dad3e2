import contextlib
import errno
import hashlib
import os
from datetime import UTC, datetime, timedelta

import pydicom
import pytest

from dicom_node.errors import SpoolFull
from dicom_node.store.part10 import data_set_offset, file_meta
from dicom_node.store.spool import Spool, is_intact, remove_unknown

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
META = file_meta("1.2.840.10008.5.1.4.1.1.6.1", "1.2.3", "1.2.840.10008.1.2.1", "SCANNER")
DATA = b"\x08\x00\x60\x00CS\x02\x00US"


def spool_in(folder, **options):
    return Spool(folder, "receiver-1", min_free_bytes=lambda: 0, **options)


def keep(spool, data=DATA):
    with spool.begin(META, NOW) as part:
        part.write(data)
        file = part.finish()
        spool.flush([part])
    return file


def test_a_kept_file_is_a_dicom_file_with_the_bytes_as_they_came(tmp_path):
    file = keep(spool_in(tmp_path))
    stored = tmp_path / file.path
    assert file.path.startswith("instances/2026-01-02/")
    assert (file.sha256, file.size_bytes) == (hashlib.sha256(DATA).hexdigest(), len(DATA))
    assert stored.read_bytes() == META + DATA
    assert data_set_offset(META[:144]) == len(META)
    read = pydicom.dcmread(stored)
    assert read.Modality == "US"
    assert read.file_meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert read.file_meta.SourceApplicationEntityTitle == "SCANNER"


def test_reading_back_notices_every_damage(tmp_path):
    file = keep(spool_in(tmp_path))
    stored = tmp_path / file.path
    assert is_intact(tmp_path, file.path, file.sha256)
    stored.write_bytes(META + DATA[:-1])
    assert not is_intact(tmp_path, file.path, file.sha256)
    stored.write_bytes(b"")
    assert not is_intact(tmp_path, file.path, file.sha256)
    stored.unlink()
    assert not is_intact(tmp_path, file.path, file.sha256)


def test_what_is_not_finished_leaves_nothing(tmp_path):
    spool = spool_in(tmp_path)
    with contextlib.suppress(ConnectionError), spool.begin(META, NOW) as part:
        part.write(DATA)
        raise ConnectionError
    assert not [entry for entry in tmp_path.rglob("*") if entry.is_file()]


def test_the_parts_of_a_dead_process_of_that_name_are_removed_and_no_others(tmp_path):
    for name in ("receiver-1", "receiver-2"):
        (tmp_path / "spool" / name).mkdir(parents=True)
        (tmp_path / "spool" / name / "part").write_bytes(b"half")
    spool_in(tmp_path)
    assert [path.parent.name for path in tmp_path.rglob("part")] == ["receiver-2"]


def test_too_little_room_is_said_before_anything_is_written(tmp_path):
    spool = Spool(tmp_path, "r", min_free_bytes=lambda: 6_000_000_000, free_bytes=lambda _: 1_000_000_000)
    with pytest.raises(SpoolFull, match=r"5\.0 GB less is free"):
        spool.begin(META, NOW)


@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_a_disk_that_fills_up_half_way_is_told_and_leaves_nothing(tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    spool = spool_in(tmp_path)
    part = spool.begin(META, NOW)
    monkeypatch.setattr(os, call, full)
    with pytest.raises(SpoolFull), part:
        _write_and_finish(part)
    assert not [entry for entry in tmp_path.rglob("*") if entry.is_file()]


def _write_and_finish(part):
    part.write(DATA)
    part.finish()
    part.flush()


def test_a_flush_that_failed_once_is_never_called_a_success(tmp_path, monkeypatch):
    answers = iter([OSError(errno.EIO, "Input/output error"), None])

    def told_once(_descriptor):
        if error := next(answers):
            raise error

    spool = spool_in(tmp_path)
    with spool.begin(META, NOW) as part:
        part.write(DATA)
        part.finish()
        monkeypatch.setattr(os, "fdatasync", told_once)
        for _ in range(2):
            with pytest.raises(OSError, match="Input/output error"):
                spool.flush([part])
    assert not [entry for entry in tmp_path.rglob("*") if entry.is_file()]


def test_the_whole_data_set_can_be_looked_at_before_it_is_finished(tmp_path):
    with spool_in(tmp_path).begin(META, NOW) as part:
        part.write(DATA)
        with part.data_set() as whole:
            assert bytes(whole) == DATA


def test_files_without_a_row_are_removed_once_they_are_old(tmp_path):
    spool = spool_in(tmp_path)
    known, orphan, young = keep(spool), keep(spool), keep(spool)
    for file in (known, orphan):
        os.utime(tmp_path / file.path, (NOW.timestamp() - 7200, NOW.timestamp() - 7200))
    os.utime(tmp_path / young.path, (NOW.timestamp(), NOW.timestamp()))
    removed = remove_unknown(tmp_path, known.path.__eq__, older_than=timedelta(hours=1), now=NOW)
    assert removed == 1
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.dcm")} == {known.path, young.path}
