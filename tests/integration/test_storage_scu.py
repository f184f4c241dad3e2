"""Sending against a PACS that misbehaves: every object has its own outcome, in plain words, and nothing hangs."""

from __future__ import annotations

import ssl
import subprocess
import time
from pathlib import Path

import pydicom
import pytest
from conftest import free_port
from fake_pacs import FakePacs
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

from dicom_node.config import Tls
from dicom_node.dimse.peer import Peer, Proposal, Timeouts, associate, echo
from dicom_node.dimse.storage_scu import Outcome, check_contexts, send_instances
from dicom_node.errors import PermanentDeliveryError, TransientDeliveryError

SR = "1.2.840.10008.5.1.4.1.1.88.33"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
QUICK = Timeouts(connect_s=1, acse_s=1, dimse_s=1, network_s=1)


def make_file(
    folder: Path, sop_class: str = SR, syntax: UID = ExplicitVRLittleEndian, payload: bytes | None = None
) -> Path:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = sop_class
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.PatientName = "Test^Sending"
    if payload is not None:
        ds.EncapsulatedDocument = payload
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


def uid_of(path: Path) -> str:
    return str(pydicom.dcmread(path).SOPInstanceUID)


def send(pacs: FakePacs, *paths: Path, timeouts: Timeouts = QUICK) -> list[Outcome]:
    return send_instances(Peer(pacs.ae_title, "127.0.0.1", pacs.port), "DICOM_NODE", paths, timeouts)


def test_a_file_that_is_not_dicom_is_told_in_our_words(tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear colleague")
    with FakePacs() as pacs:
        letter_outcome, outcome = send(pacs, letter, make_file(tmp_path))
    assert str(letter_outcome.error) == "letter.txt is not a DICOM file: it does not begin as one (PS3.10 7.1)"
    assert outcome.error is None


def test_everything_goes_on_one_association(tmp_path: Path) -> None:
    files = [make_file(tmp_path), make_file(tmp_path, CAPTURE), make_file(tmp_path)]
    with FakePacs() as pacs:
        outcomes = send(pacs, *files)
        assert pacs.associations == 1
    assert [outcome.status for outcome in outcomes] == [0, 0, 0]
    assert [outcome.path for outcome in outcomes] == files
    assert pacs.received == [uid_of(file) for file in files]


def test_the_stored_bytes_arrive_unchanged(tmp_path: Path) -> None:
    file = make_file(tmp_path, payload=bytes(range(256)) * 4096)
    with FakePacs() as pacs:
        send(pacs, file)
    assert pacs.held[uid_of(file)].EncapsulatedDocument == bytes(range(256)) * 4096
    assert pacs.held[uid_of(file)].file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_a_peer_that_knows_only_implicit_vr_gets_it(tmp_path: Path) -> None:
    file = make_file(tmp_path)
    with FakePacs(transfer_syntaxes=[ImplicitVRLittleEndian]) as pacs:
        (outcome,) = send(pacs, file)
    assert outcome.error is None
    assert pacs.held[uid_of(file)].PatientName == "Test^Sending"


def test_compressed_objects_are_never_changed_to_fit(tmp_path: Path) -> None:
    compressed, plain = make_file(tmp_path, CAPTURE, JPEGBaseline8Bit), make_file(tmp_path, CAPTURE)
    with FakePacs() as pacs:
        outcomes = send(pacs, compressed, plain)
    assert isinstance(outcomes[0].error, PermanentDeliveryError)
    assert "Secondary Capture Image Storage in JPEG Baseline" in str(outcomes[0].error)
    assert outcomes[1].error is None


def test_no_acceptable_context_is_final(tmp_path: Path) -> None:
    with FakePacs(only_classes=[CAPTURE]) as pacs:
        (outcome,) = send(pacs, make_file(tmp_path, SR))
    assert isinstance(outcome.error, PermanentDeliveryError)
    assert "accepted none of the proposed presentation contexts" in str(outcome.error)


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (0xA700, TransientDeliveryError, "A700: it is out of resources"),
        (0xA702, TransientDeliveryError, "A702: it is out of resources"),
        (0xA900, PermanentDeliveryError, "A900: the data set does not match its SOP class"),
        (0xC123, PermanentDeliveryError, "C123: it cannot understand the data set"),
        (0x0110, TransientDeliveryError, "0110: it failed while processing"),
        (0x0122, PermanentDeliveryError, "0122: it does not support the SOP class"),
        (0x0124, PermanentDeliveryError, "0124: it does not allow us to store"),
    ],
)
def test_each_status_means_one_thing(tmp_path: Path, status: int, error: type, words: str) -> None:
    with FakePacs(statuses=[(status, "disk 3 of 4")]) as pacs:
        first, second = send(pacs, make_file(tmp_path), make_file(tmp_path))
    assert type(first.error) is error
    assert words in str(first.error)
    assert "(disk 3 of 4)" in str(first.error)
    assert first.status == status
    assert second.error is None


def test_a_warning_is_acceptance_with_a_remark(tmp_path: Path) -> None:
    with FakePacs(statuses=[0xB000]) as pacs:
        (outcome,) = send(pacs, make_file(tmp_path))
    assert outcome.error is None
    assert outcome.comment == "accepted with B000: some elements were coerced"


def test_a_peer_that_refuses_duplicates_holds_what_we_sent_before_a_crash(tmp_path: Path) -> None:
    file = make_file(tmp_path)
    with FakePacs(refuses_duplicates=True) as pacs:
        (first,) = send(pacs, file)
        (second,) = send(pacs, file)
    assert (first.status, first.error, second.status, second.error) == (0x0000, None, 0x0111, None)
    assert second.comment == "accepted with 0111: it has this SOP instance already"


def test_nobody_listens() -> None:
    with pytest.raises(TransientDeliveryError, match="could not be reached"):
        echo(Peer("NOBODY", "127.0.0.1", free_port()), "DICOM_NODE", QUICK)


def test_a_host_that_has_no_address() -> None:
    with pytest.raises(TransientDeliveryError, match="no-such-host"):
        echo(Peer("NOBODY", "no-such-host.invalid", 104), "DICOM_NODE", QUICK)


def test_echo() -> None:
    with FakePacs() as pacs:
        echo(Peer(pacs.ae_title, "127.0.0.1", pacs.port), "DICOM_NODE", QUICK)


def test_a_wrong_ae_title_is_final(tmp_path: Path) -> None:
    with FakePacs(known_callers=["SOMEBODY"]) as pacs:
        (outcome,) = send(pacs, make_file(tmp_path))
    assert isinstance(outcome.error, PermanentDeliveryError)
    assert "it does not know our AE title" in str(outcome.error)


def test_a_busy_peer_is_tried_later(tmp_path: Path) -> None:
    with FakePacs(maximum_associations=1) as pacs:
        verification = [Proposal("1.2.840.10008.1.1", (str(ImplicitVRLittleEndian),))]
        with associate(Peer(pacs.ae_title, "127.0.0.1", pacs.port), "OTHER", verification, QUICK):
            (outcome,) = send(pacs, make_file(tmp_path))
    assert isinstance(outcome.error, TransientDeliveryError)
    assert "limit of associations" in str(outcome.error)


def test_an_abort_in_mid_object_spares_what_went_before(tmp_path: Path) -> None:
    files = [make_file(tmp_path) for _ in range(3)]
    with FakePacs(abort_at=2) as pacs:
        outcomes = send(pacs, *files)
    assert outcomes[0].error is None
    assert [type(outcome.error) for outcome in outcomes[1:]] == [TransientDeliveryError] * 2
    assert "aborted the association" in str(outcomes[1].error)
    assert "before this object's turn" in str(outcomes[2].error)


def test_a_silent_peer_is_given_up_in_time(tmp_path: Path) -> None:
    with FakePacs(stall_s=20) as pacs:
        begun = time.monotonic()
        (outcome,) = send(pacs, make_file(tmp_path))
        assert time.monotonic() - begun < 6
    assert isinstance(outcome.error, TransientDeliveryError)
    assert "did not answer within 1 s" in str(outcome.error)


def test_a_peer_that_stops_reading_is_given_up_in_time(tmp_path: Path) -> None:
    file = make_file(tmp_path, payload=bytes(40_000_000))
    with FakePacs(stop_reading=True) as pacs:
        begun = time.monotonic()
        (outcome,) = send(pacs, file)
        assert time.monotonic() - begun < 10
    assert isinstance(outcome.error, TransientDeliveryError)


def test_what_is_no_dicom_file_does_not_stop_the_others(tmp_path: Path) -> None:
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"not DICOM")
    with FakePacs() as pacs:
        outcomes = send(pacs, broken, make_file(tmp_path), tmp_path / "absent.dcm")
    assert [type(outcome.error).__name__ for outcome in outcomes] == [
        "PermanentDeliveryError",
        "NoneType",
        "PermanentDeliveryError",
    ]


@pytest.mark.filterwarnings("ignore::UserWarning")  # what pydicom remarks on damaged values
def test_a_file_cut_anywhere_in_its_meta_information_costs_only_itself(tmp_path: Path) -> None:
    sound = make_file(tmp_path)
    whole = sound.read_bytes()
    cuts = []
    for length in range(whole.index(b"1.2.840.10008.1.2.1\0")):  # the last thing it says: the transfer syntax
        cuts.append(tmp_path / f"{length:04}.dcm")
        cuts[-1].write_bytes(whole[:length])
    with FakePacs() as pacs:
        *outcomes, last = send(pacs, *cuts, sound)
    assert {type(outcome.error) for outcome in outcomes} == {PermanentDeliveryError}
    assert {outcome.path.name in str(outcome.error) for outcome in outcomes} == {True}
    assert last.error is None


def test_contexts_are_asked_for_one_by_one() -> None:
    kinds = [(SR, str(ExplicitVRLittleEndian)), (CAPTURE, str(JPEGBaseline8Bit))]
    with FakePacs() as pacs:
        answers = check_contexts(Peer(pacs.ae_title, "127.0.0.1", pacs.port), "DICOM_NODE", kinds, QUICK)
    assert list(answers.values()) == [True, False]


@pytest.fixture
def identity(tmp_path: Path) -> Tls:
    """Make a certificate that signs itself, so that it is its own authority."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=pacs -keyout {key} -out {cert}"
    subprocess.run([*command.split(), "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    return Tls(cert=cert, key=key, ca=cert)


def test_tls_with_certificates_on_both_sides(tmp_path: Path, identity: Tls) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(identity.ca))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(identity.cert, identity.key)
    with FakePacs(tls=context) as pacs:
        peer = Peer(pacs.ae_title, "127.0.0.1", pacs.port, tls=True, identity=identity)
        (trusted,) = send_instances(peer, "DICOM_NODE", [make_file(tmp_path)], QUICK)
        stranger = Peer(pacs.ae_title, "127.0.0.1", pacs.port, tls=True)
        (untrusted,) = send_instances(stranger, "DICOM_NODE", [make_file(tmp_path)], QUICK)
    assert trusted.error is None
    assert "TLS handshake failed" in str(untrusted.error)
    assert len(pacs.received) == 1
