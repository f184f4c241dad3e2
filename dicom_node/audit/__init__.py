"""The audit trail: who sent, changed, viewed and delivered what, as DICOM audit messages (PS3.15 A.5)."""
