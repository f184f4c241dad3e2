"""`dicom-node demo`: the main job on one machine, in less than three minutes, told as it goes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pydicom
import pytest
from conftest import run_orthanc
from PIL import Image
from running import (
    FINDINGS_SR,
    SECONDARY_CAPTURE,
    STATES,
    archived,
    cli,
    phantom_studies,
    study_uid_of,
    without_network,
)

pytestmark = pytest.mark.slow


def test_the_demo_moves_three_studies_to_committed_and_asks_nobody_else_for_anything(tmp_path: Path) -> None:
    out, counts = tmp_path / "demo", tmp_path / "counts.json"
    begun = time.monotonic()
    outcome = cli("demo", "--out", out, timeout_s=240, within=without_network(counts))
    took_s = time.monotonic() - begun
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    said = outcome.stdout
    assert took_s < 180
    for title in ("First-trimester scan", "Second-trimester biometry", "One sound still, one undecodable cine"):
        (row,) = {line for line in said.splitlines() if title in line and "✔" in line}
        assert row.count("✔") == len(STATES)
    assert "investigational" in said
    for place in (out / "pacs", out / "previews", out / "var", out / "node.log"):
        assert str(place) in said.replace("\n", "")
        assert place.exists()
    held = [pydicom.dcmread(file) for file in (out / "pacs").glob("*.dcm")]
    assert {ds.SOPClassUID for ds in held} == {FINDINGS_SR, SECONDARY_CAPTURE}
    assert len({ds.StudyInstanceUID for ds in held}) == 3
    assert f"holds {len(held)} objects" in said
    pictures = list((out / "previews").glob("*.png"))
    assert len(pictures) == sum(ds.SOPClassUID == SECONDARY_CAPTURE for ds in held)
    for picture in pictures:
        with Image.open(picture) as image:
            image.verify()
    assert json.loads(counts.read_text()) == {"IPv4": 0, "IPv6": 0}


@pytest.mark.parametrize(
    ("attempt", "version"),
    [
        ("socket.socket().connect_ex(('192.0.2.1', 104))", "IPv4"),
        ("socket.socket(type=socket.SOCK_DGRAM).connect_ex(('192.0.2.1', 53))", "IPv4"),
        ("socket.socket(socket.AF_INET6).connect_ex(('2001:db8::1', 443))", "IPv6"),
    ],
)
def test_whoever_asks_somebody_else_is_counted(tmp_path: Path, attempt: str, version: str) -> None:
    counts = tmp_path / "counts.json"
    command = [*without_network(counts), sys.executable, "-c", f"import socket; {attempt}"]
    subprocess.run(command, check=True)
    assert json.loads(counts.read_text())[version] == 1


def test_the_demo_with_ones_own_files_and_pacs(tmp_path: Path) -> None:
    files = phantom_studies(tmp_path / "own")[1][:2]
    with run_orthanc(tmp_path / "orthanc") as orthanc:
        pacs = f"{orthanc.ae_title}@127.0.0.1:{orthanc.port}"
        outcome = cli(
            *("demo", *files, "--pacs", pacs, "--port", orthanc.node_port, "--out", tmp_path / "demo"), timeout_s=240
        )
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr
        assert archived(orthanc, study_uid_of(files[0]), FINDINGS_SR)
        assert archived(orthanc, study_uid_of(files[0]), SECONDARY_CAPTURE)
    assert f"The results lie in {orthanc.ae_title} at 127.0.0.1:{orthanc.port}" in outcome.stdout
    assert f"{len(files)}/{len(files)}" in outcome.stdout


def test_the_demo_of_nothing_is_a_sentence(tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear colleague", encoding="utf-8")
    outcome = cli("demo", letter, "--out", tmp_path / "demo")
    assert outcome.returncode == 1
    assert "none of the files is a DICOM instance of a study" in outcome.stderr.replace("\n", " ")
