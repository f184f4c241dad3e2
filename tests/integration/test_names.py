"""A patient's name in any character set, from DCMTK's storescu over the network to the objects that go to the PACS."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pydicom
import pytest
import synthetic as s
from receiver import running_receiver

from dicom_node.domain.result import ResultObject
from dicom_node.imaging.frames import one_frame, open_instance
from dicom_node.results.build import build_objects
from dicom_node.results.identity import NodeIdentity

STORESCU, DCIODVFY = "/usr/bin/storescu", "/usr/bin/dciodvfy"


@pytest.mark.parametrize(("charset", "name"), s.NAMES.items())
def test_a_name_reaches_report_and_capture(
    charset: str | tuple[str, ...], name: str, tmp_path: Path, sqlite_url: str
) -> None:
    character_set = list(charset) if isinstance(charset, tuple) else charset
    sent = s.write(s.image(SpecificCharacterSet=character_set, PatientName=name), tmp_path / "sent.dcm")
    assert name.encode("utf-8") not in sent.read_bytes() or charset == "ISO_IR 192"
    with running_receiver(tmp_path / "var", sqlite_url) as receiver:
        command = [STORESCU, "-aet", "SCANNER", "-aec", "NODE", "127.0.0.1", str(receiver.port), str(sent)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        (row,) = receiver.instances()
        stored = receiver.data_dir / row.path
    assert row.state == "stored"

    instance = open_instance(stored)
    frame = instance.reference(1)
    results = build_objects(
        s.analysis(s.findings(frame)), [instance.header], {frame: one_frame(stored, None)}, NodeIdentity("DICOM_NODE")
    )
    assert [result.kind for result in results] == [
        "findings_sr",
        "biometry_sr",
        "secondary_capture",
        "secondary_capture",
    ]
    for result in results:
        assert isinstance(result, ResultObject), result
        path = tmp_path / f"{result.kind}.dcm"
        path.write_bytes(result.part10)
        assert str(pydicom.dcmread(path).PatientName) == name
        verified = subprocess.run([DCIODVFY, "-new", path], check=False, capture_output=True, text=True, timeout=60)
        assert verified.returncode == 0, verified.stderr
