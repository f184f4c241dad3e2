"""Every kind of input, through the real models, into every kind of object; and the real validators over all of these.

What `dicom-node analyse --objects all` does in a process of its own for each study is done here in one, so that the
models are loaded once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import synthetic as s
import validators
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from dicom_node.bootstrap import load_examiner
from dicom_node.config import Config
from dicom_node.pipeline.examination import Examiner
from dicom_node.pipeline.offline import analyse_files
from dicom_node.profile import ObjectKind, Profile
from dicom_node.results import codes
from dicom_node.results.content_tree import children, is_named, items, value_of
from dicom_node.simulator.anomalies.examination import examination, generators, take
from dicom_node.simulator.axial_head import axial_head
from dicom_node.simulator.maternal import cervix, other_view
from dicom_node.simulator.sagittal_head import sagittal_head
from dicom_node.simulator.scanner import moving_frames

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first test waits for all answers

Picture = npt.NDArray[np.uint8]
ALL: tuple[ObjectKind, ...] = get_args(ObjectKind)
CONFIG = Config.model_validate({"analysis": {"device": "cpu", "max_frames_per_cine": 8}})
SEED = 5
UNSURE = 0  # the seed of a view that the gate takes for a femur, with less probability than it needs
CM_PER_PX = 0.05


@functools.cache
def abnormal_head() -> Picture:
    """Draw an encephalocele at 17 weeks: it is measured, outlined, found abnormal and explained by a heat map."""
    patient, index, number = 3, 2, 23
    return take(examination(SEED, patient)[index], *generators(SEED, number)).pixels


def _rgb(picture: Picture) -> Picture:
    return picture if picture.ndim > 2 else np.repeat(picture[..., np.newaxis], 3, axis=2)


def _whole(picture: Picture, **changes: object) -> Dataset:
    rows, columns = picture.shape[:2]
    return s.region(0, 0, columns - 1, rows - 1, CM_PER_PX, **changes)


def still(picture: Picture | None = None, **changes: Any) -> Dataset:
    shown = abnormal_head() if picture is None else picture
    return s.image([_rgb(shown)], **{"SequenceOfUltrasoundRegions": [_whole(shown)], **changes})


def cine(frames: int = 3, **changes: Any) -> Dataset:
    shown = moving_frames(abnormal_head(), frames, np.random.default_rng(SEED))
    regions = [_whole(shown[0])]
    return s.image([_rgb(it) for it in shown], **{"SequenceOfUltrasoundRegions": regions, **changes})


def palette() -> Dataset:
    """Show the head through a lookup table, as Philips stills do."""
    picture = abnormal_head()
    ds = still(picture, SamplesPerPixel=1, PhotometricInterpretation="PALETTE COLOR", PlanarConfiguration=None)
    ds.PixelData = picture.tobytes()
    for colour in ("Red", "Green", "Blue"):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(ds, f"{colour}PaletteColorLookupTableData", np.arange(0, 65536, 257, dtype="<u2").tobytes())
    return ds


def inverted() -> Dataset:
    """Show the head in grey values of which the highest is black."""
    picture = abnormal_head()
    ds = still(picture, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME1", PlanarConfiguration=None)
    ds.PixelData = (255 - picture).tobytes()
    return ds


def damaged() -> Dataset:
    """Cut the pictures of a cine off: nothing of it can be decoded."""
    ds = cine(transfer_syntax_uid=JPEGBaseline8Bit)
    ds.PixelData = encapsulate([stream[:120] for stream in generate_frames(ds.PixelData, number_of_frames=3)])
    return ds


def two_scales() -> Dataset:
    """Show two tissue regions side by side, of different depth: what crosses the line between them has no size."""
    picture = abnormal_head()
    rows, columns = picture.shape
    left = s.region(0, 0, columns // 2 - 1, rows - 1, CM_PER_PX)
    right = s.region(columns // 2, 0, columns - 1, rows - 1, 1.5 * CM_PER_PX)
    return still(picture, SequenceOfUltrasoundRegions=[left, right])


def with_a_trace() -> Dataset:
    """Show the head above the strip of an ECG, which is a region too: format 4, data type 10."""
    picture = np.vstack([abnormal_head(), np.zeros((40, abnormal_head().shape[1]), dtype=np.uint8)])
    rows, columns = picture.shape
    trace = s.region(0, rows - 40, columns - 1, rows - 1, RegionSpatialFormat=4, RegionDataType=10)
    trace.PhysicalUnitsXDirection, trace.PhysicalUnitsYDirection = 4, 0
    head = s.region(0, 0, columns - 1, rows - 41, CM_PER_PX)
    return still(picture, SequenceOfUltrasoundRegions=[head, trace])


def calipers(*fetuses: str) -> Dataset:
    """Give what a sonographer measured: a head of each fetus, and the last menstrual period."""
    sections = [
        s.biometry_section(s.text_item(s.SUBJECT_ID, fetus), s.biometry_group("HC", (14.8 + number, "cm")))
        for number, fetus in enumerate(fetuses)
    ]
    return s.scanner_report(s.date_item(s.LMP, "20250901"), *sections)


def in_script(script: str | tuple[str, ...]) -> Dataset:
    ds = still(SpecificCharacterSet=list(script) if isinstance(script, tuple) else script)
    ds.PatientName = s.NAMES[script]
    return ds


#: What is said of one abnormal head with a scale, as a still; every kind but the cine.
OF_A_STILL = set(ALL) - {"cine_capture"}
WITHOUT_BIOMETRY = OF_A_STILL - {"biometry_sr"}
PICTURES_ONLY = {"findings_sr", "secondary_capture", "presentation_state"}


@dataclass(frozen=True)
class Variant:
    """What is sent, and the kinds of objects that must come back."""

    sent: Callable[[], list[Dataset]]
    kinds: set[Any]


def of(make: Callable[[], Dataset], kinds: set[Any] = OF_A_STILL) -> Variant:
    return Variant(lambda: [make()], kinds)


def _normal() -> list[Dataset]:
    rng = np.random.default_rng(SEED)
    return [
        still(axial_head(rng, brain_plane="Trans-thalamic", weeks=20.0).pixels),
        still(sagittal_head(rng).pixels, number=2),
    ]


def first_trimester() -> list[Dataset]:
    """Give three images of nine structures each: the largest report that a study of stills usually has."""
    rng = np.random.default_rng(SEED)
    return [still(sagittal_head(rng).pixels, number=number) for number in (1, 2, 3)]


VARIANTS = {
    "RGB still": of(still),
    "palette still": of(palette),
    "JPEG Baseline cine": of(lambda: cine(transfer_syntax_uid=JPEGBaseline8Bit), set(ALL)),
    "JPEG 2000": of(lambda: still(transfer_syntax_uid=JPEG2000Lossless)),
    "RLE": of(lambda: still(transfer_syntax_uid=RLELossless)),
    "JPEG-LS": of(lambda: still(transfer_syntax_uid=JPEGLSLossless)),
    "big endian": of(lambda: still(transfer_syntax_uid=ExplicitVRBigEndian)),
    "retired class": of(lambda: still(sop_class_uid=s.RETIRED_US_IMAGE)),
    "retired multi-frame class": of(lambda: cine(sop_class_uid=s.RETIRED_US_MULTI_FRAME), set(ALL)),
    "US Image with two frames": of(lambda: cine(2, sop_class_uid=s.US_IMAGE), set(ALL)),
    "no region": of(lambda: still(SequenceOfUltrasoundRegions=None), WITHOUT_BIOMETRY),
    "region outside the image": of(
        lambda: still(SequenceOfUltrasoundRegions=[s.region(0, 0, 595, 414, CM_PER_PX)]), WITHOUT_BIOMETRY
    ),
    "two regions of different scales": of(two_scales, WITHOUT_BIOMETRY),
    "a region of tissue and one of a trace": of(with_a_trace),
    "a body part that is no term, and a side": of(lambda: still(BodyPartExamined="FETUS", Laterality="L")),
    "MONOCHROME1": of(inverted),
    "no study date or patient id": of(lambda: still(StudyDate=None, StudyTime=None, PatientID=None)),
    "a name in Cyrillic": of(lambda: in_script("ISO_IR 144")),
    "a name in Chinese (GB18030)": of(lambda: in_script("GB18030")),
    "a name in Japanese (ISO 2022)": of(lambda: in_script(("", "ISO 2022 IR 87"))),
    "a name in Korean (ISO 2022)": of(lambda: in_script(("", "ISO 2022 IR 149"))),
    "twins": Variant(lambda: [still(), calipers("A", "B")], WITHOUT_BIOMETRY),
    "an image and the scanner's report": Variant(lambda: [still(), calipers("A")], OF_A_STILL),
    "everything normal": Variant(_normal, OF_A_STILL - {"key_object"}),
    "three images of a first trimester": Variant(first_trimester, PICTURES_ONLY),
    "the mother's cervix": of(lambda: still(cervix(np.random.default_rng(SEED)).pixels), PICTURES_ONLY),
    "nothing that can be decoded": of(damaged, {"findings_sr", "secondary_capture"}),
    "nothing assessable": of(lambda: still(other_view(np.random.default_rng(UNSURE)).pixels), PICTURES_ONLY),
}


@dataclass(frozen=True)
class Answer:
    """One variant's files."""

    sources: list[Path]
    results: list[tuple[str, Path]]

    def of_kind(self, *kinds: str) -> list[Path]:
        return [path for kind, path in self.results if kind in kinds]


@pytest.fixture(scope="module")
def examiner() -> Examiner:
    return load_examiner(CONFIG)


@pytest.fixture(scope="module")
def answers(examiner: Examiner, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    return {
        name: answered(variant.sent(), examiner, tmp_path_factory.mktemp("variant"), Profile(objects=ALL))
        for name, variant in VARIANTS.items()
    }


def answered(sent: list[Dataset], examiner: Examiner, folder: Path, profile: Profile) -> Answer:
    """Write what a destination of a profile would get."""
    sources = [s.write(ds, folder / f"source{number}.dcm") for number, ds in enumerate(sent)]
    now = datetime(2026, 1, 2, 12, 30, tzinfo=UTC)
    (answer,) = analyse_files(sources, folder / "out", examiner, CONFIG, now, profile=profile)
    assert not answer.quarantined
    return Answer(sources, [(kind, path) for kind, path in answer.written if kind != "preview"])


@pytest.fixture(scope="module")
def said_by_pixelmed(answers: dict[str, Answer]) -> dict[Path, list[str]]:
    return validators.pixelmed([path for answer in answers.values() for path in answer.of_kind("findings_sr")])


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_kind_of_object_comes_that_the_input_has_something_for(variant: str, answers: dict[str, Answer]) -> None:
    assert {kind for kind, _ in answers[variant].results} == VARIANTS[variant].kinds


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_validators_have_nothing_against_any_object(variant: str, answers: dict[str, Answer]) -> None:
    answer = answers[variant]
    for _, path in answer.results:
        assert not validators.dciodvfy(path), path.name
    for path in answer.of_kind("findings_sr", "biometry_sr", "key_object"):
        assert not validators.dsrdump(path), path.name
    for path in answer.of_kind("presentation_state"):
        assert not validators.dcmpschk(path), path.name
    assert not validators.dcentvfy(answer.sources, [path for _, path in answer.results])


@pytest.mark.parametrize("variant", VARIANTS)
def test_pixelmed_knows_every_report_of_findings_as_tid_1500(
    variant: str, answers: dict[str, Answer], said_by_pixelmed: dict[Path, list[str]]
) -> None:
    reports = answers[variant].of_kind("findings_sr")
    assert reports
    for path in reports:
        assert not validators.complaints_about_tid_1500(said_by_pixelmed[path])


def test_where_nothing_is_assessable_the_report_says_so_and_why(answers: dict[str, Answer]) -> None:
    (path,) = answers["nothing assessable"].of_kind("findings_sr")
    report = pydicom.dcmread(path)
    outcome, not_assessable = codes.ALL_SUCCEEDED_WITHOUT_FINDINGS, codes.NOT_ASSESSABLE
    assert [value_of(it) for it in items(report) if is_named(it, codes.RUN_SUMMARY)] == [outcome]
    groups = [it for it in items(report) if is_named(it, codes.MEASUREMENT_GROUP)]
    silent = [it for it in groups if not_assessable in map(value_of, children(it, codes.FINDING))]
    reasons = [str(it.TextValue) for group in silent for it in children(group, codes.COMMENT)]
    assert any(reason.startswith("plane: ") for reason in reasons)
    assert not any(children(group, codes.PROBABILITY) or children(group, codes.CERTAINTY) for group in groups)


def test_pixelmed_accepts_reports_of_a_profile_without_private_codes_as_comprehensive_3d_sr(
    examiner: Examiner, tmp_path: Path
) -> None:
    profile = Profile(objects=("findings_sr",), sr_class="comprehensive_3d", private_codes=False)
    answer = answered([cine()], examiner, tmp_path, profile)
    (path,) = answer.of_kind("findings_sr")
    assert not any(item.get("CodingSchemeDesignator") == codes.PRIVATE_SCHEME for item in items(pydicom.dcmread(path)))
    assert not validators.dciodvfy(path)
    assert not validators.dsrdump(path)
    assert not validators.complaints_about_tid_1500(validators.pixelmed([path])[path])


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_patient_is_the_same_in_every_object(variant: str, answers: dict[str, Answer]) -> None:
    answer = answers[variant]
    source = pydicom.dcmread(answer.sources[0], stop_before_pixels=True)
    for _, path in answer.results:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        assert (str(ds.PatientName), ds.PatientID or None) == (str(source.PatientName), source.get("PatientID"))
