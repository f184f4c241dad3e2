"""The real validators over every kind of object from every kind of input (design: they catch different faults)."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pydicom
import pytest
import synthetic as s
import validators
from pydicom import Dataset
from pydicom.uid import JPEGBaseline8Bit

from dicom_node.domain.finding import Classification
from dicom_node.domain.frame import FrameReference
from dicom_node.domain.result import NotAnalysed, ResultObject, StudyAnalysis
from dicom_node.domain.scanner_report import ScannerReport
from dicom_node.imaging.frames import one_frame, open_instance
from dicom_node.results import codes
from dicom_node.results.build import build_objects
from dicom_node.results.identity import NodeIdentity
from dicom_node.results.report import SOP_CLASS_UID, Predecessor

NODE = NodeIdentity("DICOM_NODE", institution="Clinic")
Case = tuple[Dataset, StudyAnalysis, FrameReference | None]


def _still(**changes: object) -> Case:
    ds = s.image(**changes)  # type: ignore[arg-type]
    return ds, s.analysis(s.findings(s.reference(ds))), s.reference(ds)


def _cine(**changes: object) -> Case:
    ds = s.image([s.picture(frame=i) for i in range(4)], **changes)  # type: ignore[arg-type]
    third = s.reference(ds, 3)
    damaged = [NotAnalysed(str(ds.SOPInstanceUID), "damaged", number) for number in (1, 2)]
    return ds, s.analysis(s.findings(third), damaged, sampling=(s.sampling(ds, 2),)), third


def _biometry() -> Case:
    """Measure in two frames of a cine, with a judged structure, and with dates of the scanner."""
    ds = s.image([s.picture(frame=i) for i in range(4)])
    second, third = s.reference(ds, 2), s.reference(ds, 3)
    judged = Classification(
        "structures", (third,), "nasal_bone_category", codes.NORMALITY, codes.NORMAL, "normal",
        ((codes.NORMAL, 0.9), (codes.ABNORMAL, 0.1)), s.NASAL_BONE, "learned from simulated changes only",
    )  # fmt: skip
    found = [*s.sizes(third), *s.sizes(second, HC=270.0), *s.sizes(third, NT=1.6), judged]
    told = ScannerReport("1.2.3", date(2026, 1, 2), fetuses=("A",), last_menstrual_period=date(2025, 6, 20))
    return ds, s.analysis(found, scanner_report=told), third


def _anomaly() -> Case:
    ds = s.image([s.picture(frame=i) for i in range(4)])
    third = s.reference(ds, 3)
    found = [*s.findings(third), *s.anomaly(third, s.reference(ds, 4))]
    return ds, s.analysis(found, sampling=(s.sampling(ds, 2),)), third


def _cervix() -> Case:
    ds = s.image()
    cervix = Classification(
        "planes", (s.reference(ds),), "plane", s.IMAGE_VIEW, s.CERVIX, "cervix", ((s.CERVIX, 0.8), (s.OTHER, 0.2))
    )
    return ds, s.analysis([cervix]), s.reference(ds)


def _no_region() -> Case:
    ds = s.image(SequenceOfUltrasoundRegions=None)
    return ds, s.analysis(s.findings(s.reference(ds), millimetres=False)), s.reference(ds)


def _nothing_analysable() -> Case:
    ds = s.image()
    reasons = [NotAnalysed(str(ds.SOPInstanceUID), "no decoder for MPEG-4"), NotAnalysed("1.2.3.4", "truncated")]
    return ds, s.analysis((), reasons, algorithms=()), None


CASES: dict[str, Callable[[], Case]] = {
    "still RGB": _still,
    "JPEG cine": lambda: _cine(transfer_syntax_uid=JPEGBaseline8Bit),
    "retired still": lambda: _still(sop_class_uid=s.RETIRED_US_IMAGE),
    "retired cine": lambda: _cine(sop_class_uid=s.RETIRED_US_MULTI_FRAME),
    "US Image with frames": lambda: _cine(sop_class_uid=s.US_IMAGE),
    "no region": _no_region,
    "missing type 2": lambda: _still(
        PatientID="12345", PatientBirthDate=None, PatientSex=None, StudyTime=None, StudyID=None, AccessionNumber=None,
        ReferringPhysicianName=None,
    ),
    "nothing found": lambda: (ds := s.image(), s.analysis(), s.reference(ds)),
    "nothing analysable": _nothing_analysable,
    "maternal cervix": _cervix,
    "anomaly with heat map": _anomaly,
    "biometry": _biometry,
    "biometry of a retired still": lambda: (
        ds := s.image(sop_class_uid=s.RETIRED_US_IMAGE), s.analysis(s.sizes(s.reference(ds))), s.reference(ds)
    ),
    **{
        f"name in {name}": lambda charset=charset, name=name: _still(  # type: ignore[misc]
            SpecificCharacterSet=list(charset) if isinstance(charset, tuple) else charset, PatientName=name
        )
        for charset, name in s.NAMES.items()
    },
}  # fmt: skip


def built(case: str, folder: Path) -> tuple[Path, Dataset, list[tuple[str, Path]]]:
    """Build the objects of a case and write them beside their source: source file, source, (kind, file) of results."""
    ds, analysis, key = CASES[case]()
    source = s.write(ds, folder / "source.dcm")
    header = pydicom.dcmread(source, stop_before_pixels=True)
    frames = {key: one_frame(source, key.frame_number)} if key else {}
    before = [Predecessor(SOP_CLASS_UID, "2.25.1", "2.25.2")]
    written = []
    for number, result in enumerate(build_objects(analysis, [header], frames, NODE, before)):
        assert isinstance(result, ResultObject), result
        path = folder / f"{number}.dcm"
        path.write_bytes(result.part10)
        written.append((result.kind, path))
    return source, ds, written


@pytest.mark.parametrize("case", CASES)
def test_validators_accept_every_object(case: str, tmp_path: Path) -> None:
    source, ds, written = built(case, tmp_path)
    assert "findings_sr" in [kind for kind, _ in written]
    for kind, path in written:
        assert not validators.dciodvfy(path)
        assert not kind.endswith("_sr") or not validators.dsrdump(path)
    assert not validators.dcentvfy([source], [path for _, path in written])
    for _, path in written:
        assert str(pydicom.dcmread(path).PatientName) == str(ds.PatientName)


@pytest.mark.slow
def test_pixelmed_knows_reports_of_nothing_and_of_everything_as_tid_1500(tmp_path: Path) -> None:
    reports = []
    for number, case in enumerate(("JPEG cine", "nothing analysable")):
        folder = tmp_path / str(number)
        folder.mkdir()
        reports += [path for kind, path in built(case, folder)[2] if kind == "findings_sr"]
    for said in validators.pixelmed(reports).values():
        assert not validators.complaints_about_tid_1500(said)


DATA = Path(os.environ.get("DICOM_NODE_DATA", Path(__file__).parents[4] / "shared" / "data")) / "dicom_us"
REAL = sorted(DATA.glob("*.dcm")) if DATA.is_dir() else []


@pytest.mark.data
@pytest.mark.skipif(not REAL, reason=f"no real images at {DATA}")
@pytest.mark.parametrize("source", REAL, ids=lambda path: path.stem)
def test_validators_accept_results_of_real_scanners_images(source: Path, tmp_path: Path) -> None:
    instance = open_instance(source)
    header = instance.header
    key = instance.reference(instance.number_of_frames)
    analysis = s.analysis(s.findings(key), study_instance_uid=str(header.StudyInstanceUID))
    results = build_objects(analysis, [header], {key: one_frame(source, key.frame_number)}, NODE)
    for number, result in enumerate(results):
        assert isinstance(result, ResultObject), result
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(result.part10)
        assert not validators.dciodvfy(path)
        assert not validators.dcentvfy([source], [path])
