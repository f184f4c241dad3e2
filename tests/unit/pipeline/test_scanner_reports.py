"""What the sonographer measured goes with the study: from the scanner's files to the reports that answer them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
import synthetic as s
from pydicom import Dataset

from dicom_node.config import Config
from dicom_node.domain.finding import Classification, Finding
from dicom_node.domain.frame import Frame
from dicom_node.pipeline.examination import OTHER_PATIENT, Examiner, StoredInstance
from dicom_node.pipeline.offline import OfflineAnswer, analyse_files
from dicom_node.results import codes
from dicom_node.results.content_tree import children, content, name_of

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
PLANE = ((s.BRAIN_TT, 0.9), (s.OTHER, 0.1))


class Gate:
    """Calls every frame a brain."""

    name = "planes"

    def accepts(self, frame: Frame) -> bool:
        return True

    def predict(self, frames: Sequence[Frame]) -> list[Finding]:
        return [
            Classification(self.name, (it.reference,), "plane", s.IMAGE_VIEW, s.BRAIN_TT, "brain", PLANE)
            for it in frames
        ]


class Callipers:
    """Measures a fetus of 28 weeks in every frame."""

    name = "biometry"

    def accepts(self, frame: Frame) -> bool:
        return True

    def predict(self, frames: Sequence[Frame]) -> list[Finding]:
        return [measured for it in frames for measured in s.sizes(it.reference)]


def examiner() -> Examiner:
    return Examiner({"planes": Gate(), "biometry": Callipers()}, s.ALGORITHMS, {}, 4)


def three_heads() -> Dataset:
    """Three calliper values of the head, the second chosen; LMP 28 weeks ago; a private item; a value that is none."""
    broken = s.number_item(s.QUANTITIES["FL"], 5.0, "cm")
    del broken.MeasuredValueSequence
    heads = s.biometry_group(
        "HC", (27.1, "cm"), s.number_item(s.HEAD_CIRCUMFERENCE, 26.0, "cm", s.CHOSEN), (27.5, "cm")
    )
    private = s.number_item(s.Concept("P-1", "99VENDOR", "Something of our own"), 1.0, "mm")
    fetus = s.text_item(s.Concept("11951-1", "LN", "Fetus ID"), "A")
    return s.scanner_report(
        s.date_item(s.LMP, "20250620"), s.biometry_section(fetus, private, heads, s.biometry_group("FL", broken))
    )


def stored(tmp_path: Path, ds: Dataset) -> StoredInstance:
    return StoredInstance(str(ds.SOPInstanceUID), s.write(ds, tmp_path / f"{ds.SOPInstanceUID}.dcm"))


def answer(tmp_path: Path, *instances: Dataset) -> tuple[OfflineAnswer, dict[str, Dataset]]:
    """Analyse files and read the reports by kind."""
    files = [stored(tmp_path, ds).path for ds in instances]
    (answered,) = analyse_files(files, tmp_path / "out", examiner(), Config(), NOW)
    assert answered.quarantined == ()
    return answered, {kind: pydicom.dcmread(path) for kind, path in answered.written if kind.endswith("_sr")}


def texts(ds: Dataset) -> list[str]:
    return [str(it.TextValue) for it in content(ds, "TEXT") if name_of(it) == codes.COMMENT]


def test_the_difference_stands_beside_each_measurement(tmp_path: Path) -> None:
    scan = three_heads()
    answered, reports = answer(tmp_path, s.image(), scan)
    (measurements,) = children(reports["findings_sr"], codes.IMAGING_MEASUREMENTS)
    said = {
        name_of(number): texts(group)
        for group in children(measurements, codes.MEASUREMENT_GROUP)
        for number in group.ContentSequence
        if number.ValueType == "NUM"
    }
    assert said[s.QUANTITIES["HC"]] == [
        "sonographer's HC of fetus A: 260.0 mm (chosen of 3 values); AI less sonographer: +6.0 mm (+2.3 %)"
    ]
    assert said[s.QUANTITIES["AC"]] == []
    assert "AI less sonographer: +6.0 mm" in [entry["note"] for entry in answered.summary]


def test_the_dates_give_percentiles_and_the_fetus_keeps_its_name(tmp_path: Path) -> None:
    _, reports = answer(tmp_path, s.image(), three_heads())
    ranks = [it for it in content(reports["biometry_sr"], "NUM") if name_of(it) == codes.PERCENTILE_RANK]
    assert len(ranks) == 3  # HC, AC and FL; none of a BPD that is measured otherwise
    for ds in reports.values():
        names = {str(it.TextValue) for it in content(ds, "TEXT") if name_of(it) == codes.SUBJECT_ID}
        assert names == {"A"}


def test_the_scanners_report_is_evidence_and_was_analysed(tmp_path: Path) -> None:
    scan = three_heads()
    answered, reports = answer(tmp_path, s.image(), scan)
    assert not [entry for entry in answered.summary if entry["name"] == "not analysed"]
    for ds in reports.values():
        (study,) = ds.CurrentRequestedProcedureEvidenceSequence
        evidence = [it for series in study.ReferencedSeriesSequence for it in series.ReferencedSOPSequence]
        assert scan.SOPInstanceUID in [it.ReferencedSOPInstanceUID for it in evidence]


@pytest.mark.parametrize("fetuses", ["A", "AB"])
def test_validators_accept_the_answer_to_images_with_a_report(tmp_path: Path, fetuses: str) -> None:
    sections = [
        s.biometry_section(s.text_item(s.SUBJECT_ID, name), s.biometry_group("HC", (26.0, "cm"))) for name in fetuses
    ]
    answered, _ = answer(tmp_path, s.image(), s.scanner_report(s.date_item(s.LMP, "20250620"), *sections))
    results = [path for kind, path in answered.written if kind != "preview"]
    assert len(results) == (4 if fetuses == "A" else 3)
    for path in results:
        verified = subprocess.run(["/usr/bin/dciodvfy", "-new", path], capture_output=True, text=True, check=False)
        assert verified.returncode == 0, verified.stderr
    agreed = subprocess.run(
        ["/usr/bin/dcentvfy", *tmp_path.glob("*.dcm"), *results], capture_output=True, text=True, check=False
    )
    assert agreed.returncode == 0, agreed.stderr


def test_without_a_scanners_report_nothing_is_compared(tmp_path: Path) -> None:
    _, reports = answer(tmp_path, s.image())
    assert not [said for said in texts(reports["findings_sr"]) if "sonographer" in said]
    assert not [it for it in content(reports["biometry_sr"], "NUM") if name_of(it) == codes.PERCENTILE_RANK]


def test_the_last_report_of_the_scanner_counts(tmp_path: Path) -> None:
    reports = [
        s.scanner_report(
            s.biometry_section(s.biometry_group("HC", (mm, "mm"))), number=number, ContentTime=f"10{number}000"
        )
        for number, mm in ((2, 255.0), (4, 251.0), (3, 253.0))
    ]
    found = examiner().examine([stored(tmp_path, ds) for ds in reports], 64)
    assert found.scanner_report is not None
    assert [size.value_mm for size in found.scanner_report.sizes] == [251.0]


@pytest.mark.filterwarnings("ignore")  # pydicom remarks on it
def test_a_report_that_says_nothing_is_named_and_costs_nothing(tmp_path: Path) -> None:
    empty = s.scanner_report(number=8, ContentSequence=None)
    found = examiner().examine([stored(tmp_path, ds) for ds in (s.image(), empty)], 64)
    assert found.scanner_report is None
    assert [item.sop_instance_uid for item in found.not_analysed] == [empty.SOPInstanceUID]
    assert [finding for finding in found.findings if finding.task == "biometry"]


def test_a_report_about_another_patient_is_not_read(tmp_path: Path) -> None:
    scan = s.changed(three_heads(), PatientID="4711")
    found = examiner().examine([stored(tmp_path, ds) for ds in (s.image(), s.image(number=2), scan)], 64)
    assert found.scanner_report is None
    assert [(item.sop_instance_uid, item.reason) for item in found.not_analysed] == [
        (scan.SOPInstanceUID, OTHER_PATIENT)
    ]
