"""What the sizes of one study say of its fetus: the record that the biometry report is written from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dicom_node.domain.biometry import Derivation, Derived, Size, age_by_dates, derive, left_out, sizes_of
from dicom_node.domain.finding import Finding, Measurement
from dicom_node.domain.scanner_report import ScannerReport


@dataclass(frozen=True, slots=True)
class Assessment:
    """Sizes in millimetres and what follows from them.

    :ivar age: by dates, from the scanner's report; growth is told against it.
    :ivar left_out: why a quantity that was measured has no size although others have, by its name.
    """

    sizes: Mapping[str, Size]
    age: Derivation
    derivations: tuple[Derivation, ...]
    left_out: Mapping[str, str]


def assess(findings: Iterable[Finding], report: ScannerReport | None) -> Assessment:
    """Assess the fetus of a study.

    Where the scanner speaks of several fetuses there are no sizes: pictures do not say which of them they show, and a
    weight from the head of one and the abdomen of the other would be nobody's.
    """
    found = list(findings)
    age = _age(report)
    sizes, missing = sizes_of(found), left_out(found)
    if report is not None and report.number_of_fetuses > 1:
        why = f"the scanner's report speaks of {report.number_of_fetuses} fetuses, and no picture says which it shows"
        measured = [it.name for it in found if isinstance(it, Measurement) and it.unit == "mm"]
        return Assessment({}, age, (), dict.fromkeys(measured, why))
    for it in found:
        if sizes and isinstance(it, Measurement) and it.unit != "mm" and it.name not in sizes:
            missing.setdefault(it.name, f"measured in pixels only: {it.qualifier or 'no scale'}")
    days = round(age.value) if isinstance(age, Derived) else None
    return Assessment(sizes, age, tuple(derive({name: it.value_mm for name, it in sizes.items()}, days)), missing)


def _age(report: ScannerReport | None) -> Derivation:
    if report is None:
        return age_by_dates(None, None)
    return age_by_dates(report.examined_on, report.first_day, report.expected_delivery, report.age_by_dates_days)
