"""The main job: a scanner (DCMTK) pushes a study, the PACS (Orthanc) holds a committed report."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Orthanc, run_orthanc
from running import (
    FINDINGS_SR,
    SECONDARY_CAPTURE,
    STATES,
    Node,
    archived,
    destination,
    done,
    evidence_of,
    numbers_of,
    phantom_studies,
    push,
    sop_uid_of,
    study_uid_of,
)

from dicom_node.training.datasets import split_of

pytestmark = pytest.mark.slow

HC = "11984-2"  # LOINC: head circumference
ALWAYS = {"findings_sr", "secondary_capture"}
KINDS = {"findings_sr": FINDINGS_SR, "biometry_sr": FINDINGS_SR, "secondary_capture": SECONDARY_CAPTURE}
TEMPLATES = {"1500": "findings_sr", "5000": "biometry_sr"}


@dataclass
class Site:
    """A node and its PACS."""

    node: Node
    orthanc: Orthanc

    def walk(self, studies: Sequence[list[Path]]) -> list[str]:
        """Push studies, one after the other, and wait until the PACS has committed their answers; gives their UIDs."""
        for files in studies:
            push(self.node.port, files)
        uids = [study_uid_of(files[0]) for files in studies]
        for uid in uids:
            self.node.wait_for(uid)
        return uids


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("main-job")
    with (
        run_orthanc(folder / "orthanc") as orthanc,
        Node(folder / "node", [destination(orthanc)], port=orthanc.node_port, receivers=2) as node,
    ):
        yield Site(node, orthanc)


@pytest.fixture(scope="module")
def phantoms(site: Site, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, list[Path]]]:
    """Push the three studies of `dicom-node simulate`, one after the other."""
    studies = phantom_studies(tmp_path_factory.mktemp("phantoms"))
    return list(zip(site.walk(studies), studies, strict=True))


OF_A_DELIVERY = ("destination", "state", "error")


def test_study_list_has_the_documented_shape(site: Site, phantoms: list[tuple[str, list[Path]]]) -> None:
    listed = {study["study_instance_uid"]: study for study in site.node.json("study", "list")}
    assert listed.keys() == {uid for uid, _ in phantoms}
    for uid, files in phantoms:
        study = listed[uid]
        assert list(study) == ["study_instance_uid", "state", "generation", "instances", "results"]
        assert (study["state"], study["generation"], study["instances"]) == ("committed", 1, len(files))
        assert study["results"]
        for result in study["results"]:
            assert list(result) == ["kind", "sop_class_uid", "sop_instance_uid", "profile", *OF_A_DELIVERY]
            assert result["sop_class_uid"] == KINDS[result["kind"]]
            assert (result["destination"], result["state"], result["error"]) == ("pacs", "committed", None)
        assert {result["kind"] for result in study["results"]} >= ALWAYS
    assert "biometry_sr" in [result["kind"] for result in listed[phantoms[1][0]]["results"]]  # second trimester


def test_the_pacs_holds_the_results_in_the_same_study(site: Site, phantoms: list[tuple[str, list[Path]]]) -> None:
    for uid, files in phantoms:
        held = archived(site.orthanc, uid)
        said = site.node.study(uid)["results"]
        assert sorted(ds.SOPInstanceUID for ds in held) == sorted(r["sop_instance_uid"] for r in said)
        reports = [ds for ds in held if ds.SOPClassUID == FINDINGS_SR]
        kind_of = {result["sop_instance_uid"]: result["kind"] for result in said}
        for report in reports:
            template = report.ContentTemplateSequence[0].TemplateIdentifier
            assert TEMPLATES[template] == kind_of[report.SOPInstanceUID]
            assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
        named = [name for report in reports for name in set(evidence_of(report))]
        assert set(named) == {sop_uid_of(file) for file in files}


def test_the_commitment_of_the_pacs_is_recorded(site: Site, phantoms: list[tuple[str, list[Path]]]) -> None:
    for uid, _ in phantoms:
        rows = site.node.ask(
            "SELECT state, answered_at, destination FROM commitments WHERE study_instance_uid = ?", uid
        )
        assert [(state, name) for state, _, name in rows] == [("confirmed", "pacs")]
        assert rows[0][1] is not None
        deliveries = [d for d in site.node.json("delivery", "list") if d["study_instance_uid"] == uid]
        assert deliveries
        assert all(d["state"] == "committed" and d["committed_at"] and d["status"] == "0000" for d in deliveries)


def test_a_study_is_seen_in_every_state_on_its_way(site: Site, phantoms: list[tuple[str, list[Path]]]) -> None:
    uid = phantoms[0][0]
    opened, closed = site.node.ask("SELECT opened_at, closed_at FROM generations WHERE study_instance_uid = ?", uid)[0]
    finished = site.node.ask("SELECT finished_at FROM analyses WHERE study_instance_uid = ?", uid)[0][0]
    sent, committed = site.node.ask(
        "SELECT max(sent_at), min(committed_at) FROM deliveries WHERE study_instance_uid = ?", uid
    )[0]
    moments = dict(zip(STATES, (opened, closed, finished, sent, committed), strict=True))
    assert list(moments.values()) == sorted(moments.values()), moments


def test_what_cannot_be_analysed_is_told_and_costs_nothing_else(
    site: Site, phantoms: list[tuple[str, list[Path]]]
) -> None:
    uid, files = phantoms[2]
    broken = sop_uid_of(files[1])
    shown = site.node.json("study", "show", uid)
    assert [line["instance"] for line in shown["findings"] if line["name"] == "not analysed"] == [broken]
    reports = archived(site.orthanc, uid, FINDINGS_SR)
    assert all(broken in evidence_of(report) for report in reports)


@pytest.mark.data
def test_every_real_ultrasound_file_is_answered(site: Site, data_dir: Path) -> None:
    files = sorted((data_dir / "dicom_us").glob("*.dcm"))
    studies: dict[str, list[Path]] = {}
    for file in files:
        studies.setdefault(study_uid_of(file), []).append(file)
    for group in studies.values():
        push(site.node.port, group)
    for uid, group in studies.items():
        study = site.node.wait_for(uid)
        assert study["instances"] == len(group)  # also those that share a UID and differ in their bytes
        reports = archived(site.orthanc, uid, FINDINGS_SR)
        assert reports
        assert {sop_uid_of(file) for file in group} == {name for report in reports for name in evidence_of(report)}


@pytest.mark.data
@pytest.mark.parametrize("form", ["still", "cine"])
def test_the_measured_head_circumference_is_within_five_per_cent(
    site: Site, data_dir: Path, tmp_path: Path, form: str
) -> None:
    labels = heads_of_the_test_split(data_dir)
    truth = dict(list(labels.items())[40:80:10])
    source = tmp_path / "head_circumference"
    (source / "images").mkdir(parents=True)
    for image in truth:
        (source / "images" / image).symlink_to(data_dir / "head_circumference" / "images" / image)
    (source / "labels.csv").symlink_to(data_dir / "head_circumference" / "labels.csv")
    out = tmp_path / "wrapped"
    done("simulate", "--from-images", source, "--out", out, "--as", form)
    uids = site.walk([list((out / Path(image).stem).glob("*.dcm")) for image in truth])
    measured = {
        image: [v for report in archived(site.orthanc, uid, FINDINGS_SR) for v in numbers_of(report, HC, "mm")]
        for image, uid in zip(truth, uids, strict=True)
    }
    assert all(measured.values()), measured
    wrong = {
        image: (values, truth[image])
        for image, values in measured.items()
        if any(abs(value / truth[image] - 1) > 0.05 for value in values)
    }
    assert not wrong


@pytest.mark.data
@pytest.mark.parametrize("form", ["still", "cine"])
def test_structures_of_a_real_first_trimester_head_are_in_the_report(
    site: Site, data_dir: Path, tmp_path: Path, form: str
) -> None:
    with (data_dir / "head_structures" / "planes.csv").open(encoding="utf-8", newline="") as file:
        standard = [row["image"] for row in csv.DictReader(file) if row["standard_plane"] == "1"]
    images = [image for image in standard if split_of(f"head_structures/{Path(image).stem}") == "test"][:2]
    source = tmp_path / "heads"
    source.mkdir()
    for image in images:
        (source / image).symlink_to(data_dir / "head_structures" / "images" / image)
    out = tmp_path / "wrapped"
    done("simulate", "--from-images", source, "--out", out, "--as", form)
    found = []
    for uid in site.walk([list((out / Path(image).stem).glob("*.dcm")) for image in images]):
        held = archived(site.orthanc, uid)
        assert {ds.SOPClassUID for ds in held} == {FINDINGS_SR, SECONDARY_CAPTURE}
        found += [f for f in site.node.json("study", "show", uid)["findings"] if f["task"] == "structures"]
    assert len({finding["name"] for finding in found}) >= 3, found


def heads_of_the_test_split(data_dir: Path) -> dict[str, float]:
    """Give the labelled circumference in mm of heads that no weights were trained on, by image name."""
    with (data_dir / "head_circumference" / "labels.csv").open(encoding="utf-8", newline="") as file:
        return {
            row["image"]: float(row["hc_mm"])
            for row in csv.DictReader(file)
            if split_of(f"head_circumference/{row['fetus']}") == "test"
        }
