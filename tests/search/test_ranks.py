"""One tile in twenty gets a colour, the best the strongest."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.search.ranks import RANKS, rank_levels


@pytest.mark.parametrize("count", [1, 7, 20, 961, 10_000])
def test_one_tile_in_twenty_is_coloured_and_the_better_the_stronger(count: int) -> None:
    scores = np.random.default_rng(0).normal(size=count).astype(np.float32)
    levels = rank_levels(scores)
    assert np.count_nonzero(levels) == max(1, round(0.05 * count)) and levels[np.argmax(scores)] == len(RANKS)
    assert (np.diff(levels[np.argsort(-scores)].astype(int)) <= 0).all()


def test_each_step_holds_its_share() -> None:
    levels = rank_levels(np.random.default_rng(0).normal(size=10_000).astype(np.float32))
    for step, (share, _) in enumerate(RANKS):
        assert np.count_nonzero(levels >= len(RANKS) - step) == round(share * 10_000)


def test_what_has_no_score_has_no_rank() -> None:
    scores = np.array([np.nan, 1, 2, np.inf, -np.inf], np.float32)
    assert rank_levels(scores).tolist() == [0, 0, len(RANKS), 0, 0]
    assert not rank_levels(np.full(9, np.nan, np.float32)).any() and not len(rank_levels(np.array([], np.float32)))
