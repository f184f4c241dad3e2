"""Destinations with profiles of their own, from the stored images to the PACS: real rows, objects, gate and sockets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import synthetic as s
from fake_pacs import FakePacs
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit
from sqlalchemy import select
from world import World

from dicom_node.config import Destination
from dicom_node.domain.finding import Classification, Finding, Graphic, HeatMap, Segmentation
from dicom_node.domain.frame import Frame, FrameReference
from dicom_node.errors import BadInput, IllegalTransition
from dicom_node.pipeline import delivery
from dicom_node.pipeline.analysis import analyse_study
from dicom_node.pipeline.examination import Examiner
from dicom_node.pipeline.operator import redeliver, retry_study
from dicom_node.pipeline.preflight import sent_to
from dicom_node.pipeline.retention import clean_up
from dicom_node.profile import SERIES_NUMBERS
from dicom_node.store.part10 import data_set_offset
from dicom_node.store.studies import show_study
from dicom_node.store.tables import DeliveryRow, InstanceRow, ResultRow

SR, SR_3D = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.88.34"
CAPTURE, CINE = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.4"
SEGMENTATION, COLOUR_STATE = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.11.2"
KEY_OBJECT = "1.2.840.10008.5.1.4.1.1.88.59"
RICH = {
    "send": [*SERIES_NUMBERS],
    "sr_class": "comprehensive_3d",
    "capture_modality": "US",
    "encoding": "jpeg",
    "series_numbers": {"segmentation": 1904},
}
SQUARE = ((40.0, 30.0), (80.0, 30.0), (80.0, 70.0), (40.0, 70.0), (40.0, 30.0))
DOT = ((10.2, 10.2), (10.3, 10.2), (10.3, 10.3), (10.2, 10.2))  #: covers the centre of no pixel
FAR_AWAY = ((500.0, 500.0), (501.0, 500.0), (501.0, 501.0), (500.0, 500.0))


class Gate:
    name = "planes"

    def accepts(self, frame: Frame) -> bool:
        return True

    def predict(self, frames: Sequence[Frame]) -> list[Finding]:
        return [found for it in frames for found in s.findings(it.reference) if isinstance(found, Classification)]


@dataclass
class Looker:
    """Finds the same in every frame, and an outline, which a test may move."""

    outline: tuple[tuple[float, float], ...] = SQUARE
    millimetres: bool = True
    name: str = "biometry"

    def accepts(self, frame: Frame) -> bool:
        return True

    def predict(self, frames: Sequence[Frame]) -> list[Finding]:
        return [found for it in frames for found in self._see(it.reference)]

    def _see(self, frame: FrameReference) -> list[Finding]:
        seen = [it for it in s.findings(frame, millimetres=self.millimetres) if it.task == self.name]
        return [*seen, Segmentation(self.name, frame, "head", s.HEAD, Graphic("polyline", self.outline), 0.9)]


class Judge:
    """Finds the study abnormal, with a heat map of one frame."""

    name = "anomalies"

    def accepts(self, frame: Frame) -> bool:
        return True

    def predict(self, frames: Sequence[Frame]) -> list[Finding]:
        return [it for frame in frames for it in s.anomaly(frame.reference) if isinstance(it, HeatMap)]

    def conclude(self, findings: Sequence[Finding], reported: Sequence[FrameReference]) -> list[Finding]:
        return list(s.anomaly(*reported))


def add(world: World, ds: Dataset) -> None:
    """Put an instance on the disk, with its row, as intake does."""
    path = world.services.data_dir / f"{ds.SOPInstanceUID}.dcm"
    part10 = s.write(ds, path).read_bytes()
    with world.database.write() as session:
        session.add(
            InstanceRow(
                sop_instance_uid=ds.SOPInstanceUID,
                sop_class_uid=ds.SOPClassUID,
                study_instance_uid=ds.StudyInstanceUID,
                generation=1,
                transfer_syntax_uid=ds.file_meta.TransferSyntaxUID,
                sha256=hashlib.sha256(part10[data_set_offset(part10) :]).hexdigest(),
                size_bytes=len(part10),
                path=path.name,
                state="stored",
                received_at=world.time,
            )
        )


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    """Give a node that received a cine of three frames."""
    world = World(tmp_path, url=database_url, destinations=())
    world.release(world.receive(instances=0, study=s.STUDY_UID))
    add(world, s.image([s.picture(frame=number) for number in range(3)], JPEGBaseline8Bit))
    world.close(s.STUDY_UID)
    yield world
    world.database.close()


@pytest.fixture
def pacs() -> Iterator[Callable[[], FakePacs]]:
    running: list[FakePacs] = []

    def start() -> FakePacs:
        syntaxes = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGBaseline8Bit)
        running.append(FakePacs(transfer_syntaxes=syntaxes).__enter__())
        return running[-1]

    yield start
    for one in running:
        one.__exit__()


def send_to(world: World, **wishes: tuple[FakePacs, dict[str, Any]]) -> None:
    """Configure these destinations, as a reload does."""
    found = [
        Destination.model_validate(
            {
                "name": name,
                "ae_title": pacs.ae_title,
                "host": "127.0.0.1",
                "port": pacs.port,
                "commitment": False,
                **wish,
            }
        )
        for name, (pacs, wish) in wishes.items()
    ]
    world.config = world.config.model_copy(update={"destinations": tuple(found)})


def answer(world: World, looker: Looker | None = None) -> None:
    """Analyse what was received, and send."""
    tasks = {"planes": Gate(), "biometry": looker or Looker(), "anomalies": Judge()}
    attempt = world.generation(s.STUDY_UID).attempt
    analyse_study(world.services, Examiner(tasks, s.ALGORITHMS, {}, 4), s.STUDY_UID, 1, attempt)
    world.run_due({"deliver": delivery.deliver})


def results(world: World, **wanted: Any) -> list[ResultRow]:
    with world.database.read() as session:
        return list(session.scalars(select(ResultRow).filter_by(**wanted).order_by(ResultRow.id)))


def shown(world: World) -> dict[str, Any]:
    with world.database.read() as session:
        found = show_study(session, s.STUDY_UID)
    assert found is not None
    return found


def classes(pacs: FakePacs) -> set[str]:
    return {str(ds.SOPClassUID) for ds in pacs.held.values()}


def reports(pacs: FakePacs, version: int = 1) -> list[Dataset]:
    """List the reports that a PACS holds: those that replace nothing, or those that replace something."""
    return [
        ds
        for ds in pacs.held.values()
        if ds.SOPClassUID in (SR, SR_3D) and ("PredecessorDocumentsSequence" in ds) == (version > 1)
    ]


def replaced(report: Dataset) -> set[str]:
    return {
        str(it.ReferencedSOPInstanceUID)
        for study in report.PredecessorDocumentsSequence
        for series in study.ReferencedSeriesSequence
        for it in series.ReferencedSOPSequence
    }


def captures_named(ds: Dataset) -> set[str]:
    return {
        str(it.ReferencedSOPInstanceUID)
        for element in ds.iterall()
        if element.keyword == "ReferencedSOPSequence"
        for it in element.value
        if it.ReferencedSOPClassUID == CAPTURE
    }


def test_each_destination_receives_exactly_its_own_objects(world: World, pacs: Callable[[], FakePacs]) -> None:
    plain, rich, twin = pacs(), pacs(), pacs()
    send_to(world, plain=(plain, {}), rich=(rich, RICH), twin=(twin, RICH))
    answer(world)
    marks = [destination.profile.mark for destination in world.config.destinations]
    for one, mark in zip((plain, rich, twin), marks, strict=True):
        assert sorted(one.received) == sorted(row.sop_instance_uid for row in results(world, profile=mark))
    assert len(results(world)) == len(plain.held) + len(rich.held)  # the twins' are built once
    assert not plain.held.keys() & rich.held.keys()

    assert classes(plain) == {SR, CAPTURE}
    assert classes(rich) == {SR_3D, CAPTURE, CINE, SEGMENTATION, COLOUR_STATE, KEY_OBJECT}
    modalities = {ds.Modality for ds in rich.held.values() if ds.SOPClassUID in (CAPTURE, CINE)}
    assert modalities == {"US"}
    for one, syntax in ((plain, ExplicitVRLittleEndian), (rich, JPEGBaseline8Bit)):
        pictures = [ds for ds in one.held.values() if ds.SOPClassUID == CAPTURE]
        assert {ds.file_meta.TransferSyntaxUID for ds in pictures} == {syntax}
    assert {ds.SeriesNumber for ds in rich.held.values() if ds.SOPClassUID == SEGMENTATION} == {1904}
    assert shown(world)["state"] == "delivered"

    for one, destination in zip((plain, rich), world.config.destinations, strict=False):  # and preflight asks for it
        asked = {(uid, syntax) for uid, syntaxes in sent_to(destination) for syntax in syntaxes}
        assert {(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID) for ds in one.held.values()} <= asked


def test_whatever_points_to_a_capture_points_to_the_one_that_came_with_it(
    world: World, pacs: Callable[[], FakePacs]
) -> None:
    plain, rich = pacs(), pacs()
    send_to(world, plain=(plain, {}), rich=(rich, RICH))
    answer(world)
    for one, pointing in ((plain, 1), (rich, 2)):  # the report of findings; the key object too
        named = [uids for ds in one.held.values() if (uids := captures_named(ds))]
        assert len(named) == pointing
        assert set.union(*named) <= one.held.keys()


def test_a_new_version_replaces_the_reports_of_the_same_profile(world: World, pacs: Callable[[], FakePacs]) -> None:
    plain, rich = pacs(), pacs()
    send_to(world, plain=(plain, {}), rich=(rich, RICH))
    answer(world)
    retry_study(world.services, s.STUDY_UID)
    answer(world)
    for one in (plain, rich):
        assert len(reports(one, 2)) == 2
        assert set.union(*map(replaced, reports(one, 2))) == {str(ds.SOPInstanceUID) for ds in reports(one)}


def test_a_destination_that_wants_another_form_gets_it_with_the_next_answer_in_place_of_the_last(
    world: World, pacs: Callable[[], FakePacs]
) -> None:
    changing = pacs()
    send_to(world, pacs=(changing, {}))
    answer(world)
    send_to(world, pacs=(changing, RICH))
    with pytest.raises(BadInput, match="no whole answer is written as pacs wants it: `study retry` makes one"):
        redeliver(world.services, s.STUDY_UID, "pacs")
    retry_study(world.services, s.STUDY_UID)
    answer(world)
    assert {ds.SOPClassUID for ds in reports(changing, 2)} == {SR_3D}
    assert set.union(*map(replaced, reports(changing, 2))) == {str(ds.SOPInstanceUID) for ds in reports(changing)}


def test_a_destination_that_was_added_is_given_the_answer_in_the_form_that_it_wants(
    world: World, pacs: Callable[[], FakePacs]
) -> None:
    first, late = pacs(), pacs()
    send_to(world, first=(first, RICH))
    answer(world)
    send_to(world, first=(first, RICH), late=(late, RICH), other=(late, {}))
    assert redeliver(world.services, s.STUDY_UID, "late") == len(first.held)
    world.run_due({"deliver": delivery.deliver})
    assert late.held.keys() == first.held.keys()
    assert shown(world)["state"] == "delivered"
    with pytest.raises(IllegalTransition, match="was given this answer already"):
        redeliver(world.services, s.STUDY_UID, "late")
    with pytest.raises(BadInput, match="no whole answer is written as other wants it"):
        redeliver(world.services, s.STUDY_UID, "other")
    with pytest.raises(BadInput, match="no destination is named 'nobody'"):
        redeliver(world.services, s.STUDY_UID, "nobody")
    with pytest.raises(BadInput, match="there is no study"):
        redeliver(world.services, "1.2", "late")


def test_two_forms_of_one_answer_never_stand_beside_each_other(world: World, pacs: Callable[[], FakePacs]) -> None:
    away, there = pacs(), pacs()
    away.statuses = [0xA700] * 100  # it takes nothing
    send_to(world, away=(away, {}), there=(there, RICH))
    answer(world)
    send_to(world, away=(away, RICH), there=(there, {}))
    for name in ("away", "there"):
        with pytest.raises(IllegalTransition, match="was given an answer in another form: `study retry` replaces it"):
            redeliver(world.services, s.STUDY_UID, name)
    away.statuses = []
    retry_study(world.services, s.STUDY_UID)
    answer(world)
    assert classes(away) == {SR_3D, CAPTURE, CINE, SEGMENTATION, COLOUR_STATE, KEY_OBJECT}
    assert shown(world)["state"] == "delivered"


def test_an_answer_that_was_missed_is_made_good(world: World, pacs: Callable[[], FakePacs]) -> None:
    away, there = pacs(), pacs()
    away.statuses = [0xA700] * 100
    send_to(world, away=(away, {}), there=(there, {}))
    answer(world)
    send_to(world, there=(there, {}))
    retry_study(world.services, s.STUDY_UID)
    answer(world)
    away.statuses = []
    send_to(world, away=(away, {}), there=(there, {}))
    redeliver(world.services, s.STUDY_UID, "away")
    world.later(hours=1)
    world.run_due({"deliver": delivery.deliver})
    assert sorted(away.held) == sorted(row.sop_instance_uid for row in results(world, version=2))
    assert shown(world)["state"] == "delivered"


def test_the_form_is_that_of_the_moment_when_the_analysis_began(world: World, pacs: Callable[[], FakePacs]) -> None:
    changing = pacs()
    send_to(world, pacs=(changing, {}))

    class Reconfigures(Looker):
        def predict(self, frames: Sequence[Frame]) -> list[Finding]:
            send_to(world, pacs=(changing, RICH))
            return super().predict(frames)

    answer(world, Reconfigures())
    assert classes(changing) == {SR, CAPTURE}


def test_without_a_destination_an_answer_is_kept_as_everybody_reads_it(
    world: World, pacs: Callable[[], FakePacs]
) -> None:
    answer(world)
    assert {row.profile for row in results(world)} == {""}
    assert shown(world)["state"] == "analysed"
    late = pacs()
    send_to(world, late=(late, {}))
    redeliver(world.services, s.STUDY_UID, "late")
    world.run_due({"deliver": delivery.deliver})
    assert classes(late) == {SR, CAPTURE}


def test_an_optional_object_that_the_gate_holds_back_fails_nothing(
    world: World, pacs: Callable[[], FakePacs], caplog: pytest.LogCaptureFixture
) -> None:
    rich = pacs()
    send_to(world, rich=(rich, {**RICH, "send": ["findings_sr", "secondary_capture", "segmentation", "key_object"]}))
    answer(world, Looker(DOT))
    found = shown(world)
    assert found["state"] == "delivered"
    assert classes(rich) == {SR_3D, CAPTURE, KEY_OBJECT}
    (held_back,) = [it for it in found["results"] if it["state"] == "quarantined"]
    assert held_back["kind"] == "segmentation"
    assert held_back["profile"] == world.config.destinations[0].profile.mark
    assert "is empty" in held_back["error"]
    (warned,) = [it for it in caplog.records if "failed the conformance gate" in it.message]
    assert (warned.levelname, "is empty" in warned.message) == ("WARNING", True)

    # and it does not keep an older answer alive
    rich.statuses = [0xA700] * 100
    for _ in range(2):
        retry_study(world.services, s.STUDY_UID)
        answer(world, Looker(DOT))
    with world.database.read() as session:
        old = session.scalars(select(DeliveryRow.state).where(DeliveryRow.version == 2))
        assert set(old) == {"cancelled"}


def test_a_report_that_the_gate_holds_back_fails_the_study(world: World, pacs: Callable[[], FakePacs]) -> None:
    plain, rich = pacs(), pacs()
    rich.statuses = [0xA700] * 100
    send_to(world, plain=(plain, {"send": ["secondary_capture"]}), rich=(rich, RICH))
    answer(world)
    retry_study(world.services, s.STUDY_UID)

    class OutsideTheImage(Looker):
        def _see(self, frame: FrameReference) -> list[Finding]:
            return [
                replace(it, graphic=Graphic("ellipse", FAR_AWAY)) if hasattr(it, "graphic") else it
                for it in super()._see(frame)
            ]

    answer(world, OutsideTheImage())
    found = shown(world)
    assert found["state"] == "failed"
    assert "findings_sr" in {it["kind"] for it in found["results"] if it["state"] == "quarantined"}
    with world.database.read() as session:
        older = session.execute(
            select(DeliveryRow.destination, DeliveryRow.state).where(DeliveryRow.version == 1).distinct()
        )
        assert set(older) == {("plain", "sent"), ("rich", "pending")}  # an incomplete answer withdraws nothing
    send_to(world, late=(pacs(), RICH))
    with pytest.raises(BadInput, match="no whole answer"):
        redeliver(world.services, s.STUDY_UID, "late")


def test_objects_of_every_profile_go_with_their_study(world: World, pacs: Callable[[], FakePacs]) -> None:
    plain, rich = pacs(), pacs()
    send_to(world, plain=(plain, {}), rich=(rich, RICH))
    answer(world)
    (world.services.data_dir / "instances").mkdir(exist_ok=True)
    files = [world.services.data_dir / row.path for row in results(world)]
    assert all(file.is_file() for file in files)
    world.later(days=8)
    clean_up(world.services)
    world.later(days=90)
    clean_up(world.services)
    assert not any(file.exists() for file in files)
    assert results(world) == []
