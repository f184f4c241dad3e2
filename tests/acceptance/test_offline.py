"""`dicom-node analyse FILE... --out DIR`: the same objects as the node sends, without a network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pydicom
import pytest
from PIL import Image
from pydicom.uid import JPEGBaseline8Bit
from running import FINDINGS_SR, SECONDARY_CAPTURE, cli, environment, evidence_of, phantom_studies, sop_uid_of

pytestmark = pytest.mark.slow

#: Loaded before anything else in the process: whoever turns to the network fails and is named. Port 0 on loopback is
#: how a library asks whether the machine knows IPv6.
NO_NETWORK = """
import socket, sys

def refuse(event, arguments):
    asks = event == "socket.bind" and arguments[1][:2] == ("::1", 0)
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto") and not asks:
        sys.stderr.write(f"NETWORK {event} {arguments[1:]}\\n")
        raise PermissionError("no network here")

sys.addaudithook(refuse)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [file for study in phantom_studies(tmp_path_factory.mktemp("phantoms")) for file in study]


@pytest.fixture(scope="module")
def written(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Analyse the phantoms in a process that can reach no network; gives the folder of what was written."""
    folder = tmp_path_factory.mktemp("offline")
    (folder / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    command = [sys.executable, "-m", "dicom_node", "analyse", *map(str, files), "--out", str(folder / "out")]
    project = str(Path(__file__).parents[2])
    outcome = subprocess.run(
        command,
        cwd=folder,
        env=environment(PYTHONPATH=f"{folder}:{project}"),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "NETWORK" not in outcome.stderr
    return folder / "out"


def test_each_study_gets_reports_captures_and_pictures(files: list[Path], written: Path) -> None:
    studies: dict[str, set[str]] = {}
    for file in files:
        ds = pydicom.dcmread(file, stop_before_pixels=True)
        studies.setdefault(ds.StudyInstanceUID, set()).add(ds.SOPInstanceUID)
    assert {folder.name for folder in written.iterdir()} == set(studies)
    for uid, instances in studies.items():
        objects = [pydicom.dcmread(file) for file in sorted((written / uid).glob("*.dcm"))]
        assert {ds.StudyInstanceUID for ds in objects} == {uid}
        assert {ds.SOPClassUID for ds in objects} == {FINDINGS_SR, SECONDARY_CAPTURE}
        reports = [ds for ds in objects if ds.SOPClassUID == FINDINGS_SR]
        assert {name for report in reports for name in evidence_of(report)} == instances


def test_a_picture_shows_what_its_capture_shows(written: Path) -> None:
    captures = sorted(written.glob("*/*_secondary_capture.dcm"))
    assert captures
    for capture in captures:
        ds = pydicom.dcmread(capture)
        with Image.open(capture.with_suffix(".png")) as picture:
            assert picture.size == (ds.Columns, ds.Rows)
            assert picture.convert("RGB").tobytes() == ds.PixelData[: ds.Rows * ds.Columns * 3]


def test_dciodvfy_accepts_every_object(written: Path) -> None:
    for file in sorted(written.glob("*/*.dcm")):
        outcome = subprocess.run(["dciodvfy", "-new", str(file)], capture_output=True, text=True, check=False)
        assert outcome.returncode == 0, f"{file.name}: {outcome.stderr}"
        assert "Error" not in outcome.stderr, f"{file.name}: {outcome.stderr}"


@pytest.mark.parametrize(
    ("kind", "title"),
    [("findings_sr", "Imaging Measurement Report"), ("biometry_sr", "OB-GYN Ultrasound Procedure Report")],
)
def test_dcmtk_reads_every_report(written: Path, kind: str, title: str) -> None:
    reports = sorted(written.glob(f"*/*_{kind}.dcm"))
    assert reports
    for file in reports:
        outcome = subprocess.run(["/usr/bin/dsrdump", "-Ee", str(file)], capture_output=True, text=True, check=False)
        assert outcome.returncode == 0, f"{file.name}: {outcome.stderr}"
        assert title in outcome.stdout


def test_the_network_is_really_guarded(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    outcome = subprocess.run(
        [sys.executable, "-c", "import socket; socket.create_connection(('127.0.0.1', 9))"],
        env=environment(PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode != 0
    assert "NETWORK" in outcome.stderr


def test_what_is_no_dicom_file_is_named_and_the_rest_analysed(files: list[Path], tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear colleague", encoding="utf-8")
    outcome = cli("analyse", files[0], letter, "--out", tmp_path / "out", "--json")
    assert outcome.returncode == 0, outcome.stderr
    assert "letter.txt" in outcome.stdout
    (report,) = (tmp_path / "out").glob("*/*_findings_sr.dcm")
    assert evidence_of(pydicom.dcmread(report)) == [sop_uid_of(files[0])]


def test_what_was_said_of_a_study_is_not_looked_at_and_other_answers_have_other_uids(
    files: list[Path], tmp_path: Path
) -> None:
    """Analyse a study as it comes back from the PACS: with all results of the time before."""
    assert cli("analyse", files[0], "--out", tmp_path / "first").returncode == 0
    before = sorted((tmp_path / "first").glob("*/*.dcm"))
    outcome = cli("analyse", files[0], *before, "--out", tmp_path / "second")
    assert outcome.returncode == 0, outcome.stderr
    assert "a result of this software" in outcome.stdout
    (report,) = (tmp_path / "second").glob("*/*_findings_sr.dcm")
    assert evidence_of(pydicom.dcmread(report)) == [sop_uid_of(files[0])]
    after = sorted((tmp_path / "second").glob("*/*.dcm"))
    assert {sop_uid_of(it) for it in before}.isdisjoint(sop_uid_of(it) for it in after)


def test_objects_are_written_as_a_destination_wants_them(files: list[Path], tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    pacs = "{name: pacs, ae_title: P, host: h, port: 1, capture_modality: US, encoding: jpeg}"
    config.write_text(f"destinations: [{pacs}]\n", encoding="utf-8")
    wishes = ("--destination", "pacs", "--objects", "secondary_capture,presentation_state")
    outcome = cli("analyse", files[0], "--out", tmp_path / "out", "--config", config, *wishes)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    written = sorted((tmp_path / "out").glob("*/*.dcm"))
    assert {path.stem[3:] for path in written} == {"secondary_capture", "presentation_state"}
    for path in written:
        if path.stem.endswith("capture"):
            ds = pydicom.dcmread(path)
            assert (ds.Modality, ds.file_meta.TransferSyntaxUID) == ("US", JPEGBaseline8Bit)
            with Image.open(path.with_suffix(".png")) as picture:
                assert picture.size == (ds.Columns, ds.Rows)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (
            ("--objects", "findings_sr,pdf"),
            "--objects findings_sr,pdf: name kinds once each, of findings_sr, biometry_sr",
        ),
        (("--destination", "nobody"), "no destination is named 'nobody'"),
    ],
)
def test_an_unknown_kind_or_destination_is_a_sentence(tmp_path: Path, option: tuple[str, str], said: str) -> None:
    file = tmp_path / "anything.dcm"
    file.write_bytes(b"")
    outcome = cli("analyse", file, "--out", tmp_path / "out", *option)
    assert outcome.returncode != 0
    assert said in outcome.stderr.replace("\n", " ")
    assert "Traceback" not in outcome.stderr


def test_a_path_that_does_not_exist_is_a_sentence(tmp_path: Path) -> None:
    outcome = cli("analyse", tmp_path / "nowhere.dcm", "--out", tmp_path / "out")
    assert outcome.returncode == 1
    assert "nowhere.dcm does not exist" in outcome.stderr.replace("\n", "")
    assert "Traceback" not in outcome.stderr
