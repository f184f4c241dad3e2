"""Telling our own results from a scanner's images, so that a router's rule cannot feed them back to us."""

from __future__ import annotations

from pydicom import Dataset

from dicom_node.results.identity import MODEL_NAME


def is_own_result(header: Dataset) -> bool:
    """Tell whether an instance was written by this software, here or at another site.

    Reads only Manufacturer's Model Name, Modality and Image Type. An image must also say that it is derived: no
    scanner's original picture is refused, whatever its model is called.
    """
    if str(header.get("ManufacturerModelName", "") or "").strip() != MODEL_NAME:
        return False
    image_type = [str(value) for value in header.get("ImageType") or ()]
    return not image_type or image_type[0] == "DERIVED"
