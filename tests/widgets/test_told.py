"""Estimates in words: two digits that count, units that fit, and no promise where there is no answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.search.stopping import Estimate, Interval
from workbench.widgets.told import row_of, short_words_of, words_of

TOLD = Estimate(
    labels=60,
    audited=20,
    threshold=0.3,
    answered=112,
    precision=Interval(0.853, 0.92, 0.9712),
    recall=Interval(0.5, 0.7, 0.998),
    count=Interval(108.0, 143.0, 1912.0),
    area=Interval(98_000.0, 123_400.0, 1_560_000.0),
)


def test_an_estimate_is_one_or_two_sentences() -> None:
    assert words_of(TOLD, "<b>boat") == (
        "About 140 (110\u20131,900) tiles of <b>boat, 12 ha (9.8\u2013160) of ground. Of the best 112 tiles .92 (.85\u2013.97) "
        "are right, which is .70 (.50\u20131) of all there are: after 60 labels, 20 of them audited."
    )
    assert short_words_of(TOLD) == ("\u2248 140 (110\u20131,900)", "precision .92")


def test_where_nothing_is_likely_right_there_is_no_precision() -> None:
    none = replace(TOLD, answered=0, area=None)
    assert words_of(none, "boat").endswith("No tile left is more likely right than wrong.")
    assert "ground" not in words_of(none, "boat") and short_words_of(none)[1] == ""


@pytest.mark.parametrize(
    ("area", "words"),
    [((3.2, 41.0, 940.0), "41 m\u00b2 (3.2\u2013940)"), ((1e6, 2.34e6, 5.1e7), "2.3 km\u00b2 (1.0\u201351)")],
)
def test_ground_is_told_in_the_unit_that_fits(area: tuple[float, float, float], words: str) -> None:
    assert words in words_of(replace(TOLD, area=Interval(*area)), "boat")


def test_a_row_holds_low_middle_and_high() -> None:
    assert row_of(TOLD) == {
        "labels": 60,
        "answered": 112,
        "precision": [0.853, 0.92, 0.9712],
        "recall": [0.5, 0.7, 0.998],
        "count": [108.0, 143.0, 1912.0],
    }
