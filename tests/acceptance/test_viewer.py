"""What a reader sees: the answers of simulated studies, from Orthanc, in OHIF in a real browser.

With DICOM_NODE_PICTURES=FOLDER the pictures of docs/viewers.md are written there.
"""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from conftest import Orthanc, listens
from PIL import Image
from pydicom import Dataset
from running import done, environment, items_of, new_study, study_uid_of
from viewer import Page, Viewer, run_chromium, run_viewer

from dicom_node.simulator.anomalies.examination import examination, generators, take

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # a browser that draws without a graphics card is slow

ENCEPHALOCELE = (0, 3, 6)  #: of the images of the simulated patient
CAPTURES, CINE, SEG, PR, KO = 903, 905, 904, 906, 907


@dataclass(frozen=True)
class Answered:
    """A study and its answer."""

    uid: str
    folder: Path
    objects: tuple[Dataset, ...]

    @property
    def pictures(self) -> list[Path]:
        """The captures, in the order of their series."""
        return sorted(self.folder.glob("*_secondary_capture.dcm"))

    def of(self, number: int) -> list[Dataset]:
        return [ds for ds in self.objects if ds.SeriesNumber == number]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answered]:
    """Simulate a first and a second trimester and an anomaly, and analyse them, with every kind of object."""
    folder = tmp_path_factory.mktemp("answers")
    done("simulate", "--out", folder / "sources")
    sources = {name: folder / "sources" / name for name in ("1-first-trimester", "2-biometry", "cine")}
    (cine,) = (file for file in sources["1-first-trimester"].glob("*.dcm") if "NumberOfFrames" in pydicom.dcmread(file))
    new_study([cine], sources["cine"], "cine")
    sources["anomaly"] = encephalocele(folder / "sources")
    done("analyse", *sources.values(), "--out", folder / "results", "--objects", "all")
    found = {}
    for name, source in sources.items():
        uid = study_uid_of(min(source.rglob("*.dcm")))
        results = folder / "results" / uid
        found[name] = Answered(uid, results, tuple(map(pydicom.dcmread, sorted(results.glob("*.dcm")))))
    return found


def encephalocele(folder: Path) -> Path:
    """Write three images of a simulated patient, two of which show the lesion."""
    patient, images = 8, folder / "images"
    images.mkdir()
    for number, shot in enumerate(examination(1, patient)):
        if number in ENCEPHALOCELE:
            picture = take(shot, *generators(1, 100 * patient + number))
            Image.fromarray(picture.pixels).save(images / f"{number}.png")
    done("simulate", "--from-images", images, "--as", "still", "--one-study", "--out", folder / "anomaly")
    return folder / "anomaly"


@pytest.fixture(scope="module")
def pacs(answers: dict[str, Answered], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Orthanc, str]]:
    """Run Orthanc, filled with the studies and their answers, and the viewer's site before it."""
    with run_viewer(tmp_path_factory.mktemp("pacs")) as (orthanc, url):
        root = next(iter(answers.values())).folder.parents[1]
        command = ["/usr/bin/storescu", "-R", "+sd", "+r", "+sp", "*.dcm", "-xy", "-aec", orthanc.ae_title]
        command += [orthanc.host, str(orthanc.port), str(root)]
        env = environment(TCP_NODELAY="1")
        outcome = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr
        assert listens(orthanc.http_port)
        yield orthanc, url


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with run_chromium(tmp_path_factory.mktemp("chromium") / "profile") as it:
        yield it


@pytest.fixture(scope="module")
def site(pacs: tuple[Orthanc, str]) -> str:
    return pacs[1]


def picture_for_readers(viewer: Viewer, name: str) -> None:
    """Keep a picture for the pages of the documentation, where they are asked for."""
    folder = os.environ.get("DICOM_NODE_PICTURES")
    if folder:
        shown = (
            Image.open(io.BytesIO(viewer.page.screenshot()))
            .convert("RGB")
            .resize((1200, 750), Image.Resampling.LANCZOS)
        )
        coloured = shown.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        coloured.save(Path(folder) / f"viewer-{name}.png", optimize=True)


def opened(page: Page, site: str, answer: Answered, sources: int = 2) -> Viewer:
    return Viewer.open(page, site, answer.uid, len({ds.SeriesInstanceUID for ds in answer.objects}) + sources)


def regions_of(report: Dataset) -> dict[str, dict[str, Any]]:
    """Read from a report what the viewer should show: by tracking UID the image, frame, points and words."""
    found = {}
    for group in items_of(report):
        shapes = [it for it in group.get("ContentSequence", ()) if it.ValueType == "SCOORD"]
        if not shapes:
            continue
        by_name = {it.ConceptNameCodeSequence[0].CodeValue: it for it in group.ContentSequence}
        ((shape,), reference) = shapes, shapes[0].ContentSequence[0].ReferencedSOPSequence[0]
        number = next(it for it in group.ContentSequence if it.ValueType == "NUM")
        found[by_name["112040"].UID] = {
            "uid": reference.ReferencedSOPInstanceUID,
            "frame": int(reference.get("ReferencedFrameNumber", 1)),
            "points": np.array(shape.GraphicData).reshape(-1, 2),
            "site": by_name["363698007"].ConceptCodeSequence[0].CodeMeaning,
            "value": float(number.MeasuredValueSequence[0].NumericValue),
            "name": number.ConceptNameCodeSequence[0].CodeMeaning,
        }
    return found


def assert_regions_shown(viewer: Viewer, expected: dict[str, dict[str, Any]]) -> None:
    viewer.page.wait_for(
        "cornerstoneTools.annotation.state.getAllAnnotations()"
        f".filter((it) => it.metadata.toolName === 'DICOMSRDisplay').length >= {len(expected)}"
    )
    shown = viewer.annotations()
    assert set(expected) <= set(shown)
    for uid, region in expected.items():
        assert shown[uid]["image"].endswith(f"/instances/{region['uid']}/frames/{region['frame']}")
        assert shown[uid]["frame"] == region["frame"]
        assert np.abs(np.array(shown[uid]["points"]) - region["points"]).max() < 0.01
        assert f"Finding site: {region['site']}" in shown[uid]["labels"]
        assert any(it.startswith(f"{region['name']}: {region['value']:.2f} ") for it in shown[uid]["labels"])


def test_every_series_of_an_answer_is_listed(page: Page, site: str, answers: dict[str, Answered]) -> None:
    for name, sources, unseen in (("2-biometry", 2, {PR}), ("anomaly", 1, {PR, KO})):
        answer = answers[name]
        viewer = opened(page, site, answer, sources)
        listed = {(it["number"], it["modality"], it["description"]) for it in viewer.series() if it["number"] > 900}
        assert listed == {(ds.SeriesNumber, ds.Modality, ds.SeriesDescription) for ds in answer.objects}
        hidden = {it["number"] for it in viewer.series() if not it["shown"]}
        assert hidden == unseen, "what the page on viewers says is not shown"
        assert not page.said


#: The studies with boxes: how many series of images each has, and whether the boxes lie on a frame of a cine.
WITH_BOXES = {"1-first-trimester": (2, False), "cine": (1, True)}


@pytest.mark.parametrize("name", WITH_BOXES)
def test_boxes_stand_on_their_frames_with_names_that_a_reader_understands(
    page: Page, site: str, answers: dict[str, Answered], name: str
) -> None:
    answer, (sources, moving) = answers[name], WITH_BOXES[name]
    (report,) = answer.of(901)
    regions = regions_of(report)
    assert {"Thalamus", "Nasal bone"} <= {region["site"] for region in regions.values()}
    assert not moving or min(region["frame"] for region in regions.values()) > 1
    viewer = opened(page, site, answer, sources)
    viewer.open_series("AI findings")
    assert_regions_shown(viewer, regions)
    assert_drawn_on_first_picture(viewer, regions)
    viewer.press("No")  # do not take them over as own measurements
    if not moving:
        picture_for_readers(viewer, "boxes")
    assert not page.said


def assert_drawn_on_first_picture(viewer: Viewer, regions: dict[str, dict[str, Any]]) -> None:
    """Expect the picture of the first region, with the shapes of all that lie on it and their words."""
    first = next(iter(regions.values()))
    viewer.wait_for_picture(first["uid"], first["frame"])
    viewer.scroll_to(first["uid"], first["frame"])  # and stay there: a cine plays
    on_first = [it for it in regions.values() if (it["uid"], it["frame"]) == (first["uid"], first["frame"])]
    viewer.wait_for_lines(len(on_first))
    assert all(f"Finding site: {region['site']}" in viewer.text() for region in on_first)


def test_measurements_show_their_values_and_biometry_its_report(
    page: Page, site: str, answers: dict[str, Answered]
) -> None:
    answer = answers["2-biometry"]
    (report,) = answer.of(901)
    regions = regions_of(report)
    names = {"Head Circumference", "Biparietal Diameter", "Abdominal Circumference", "Femur Length"}
    assert names <= {region["name"] for region in regions.values()}
    viewer = opened(page, site, answer)
    viewer.open_series("AI findings")
    assert_regions_shown(viewer, regions)
    page.wait_for("document.body.innerText.includes('Head Circumference: ')")
    picture_for_readers(viewer, "measurements")
    viewer.open_series("AI fetal biometry")
    page.wait_for("document.body.innerText.includes('OB-GYN Ultrasound Procedure Report')")
    picture_for_readers(viewer, "biometry")
    assert not page.said


def test_captures_look_as_the_node_drew_them(page: Page, site: str, answers: dict[str, Answered]) -> None:
    answer = answers["2-biometry"]
    viewer = opened(page, site, answer)
    viewer.open_series("AI summary")
    for place, file in enumerate(answer.pictures):
        viewer.scroll_to(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID)
        assert_looks_like(viewer, file.with_suffix(".png"))
        if place < 2:
            picture_for_readers(viewer, ("summary", "overlay")[place])
    (cine,) = answer.of(CINE)
    viewer.open_series("AI cine overlay")
    viewer.scroll_to(cine.SOPInstanceUID, 5)
    canvas, _ = viewer.canvas()
    assert np.asarray(Image.open(io.BytesIO(canvas)).convert("L")).std() > 10
    picture_for_readers(viewer, "cine")
    assert not page.said


def test_the_heat_map_of_an_anomaly_is_a_picture_of_its_own(
    page: Page, site: str, answers: dict[str, Answered]
) -> None:
    answer = answers["anomaly"]
    viewer = opened(page, site, answer, sources=1)
    viewer.open_series("AI summary")
    heat_map, *_ = [file for file in answer.pictures if "heat map" in pydicom.dcmread(file).DerivationDescription]
    viewer.scroll_to(pydicom.dcmread(heat_map, stop_before_pixels=True).SOPInstanceUID)
    assert_looks_like(viewer, heat_map.with_suffix(".png"))
    picture_for_readers(viewer, "heat-map")
    assert not page.said


def assert_looks_like(viewer: Viewer, preview: Path) -> None:
    """Compare the canvas with the node's own picture of the capture, where that lies on it."""
    data, (left, top, right, bottom) = viewer.canvas()
    shown = Image.open(io.BytesIO(data)).convert("RGB").crop((round(left), round(top), round(right), round(bottom)))
    meant = Image.open(preview).convert("RGB").resize(shown.size, Image.Resampling.BILINEAR)
    difference = np.abs(np.asarray(shown, dtype=float) - np.asarray(meant, dtype=float)).mean()
    assert np.asarray(meant).std() > 10
    assert difference < 6, f"{preview.name} differs by {difference:.1f} of 255 on average"


def test_outlines_load_on_their_frame_with_the_names_of_their_segments(
    page: Page, site: str, answers: dict[str, Answered]
) -> None:
    answer = answers["2-biometry"]
    masks = answer.of(SEG)
    assert len(masks) > 2
    assert any("ReferencedFrameNumber" in source_of(mask) for mask in masks)
    seen = []
    viewer = opened(page, site, answer)
    for place in range(len(masks)):
        viewer.open_series("AI outline of", place)
        loaded = page.wait_for(LOADED_SEGMENTATION.format(seen=seen))
        mask = next(it for it in masks if it.SOPInstanceUID == loaded["uid"])
        seen.append(loaded["uid"])
        assert loaded["labels"] == [segment.SegmentLabel for segment in mask.SegmentSequence]
        source = source_of(mask)
        viewer.wait_for_picture(source.ReferencedSOPInstanceUID, int(source.get("ReferencedFrameNumber", 1)))
        share = float(mask.pixel_array.mean())
        page.wait_for("document.body.innerText.includes('Do you want to open this Segmentation?')")
        assert coloured_share(viewer) == pytest.approx(share, rel=0.15)
        viewer.press("No")
        if place == 0:
            picture_for_readers(viewer, "outline")
        assert not page.said
    assert sorted(seen) == sorted(mask.SOPInstanceUID for mask in masks)


#: The SEG that the viewer has loaded last: its instance and the labels of its segments.
LOADED_SEGMENTATION = """(() => {{
    const masks = services.displaySetService.getActiveDisplaySets().filter((it) => it.Modality === "SEG");
    const loaded = masks.find((it) => it.isLoaded && !{seen}.includes(it.SOPInstanceUID));
    const segmentation = loaded && services.segmentationService.getSegmentation(loaded.displaySetInstanceUID);
    return segmentation && {{
        uid: loaded.SOPInstanceUID, labels: Object.values(segmentation.segments).map((it) => it.label)
    }};
}})()"""


def source_of(mask: Dataset) -> Dataset:
    (frame, *_) = mask.PerFrameFunctionalGroupsSequence
    source: Dataset = frame.DerivationImageSequence[0].SourceImageSequence[0]
    return source


def coloured_share(viewer: Viewer) -> float:
    """Tell how much of a grey picture is covered with colour."""
    data, (left, top, right, bottom) = viewer.canvas()
    shown = Image.open(io.BytesIO(data)).convert("RGB").crop((round(left), round(top), round(right), round(bottom)))
    pixels = np.asarray(shown, dtype=int)
    return float((np.ptp(pixels, axis=-1) > 12).mean())
