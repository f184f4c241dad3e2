from __future__ import annotations

import numpy as np
import pytest

from dicom_node.results.lettering import width_of, wrapped, write


def black(rows: int = 60, columns: int = 300) -> np.ndarray:
    return np.zeros((rows, columns, 3), np.uint8)


@pytest.mark.parametrize("font_px", [11, 14, 28])
def test_letters_take_the_width_that_was_asked_for(font_px: int) -> None:
    picture = black()
    write(picture, (10, 10), "HC 201.7 mm", (255, 255, 255), font_px)
    columns = np.flatnonzero(picture.max(axis=(0, 2)) > 60)
    assert columns[0] >= 9
    assert abs(columns[-1] - 10 - width_of("HC 201.7 mm", font_px)) <= 0.2 * font_px


def test_words_stay_apart_in_small_letters() -> None:
    picture = black()
    write(picture, (10, 10), "AI RESULT", (255, 255, 255), 11)
    empty = picture.max(axis=(0, 2))[10 : 10 + int(width_of("AI RESULT", 11))] < 40
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], empty, [0]])))).max()
    assert runs >= 2


def test_a_dark_rim_keeps_letters_readable_on_white() -> None:
    picture = np.full((60, 300, 3), 255, np.uint8)
    write(picture, (10, 10), "OFD", (255, 255, 255), 14)
    assert picture.min() < 40


def test_what_lies_outside_is_cut_off() -> None:
    picture = black(20, 20)
    for at in ((-500, 0), (0, 500), (-5, -5), (15, 15)):
        write(picture, at, "word", (255, 255, 255), 14)
    assert picture.any()


def test_lines_break_between_words() -> None:
    assert wrapped("one two three", width_of("one two", 14), 14) == ["one two", "three"]
    assert wrapped("nose 92 %, skin", width_of("nose 92", 14), 14) == ["nose", "92 %,", "skin"]
    assert wrapped("unbreakable", 3, 14) == ["unbreakable"]
    assert wrapped("", 100, 14) == []
