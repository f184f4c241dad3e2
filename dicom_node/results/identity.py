"""Who writes the results, and under which UIDs: the same answer always makes the same objects, byte for byte."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from dicom_node import __version__

MANUFACTURER = "dicom-node"
MODEL_NAME = "dicom-node fetal ultrasound AI"  #: also what the loop guard knows our objects by
IMPLEMENTATION_CLASS_UID = "2.25.182690425207834283817036953137520281349"  #: as in the node's associations
IMPLEMENTATION_VERSION_NAME = "DICOM_NODE_1"

_NAMESPACE = uuid.UUID("6f0d7c1e-5b0a-5c52-9a44-0f2b7c1d9e63")
_MAX_UID_LENGTH = 64


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """The node as the author of results.

    :ivar uid_root: the site's own UID root; None makes UIDs under 2.25 (PS3.5 B.2).
    """

    ae_title: str
    institution: str = ""
    uid_root: str | None = None
    software_version: str = __version__

    def uid(self, *parts: str) -> str:
        """Derive a UID from what it names: UUID version 5 (RFC 9562) of the parts."""
        number = uuid.uuid5(_NAMESPACE, "\n".join(parts)).int
        if self.uid_root is None:
            return f"2.25.{number}"
        digits = _MAX_UID_LENGTH - len(self.uid_root) - 1
        return f"{self.uid_root}.{number % 10**digits}"

    @property
    def device_uid(self) -> str:
        """Name the node itself as a device observer (TID 1004)."""
        return self.uid("device", self.ae_title)
