"""The quality gate and the units: real task code on drawn masks; the network has no say here."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dicom_node.domain.finding import Finding, Measurement, NotAssessable, Segmentation
from dicom_node.domain.frame import Calibration, Frame, FrameReference, Region
from dicom_node.inference.letterbox import Letterbox
from dicom_node.inference.manifest import Manifest
from dicom_node.tasks.biometry import CORRECTION, FARTHER, TURN_DEG, Biometry, Seen, _turned
from dicom_node.tasks.biometry.gate import OPEN
from dicom_node.tasks.biometry.geometry import Ellipse, coverage, shaft
from dicom_node.tasks.biometry.net import BiometryNet

MODELS = Path(__file__).parents[3] / "models"
MANIFEST = Manifest.read(MODELS / "biometry")
WIDTH, HEIGHT = MANIFEST.input_size("unet")
SCALE = WIDTH / 640
SHAPE = (round(HEIGHT / SCALE), 640)  # fits the input exactly
HEAD = Ellipse.of((320.0, 240.0), 200.0, 150.0, 20.0)
FEMUR = np.array([[150.0, 200.0], [450.0, 280.0]])


@pytest.fixture(scope="module")
def biometry() -> Biometry:
    return Biometry(MANIFEST, BiometryNet().eval(), "cpu")


def frame(plane: str, *regions: Region, reason: str | None = None) -> Frame:
    pixels = np.zeros((*SHAPE, 3), dtype=np.uint8)
    return Frame(FrameReference("1.2", "1.3"), pixels, Calibration(regions, reason), plane, 0.99)


def masks(
    region: int, outline: np.ndarray[tuple[int, int], np.dtype[np.float64]]
) -> np.ndarray[..., np.dtype[np.float32]]:
    """Give what two looks that agree would see."""
    drawn = np.zeros((3, HEIGHT, WIDTH), dtype=np.float32)
    drawn[region] = coverage(outline * SCALE, WIDTH, HEIGHT)
    return np.stack([drawn, drawn])


def whole(x: float, y: float) -> Region:
    return Region(0, 0, SHAPE[1] - 1, SHAPE[0] - 1, x, y)


def read(task: Biometry, of: Frame, maps: np.ndarray[..., np.dtype[np.float32]], region: str) -> list[Finding]:
    """Read what two looks saw; the third, at the turned picture, is taken to see the same."""
    return task.read(of, Seen(maps, turned(maps), region))


def turned(maps: np.ndarray[..., np.dtype[np.float32]]) -> np.ndarray[..., np.dtype[np.float32]]:
    turn = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), -TURN_DEG, FARTHER)
    return np.stack([cv2.warpAffine(each, turn, (WIDTH, HEIGHT)) for each in maps.mean(axis=0)])


def measured(findings: list[Finding]) -> dict[str, Measurement]:
    return {finding.name: finding for finding in findings if isinstance(finding, Measurement)}


def reason_of(findings: list[Finding]) -> str:
    (finding,) = findings
    assert isinstance(finding, NotAssessable)
    return finding.reason


def test_a_head_is_measured_in_millimetres(biometry: Biometry) -> None:
    findings = read(biometry, frame("brain", whole(0.2, 0.2)), masks(0, HEAD.outline()), "head")
    sizes = measured(findings)
    assert {name: m.unit for name, m in sizes.items()} == {"HC": "mm", "BPD": "mm", "OFD": "mm"}
    assert sizes["HC"].value == pytest.approx(CORRECTION["head"] * np.pi * (40.0 + 30.0), rel=0.002)
    assert sizes["BPD"].value == pytest.approx(CORRECTION["head"] * 60.0, rel=0.003)
    assert sizes["OFD"].value == pytest.approx(CORRECTION["head"] * 80.0, rel=0.003)
    assert sizes["HC"].quantity.value == "11984-2"
    (outline,) = (finding for finding in findings if isinstance(finding, Segmentation))
    assert outline.contour.points_px[0] == outline.contour.points_px[-1]


def test_pixels_that_are_not_square_count_each_direction_in_its_own_scale(biometry: Biometry) -> None:
    upright = Ellipse.of((320.0, 240.0), 200.0, 100.0, 0.0)
    findings = read(biometry, frame("brain", whole(0.1, 0.3)), masks(0, upright.outline()), "head")
    sizes = measured(findings)
    assert sizes["OFD"].value == pytest.approx(60.0, rel=0.02)
    assert sizes["BPD"].value == pytest.approx(40.0, rel=0.02)
    (x0, y0), (x1, y1) = sizes["OFD"].graphic.points_px
    assert abs(x1 - x0) < 10.0  # the longer true axis stands upright in the picture
    assert abs(y1 - y0) == pytest.approx(200.0, rel=0.02)


@pytest.mark.parametrize(
    ("calibration", "why"),
    [
        ({"reason": "no calibrated region"}, "no calibrated region"),
        ({"regions": (Region(0, 0, 300, 479, 0.2, 0.2),)}, "not inside one calibrated tissue region"),
    ],
)
def test_without_calibration_there_are_pixels_and_the_reason(
    biometry: Biometry, calibration: dict[str, object], why: str
) -> None:
    seen = frame("brain", *calibration.get("regions", ()), reason=calibration.get("reason"))  # type: ignore[misc,arg-type]
    hc = measured(read(biometry, seen, masks(0, HEAD.outline()), "head"))["HC"]
    assert hc.unit == "{pixels}"
    assert hc.value == pytest.approx(CORRECTION["head"] * HEAD.circumference, rel=0.002)
    assert why in (hc.qualifier or "")


def test_a_femur_is_measured_between_its_ends(biometry: Biometry) -> None:
    findings = read(biometry, frame("femur", whole(0.1, 0.2)), masks(2, shaft(FEMUR, 20.0)), "femur")
    assert measured(findings)["FL"].value == pytest.approx(np.hypot(30.0, 16.0), rel=0.02)


@pytest.mark.parametrize(
    ("plane", "mask", "seen", "reason"),
    [
        ("brain", masks(0, HEAD.outline()), "abdomen", "the segmentation sees the abdomen"),
        ("brain", np.zeros((2, 3, HEIGHT, WIDTH), dtype=np.float32), "head", "no head was outlined"),
        ("brain", masks(0, HEAD.outline()) * 0.6, "head", "the outline of the head is uncertain"),
        ("brain", masks(0, HEAD.outline() + np.array([250.0, 0.0])), "head", "the head leaves the picture"),
        ("femur", masks(2, HEAD.outline()), "femur", "the outline of the femur is not a shaft"),
    ],
)
def test_the_quality_gate_answers_with_a_reason(
    biometry: Biometry, plane: str, mask: np.ndarray[..., np.dtype[np.float32]], seen: str, reason: str
) -> None:
    findings = [f for f in read(biometry, frame(plane, whole(0.2, 0.2)), mask, seen) if not isinstance(f, Segmentation)]
    assert reason in reason_of(findings)


def test_without_the_gate_an_uncertain_outline_is_measured(biometry: Biometry) -> None:
    uncertain = masks(0, HEAD.outline()) * 0.6
    assert not measured(read(biometry, frame("brain", whole(0.2, 0.2)), uncertain, "head"))
    assert "HC" in measured(read(biometry.with_gate(OPEN), frame("brain", whole(0.2, 0.2)), uncertain, "head"))
    nothing = np.zeros((2, 3, HEIGHT, WIDTH), dtype=np.float32)
    assert not measured(read(biometry.with_gate(OPEN), frame("brain", whole(0.2, 0.2)), nothing, "head"))


def test_an_outline_that_is_no_ellipse_is_not_measured(biometry: Biometry) -> None:
    corner = np.array([[100.0, 100.0], [540.0, 100.0], [540.0, 180.0], [180.0, 180.0], [180.0, 400.0], [100.0, 400.0]])
    findings = read(biometry, frame("abdomen", whole(0.2, 0.2)), masks(1, corner), "abdomen")
    assert not measured(findings)
    assert "not an ellipse" in reason_of([f for f in findings if not isinstance(f, Segmentation)])


def test_a_femur_in_two_parts_is_not_measured_by_one_of_them(biometry: Biometry) -> None:
    along = FEMUR[1] - FEMUR[0]
    longer, shorter = (shaft(FEMUR[0] + along * np.array(part)[:, None], 16.0) for part in ((0.0, 0.6), (0.8, 1.0)))
    seen = frame("femur", whole(0.2, 0.2))
    assert measured(read(biometry, seen, masks(2, longer), "femur"))
    broken = masks(2, longer) + masks(2, shorter)
    assert "more of the femur was seen outside its outline" in reason_of(read(biometry, seen, broken, "femur"))
    assert measured(read(biometry.with_gate(OPEN), seen, broken, "femur"))
    faint = np.maximum(masks(2, longer), 0.05)
    assert measured(read(biometry, seen, faint, "femur"))
    speck = masks(2, longer) + masks(2, shaft(FEMUR[1] - along * np.array([[0.03], [0.0]]), 16.0))
    assert measured(read(biometry, seen, speck, "femur"))


@pytest.mark.parametrize(("plane", "region", "change"), [("brain", 0, 0.93), ("abdomen", 1, 1.07), ("femur", 2, 0.85)])
def test_a_size_that_changes_with_the_turn_of_the_picture_is_none(
    biometry: Biometry, plane: str, region: int, change: float
) -> None:
    outline = shaft(FEMUR, 20.0) if plane == "femur" else HEAD.outline()
    name = {"brain": "head"}.get(plane, plane)
    upright, seen = masks(region, outline), frame(plane, whole(0.2, 0.2))
    other = masks(region, (outline - outline.mean(axis=0)) * change + outline.mean(axis=0))
    assert measured(biometry.read(seen, Seen(upright, turned(upright), name)))
    reason = reason_of(biometry.read(seen, Seen(upright, turned(other), name)))
    assert reason == f"the {name} has another size when the picture is turned"
    nothing = np.zeros_like(turned(upright))
    assert reason_of(biometry.read(seen, Seen(upright, nothing, name))) == reason
    assert measured(biometry.with_gate(OPEN).read(seen, Seen(upright, nothing, name)))


def test_the_third_look_is_at_the_picture_turned_about_its_middle() -> None:
    """A line through the middle of the picture goes through the middle of the input, turned and shorter."""
    rows, columns = 300, 700  # of another shape than the input: black above and below
    picture = np.zeros((rows, columns), dtype=np.uint8)
    picture[rows // 2 - 2 : rows // 2 + 2, 100:600] = 255
    fit = Letterbox.fit(picture.shape, WIDTH, HEIGHT)
    y, x = np.nonzero(_turned(fit, picture) > 128)
    assert (x.mean() + 0.5, y.mean() + 0.5) == pytest.approx((WIDTH / 2, HEIGHT / 2), abs=0.6)
    along = np.array([x[x.argmax()] - x[x.argmin()], y[x.argmax()] - y[x.argmin()]])
    assert np.hypot(*along) == pytest.approx(500 * fit.scale * FARTHER, abs=4.0)
    assert np.rad2deg(np.arctan2(along[1], along[0])) == pytest.approx(TURN_DEG, abs=1.0)  # y points down: clockwise


@pytest.mark.parametrize(("plane", "region"), [("brain", 0), ("abdomen", 1), ("femur", 2)])
def test_what_only_one_look_sees_is_not_measured(biometry: Biometry, plane: str, region: int) -> None:
    shape = shaft(FEMUR, 20.0) if plane == "femur" else HEAD.outline()
    one = masks(region, shape)
    other = masks(region, shape + np.array([30.0, 0.0] if plane != "femur" else [0.0, 3.5]))
    differing = np.stack([one[0], other[0]])
    name = {"brain": "head"}.get(plane, plane)
    seen = frame(plane, whole(0.2, 0.2))
    assert measured(read(biometry, seen, one, name))
    findings = read(biometry, seen, differing, name)
    assert f"two looks at the {name} disagree" in reason_of(findings)


def test_a_mirrored_picture_has_the_mirrored_size(biometry: Biometry) -> None:
    rng = np.random.default_rng(3)
    pixels = np.repeat(rng.integers(0, 255, (2 * HEIGHT, 2 * WIDTH, 1), dtype=np.uint8), 3, axis=2)
    seen = Frame(FrameReference("1.2", "1.3"), pixels, Calibration(reason="x"), "brain", 0.99)
    mirrored = Frame(seen.reference, np.ascontiguousarray(pixels[:, ::-1]), seen.calibration, "brain", 0.99)
    one, other = biometry.look([seen, mirrored])
    assert one.maps.shape == (2, 3, HEIGHT, WIDTH)
    # The second look at a picture is the first at its mirror image, turned back: so together they do not know sides.
    assert one.maps[1] == pytest.approx(other.maps[0][..., ::-1], abs=1e-4)
    assert one.maps.mean(axis=0) == pytest.approx(other.maps.mean(axis=0)[..., ::-1], abs=1e-4)
    assert np.abs(one.maps[0] - one.maps[1]).max() > 1e-3
    assert one.turned.shape == (3, HEIGHT, WIDTH)
    assert np.abs(one.turned - one.maps[0]).max() > 1e-3
    assert one.region == other.region


def test_only_planes_that_can_be_measured_are_accepted(biometry: Biometry) -> None:
    accepted = [
        plane
        for plane in ("brain", "abdomen", "femur", "thorax", "other")
        if biometry.accepts(frame(plane, reason="x"))
    ]
    assert accepted == ["brain", "abdomen", "femur"]
    assert not biometry.accepts(Frame(FrameReference("1", "2"), np.zeros((4, 4, 3), np.uint8), Calibration(reason="x")))
