"""Each act of the node leaves its message in the audit trail, and nothing of a patient in the log."""

from __future__ import annotations

import logging
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
import synthetic
from conftest import free_port, wait_until
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from receiver import Receiver, raw_store, running_receiver, scanner, with_changes

from dicom_node.audit.message import Message
from dicom_node.config import Config, Tls
from dicom_node.results.identity import MODEL_NAME

US_CONTEXT = (synthetic.US_IMAGE, ExplicitVRLittleEndian)


@pytest.fixture
def receiver(tmp_path: Path, sqlite_url: str):
    with running_receiver(tmp_path / "var", sqlite_url) as running:
        yield running


def told(receiver: Receiver) -> list[tuple[str, str, str, dict[str, int]]]:
    """Give event, study, patient and counts of each message."""
    return [
        (
            message.event.meaning,
            message.objects[0].identifier if message.objects else "",
            message.objects[1].identifier if len(message.objects) > 1 else "",
            dict(message.objects[0].sop_classes) if message.objects else {},
        )
        for message in receiver.audited
    ]


def test_an_association_tells_each_study_once_at_its_beginning_and_end(receiver, caplog):
    caplog.set_level(logging.DEBUG, "dicom_node")
    images = [synthetic.image(PatientID="PID-77", PatientName="Doe^Jane") for _ in range(3)]
    for number, image in enumerate(images):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.5.{number}"
    images[2].StudyInstanceUID, images[2].PatientID = "1.2.3.4", "Jäger 8"
    images[2].SpecificCharacterSet = "ISO_IR 192"
    with scanner(receiver, US_CONTEXT) as association:
        for image in images:
            assert association.send_c_store(image).Status == 0
    wait_until(lambda: len(receiver.audited) == 4)
    first, begin, transferred = (
        images[0].StudyInstanceUID,
        "Begin Transferring DICOM Instances",
        ("DICOM Instances Transferred"),
    )
    assert told(receiver)[:2] == [(begin, first, "PID-77", {}), (begin, "1.2.3.4", "Jäger 8", {})]
    assert sorted(told(receiver)[2:]) == sorted(
        [
            (transferred, first, "PID-77", {synthetic.US_IMAGE: 2}),
            (transferred, "1.2.3.4", "Jäger 8", {synthetic.US_IMAGE: 1}),
        ]
    )
    source, destination = receiver.audited[-1].participants
    assert (source.alternative_id, source.host, source.is_requestor) == ("AETITLES=SCANNER", "127.0.0.1", True)
    assert destination.alternative_id == "AETITLES=NODE"
    assert receiver.audited[-1].outcome == 0
    for secret in ("PID-77", "Jäger", "Doe"):
        assert secret not in caplog.text


def test_an_aborted_association_tells_what_came_and_how_it_ended(receiver):
    with scanner(receiver, US_CONTEXT) as association:
        assert association.send_c_store(synthetic.image()).Status == 0
        association.abort()
    wait_until(lambda: len(receiver.audited) == 2)
    assert receiver.audited[1].outcome == 4
    assert "abort" in receiver.audited[1].explanation


@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian])
def test_a_patient_id_is_read_in_every_encoding(receiver, syntax):
    with scanner(receiver, (synthetic.US_IMAGE, syntax)) as association:
        image = synthetic.image(PatientID="PID-1")
        image.file_meta.TransferSyntaxUID = syntax
        assert association.send_c_store(image).Status == 0
    wait_until(lambda: len(receiver.audited) == 2)
    assert [patient for _, _, patient, _ in told(receiver)] == ["PID-1", "PID-1"]


def test_what_cannot_be_read_is_told_as_unknown(receiver):
    with scanner(receiver, US_CONTEXT) as association:
        assert raw_store(association, b"\xff" * 100)[0] == 0
    wait_until(lambda: len(receiver.audited) == 2)
    assert [entry[1:3] for entry in told(receiver)] == [("unknown", "unknown")] * 2


def test_an_echo_is_no_event(receiver):
    with scanner(receiver, ("1.2.840.10008.1.1", ExplicitVRLittleEndian)) as association:
        assert association.send_c_echo().Status == 0
    wait_until(lambda: [row.outcome for row in receiver.associations()] == ["released"])
    assert receiver.audited == []


def test_who_is_not_let_in_is_an_alert(receiver):
    with scanner(receiver, US_CONTEXT, ae_title="INTRUDER") as association:
        assert association.is_rejected
    wait_until(lambda: receiver.audited)
    (alert,) = receiver.audited
    assert (alert.event.meaning, alert.types[0].meaning) == ("Security Alert", "Node Authentication")
    assert alert.participants[0].user_id == "INTRUDER"
    assert "unknown" in alert.explanation


def test_our_own_results_coming_back_are_one_alert(receiver):
    with scanner(receiver, US_CONTEXT) as association:
        for _ in range(3):
            own = synthetic.image(ManufacturerModelName=MODEL_NAME, ImageType=["DERIVED", "SECONDARY"])
            assert association.send_c_store(own).Status == 0x0124
    wait_until(lambda: receiver.associations()[0].outcome == "released")
    (alert,) = receiver.audited
    assert alert.types[0].meaning == "Use of Restricted Function"
    assert alert.participants[0].user_id == "SCANNER"


def test_who_has_no_certificate_is_an_alert_and_who_only_knocks_is_none(tmp_path, sqlite_url):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run(command, check=True, capture_output=True)
    tls = Tls(port=free_port(), cert=cert, key=key, ca=cert)

    def change(config: Config) -> Config:
        return with_changes(config, "dicom", tls=tls)

    with running_receiver(tmp_path / "var", sqlite_url, change=change) as receiver:
        socket.create_connection(("127.0.0.1", tls.port)).close()
        context = ssl.create_default_context(cafile=str(cert))
        with (
            socket.create_connection(("127.0.0.1", tls.port), timeout=10) as wire,
            pytest.raises(ssl.SSLError),
            context.wrap_socket(wire, server_hostname="localhost") as encrypted,
        ):
            encrypted.recv(1)
        wait_until(lambda: receiver.audited)
        messages: list[Message] = list(receiver.audited)
    assert [message.types[0].meaning for message in messages] == ["Node Authentication"]
    assert messages[0].participants[0].host == "127.0.0.1"
    assert messages[0].explanation.startswith("no TLS connection")
