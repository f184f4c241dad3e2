"""Looking at a study: gate, tasks, key frames; one bad part never costs the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic
from pydicom.uid import JPEGBaseline8Bit

from dicom_node.domain.finding import Classification, Finding, HeatMap, Measurement, NotAssessable
from dicom_node.domain.frame import Frame, FrameReference
from dicom_node.errors import ModelError, UndecodableFrame
from dicom_node.inference.task import Task
from dicom_node.pipeline import examination, looking
from dicom_node.pipeline.examination import Examiner, StoredInstance, frame_reader, render_frames

SR_CLASS = "1.2.840.10008.5.1.4.1.1.88.33"


class Gate:
    """Calls every frame a brain, surer with each."""

    name = "planes"

    def __init__(self, sure: float = 0.6) -> None:
        self.batches: list[int] = []
        self.sure = sure

    def accepts(self, frame: Frame) -> bool:
        return True

    def predict(self, frames: Sequence[Frame]) -> list[Finding]:
        self.batches.append(len(frames))
        return [self._see(frame) for frame in frames]

    def _see(self, frame: Frame) -> Classification:
        sure = self.sure + 0.01 * (frame.reference.frame_number or 0)
        classes = ((synthetic.BRAIN_TT, sure), (synthetic.OTHER, 1 - sure))
        return Classification(
            "planes", (frame.reference,), "plane", synthetic.IMAGE_VIEW, synthetic.BRAIN_TT, "brain", classes
        )


class Looker:
    """Wants one plane and says that it cannot tell, or whatever else it is told to do."""

    def __init__(self, plane: str, act: Callable[[], None] = lambda: None) -> None:
        self.name = "biometry"
        self.plane = plane
        self.act = act
        self.shown = 0

    def accepts(self, frame: Frame) -> bool:
        return frame.plane == self.plane

    def predict(self, frames: Sequence[Frame]) -> list[Finding]:
        self.act()
        self.shown += len(frames)
        return [NotAssessable(self.name, frame.reference, "HC", "no head") for frame in frames]


def stored(tmp_path: Path, number: int = 1, patient_id: str = "12345", **options: object) -> StoredInstance:
    ds = synthetic.image(number=number, **options)
    ds.PatientID = patient_id
    return StoredInstance(str(ds.SOPInstanceUID), synthetic.write(ds, tmp_path / f"{number}.dcm"))


def examiner(*tasks: Task, missing: dict[str, str] | None = None, batch_size: int = 4) -> tuple[Examiner, Gate]:
    gate = Gate()
    return Examiner(
        {"planes": gate, **{t.name: t for t in tasks}}, synthetic.ALGORITHMS, missing or {}, batch_size
    ), gate


def test_a_task_sees_only_the_planes_that_it_accepts(tmp_path):
    brain, femur = Looker("brain"), Looker("femur")
    femur.name = "structures"
    found = examiner(brain, femur)[0].examine([stored(tmp_path)], 64)
    assert (brain.shown, femur.shown) == (1, 0)
    assert [type(finding) for finding in found.findings] == [Classification, NotAssessable]
    assert found.not_analysed == ()


def test_a_cine_is_sampled_batched_and_reported_by_its_best_frame(tmp_path):
    frames = [synthetic.picture(frame=n) for n in range(10)]
    look, gate = examiner(batch_size=4)
    found = look.examine([stored(tmp_path, frames=frames, transfer_syntax_uid=JPEGBaseline8Bit)], max_frames=6)
    assert gate.batches == [4, 2]
    assert [(s.frames_total, s.frames_analysed) for s in found.sampling] == [(10, 6)]
    assert [reference.frame_number for reference, _ in found.key_frames] == [10]
    assert len(found.findings) == 1
    rendered = render_frames(found.key_frames)
    assert next(iter(rendered.values())).pixels.shape == (120, 160, 3)


def test_what_was_said_of_every_analysed_frame_is_kept_for_the_cine_overlay(tmp_path):
    frames = [synthetic.picture(frame=n) for n in range(10)]
    cine = stored(tmp_path, frames=frames, transfer_syntax_uid=JPEGBaseline8Bit)
    found = examiner(Looker("brain"))[0].examine([cine], max_frames=6)
    (sampling,) = found.sampling
    assert [seen.reference.frame_number for seen in sampling.seen] == [1, 3, 5, 6, 8, 10]
    assert all([type(it) for it in seen.findings] == [Classification, NotAssessable] for seen in sampling.seen)
    read = frame_reader(found.key_frames)
    assert [frame.reference.frame_number for frame in read(cine.sop_instance_uid, [3, 8])] == [3, 8]


def test_a_frame_that_cannot_be_decoded_again_is_said_to_be_so(tmp_path):
    cine = stored(tmp_path, frames=[synthetic.picture(frame=n) for n in range(3)])
    found = examiner()[0].examine([cine], 64)
    cine.path.write_bytes(cine.path.read_bytes()[:-70_000])
    with pytest.raises(UndecodableFrame):
        list(frame_reader(found.key_frames)(cine.sop_instance_uid, [1, 3]))


def test_a_failing_task_is_reported_and_the_others_still_answer(tmp_path):
    def fail() -> None:
        raise RuntimeError("out of memory")

    found = examiner(Looker("brain", fail))[0].examine([stored(tmp_path)], 64)
    assert [type(finding) for finding in found.findings] == [Classification]
    assert [(item.task, item.reason) for item in found.not_analysed] == [("biometry", "the task failed: out of memory")]


def test_an_instance_that_cannot_be_read_does_not_cost_the_next(tmp_path):
    garbage = tmp_path / "garbage.dcm"
    garbage.write_bytes(b"no DICOM at all")
    found = examiner()[0].examine([StoredInstance("1.2.3", garbage), stored(tmp_path)], 64)
    assert [item.sop_instance_uid for item in found.not_analysed] == ["1.2.3"]
    assert len(found.headers) == len(found.key_frames) == 1


def test_a_report_has_no_picture_but_still_names_the_patient(tmp_path):
    ds = synthetic.header(SR_CLASS)
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    path = synthetic.write(ds, tmp_path / "sr.dcm")
    found = examiner()[0].examine([StoredInstance(str(ds.SOPInstanceUID), path)], 64)
    assert [str(header.PatientID) for header in found.headers] == ["12345"]
    assert "no pixel data" in found.not_analysed[0].reason


def test_a_colour_picture_is_not_shown_to_models_that_know_grey_ones(tmp_path):
    look, gate = examiner()
    found = look.examine([stored(tmp_path, frames=[synthetic.picture(colour=True)])], 64)
    assert gate.batches == []
    assert "colour" in found.not_analysed[0].reason


def test_a_task_without_a_model_is_said_to_be_missing(tmp_path):
    found = examiner(missing={"anomalies": "no model"})[0].examine([stored(tmp_path)], 64)
    assert [(item.task, item.reason) for item in found.not_analysed] == [("anomalies", "no model")]


def test_without_the_gate_nothing_can_be_analysed():
    with pytest.raises(ModelError, match="the gate cannot be loaded: no model"):
        Examiner({}, (), {"planes": "no model"}, 4)


def test_no_task_acts_on_a_plane_that_the_gate_is_not_sure_of(tmp_path):
    brain = Looker("brain")
    look = Examiner({"planes": Gate(sure=0.59), "biometry": brain}, synthetic.ALGORITHMS, {}, 4)
    found = look.examine([stored(tmp_path)], 64)
    assert brain.shown == 0
    # No view beside the reason: who reads the codes alone would take the guess for an answer.
    assert [type(finding) for finding in found.findings] == [NotAssessable]
    assert found.findings[0].reason == "the likeliest, brain, is not sure enough to act on (59 %, needed: 60 %)"


def test_pictures_of_another_patient_are_named_and_neither_looked_at_nor_evidence(tmp_path):
    brain = Looker("brain")
    images = [stored(tmp_path, number, patient_id=who) for number, who in enumerate(("2", "1", "1", ""), start=1)]
    found = examiner(brain)[0].examine(images, 64)
    assert [(item.sop_instance_uid, item.reason) for item in found.not_analysed] == [
        (images[0].sop_instance_uid, "its Patient ID differs from the rest of the study")
    ]
    assert [str(header.SOPInstanceUID) for header in found.headers] == [i.sop_instance_uid for i in images[1:]]
    assert brain.shown == len(found.key_frames) == 3


class Pooler:
    """Answers for the study: names every frame it was shown, and has a heat map of each."""

    name = "anomalies"

    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        self.act = act
        self.asked: list[tuple[int, int]] = []

    def accepts(self, frame: Frame) -> bool:
        return frame.plane == "brain"

    def predict(self, frames: Sequence[Frame]) -> list[Finding]:
        return [found for frame in frames for found in synthetic.anomaly(frame.reference)]

    def conclude(self, findings: Sequence[Finding], reported: Sequence[FrameReference]) -> list[Finding]:
        self.act()
        self.asked.append((len(findings), len(reported)))
        seen = [found for found in findings if isinstance(found, Classification)]
        if not seen:
            return [NotAssessable(self.name, reported[0], "anomaly", "no frame")]
        answer = synthetic.anomaly(*(found.frames[0] for found in seen))[0]
        return [answer, *(found for found in findings if isinstance(found, HeatMap))]


def test_a_study_task_answers_once_over_all_frames_of_all_instances(tmp_path):
    frames = [synthetic.picture(frame=n) for n in range(10)]
    cine = stored(tmp_path, 1, frames=frames, transfer_syntax_uid=JPEGBaseline8Bit)
    pooler = Pooler()
    found = examiner(pooler, batch_size=4)[0].examine([cine, stored(tmp_path, 2)], max_frames=10)
    assert pooler.asked == [(22, 2)]  # a class and a map for each of 11 frames, two of which are reported
    assert {one.task for seen in found.sampling[0].seen for one in seen.findings} == {"planes"}
    (answer,) = [one for one in found.findings if isinstance(one, Classification) and one.task == "anomalies"]
    assert len(answer.frames) == 11
    reported = {reference for reference, _ in found.key_frames}
    assert {one.frame for one in found.findings if isinstance(one, HeatMap)} == reported


def test_a_study_task_says_so_when_it_was_shown_nothing(tmp_path):
    pooler = Pooler()
    look = Examiner({"planes": Gate(sure=0.3), "anomalies": pooler}, synthetic.ALGORITHMS, {}, 4)
    found = look.examine([stored(tmp_path)], 64)
    assert pooler.asked == [(0, 1)]
    assert [one.reason for one in found.findings if one.task == "anomalies"] == ["no frame"]


def test_a_study_task_that_fails_to_conclude_does_not_cost_the_study(tmp_path):
    def fail() -> None:
        raise RuntimeError("no memory")

    found = examiner(Pooler(fail))[0].examine([stored(tmp_path)], 64)
    assert [one.task for one in found.findings] == ["planes"]
    assert [(item.task, item.reason) for item in found.not_analysed] == [("anomalies", "the task failed: no memory")]


def test_a_study_without_pictures_is_not_asked_about(tmp_path):
    pooler = Pooler()
    assert examiner(pooler)[0].examine([], 64).findings == ()
    assert pooler.asked == []


@pytest.mark.parametrize(
    ("sound", "damaged", "reason"),
    [
        (b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00XS", "Rows or Columns is missing or zero"),
        (b"\x08\x00\x16\x00UI\x1c\x001.2", b"\x08\x00\x16\x00UI\x1c\x001!2", "the SOPClassUID is not made of numbers"),
        (b"\x20\x00\x0e\x00UI", b"\x20\x00\x0f\x00UI", "the data set is truncated or has no SeriesInstanceUID"),
        (b"\x20\x00\x0d\x00UI\x1c\x001.2.826", b"\x20\x00\x0d\x00UI\x1c\x001.2.827", "its Study Instance UID differs"),
    ],
)
def test_one_damaged_header_costs_no_report_of_the_others(tmp_path, sound, damaged, reason):
    whole, bad = stored(tmp_path), stored(tmp_path, number=2)
    content = bad.path.read_bytes()
    assert content.count(sound) == 1
    bad.path.write_bytes(content.replace(sound, damaged))
    found = examiner()[0].examine([whole, bad], 64)
    assert [(it.sop_instance_uid, it.reason[: len(reason)]) for it in found.not_analysed] == [
        (bad.sop_instance_uid, reason)
    ]
    assert [reference.sop_instance_uid for reference, _ in found.key_frames] == [whole.sop_instance_uid]


def test_what_cannot_be_read_in_a_header_is_as_if_it_were_not_there(tmp_path):
    it = stored(tmp_path)
    it.path.write_bytes(it.path.read_bytes().replace(b"\x10\x00\x20\x00LO", b"\x10\x00\x20\x00PO"))
    found = examiner()[0].examine([it], 64)
    assert found.not_analysed == ()
    assert "PatientID" not in found.headers[0]


def test_more_pixels_than_can_be_drawn_at_once_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(examination, "PIXELS_OF_A_STUDY", 120 * 160)
    monkeypatch.setattr(looking, "PIXELS_AT_ONCE", 2 * 2 * 120 * 160)
    look, gate = examiner(batch_size=8)
    cine = stored(tmp_path, frames=[synthetic.picture(frame=n) for n in range(7)])
    found = look.examine([cine, *(stored(tmp_path, number=n) for n in (2, 3))], 64)
    assert gate.batches == [3, 3, 3]
    assert [it.reason for it in found.not_analysed] == [examination.TOO_MUCH]


class Ruler(Looker):
    """Measures a head of a size that it is told."""

    def __init__(self, value_mm: float) -> None:
        super().__init__("brain")
        self.value_mm = value_mm

    def predict(self, frames: Sequence[Frame]) -> list[Finding]:
        return [replace(it, value=self.value_mm) for frame in frames for it in synthetic.sizes(frame.reference, HC=1.0)]


@pytest.mark.parametrize(("value_mm", "kind"), [(170.0, Measurement), (29274.0, NotAssessable)])
def test_a_size_that_no_fetus_has_does_not_leave_the_examination(tmp_path: Path, value_mm: float, kind: type) -> None:
    it, _ = examiner(Ruler(value_mm))
    found = it.examine([stored(tmp_path)], 8).findings
    assert [type(finding) for finding in found if finding.task == "biometry"] == [kind]
