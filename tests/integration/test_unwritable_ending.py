"""The end of an association whose row cannot be written holds its study open no longer than the database is away."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import synthetic
from conftest import wait_until
from pydicom.uid import ExplicitVRLittleEndian
from receiver import running_receiver, scanner
from sqlalchemy import text

from dicom_node.pipeline import intake
from dicom_node.store import associations

US_CONTEXT = (synthetic.US_IMAGE, ExplicitVRLittleEndian)


def test_it_is_tried_until_it_is_written(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "WRITE_AGAIN_AFTER_S", (0.01, 0.02))
    with running_receiver(tmp_path / "var", sqlite_url) as receiver:

        def is_delivering() -> bool:
            with receiver.database.read() as session:
                return associations.is_delivering(session, synthetic.STUDY_UID)

        with scanner(receiver, US_CONTEXT) as association:
            assert association.send_c_store(synthetic.image()).Status == 0
            with receiver.database.write() as session:
                session.execute(text("ALTER TABLE associations RENAME TO away"))
            association.abort()
        time.sleep(0.5)  # many more tries than there are pauses
        with receiver.database.write() as session:
            session.execute(text("ALTER TABLE away RENAME TO associations"))
        wait_until(lambda: not is_delivering(), 5, "the end of the association")
