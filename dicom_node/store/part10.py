"""DICOM file meta information, written and skipped directly (PS3.10 section 7)."""

from __future__ import annotations

import struct

IMPLEMENTATION_CLASS_UID = "2.25.182690425207834283817036953137520281349"
IMPLEMENTATION_VERSION_NAME = "DICOM_NODE_1"

_PREAMBLE = bytes(128) + b"DICM"
_GROUP_LENGTH = struct.Struct("<HH2sHL")  # (0002,0000) UL
_SHORT = struct.Struct("<HH2sH")
_VERSION = struct.pack("<HH2sxxL", 2, 1, b"OB", 2) + b"\0\1"  # (0002,0001)


def file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae_title: str) -> bytes:
    """Build preamble, prefix and file meta for an encoded data set that is stored as it came."""
    elements = _VERSION + b"".join(
        (
            _element(0x0002, b"UI", sop_class_uid),
            _element(0x0003, b"UI", sop_instance_uid),
            _element(0x0010, b"UI", transfer_syntax_uid),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            _element(0x0016, b"AE", source_ae_title),
        )
    )
    return _PREAMBLE + _GROUP_LENGTH.pack(2, 0, b"UL", 4, len(elements)) + elements


def data_set_offset(beginning: bytes) -> int:
    """Say where the data set starts in a file that :func:`file_meta` began; 144 bytes of it are enough."""
    return len(_PREAMBLE) + _GROUP_LENGTH.size + int(_GROUP_LENGTH.unpack_from(beginning, len(_PREAMBLE))[4])


def _element(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii", "replace")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return _SHORT.pack(2, element, vr, len(value)) + value
