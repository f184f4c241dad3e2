"""The structure of TID 1500 "Measurement Report" (PS3.16), as far as the node writes it.

Public validators know the template, and let pass what it only allows. Each rule takes a report and the headers of its
study, and tells what is wrong.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping

from pydicom import Dataset

from dicom_node.domain.biometry import POSSIBLE_MM
from dicom_node.domain.concept import Concept
from dicom_node.results import codes
from dicom_node.results.content_tree import children, content, is_named, name_of, number_of, unit_of, value_of
from dicom_node.results.evidence import needs_frame_numbers
from dicom_node.results.public_codes import ASKED

Rule = Callable[[Dataset, Mapping[str, Dataset]], Iterator[str]]

_NORMAL = {codes.NORMAL.meaning, codes.NO_ABNORMALITY.meaning}
#: The unit of each number that is a share, and the highest that it can be. All other numbers are sizes.
_SHARES = {
    codes.PROBABILITY: (codes.NO_UNITS, 1.0),
    codes.CERTAINTY: (codes.PERCENT, 100.0),
    codes.IMAGE_QUALITY_RATING: (codes.PERCENT, 100.0),
}
_SIZES = {codes.UNITS["mm"]: POSSIBLE_MM, codes.UNITS["{pixels}"]: (0.0, math.inf)}
_ROUNDING = 0.01  #: by which probabilities may miss 1 together
_WITHOUT_ANSWER = {codes.NOT_ASSESSABLE.meaning, codes.NOT_ANALYSED.meaning}
_MATERNAL = {concept.meaning for concept in codes.MATERNAL}
_WEIGHTS = re.compile("weights_sha256=[0-9a-f]{64}")
_ALGORITHM: tuple[Concept, ...] = (codes.ALGORITHM_FAMILY, codes.ALGORITHM_NAME, codes.ALGORITHM_VERSION)


def _root_is_tid_1500(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check the mandatory rows of TID 1500, 1001, 1004 and 1008."""
    if not is_named(ds, codes.IMAGING_MEASUREMENT_REPORT) or _templates(ds) != ["1500"]:
        yield "the root is not TID 1500"
    mandatory = (codes.LANGUAGE, codes.OBSERVER_TYPE, codes.DEVICE_OBSERVER_UID, codes.PROCEDURE_REPORTED)
    for concept in (*mandatory, codes.IMAGING_MEASUREMENTS):
        if not children(ds, concept):
            yield f"{concept} is missing"
    if not _groups(ds):
        yield "the report has no measurement group"


def _groups_are_of_their_template(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check that a group with a region is of TID 1410, and any other of TID 1501."""
    for group in _groups(ds):
        due = ["1410" if any(content(group, "SCOORD")) else "1501"]
        if _templates(group) != due:
            yield f"a measurement group is of TID {', '.join(_templates(group)) or 'none'} instead of {due[0]}"


def _groups_are_tracked(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check that each group can be known again, and that each number says which algorithm gave it."""
    uids: list[str] = []
    for group in _groups(ds):
        tracking = children(group, codes.TRACKING_UID)
        named = [str(item.get("TextValue", "")).strip() for item in children(group, codes.TRACKING_IDENTIFIER)]
        if not any(named) or not any(item.get("UID") for item in tracking):
            yield "a measurement group has no tracking identifier"
        uids.extend(str(item.get("UID", "")) for item in tracking)
        numbers = [item for item in group.ContentSequence if item.ValueType == "NUM"]
        if numbers and not all(children(group, concept) for concept in _ALGORITHM):
            yield "a number does not say which algorithm gave it"
        said = [str(item.get("TextValue", "")) for item in children(group, codes.ALGORITHM_PARAMETERS)]
        if numbers and not any(_WEIGHTS.fullmatch(it) for it in said):
            yield "a number does not say which weights gave it"
    if len(uids) != len(set(uids)):
        yield "two measurement groups have the same tracking UID"


def _classes_are_whole(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check each classification: every probability says of which class, one class is given, and if that is normal."""
    for group in _groups(ds):
        probabilities = children(group, codes.PROBABILITY)
        classes = {_words(of_class) for it in probabilities for of_class in children(it, codes.FINDING)}
        if len(classes) != len(probabilities):
            yield "a probability does not say of which class it is"
        if probabilities and classes.isdisjoint(_words(it) for it in group.ContentSequence):
            yield "a group has probabilities, and does not say which class is given"
        if classes & _NORMAL and not children(group, codes.NORMALITY):
            yield "an answer does not say whether it is normal"


def _answers_fit_their_probabilities(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check that the class that is given is the likeliest one, and normal if and only if it is said to be."""
    for group in _groups(ds):
        shares = _shares_of(group)
        given = shares.keys() & {_words(it) for it in group.ContentSequence}
        if given and max(shares[it] for it in given) < max(shares.values()):
            yield f"{', '.join(sorted(given))} is given, and another class is likelier"
        for normality in children(group, codes.NORMALITY) if given else []:
            if (_words(normality) == codes.NORMAL.meaning) != bool(given & _NORMAL):
                yield f"{', '.join(sorted(given))} is called {_words(normality)}"


def _shares_of(group: Dataset) -> dict[str, float]:
    """Give the probability of each class of a group."""
    return {
        _words(of_class): number_of(it)
        for it in children(group, codes.PROBABILITY)
        for of_class in children(it, codes.FINDING)
    }


def _words(item: Dataset) -> str:
    """Give the answer of an item: a profile without private codes writes words in their place."""
    value = value_of(item)
    return value.meaning if value else str(item.get("TextValue", "")).rpartition(ASKED)[2]


def _the_subject_is_the_one_that_is_spoken_of(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check that a fetus is named (TID 1008), and that a report without one has nothing of it (TID 1006)."""
    subjects = [value_of(item) for item in children(ds, codes.SUBJECT_CLASS)]
    if any(subject != codes.FETUS for subject in subjects):
        yield "the subject is somebody else than the fetus"
    if subjects and not any(str(item.get("TextValue", "")).strip() for item in children(ds, codes.SUBJECT_ID)):
        yield "the fetus has no Subject ID"
    maternal = [group for group in _groups(ds) if any(map(_is_maternal, group.ContentSequence))]
    others = [it for it in _groups(ds) if it not in maternal and not children(it, codes.RUN_SUMMARY)]
    if not subjects and others:
        yield "a finding of the fetus stands in the report of the mother"
    if subjects and maternal:
        yield "a finding of the mother stands in the report of the fetus"


def _is_maternal(item: Dataset) -> bool:
    return value_of(item) in codes.MATERNAL or _words(item) in _MATERNAL


def _groups_say_what_was_found(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check that a group names its finding or, of a measured size, its site; and that a line is one."""
    for group in _groups(ds):
        if not any(children(group, concept) for concept in (codes.FINDING, codes.FINDING_SITE, codes.RUN_SUMMARY)):
            yield "a measurement group does not say what was found"
        for item in _of_type(group, "SCOORD"):
            if item.GraphicType == "POLYLINE" and len(item.GraphicData or []) < 4:  # noqa: PLR2004 - two points
                yield "a line has fewer than two points"


def _groups_say_all_that_they_should(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check that a group without an answer gives its reason, a region has a size or a score, a class probabilities."""
    for group in _groups(ds):
        comments = [it for it in children(group, codes.COMMENT) if str(it.get("TextValue", "")).strip()]
        numbers = {name_of(it) for it in _of_type(group, "NUM")}
        if children(group, codes.RUN_SUMMARY):
            if not comments:
                yield "the report does not say that it is investigational"
        elif any(_words(it) in _WITHOUT_ANSWER for it in children(group, codes.FINDING)):
            if not comments:
                yield "a group without an answer does not say why"
        elif any(content(group, "SCOORD")):
            if numbers <= {codes.PROBABILITY}:
                yield "a region has neither a size nor a score"
        elif codes.PROBABILITY not in numbers:
            yield "an answer has no probabilities"


def _numbers_are_possible(ds: Dataset, _sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check the unit of each number, that it can be, and that the probabilities of an answer are 1 together."""
    for group in _groups(ds):
        for item in _of_type(group, "NUM"):
            name, unit = name_of(item), unit_of(item)
            share = _SHARES.get(name) if name else None
            allowed = {share[0]: (0.0, share[1])} if share else _SIZES
            if unit not in allowed:
                yield f"{name} is in {unit}"
            elif not allowed[unit][0] <= number_of(item) <= allowed[unit][1]:
                yield f"{name} cannot be {number_of(item):g}"
        shares = _shares_of(group)
        answers = shares.keys() & {_words(it) for it in group.ContentSequence}
        if abs(sum(shares.values()) - len(answers)) > _ROUNDING:
            yield f"probabilities are {sum(shares.values()):.2f} together"


def _classes_say_of_which_frames(ds: Dataset, sources: Mapping[str, Dataset]) -> Iterator[str]:
    """Check that a class that was given to frames of a cine names them: without numbers it would be of all."""
    for group in _groups(ds):
        for item in _of_type(group, "IMAGE") if children(group, codes.PROBABILITY) else []:
            reference = item.ReferencedSOPSequence[0]
            source = sources.get(str(reference.ReferencedSOPInstanceUID))
            if source is not None and needs_frame_numbers(source) and not reference.get("ReferencedFrameNumber"):
                yield "a class does not say to which frames of the cine it was given"


def _of_type(group: Dataset, value_type: str) -> list[Dataset]:
    return [item for item in group.ContentSequence if item.ValueType == value_type]


def _groups(ds: Dataset) -> list[Dataset]:
    return [
        group
        for measurements in children(ds, codes.IMAGING_MEASUREMENTS)
        for group in children(measurements, codes.MEASUREMENT_GROUP)
    ]


def _templates(container: Dataset) -> list[str]:
    return [str(item.TemplateIdentifier) for item in container.get("ContentTemplateSequence", [])]


RULES: tuple[Rule, ...] = (
    _root_is_tid_1500,
    _the_subject_is_the_one_that_is_spoken_of,
    _groups_are_of_their_template,
    _groups_are_tracked,
    _groups_say_what_was_found,
    _groups_say_all_that_they_should,
    _classes_are_whole,
    _answers_fit_their_probabilities,
    _classes_say_of_which_frames,
    _numbers_are_possible,
)
