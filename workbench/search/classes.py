"""Several classes at once: one linear scorer for each over the same descriptors, with probabilities that can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.errors import QueryInvalid
from workbench.search.index import Scorer
from workbench.search.refinement.learning import unlike

NONE = "none of them"
"""What a tile is that no class claims."""
_C = 30.0
_RANDOM = 500
_RANDOM_WEIGHT = 0.25
_ROUNDS = 2


@dataclass(frozen=True)
class Classes:
    """Linear scorers of classes, and of none of them.

    Attributes:
        names: of the classes, (k,).
        weights: float32 (k + 1, dim); the first row is that of none of them.
        bias: float32 (k + 1,).
    """

    names: tuple[str, ...]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """How likely descriptors (n, dim) are each class: float32 (n, k + 1), rows sum to 1, the first is none of them."""
        scores = vectors @ self.weights.T + self.bias
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True), np.float32)

    def scorer(self, name: str) -> Scorer:
        """What ranks an archive by one class: its log odds against none of them."""
        place = self.names.index(name) + 1
        against = self.weights[place] - self.weights[0], float(self.bias[place] - self.bias[0])
        return Scorer(*against, kind=f"one of {len(self.names)} classes")


def learn_classes(
    marks: Mapping[str, NDArray[np.float32]], others: NDArray[np.float32], archive: Archive, *, seed: int = 0
) -> Classes:
    """Learn classes from marked tiles, by multinomial logistic regression.

    All scorers are fitted together, so that their scores need no calibration afterwards, for which a handful of marks is
    too few: than with one-versus-rest scorers and Platt's (1999) sigmoids, more of all ground is right, though more of the
    classes' own is called none of them (``benchmarks/class_map.py``).
    Every class weighs the same. None of them is learned from 500 tiles drawn at random, which weigh a quarter of a class:
    many of them are of a class, and count less, the less likely the fit before found them to be none; and from tiles
    that are marked as something else.

    Args:
        marks: class name -> unit descriptors (m, dim) of tiles that are of it.
        others: unit descriptors (n, dim) of tiles that are marked as none of the classes, n may be 0.
        archive: that random tiles are drawn from.
        seed: of the draw.

    Raises:
        QueryInvalid: there are fewer than two classes, or one without marks.
    """
    check_marks(marks)
    drawn = np.random.default_rng(seed).choice(len(archive), min(_RANDOM, len(archive)), replace=False)
    random = archive.examples_of(np.sort(drawn))
    unmarked = unlike(random, np.concatenate(list(marks.values())))
    random = unmarked if len(unmarked) else random
    samples = np.concatenate([*marks.values(), others, random]).astype(np.float64)
    counts = np.array([len(vectors) for vectors in marks.values()])
    kinds = np.concatenate(
        [np.repeat(np.arange(len(counts)) + 1, counts), np.zeros(len(others) + len(random), np.int64)]
    )
    a_class = float(counts.mean())  # so that a mark weighs about 1, however many there are
    told = np.concatenate([np.repeat(a_class / counts, counts), np.ones(len(others))])
    shares = np.full(len(random), 1 / len(random))
    for _ in range(_ROUNDS):
        found = _fitted(samples, kinds, np.concatenate([told, _RANDOM_WEIGHT * a_class * shares]), tuple(marks))
        none = found.probabilities(random)[:, 0].astype(np.float64)
        shares = none / none.sum()
    return found


def check_marks(marks: Mapping[str, NDArray[np.float32]]) -> None:
    """Raise unless there are marks of two classes or more.

    Raises:
        QueryInvalid: there are fewer than two classes, or one without marks.
    """
    empty = [name for name, vectors in marks.items() if not len(vectors)]
    if len(marks) < 2 or empty:
        lacking = f"{empty[0]} has no marked tile" if empty else f"There is {len(marks)} class"
        raise QueryInvalid(f"{lacking}, and a class map needs tiles of two classes or more. Mark some tiles of each.")


def _fitted(
    samples: NDArray[np.float64], kinds: NDArray[np.int64], weights: NDArray[np.float64], names: tuple[str, ...]
) -> Classes:
    from sklearn.linear_model import LogisticRegression

    fit = LogisticRegression(C=_C, max_iter=500).fit(samples, kinds, sample_weight=weights)
    return Classes(names, fit.coef_.astype(np.float32), fit.intercept_.astype(np.float32))
