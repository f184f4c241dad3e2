"""What the sonographer measured, as the scanner's own report says it, and how far the node's sizes are from that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from statistics import fmean

from dicom_node.domain.biometry import PREGNANCY_DAYS
from dicom_node.domain.concept import Concept
from dicom_node.domain.finding import Measurement

PREGNANCY = timedelta(days=PREGNANCY_DAYS)


@dataclass(frozen=True, slots=True)
class Reading:
    """One calliper value. ``chosen`` and ``mean``: so the scanner marked it (TID 300, Selection Status and Derivation).

    ``fetus`` is the fetus that the value is about, as the scanner names it; None where it names none.
    """

    quantity: Concept
    fetus: str | None
    value_mm: float
    chosen: bool = False
    mean: bool = False


@dataclass(frozen=True, slots=True)
class ManualSize:
    """One quantity of one fetus: the value that the sonographer stands by. ``how`` says which of several it is."""

    quantity: Concept
    fetus: str | None
    value_mm: float
    how: str = ""


@dataclass(frozen=True, slots=True)
class ScannerReport:
    """What the report of a scanner (TID 5000) says of sizes and dates.

    :ivar written: when, as DICOM writes date and time: it sorts.
    :ivar examined_on: the day to which the dates are related.
    :ivar fetuses: their names, in the order of the report; empty where it names none.
    :ivar number_of_fetuses: at least one.
    :ivar expected_delivery: as the clinic has settled it; ``expected_delivery_by_lmp`` follows from the period alone.
    :ivar age_by_dates_days: the age by the last menstrual period, where the report states it itself.
    """

    sop_instance_uid: str
    examined_on: date | None = None
    written: str = ""
    sizes: tuple[ManualSize, ...] = ()
    fetuses: tuple[str, ...] = ()
    number_of_fetuses: int = 1
    last_menstrual_period: date | None = None
    expected_delivery: date | None = None
    expected_delivery_by_lmp: date | None = None
    age_by_dates_days: float | None = None

    @property
    def has_dates(self) -> bool:
        """Tell whether it says anything that an age by dates follows from."""
        return any((self.first_day, self.expected_delivery, self.age_by_dates_days))

    @property
    def first_day(self) -> date | None:
        """Give the first day of the last menstrual period, where only the delivery by it is told from that."""
        by_lmp = self.expected_delivery_by_lmp
        return self.last_menstrual_period or (by_lmp - PREGNANCY if by_lmp else None)


@dataclass(frozen=True, slots=True)
class Difference:
    """The node's value less the sonographer's: in millimetres, and in per cent of the sonographer's."""

    manual: ManualSize
    difference_mm: float
    percent: float


def together(reports: Iterable[ScannerReport]) -> ScannerReport | None:
    """Put several reports of a study together.

    A scanner sends a new one after each change, and each is complete: the last one counts. But some send one for each
    fetus, so a report is not forgotten that is about a fetus which no later one names.
    """
    in_turn = sorted(reports, key=lambda it: (it.written, it.sop_instance_uid), reverse=True)
    if not in_turn:
        return None
    latest, *earlier = in_turn
    for report in earlier:
        others = [name for name in report.fetuses if name not in latest.fetuses]
        if latest.fetuses and others:
            latest = _with_fetuses(latest, report, others)
    return latest


def _with_fetuses(latest: ScannerReport, earlier: ScannerReport, names: list[str]) -> ScannerReport:
    """Add what an earlier report says of some fetuses, and its dates where the later one has none."""
    fetuses = (*latest.fetuses, *names)
    dated = latest if latest.has_dates else earlier
    return replace(
        latest,
        fetuses=fetuses,
        number_of_fetuses=max(latest.number_of_fetuses, earlier.number_of_fetuses, len(fetuses)),
        sizes=(*latest.sizes, *(size for size in earlier.sizes if size.fetus in names)),
        examined_on=dated.examined_on,
        last_menstrual_period=dated.last_menstrual_period,
        expected_delivery=dated.expected_delivery,
        expected_delivery_by_lmp=dated.expected_delivery_by_lmp,
        age_by_dates_days=dated.age_by_dates_days,
    )


def manual_sizes(readings: Iterable[Reading]) -> tuple[ManualSize, ...]:
    """Choose one value for each quantity of each fetus: the one marked as chosen, else as mean, else the mean of all.

    PS3.16 TID 5008 row 3 has the same order for what follows from several measurements.
    """
    of_one: dict[tuple[Concept, str | None], list[Reading]] = {}
    for reading in readings:
        of_one.setdefault((reading.quantity, reading.fetus), []).append(reading)
    return tuple(_chosen(found) for found in of_one.values())


def differences(measurement: Measurement, report: ScannerReport | None) -> list[Difference]:
    """Compare a measurement with what the sonographer has for the same quantity, one entry for each fetus.

    A measurement in pixels cannot be compared.
    """
    if report is None or measurement.unit != "mm":
        return []
    return [
        Difference(size, less, 100.0 * less / size.value_mm)
        for size in report.sizes
        if size.quantity == measurement.quantity
        for less in [measurement.value - size.value_mm]
    ]


def _chosen(readings: list[Reading]) -> ManualSize:
    quantity, fetus = readings[0].quantity, readings[0].fetus
    if len(readings) == 1:
        return ManualSize(quantity, fetus, readings[0].value_mm)
    chosen = [it.value_mm for it in readings if it.chosen]
    if chosen:
        return ManualSize(quantity, fetus, chosen[0], f"chosen of {len(readings)} values")
    single = [it.value_mm for it in readings if not it.mean]
    mean = next((it.value_mm for it in readings if it.mean), None)
    return ManualSize(quantity, fetus, fmean(single) if mean is None else mean, f"mean of {len(single)} values")
