"""The real validators over captures, cines, segmentations, presentation states and key objects."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
import synthetic as s
import validators
from pydicom import Dataset
from pydicom.uid import JPEGBaseline8Bit

from dicom_node.domain.finding import Finding, Graphic, Segmentation
from dicom_node.domain.frame import Frame, FrameReference
from dicom_node.domain.key_frames import SeenFrame
from dicom_node.domain.result import CineSampling, ResultObject, StudyAnalysis
from dicom_node.imaging.frames import frames_of, one_frame, open_instance
from dicom_node.profile import SERIES_NUMBERS, Profile
from dicom_node.results.build import build_objects
from dicom_node.results.identity import NodeIdentity

NODE = NodeIdentity("DICOM_NODE", institution="Clinic")
EVERYTHING = Profile(objects=tuple(SERIES_NUMBERS))
OUTLINE = Graphic("polyline", ((30.5, 20.0), (90.0, 25.0), (60.0, 80.0), (30.5, 20.0)))
#: What dciodvfy says of a frame number in a class that is retired, or that should have one frame and has several.
NOT_MULTI_FRAME = "Shall not be present for Referenced SOP Class that is not multi-frame"
PICTURES = {"secondary_capture", "cine_capture", "segmentation", "presentation_state"}
STILL = {"findings_sr", "biometry_sr", "secondary_capture", "segmentation", "presentation_state", "key_object"}


def everything(reference: FrameReference) -> list[Finding]:
    """Find what every kind of object has something to say about."""
    outlines = [Segmentation("biometry", reference, name, s.HEAD, OUTLINE, 0.9) for name in ("head", "abdomen")]
    return [*s.findings(reference), *outlines, *s.anomaly(reference)]


def analysed(ds: Dataset) -> StudyAnalysis:
    """Analyse frames 2 and 4 of a cine, or a still."""
    if int(ds.get("NumberOfFrames", 1)) == 1:
        return s.analysis(everything(s.reference(ds)))
    seen = tuple(SeenFrame(it, "brain", 0.9, s.findings(it)) for it in (s.reference(ds, 2), s.reference(ds, 4)))
    sampling = CineSampling(str(ds.SOPInstanceUID), int(ds.NumberOfFrames), 2, seen)
    return s.analysis(everything(seen[0].reference), sampling=(sampling,))


def still(columns: int = 160, **changes: object) -> Dataset:
    return s.image([s.picture(columns=columns)], **changes)  # type: ignore[arg-type]


def cine(columns: int = 160, **changes: object) -> Dataset:
    return s.image([s.picture(columns=columns, frame=i) for i in range(4)], **changes)  # type: ignore[arg-type]


def grey() -> Dataset:
    ds = s.image(SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", PlanarConfiguration=None)
    ds.PixelData = np.ascontiguousarray(s.picture()[..., 0]).tobytes()
    return ds


def palette() -> Dataset:
    ds = grey()
    ds.PhotometricInterpretation = "PALETTE COLOR"
    table = np.arange(0, 65536, 257, dtype="<u2").tobytes()
    for colour in ("Red", "Green", "Blue"):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(ds, f"{colour}PaletteColorLookupTableData", table)
    return ds


CASES: dict[str, Callable[[], Dataset]] = {
    "still RGB": still,
    "still palette": palette,
    "still grey": grey,
    "still retired": lambda: still(sop_class_uid=s.RETIRED_US_IMAGE),
    "still of odd size": lambda: still(columns=161),
    "still without region": lambda: still(SequenceOfUltrasoundRegions=None),
    **{
        f"still of {part}": lambda part=part: still(BodyPartExamined=part)  # type: ignore[misc]
        for part in ("ABDOMEN", "ABDOMENPELVIS", "BRAIN", "HEAD", "PELVIS", "SKULL", "FETUS", "BREAST", "OB LOWER ABD")
    },
    "still in Cyrillic": lambda: still(SpecificCharacterSet="ISO_IR 144", PatientName="Иванова^Анна"),
    "cine JPEG": lambda: cine(transfer_syntax_uid=JPEGBaseline8Bit),
    "cine retired": lambda: cine(sop_class_uid=s.RETIRED_US_MULTI_FRAME),
    "cine as US Image": lambda: cine(sop_class_uid=s.US_IMAGE),
    "cine without times": lambda: cine(FrameTime=None, FrameIncrementPointer=None),
    "cine of odd size": lambda: cine(columns=161),
}


def written(ds: Dataset, profile: Profile, folder: Path) -> tuple[Path, dict[str, list[Path]]]:
    """Write a source and its objects."""
    source = s.write(ds, folder / "source.dcm")
    analysis = analysed(ds)
    key = s.reference(ds, 2 if int(ds.get("NumberOfFrames", 1)) > 1 else None)

    def read(_uid: str, numbers: Sequence[int]) -> Iterator[Frame]:
        for frame in frames_of(open_instance(source), numbers):
            assert isinstance(frame, Frame)
            yield frame

    header = pydicom.dcmread(source, stop_before_pixels=True)
    frames = {key: one_frame(source, key.frame_number)}
    files: dict[str, list[Path]] = {}
    results = build_objects(analysis, [header], frames, NODE, profile=profile, read_frames=read)
    for number, result in enumerate(results):
        assert isinstance(result, ResultObject), result
        path = folder / f"{number}.dcm"
        path.write_bytes(result.part10)
        files.setdefault(result.kind, []).append(path)
    return source, files


def validate(files: dict[str, list[Path]]) -> None:
    for kind, paths in files.items():
        for path in paths:
            assert not validators.dciodvfy(path), kind
            if kind in PICTURES:  # where not even a warning is due
                said = validators.run("/usr/bin/dciodvfy", "-new", path).stderr.splitlines()[1:]
                assert not [line for line in said if NOT_MULTI_FRAME not in line], kind
    for path in files.get("presentation_state", []):
        assert not validators.dcmpschk(path)
    for kind in ("findings_sr", "biometry_sr", "key_object"):
        for path in files.get(kind, []):
            assert not validators.dsrdump(path)


AS_JPEG = ("still RGB", "still of odd size", "cine JPEG", "cine of odd size")


@pytest.mark.parametrize(
    ("case", "encoding"), [*((case, "raw") for case in CASES), *((case, "jpeg") for case in AS_JPEG)]
)
def test_validators_accept_every_picture(case: str, encoding: str, tmp_path: Path) -> None:
    ds = CASES[case]()
    profile = dataclasses.replace(EVERYTHING, encoding=encoding)  # type: ignore[arg-type]
    source, files = written(ds, profile, tmp_path)
    assert set(files) == STILL | ({"cine_capture"} if case.startswith("cine") else set())
    validate(files)
    assert not validators.dcentvfy([source], [path for paths in files.values() for path in paths])
    for path in (path for paths in files.values() for path in paths):
        assert str(pydicom.dcmread(path).PatientName) == str(ds.PatientName)


@pytest.mark.parametrize("case", ["still RGB", "cine JPEG"])
def test_dcmtk_decodes_jpeg_captures(case: str, tmp_path: Path) -> None:
    _, files = written(CASES[case](), dataclasses.replace(EVERYTHING, encoding="jpeg"), tmp_path)
    for path in [*files["secondary_capture"], *files.get("cine_capture", [])]:
        shown = validators.run("/usr/bin/dcmj2pnm", "--write-24-bit-bmp", "--all-frames", path, tmp_path / "shown")
        assert shown.returncode == 0, shown.stderr


def test_comprehensive_3d_reports_are_accepted_too(tmp_path: Path) -> None:
    wanted = Profile(objects=("findings_sr", "biometry_sr"), sr_class="comprehensive_3d")
    _, files = written(still(), wanted, tmp_path)
    validate(files)
    for path in (path for paths in files.values() for path in paths):
        assert pydicom.dcmread(path).SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"


def test_reports_without_private_codes_are_accepted_too(tmp_path: Path) -> None:
    _, files = written(still(), Profile(objects=("findings_sr", "biometry_sr"), private_codes=False), tmp_path)
    validate(files)
    for path in (path for paths in files.values() for path in paths):
        ds = pydicom.dcmread(path)
        assert "99FETALAI" not in str(ds)
        assert "CodingSchemeIdentificationSequence" not in ds
    said = [str(e.value) for e in pydicom.dcmread(files["findings_sr"][0]).iterall() if e.keyword == "TextValue"]
    assert {"Transthalamic plane", "Fetal central nervous system appearance: Encephalocele"} <= set(said)


DATA = Path(os.environ.get("DICOM_NODE_DATA", Path(__file__).parents[4] / "shared" / "data")) / "dicom_us"
REAL = sorted(DATA.glob("*.dcm")) if DATA.is_dir() else []


@pytest.mark.data
@pytest.mark.skipif(not REAL, reason=f"no real images at {DATA}")
@pytest.mark.parametrize("source", REAL, ids=lambda path: path.stem)
def test_validators_accept_pictures_of_real_scanners_images(source: Path, tmp_path: Path) -> None:
    instance = open_instance(source)
    header = instance.header
    key = instance.reference(1)
    numbers = range(1, min(instance.number_of_frames, 3) + 1)
    seen = tuple(SeenFrame(it, "brain", 0.9, s.findings(it)) for it in map(instance.reference, numbers))
    sampling = (CineSampling(instance.sop_instance_uid, instance.number_of_frames, len(seen), seen),)
    analysis = s.analysis(everything(key), study_instance_uid=str(header.StudyInstanceUID), sampling=sampling)

    def read(_uid: str, wanted: Sequence[int]) -> Iterator[Frame]:
        yield from (one_frame(source, number) for number in wanted)

    results = build_objects(
        analysis, [header], {key: one_frame(source, key.frame_number)}, NODE, profile=EVERYTHING, read_frames=read
    )
    files: dict[str, list[Path]] = {}
    for number, result in enumerate(results):
        assert isinstance(result, ResultObject), result
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(result.part10)
        files.setdefault(result.kind, []).append(path)
        assert not validators.dciodvfy(path), result.kind
        assert not validators.dcentvfy([source], [path])
    assert set(files) >= STILL - {"biometry_sr"}
