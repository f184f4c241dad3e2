"""A DICOM node for fetal ultrasound: receives studies, analyses them, returns coded reports to the PACS."""

__version__ = "0.1.0"
