"""Which generation is answered, and what its answer replaces. The models' part is in test_examination."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import func, select
from world import STUDY, World

from dicom_node.domain.study import GenerationState
from dicom_node.pipeline import analysis
from dicom_node.pipeline.completion import analysis_failed
from dicom_node.pipeline.delivery import store_answer
from dicom_node.pipeline.examination import Examiner
from dicom_node.pipeline.operator import retry_study
from dicom_node.results.findings_sr import KIND as REPORT
from dicom_node.store.results import claim_analysis, newest_ready
from dicom_node.store.tables import AnalysisRow, GenerationRow, StudyRow


class NobodyLooks:
    """Stands where the models are loaded; whoever asks it to look has gone too far."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.release(world.receive())
    world.close()
    return world


def a_later_generation_is_answered(world: World) -> None:
    with world.database.write() as session:
        session.get_one(StudyRow, STUDY).generation = 2
        session.add(
            GenerationRow(
                study_instance_uid=STUDY,
                number=2,
                state=GenerationState.CLOSED,
                opened_at=world.time,
                last_received_at=world.time,
                closed_at=world.time,
            )
        )
    assert store_answer(world.services, dataclasses.replace(world.answer(), generation=2))


def analyse(world: World, attempt: int) -> None:
    analysis.analyse_study(world.services, cast("Examiner", NobodyLooks()), STUDY, 1, attempt)


def test_a_generation_that_a_later_one_covers_is_not_answered_after_it(world: World) -> None:
    analysis_failed(world.services, STUDY, 1, 0, RuntimeError("chance"))  # it waits for its second attempt
    a_later_generation_is_answered(world)
    analyse(world, 1)
    assert (world.generation().state, world.generation().error) == ("analysed", "covered by generation 2")
    world.desk.live.pop(f"analyse:{STUDY}:1:1")
    assert not [key for key in world.keys if key.startswith("analyse")]
    with world.database.read() as session:
        assert session.scalar(select(func.count()).select_from(AnalysisRow)) == 1
        assert session.get_one(StudyRow, STUDY).version == 1


def test_a_generation_that_is_covered_while_it_is_analysed_gives_way(world: World) -> None:
    answer = world.answer()
    a_later_generation_is_answered(world)
    assert not store_answer(world.services, answer)
    analyse(world, world.generation().attempt)
    assert world.generation().error == "covered by generation 2"


def test_an_earlier_answer_or_a_later_failure_covers_nothing(world: World) -> None:
    a_later_generation_is_answered(world)
    with world.database.write() as session:
        session.get_one(GenerationRow, (STUDY, 2)).state = GenerationState.FAILED
    with world.database.write() as session:
        assert claim_analysis(session, STUDY, 1, 0) is not None
        session.get_one(GenerationRow, (STUDY, 1)).state = GenerationState.ANALYSED
        session.get_one(GenerationRow, (STUDY, 2)).state = GenerationState.CLOSED
        assert claim_analysis(session, STUDY, 2, 0) is not None


def test_the_newest_report_that_was_sent_is_replaced_also_past_one_that_was_held_back(world: World) -> None:
    for version, fault in ((1, None), (2, "Content Date is missing")):
        answer = world.answer(1)
        objects = [dataclasses.replace(answer.objects[0], quarantined=fault)]
        assert store_answer(world.services, dataclasses.replace(answer, objects=objects, version=version))
        retry_study(world.services, STUDY)
    with world.database.read() as session:
        assert [(row.version, row.state) for row in newest_ready(session, STUDY, REPORT)] == [(1, "ready")]
        assert newest_ready(session, STUDY, "secondary_capture") == []
