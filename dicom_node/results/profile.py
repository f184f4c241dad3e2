"""How results are written for one destination: which objects, and in which of the forms that the standard allows.

The fields are those of a destination in `config.yaml`. The defaults are what every PACS takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

ObjectKind = Literal[
    "findings_sr",
    "biometry_sr",
    "secondary_capture",
    "cine_capture",
    "segmentation",
    "presentation_state",
    "key_object",
]
Encoding = Literal["raw", "jpeg"]
CaptureModality = Literal["OT", "US"]
SrClass = Literal["comprehensive", "comprehensive_3d"]

DEFAULT_OBJECTS: tuple[ObjectKind, ...] = ("findings_sr", "biometry_sr", "secondary_capture")
#: Series Number (0020,0011) of each kind: a convention, high enough to stand behind a scanner's own series.
SERIES_NUMBERS: Mapping[ObjectKind, int] = MappingProxyType(
    {
        "findings_sr": 901,
        "biometry_sr": 902,
        "secondary_capture": 903,
        "segmentation": 904,
        "cine_capture": 905,
        "presentation_state": 906,
        "key_object": 907,
    }
)
SR_CLASSES: Mapping[SrClass, str] = MappingProxyType(
    {"comprehensive": "1.2.840.10008.5.1.4.1.1.88.33", "comprehensive_3d": "1.2.840.10008.5.1.4.1.1.88.34"}
)


@dataclass(frozen=True, slots=True)
class Profile:
    """What one destination wants.

    :ivar objects: the kinds that are built; what a study has nothing for is left out.
    :ivar sr_class: the SOP class of the reports; the tree is the same.
    :ivar capture_modality: ``OT`` keeps a router's rule "modality US to the AI" from looping; ``US`` hangs captures
        beside the images.
    :ivar encoding: of captures: ``raw`` is read by everything, ``jpeg`` (Baseline, 4:2:2) is a tenth of the size. A
        cine beyond :data:`~dicom_node.results.pixels.MOST_RAW_BYTES` is always JPEG.
    :ivar private_codes: whether reports may use our own coding scheme, declared in them; else those values are words.
    :ivar series_numbers: instead of those of :data:`SERIES_NUMBERS`.
    """

    objects: tuple[ObjectKind, ...] = DEFAULT_OBJECTS
    sr_class: SrClass = "comprehensive"
    capture_modality: CaptureModality = "OT"
    encoding: Encoding = "raw"
    private_codes: bool = True
    series_numbers: Mapping[ObjectKind, int] = field(default_factory=dict)

    @property
    def mark(self) -> str:
        """Tell this profile from others in UIDs: what is written differently must not have the same UID.

        Empty for the default.
        """
        if self == Profile():
            return ""
        numbers = sorted(self.series_numbers.items())
        codes = "private" if self.private_codes else "public"
        return f"{sorted(self.objects)} {self.sr_class} {self.capture_modality} {self.encoding} {codes} {numbers}"

    def series_number(self, kind: ObjectKind) -> int:
        """Give the Series Number of a kind."""
        return self.series_numbers.get(kind, SERIES_NUMBERS[kind])
