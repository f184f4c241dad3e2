"""The pictures for people: secondary captures that every viewer shows (PS3.3 A.8.1), and cines of them (A.8.5).

Written by hand: highdicom's SCImage leaves out the source image, the burned-in annotation and the lossy history, and
has no frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from pydicom import Dataset
from pydicom.tag import Tag

from dicom_node.domain.finding import Classification, Finding, HeatMap, frames_of
from dicom_node.domain.frame import Frame, FrameReference
from dicom_node.domain.result import CineSampling, StudyAnalysis
from dicom_node.profile import ObjectKind, Profile
from dicom_node.results import codes
from dicom_node.results.caption import remarks
from dicom_node.results.document import Series, new_object
from dicom_node.results.evidence import body_part, number_of_frames
from dicom_node.results.heat import heat_overlay
from dicom_node.results.identity import MANUFACTURER, MODEL_NAME, NodeIdentity
from dicom_node.results.lettering import Colour
from dicom_node.results.pixels import MOST_RAW_BYTES, put_pixels
from dicom_node.results.render import Layout, colours_of, overlay
from dicom_node.results.summary_page import draw_page

KIND: ObjectKind = "secondary_capture"
CINE_KIND: ObjectKind = "cine_capture"
SOP_CLASS_UID = "1.2.840.10008.5.1.4.1.1.7"
CINE_SOP_CLASS_UID = "1.2.840.10008.5.1.4.1.1.7.4"  #: Multi-frame True Color Secondary Capture
DESCRIPTION = "AI summary and overlays, not for measurement"
_FRAME_TIME, _FRAME_LABEL_VECTOR = Tag("FrameTime"), Tag("FrameLabelVector")

#: Gives numbered frames of an instance one at a time, decoded.
FrameReader = Callable[[str, Sequence[int]], Iterator[Frame]]


def build_page(
    number: int,
    headers: Sequence[Dataset],
    key_frames: Sequence[Frame],
    *,
    patient: Dataset,
    analysis: StudyAnalysis,
    node: NodeIdentity,
    profile: Profile,
) -> Dataset:
    """Draw the one picture that tells what was found in the study: the first capture of its series.

    :param headers: of all instances that were looked at; at least one.
    """
    series = _series(KIND, SOP_CLASS_UID, DESCRIPTION, profile)
    ds = _as_capture(new_object(series, "summary page", patient, analysis, node), number, patient, node)
    ds.DerivationDescription = f"AI summary page {MODEL_NAME} {node.software_version}"
    ds.ImageComments = "AI summary page: planes, structures, measurements, answers, and what was not assessable"
    references = [frame.reference for frame in key_frames]
    if references:
        ds.SourceImageSequence = _sources(references)
    put_pixels(ds, [draw_page(analysis, headers, key_frames)], profile.encoding, None)
    return ds


def build_capture(
    frame: Frame,
    number: int,
    header: Dataset,
    *,
    patient: Dataset,
    analysis: StudyAnalysis,
    node: NodeIdentity,
    profile: Profile,
    heat_map: HeatMap | None = None,
) -> Dataset:
    """Draw the findings of one frame over it, at the geometry of the source, without anything to measure on.

    :param number: Instance Number within the series, from 1.
    :param header: of the instance that the frame is from.
    :param heat_map: to be drawn alone, instead of the other findings.
    """
    reference = frame.reference
    series = _series(KIND, SOP_CLASS_UID, DESCRIPTION, profile)
    about = f"{reference.sop_instance_uid}/{reference.frame_number}"
    if heat_map is not None:
        about += f"/heat map/{heat_map.task}/{heat_map.name}/{heat_map.value_name}"
    ds = _as_capture(new_object(series, about, patient, analysis, node), number, header, node)
    what = f"heat map ({heat_map.method})" if heat_map else "result overlay"
    ds.DerivationDescription = f"AI {what} {MODEL_NAME} {node.software_version}"
    ds.SourceImageSequence = _sources([reference])
    of_frame = [finding for finding in analysis.findings if reference in frames_of(finding)]
    if heat_map is not None:
        explained = [it for it in analysis.findings if isinstance(it, Classification) and heat_map.explains(it)]
        picture = heat_overlay(frame, heat_map, remarks(explained))
    else:
        picture = overlay(frame, of_frame, Layout(_colours(analysis)))
    put_pixels(ds, [picture], profile.encoding, header)
    return ds


def _colours(analysis: StudyAnalysis) -> dict[str, Colour]:
    """Give what was found anywhere in the study a colour: it has the same one in every picture."""
    in_cines = [finding for it in analysis.sampling for seen in it.seen for finding in seen.findings]
    return colours_of([*analysis.findings, *in_cines])


def build_cine(
    sampling: CineSampling,
    number: int,
    header: Dataset,
    read_frames: FrameReader,
    *,
    patient: Dataset,
    analysis: StudyAnalysis,
    node: NodeIdentity,
    profile: Profile,
) -> Dataset:
    """Draw what was found in each analysed frame of a cine over it, as one cine that plays at the speed of its source.

    The frames pass through one at a time: decoded, drawn on, encoded.
    """
    series = _series(CINE_KIND, CINE_SOP_CLASS_UID, "AI cine overlay, not for measurement", profile)
    about = f"cine {sampling.sop_instance_uid}"
    ds = _as_capture(new_object(series, about, patient, analysis, node), number, header, node)
    numbers = [seen.reference.frame_number or 1 for seen in sampling.seen]
    shown = f"{len(numbers)} of {sampling.frames_total} frames"
    ds.DerivationDescription = f"AI result overlay of {shown} {MODEL_NAME} {node.software_version}"
    ds.SourceImageSequence = _sources([seen.reference for seen in sampling.seen])
    ds.NumberOfFrames = len(numbers)
    _set_speed(ds, header, numbers)
    raw_bytes = len(numbers) * int(header.Rows) * int(header.Columns) * 3
    encoding = profile.encoding if raw_bytes <= MOST_RAW_BYTES else "jpeg"
    layout = Layout(_colours(analysis))
    found: dict[FrameReference, tuple[Finding, ...]] = {seen.reference: seen.findings for seen in sampling.seen}
    frames = read_frames(sampling.sop_instance_uid, numbers)
    put_pixels(ds, (overlay(frame, found[frame.reference], layout) for frame in frames), encoding, header)
    return ds


def is_worth_a_cine(sampling: CineSampling) -> bool:
    """Tell whether a cine overlay would show more than the cine itself: several frames, and something to draw."""
    drawn = colours_of([finding for seen in sampling.seen for finding in seen.findings])
    return len(sampling.seen) > 1 and bool(drawn)


def _series(kind: ObjectKind, sop_class_uid: str, description: str, profile: Profile) -> Series:
    return Series.of(profile, kind, sop_class_uid, profile.capture_modality, description)


def _as_capture(ds: Dataset, number: int, header: Dataset, node: NodeIdentity) -> Dataset:
    """Say of an object that it is a derived picture with text burned in (PS3.3 C.8.6.1)."""
    ds.InstanceNumber = number
    ds.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    ds.ConversionType = "WSD"
    ds.SecondaryCaptureDeviceID = node.ae_title
    ds.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    ds.SecondaryCaptureDeviceManufacturerModelName = MODEL_NAME
    ds.SecondaryCaptureDeviceSoftwareVersions = node.software_version
    ds.BurnedInAnnotation = "YES"
    ds.RecognizableVisualFeatures = "NO"
    ds.PatientOrientation = None
    ds.BodyPartExamined = body_part(header)
    return ds


def _sources(references: Sequence[FrameReference]) -> list[Dataset]:
    """Name the pictures underneath, the frames of one instance together."""
    by_instance: dict[str, list[FrameReference]] = {}
    for reference in references:
        by_instance.setdefault(reference.sop_instance_uid, []).append(reference)
    items = []
    for uid, of_instance in by_instance.items():
        item = Dataset()
        item.ReferencedSOPClassUID = of_instance[0].sop_class_uid
        item.ReferencedSOPInstanceUID = uid
        numbers = [reference.frame_number for reference in of_instance if reference.frame_number is not None]
        if numbers:
            item.ReferencedFrameNumber = numbers
        item.PurposeOfReferenceCodeSequence = [codes.code_item(codes.SOURCE_IMAGE)]
        items.append(item)
    return items


def _set_speed(ds: Dataset, header: Dataset, numbers: Sequence[int]) -> None:
    """Say how fast the frames follow each other (PS3.3 C.7.6.5), left-out ones included; else only which they are."""
    times_ms = _frame_times_ms(header)
    if times_ms is None or max(numbers) > len(times_ms):
        ds.FrameIncrementPointer = _FRAME_LABEL_VECTOR
        ds.FrameLabelVector = [f"frame {number}" for number in numbers]
        return
    frame_time_ms = (times_ms[numbers[-1] - 1] - times_ms[numbers[0] - 1]) / (len(numbers) - 1)
    ds.FrameIncrementPointer = _FRAME_TIME
    ds.FrameTime = f"{frame_time_ms:.6g}"
    ds.CineRate = max(1, round(1000 / frame_time_ms))


def _frame_times_ms(header: Dataset) -> list[float] | None:
    """Give when each frame of a source was taken, from its first; None when it does not say."""
    count = number_of_frames(header)
    try:
        if header.get("FrameTime"):
            times = [number * float(header.FrameTime) for number in range(count)]
        elif header.get("FrameTimeVector"):
            steps = [float(step) for step in header.FrameTimeVector]
            times = [sum(steps[1 : number + 1]) for number in range(len(steps))]
        else:
            return None
    except (TypeError, ValueError):
        return None
    return times if all(later > earlier for earlier, later in pairwise(times)) else None
