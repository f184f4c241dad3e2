"""The only room with highdicom: reports, captures and their conformance gate."""
