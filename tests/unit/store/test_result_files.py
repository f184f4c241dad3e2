from __future__ import annotations

import os
import time
from pathlib import Path

from dicom_node.store.result_files import fault, write_result

STUDY = "1.2.3"


def test_the_same_bytes_are_one_file(tmp_path: Path) -> None:
    first, second = (write_result(tmp_path, STUDY, 1, b"object") for _ in range(2))
    assert first == second
    assert (tmp_path / first.path).read_bytes() == b"object"
    assert [file.name for file in (tmp_path / first.path).parent.iterdir()] == [Path(first.path).name]


def test_other_bytes_disturb_no_file(tmp_path: Path) -> None:
    first, second = write_result(tmp_path, STUDY, 1, b"object"), write_result(tmp_path, STUDY, 1, b"another")
    assert first.path != second.path
    assert (tmp_path / first.path).read_bytes() == b"object"


def test_nothing_of_a_uid_reaches_a_file_name(tmp_path: Path) -> None:
    stored = write_result(tmp_path, "../../etc/passwd", 1, b"object")
    assert (tmp_path / stored.path).resolve().is_relative_to(tmp_path.resolve())
    assert "etc" not in stored.path


def test_a_damaged_file_is_written_anew(tmp_path: Path) -> None:
    stored = write_result(tmp_path, STUDY, 1, b"object")
    (tmp_path / stored.path).write_bytes(b"obj")
    assert fault(tmp_path, stored.path, stored.sha256) == "the stored file is damaged: its digest has changed"
    write_result(tmp_path, STUDY, 1, b"object")
    assert fault(tmp_path, stored.path, stored.sha256) is None


def test_an_absent_file_is_told(tmp_path: Path) -> None:
    assert fault(tmp_path, "results/x", "0") == "the stored file cannot be read: No such file or directory"


def test_a_file_that_is_taken_into_use_again_is_young_again(tmp_path: Path) -> None:
    file = tmp_path / write_result(tmp_path, STUDY, 1, b"object").path
    os.utime(file, (0, 0))  # what retention would take for a stray
    write_result(tmp_path, STUDY, 1, b"object")
    assert time.time() - file.stat().st_mtime < 60
