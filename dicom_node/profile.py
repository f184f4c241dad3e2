"""How results are written for one destination: which objects, and in which of the forms that the standard allows.

The defaults are what every PACS takes. ``config.Destination.profile`` makes the profile of a destination.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Literal

ObjectKind = Literal[
    "findings_sr",
    "biometry_sr",
    "secondary_capture",
    "segmentation",
    "cine_capture",
    "presentation_state",
    "key_object",
]
Encoding = Literal["raw", "jpeg"]
CaptureModality = Literal["OT", "US"]
SrClass = Literal["comprehensive", "comprehensive_3d"]

DEFAULT_OBJECTS: tuple[ObjectKind, ...] = ("findings_sr", "biometry_sr", "secondary_capture")
#: Without one of these that a destination wants, it has no answer; the other kinds only repeat what these say.
ESSENTIAL: frozenset[ObjectKind] = frozenset(DEFAULT_OBJECTS)
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
    """What one destination wants. The same wish is the same profile, however it was written down.

    :ivar objects: the kinds that are built; what a study has nothing for is left out.
    :ivar sr_class: the SOP class of the reports; the tree is the same.
    :ivar capture_modality: ``OT`` keeps a router's rule "modality US to the AI" from looping; ``US`` hangs captures
        beside the images.
    :ivar encoding: of captures: ``raw`` is read by everything, ``jpeg`` (Baseline, 4:2:2) is a tenth of the size. A
        cine beyond :data:`~dicom_node.results.pixels.MOST_RAW_BYTES` is always JPEG.
    :ivar private_codes: whether reports may use our own coding scheme, declared in them; else those values are words.
    :ivar series_numbers: where they are not those of :data:`SERIES_NUMBERS`.
    """

    objects: tuple[ObjectKind, ...] = DEFAULT_OBJECTS
    sr_class: SrClass = "comprehensive"
    capture_modality: CaptureModality = "OT"
    encoding: Encoding = "raw"
    private_codes: bool = True
    series_numbers: Mapping[ObjectKind, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Bring the objects into one order, and keep of the numbers those that change something."""
        object.__setattr__(self, "objects", tuple(kind for kind in SERIES_NUMBERS if kind in self.objects))
        numbers = {kind: self.series_numbers.get(kind, usual) for kind, usual in SERIES_NUMBERS.items()}
        changed = {kind: numbers[kind] for kind in self.objects if numbers[kind] != SERIES_NUMBERS[kind]}
        object.__setattr__(self, "series_numbers", MappingProxyType(changed))

    @property
    def mark(self) -> str:
        """Tell this profile from others, in UIDs too: what is written differently must not have the same UID.

        It says what differs from the default, for which it is empty.
        """
        usual = Profile()
        wishes = [(wish.name, getattr(self, wish.name), getattr(usual, wish.name)) for wish in fields(self)]
        return " ".join(f"{name}={_in_words(value)}" for name, value, default in wishes if value != default)

    def series_number(self, kind: ObjectKind) -> int:
        """Give the Series Number of a kind."""
        return self.series_numbers.get(kind, SERIES_NUMBERS[kind])


def _in_words(value: object) -> str:
    if isinstance(value, Mapping):
        return "+".join(f"{name}:{number}" for name, number in value.items())
    return "+".join(value) if isinstance(value, tuple) else str(value)
