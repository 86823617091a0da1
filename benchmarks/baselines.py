"""Methods that the workbench's own is held against: no feedback, a formula of its closest peers, Rocchio, regression."""

from __future__ import annotations

import numpy as np
from simulated import Floats, Marks, Method, Scores
from sklearn.linear_model import LogisticRegression

_ROCCHIO = (1.0, 0.5, 0.25)
_WEAK = 300


def no_feedback(marks: Marks) -> Scores:
    """Cosine to the first example."""
    return _linear(marks.shown.unit[marks.query])


def peers_2mean(marks: Marks) -> Scores:
    """Euclidean distance of uncentred descriptors to twice the mean of the positives less the mean of the negatives."""
    raw = marks.shown.raw
    wanted = raw[marks.positives].mean(axis=0)
    if len(marks.negatives):
        wanted = 2 * wanted - raw[marks.negatives].mean(axis=0)
    return lambda tiles: 2 * tiles.raw @ wanted - (tiles.raw**2).sum(axis=1)


def rocchio(marks: Marks) -> Scores:
    """The query, plus half the mean of the positives, less a quarter of the mean of the negatives (Rocchio 1971)."""
    unit = marks.shown.unit
    first, pull, push = _ROCCHIO
    wanted = first * unit[marks.query]
    for weight, rows in ((pull, marks.rows[marks.said]), (-push, marks.negatives)):
        if len(rows):
            wanted = wanted + weight * unit[rows].mean(axis=0)
    return _linear(wanted)


def logistic(marks: Marks) -> Scores:
    """Balanced logistic regression, C = 1, with 300 random tiles as negatives of half the negative weight."""
    if not len(marks.rows):
        return no_feedback(marks)
    unit = marks.shown.unit
    drawn = np.random.default_rng(marks.seed).choice(len(unit), min(_WEAK, len(unit)), replace=False)
    positives, negatives = marks.positives, marks.negatives
    sides = [(positives, 0.5), (negatives, 0.25), (drawn, 0.25 if len(negatives) else 0.5)]
    samples = np.concatenate([unit[rows] for rows, _ in sides])
    weights = np.concatenate([np.full(len(rows), len(samples) * share / max(1, len(rows))) for rows, share in sides])
    wanted = np.arange(len(samples)) < len(positives)
    model = LogisticRegression(C=1.0, max_iter=300).fit(samples, wanted, sample_weight=weights)
    return _linear(model.coef_[0].astype(np.float32))


BASELINES: dict[str, Method] = {
    "no_feedback": no_feedback,
    "peers_2mean": peers_2mean,
    "rocchio": rocchio,
    "logistic": logistic,
}


def _linear(weights: Floats) -> Scores:
    return lambda tiles: tiles.unit @ weights
