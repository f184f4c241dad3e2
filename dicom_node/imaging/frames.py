"""From a stored instance to frames, one at a time: never a whole cine in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from dicom_node.domain.frame import Frame, FrameReference
from dicom_node.domain.result import NotAnalysed
from dicom_node.errors import UndecodableFrame, UnreadableDataset
from dicom_node.imaging.decode import check_decodable, decode_frame, open_source, read_header
from dicom_node.imaging.regions import calibration_of

#: Classes whose instances are multi-frame by nature, even with one frame (PS3.3 A.7, A.8.3 to A.8.5).
MULTI_FRAME_CLASSES = frozenset(
    "1.2.840.10008.5.1.4.1.1." + suffix for suffix in ("3", "3.1", "7.1", "7.2", "7.3", "7.4")
)
#: Channels that differ by more than this are a colour, not the noise of a colour JPEG of a grey picture.
_COLOUR_DIFFERENCE = 40


@dataclass(frozen=True, slots=True)
class Instance:
    """A stored instance that holds pictures.

    :ivar header: the data set before the pixel data, as the scanner wrote it.
    :ivar number_of_frames: as stated; 1 when absent.
    """

    path: Path
    header: Dataset
    number_of_frames: int

    @property
    def sop_instance_uid(self) -> str:
        """Name the instance."""
        return str(self.header.SOPInstanceUID)

    def reference(self, frame_number: int) -> FrameReference:
        """Name a frame; the only frame of a single-frame class has no number."""
        sop_class_uid = str(self.header.SOPClassUID)
        numbered = self.number_of_frames > 1 or sop_class_uid in MULTI_FRAME_CLASSES
        return FrameReference(sop_class_uid, self.sop_instance_uid, frame_number if numbered else None)


def open_instance(path: Path) -> Instance:
    """Read the header of an instance.

    :raises UnreadableDataset: when the file is no DICOM data set, or truncated before its pixel data.
    :raises NoPixelData: when it holds no picture.
    """
    try:
        with open_source(path) as source:
            header = read_header(source)
    except OSError as error:
        raise UnreadableDataset(f"the file cannot be read: {error.strerror}") from error
    return Instance(path, header, _number_of_frames(header))


def sample_frame_numbers(total: int, max_frames: int) -> list[int]:
    """Choose at most ``max_frames`` frame numbers (1-based), evenly spaced from the first to the last frame.

    One frame of many is the middle one.
    """
    if total <= max_frames:
        return list(range(1, total + 1))
    if max_frames == 1:
        return [(total + 1) // 2]
    return [1 + (2 * i * (total - 1) + max_frames - 1) // (2 * (max_frames - 1)) for i in range(max_frames)]


def frames_of(instance: Instance, frame_numbers: Sequence[int]) -> Iterator[Frame | NotAnalysed]:
    """Decode the numbered frames in turn; a bad frame gives its reason instead and does not stop the others.

    :raises UndecodableFrame: when the header already tells that no frame can be decoded.
    """
    if instance.number_of_frames < 1:
        raise UndecodableFrame("the instance says that it has no frames")
    check_decodable(instance.header)
    calibration = calibration_of(instance.header)
    with open_source(instance.path) as source:
        for number in frame_numbers:
            reference = instance.reference(number)
            try:
                yield Frame(reference, decode_frame(source, instance.header, number - 1), calibration)
            except UndecodableFrame as error:
                yield NotAnalysed(instance.sop_instance_uid, str(error), reference.frame_number)


def one_frame(path: Path, frame_number: int | None) -> Frame:
    """Decode one frame again, to draw on it.

    :raises BadInput: when it cannot be decoded.
    """
    instance = open_instance(path)
    answer = next(frames_of(instance, [frame_number or 1]))
    if isinstance(answer, NotAnalysed):
        raise UndecodableFrame(answer.reason)
    return answer


def colour_share(pixels: npt.NDArray[np.uint8]) -> float:
    """Give the share (0..1) of pixels, shape (rows, columns, 3), that are coloured: Doppler or a rendered volume.

    Ultrasound Color Data Present (0028,0014) is often absent, so the pixels are asked.
    """
    spread = pixels.max(axis=2).astype(np.int16) - pixels.min(axis=2)
    return float((spread > _COLOUR_DIFFERENCE).mean())


def _number_of_frames(header: Dataset) -> int:
    """Read Number of Frames (0028,0008): 1 when absent or empty, 0 when it is no count."""
    try:
        stated = header.get("NumberOfFrames")
        return 1 if stated in (None, "") else max(0, int(stated))
    except (TypeError, ValueError):
        return 0
