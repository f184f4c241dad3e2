"""The DIMSE statuses this node gives, by name (PS3.7 Annex C, PS3.4 GG.4 and F.7)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Status(IntEnum):
    """What the node answers to a request."""

    SUCCESS = 0x0000
    INVALID_ATTRIBUTE_VALUE = 0x0106
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_SOP_INSTANCE = 0x0111
    NO_SUCH_SOP_INSTANCE = 0x0112
    NO_SUCH_EVENT_TYPE = 0x0113
    INVALID_ARGUMENT_VALUE = 0x0115
    INVALID_SOP_INSTANCE = 0x0117
    CLASS_INSTANCE_CONFLICT = 0x0119  #: also a failure reason of storage commitment (PS3.4 Table J.3-2, PS3.3 C.14.1.1)
    MISSING_ATTRIBUTE = 0x0120
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION_TYPE = 0x0123
    NOT_AUTHORISED = 0x0124
    UNRECOGNISED_OPERATION = 0x0211
    OUT_OF_RESOURCES = 0xA700


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, for people its Error Comment (0000,0902), LO: at most 64 characters, and its Error ID (0000,0903)."""

    status: Status
    comment: str = ""
    error_id: int | None = None


SUCCESS = Answer(Status.SUCCESS)
#: PS3.4 Table F.7.2-2; the words are the standard's.
NO_LONGER_UPDATED = Answer(
    Status.PROCESSING_FAILURE, "Performed Procedure Step Object may no longer be updated", error_id=0xA710
)
