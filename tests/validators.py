"""The real validators, each as a sentence: what it has against a file; nothing, when the file is good.

They catch different faults, so all of them look. `dciodvfy` and `dcentvfy` are dicom3tools', `dsrdump` and `dcmpschk`
DCMTK's, the validator of structured reports is PixelMed's.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import pydicom
import synthetic as s

#: PixelMed's rules hold XPath expressions beyond the limits that Java sets by itself; three images take it 3 GB.
PIXELMED = (
    *("java", "-Xmx4g", "-Xss64m", "-Djdk.xml.xpathTotalOpLimit=0", "-Djdk.xml.xpathExprGrpLimit=0"),
    *("-Djdk.xml.xpathExprOpLimit=0", "-cp", "/usr/share/java/pixelmed.jar"),
    str(Path(__file__).with_name("SrValidators.java")),
)
#: What dsrdump says it cannot check: UTF-8, and the templates of key objects.
NOT_CHECKED = ("VR checker does not support", "Check for template constraints not yet supported")
TID_1500 = ("Found Root Template TID_1500 (MeasurementReport)", "Root Template Validation Complete")


def run(*command: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, errors="replace")


def dciodvfy(path: Path) -> str:
    """Check an object against its IOD. Not every error of this tool says so: what counts is its exit code."""
    outcome = run("/usr/bin/dciodvfy", "-new", path)
    return (outcome.stderr or f"exit code {outcome.returncode}") if outcome.returncode else ""


def dsrdump(path: Path) -> str:
    """Check value types and relationships of a structured report."""
    outcome = run("/usr/bin/dsrdump", path)
    lines = [line for line in outcome.stderr.splitlines() if not any(it in line for it in NOT_CHECKED)]
    complaints = [line for line in lines if line.startswith(("E:", "W:"))]
    return "\n".join(complaints) or (f"exit code {outcome.returncode}" if outcome.returncode else "")


def dcentvfy(sources: Iterable[Path], results: Iterable[Path]) -> str:
    """Check that patient, study and series agree over all files of a study."""
    outcome = run("/usr/bin/dcentvfy", *map(_in_utf_8, sources), *results)
    return (outcome.stderr or f"exit code {outcome.returncode}") if outcome.returncode else ""


def dcmpschk(path: Path) -> str:
    """Check a presentation state."""
    outcome = run("/usr/bin/dcmpschk", _in_ascii(path))
    said = outcome.stdout + outcome.stderr
    return "" if "Test passed." in said else said


def pixelmed(paths: Sequence[Path]) -> dict[Path, list[str]]:
    """Give what PixelMed says of each structured report, all in one run."""
    outcome = run(*PIXELMED, *paths)
    said: dict[Path, list[str]] = {}
    lines: list[str] = []
    for line in outcome.stdout.splitlines():
        if line.startswith("== "):
            lines = said.setdefault(Path(line.removeprefix("== ")), [])
        else:
            lines.append(line)
    assert set(said) == set(paths), outcome.stderr
    return said


def complaints_about_tid_1500(said: Sequence[str]) -> list[str]:
    """Pick the errors from what PixelMed says of a TID 1500 report; that it does not know the template is one."""
    missing = [f"not said: {line}" for line in TID_1500 if line not in said]
    return [line for line in said if line.startswith("Error") or "xception" in line] + missing


def _in_utf_8(path: Path) -> Path:
    """Transcode a file: dcentvfy compares bytes and knows no character sets."""
    ds = pydicom.dcmread(path)
    name = str(ds.get("PatientName", ""))
    if name.isascii():
        return path
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = name
    return s.write(ds, path.with_suffix(".utf8"))


def _in_ascii(path: Path) -> Path:
    """Rename a patient whose name is not ASCII: dcmpschk does not know UTF-8."""
    ds = pydicom.dcmread(path)
    if str(ds.PatientName).isascii():
        return path
    ds.PatientName = "Doe^Jane"
    del ds.SpecificCharacterSet
    return s.write(ds, path.with_suffix(".ascii"))
