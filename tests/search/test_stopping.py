"""Audits are fair, estimates hold the truth, and say so in files and a figure."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import QueryInvalid, ShapeMismatch
from workbench.search.audit import Audit, Ranking, Strata
from workbench.search.chances import strata_edges
from workbench.search.curve import draw_curve, rows_of, write_curve
from workbench.search.stopping import estimate, likely_threshold

NONE = (np.empty(0, np.int64), np.empty(0, bool))


def archive(seed: int, tiles: int = 1500, right: int = 60, apart: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of two overlapping groups, and which tiles are right."""
    chance = np.random.default_rng(seed)
    truth = np.zeros(tiles, bool)
    truth[chance.choice(tiles, right, replace=False)] = True
    return chance.normal(size=tiles) + apart * truth, truth


def ranking_of(scores: np.ndarray, truth: np.ndarray, known: int = 20) -> Ranking:
    best = np.argsort(-scores)
    return Ranking(scores, float(scores[best[70]]), best[:known], truth[best[:known]])


def audited(ranking: Ranking, truth: np.ndarray, marks: int, seed: int = 0) -> Audit:
    audit = Audit.of(len(truth))
    for _ in range(marks // 10):
        numbers, expected = audit.draw(ranking, 10, seed=seed)
        audit = audit.with_marks(numbers, truth[numbers], expected)
    return audit


def held(ranking: Ranking, truth: np.ndarray, audit: Audit) -> tuple[bool, bool, bool]:
    told, answer = estimate(audit, ranking), ranking.scores >= ranking.threshold
    right = np.count_nonzero(truth & answer)
    values = (right / answer.sum(), truth.sum(), right / truth.sum())
    return tuple(v in each for v, each in zip(values, (told.precision, told.count, told.recall), strict=True))


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    found = []
    for seed in range(24):
        scores, truth = archive(seed)
        ranking = ranking_of(scores, truth)
        found.append(held(ranking, truth, audited(ranking, truth, 50, seed)))
    assert (np.mean(found, axis=0) >= 0.75).all()  # 0.9 less two and a half standard errors


def test_an_audit_mark_is_in_the_answer_or_not_whatever_score_it_would_have_had_unseen() -> None:
    scores, truth = archive(5, tiles=60, right=20)
    ranking = Ranking(scores, float(np.sort(scores)[-20]), *NONE)
    audit = audited(ranking, truth, 60)
    answer = scores >= ranking.threshold
    for unseen in (scores[audit.numbers], np.zeros(60), np.random.default_rng(0).normal(size=60)):
        told = estimate(audit, ranking, audit_scores=unseen)
        assert told.answered == 20 and told.count.low == told.count.high == 20
        assert told.precision.low == told.precision.high == pytest.approx(truth[answer].mean())


def test_more_marks_make_narrower_intervals_and_all_marks_leave_no_doubt() -> None:
    scores, truth = archive(3, tiles=300, right=30)
    ranking = ranking_of(scores, truth)
    widths = []
    for marks in (10, 50, 150, 280):
        told = estimate(audited(ranking, truth, marks), ranking)
        widths.append((told.count.width, told.precision.width))
    assert (np.diff(np.array(widths), axis=0) <= 0).all()
    assert widths[-1] == (0, 0) and told.count.middle == 30


@settings(deadline=None, max_examples=8)
@given(st.integers(1, 200), st.integers(0, 60), st.integers(0, 30), st.integers(0, 5))
def test_a_draw_gives_fresh_unlabelled_tiles_and_knows_how_likely_they_were(
    tiles: int, count: int, known: int, seed: int
) -> None:
    scores, truth = archive(seed, tiles, min(5, tiles))
    scores[:: max(2, tiles // 3)] = np.nan
    numbers = np.arange(min(known, tiles))
    ranking = Ranking(scores, 1.0, numbers, truth[numbers])
    left = np.setdiff1d(np.flatnonzero(np.isfinite(scores)), numbers)
    audit = Audit.of(tiles)
    for _ in range(2):
        drawn, expected = audit.draw(ranking, count, seed=seed)
        assert len(drawn) == min(count, len(left) - len(audit.numbers)) == len(np.unique(drawn))
        assert np.isin(drawn, left).all() and not np.isin(drawn, audit.numbers).any()
        assert expected.sum() == pytest.approx(len(drawn), abs=1e-3) and (expected[drawn] > 0).all()
        again, _ = audit.draw(ranking, count, seed=seed)
        assert (again == drawn).all()
        audit = audit.with_marks(drawn, truth[drawn], expected)
        assert estimate(audit, ranking).precision.low >= 0


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_no_stratum_lies_across_the_threshold(count: int, cut: int) -> None:
    edges = strata_edges(count, min(cut, count))
    assert edges[0] == 0 and edges[-1] == count and (np.diff(edges) > 0).all()
    assert min(cut, count) in edges


def test_within_a_stratum_every_tile_is_drawn_equally_often() -> None:
    scores, truth = archive(0, tiles=200, right=20)
    ranking = ranking_of(scores, truth, known=5)
    drawn = np.zeros(200)
    expected = np.zeros(200)
    for seed in range(200):
        numbers, chances = Audit.of(200).draw(ranking, 20, seed=seed)
        drawn[numbers] += 1
        expected += chances
    inside = expected > 0
    assert (np.abs(drawn - expected)[inside] < 5 * np.sqrt(expected[inside]) + 1).all()
    assert drawn[~inside].sum() == 0


def test_marks_keep_their_worth_when_the_ranking_has_changed() -> None:
    found = []
    for seed in range(12):
        scores, truth = archive(seed, apart=2.0)
        audit = audited(ranking_of(scores, truth, 0), truth, 60, seed)
        other = scores + np.random.default_rng(seed).normal(size=len(scores)) + 1.5 * truth
        found.append(held(ranking_of(other, truth, 0), truth, audit))
    assert (np.mean(found, axis=0) >= 0.75).all()


def test_audit_marks_that_trained_the_scorer_are_judged_by_the_scores_they_would_have_had() -> None:
    scores, truth = archive(2, apart=1.5)
    before = ranking_of(scores, truth, 0)
    audit = audited(before, truth, 60)
    learned = scores.copy()
    learned[audit.numbers] = np.where(audit.said, 9.0, -9.0)  # an extreme case of learning by heart
    after = replace(before, scores=learned)
    told = estimate(audit, after, audit_scores=scores[audit.numbers])
    fair, answer = estimate(audit, before), learned >= after.threshold
    assert (told.count, told.labels, told.audited) == (fair.count, fair.labels, fair.audited)
    assert told.answered == answer.sum() and truth[answer].mean() in told.precision
    # Of the tiles that are not marked as much is right as if nothing had been learned by heart.
    marked = audit.numbers[audit.said & (scores[audit.numbers] >= before.threshold)]
    unmarked = fair.precision.middle * fair.answered - len(marked)
    assert told.precision.middle * told.answered - audit.said.sum() == pytest.approx(unmarked, abs=1)
    assert estimate(audit, after).precision.middle > told.precision.middle + 0.1


def test_labels_that_were_not_drawn_by_chance_count_themselves_and_say_nothing_of_others() -> None:
    scores, truth = archive(4)
    ranking = ranking_of(scores, truth, known=0)
    audit = audited(ranking, truth, 50)
    right = np.setdiff1d(np.flatnonzero(truth), audit.numbers)
    strata = Strata(audit, replace(ranking, numbers=right, said=np.ones(len(right), bool)))
    assert strata.known_right + strata.right.sum() == truth.sum()
    told = estimate(audit, replace(ranking, numbers=right, said=np.ones(len(right), bool)))
    assert told.count.low >= truth.sum() and told.labels == 50 + len(right)


def test_ground_is_that_of_right_tiles() -> None:
    scores, truth = archive(5, tiles=200, right=20)
    ranking = ranking_of(scores, truth)
    areas = np.where(truth, 25.0, 100.0)
    audit = audited(ranking, truth, 180)
    told = estimate(audit, ranking, areas=areas)
    assert told.area is not None and told.area.low == told.area.high == 20 * 25.0
    assert estimate(audit, ranking).area is None
    with pytest.raises(ShapeMismatch, match="areas"):
        estimate(audit, ranking, areas=areas[:5])


def test_chances_fall_along_the_ranking_and_are_near_the_truth() -> None:
    scores, truth = archive(6, tiles=3000, right=300)
    ranking = ranking_of(scores, truth, known=0)
    audit = audited(ranking, truth, 100)
    chances = audit.chances(ranking)
    assert (chances[audit.numbers] == truth[audit.numbers]).all()
    unknown = np.setdiff1d(np.argsort(-scores), audit.numbers)
    unknown = unknown[np.argsort(-scores[unknown])]
    assert (np.diff(chances[unknown]) <= 1e-6).all()
    assert abs(chances.sum() - 300) < 75
    threshold = likely_threshold(audit, ranking)
    near = np.abs(scores - threshold) < 0.4
    assert 0.3 < truth[near].mean() < 0.7


def test_what_does_not_fit_is_refused_in_words() -> None:
    scores, truth = archive(7)
    ranking = ranking_of(scores, truth)
    with pytest.raises(ShapeMismatch, match="Begin another audit"):
        Audit.of(5).draw(ranking, 3)
    with pytest.raises(QueryInvalid, match="twice"):
        Ranking(scores, 0.0, np.array([1, 1]), np.array([True, False]))
    with pytest.raises(QueryInvalid, match="sure"):
        estimate(Audit.of(len(scores)), ranking, sure=1.0)
    with pytest.raises(QueryInvalid, match="no estimates"):
        draw_curve([])


def test_the_curve_is_the_same_in_csv_json_and_figure(tmp_path: Path) -> None:
    scores, truth = archive(8)
    ranking = ranking_of(scores, truth)
    areas = np.full(len(scores), 2.0)
    told = [estimate(audited(ranking, truth, marks), ranking, areas=areas) for marks in (10, 30, 50)]
    rows = rows_of(told)
    assert [row["labels"] for row in rows] == [30, 50, 70]
    assert json.loads(write_curve(told, tmp_path / "a.json").read_text())["rows"] == rows
    with write_curve(told, tmp_path / "a.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [{key: float(value) for key, value in row.items()} for row in read] == rows
    panels = draw_curve(told).axes
    assert len(panels) == 3 and panels[1].lines[0].get_ydata().tolist() == [one.count.middle for one in told]
    draw_curve(told).savefig(tmp_path / "a.png")
    assert len(draw_curve([replace(one, area=None) for one in told]).axes) == 2
    with pytest.raises(QueryInvalid, match=r"neither \.csv nor"):
        write_curve(told, tmp_path / "a.txt")
