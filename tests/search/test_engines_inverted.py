"""Lists of codes: sorted completely, searched with the recall that was set, and exact when all of them are read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_codes import KINDS, by_brute_force, made_codes

from workbench.descriptors.codes.ordered import OrderedCodes
from workbench.search.engines import lists as making
from workbench.search.engines.flat import flat_search
from workbench.search.engines.inverted import AIM, Lists, Reading, calibrated
from workbench.search.engines.lists import (
    assigned,
    find_centres,
    fitted,
    lists_for,
    middles,
    nearest_centre,
    sorted_by_list,
)


def in_lists(codes: np.ndarray, count: int | None = None) -> Lists:  # type: ignore[type-arg]
    centres = find_centres(codes, count or lists_for(len(codes)))
    chosen = np.concatenate([part for _, part in assigned(codes, centres)])
    starts, order, positions = sorted_by_list(chosen, len(centres))
    return Lists(OrderedCodes(codes[order], order, positions), starts, centres)


@pytest.mark.parametrize("bits", [8, 72, 512, 1024])
def test_each_code_goes_to_its_nearest_centre_the_first_of_equal_ones(bits: int) -> None:
    codes, centres = made_codes("uniform", 700, bits), made_codes("uniform", 37, bits, seed=1)
    centres[5] = centres[3]
    distances = np.unpackbits(codes[:, None] ^ centres[None], axis=2).sum(axis=2)
    assert (nearest_centre(codes, centres) == distances.argmin(axis=1)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 3, 5000])
def test_lists_hold_every_code_once(kind: str, count: int) -> None:
    codes = made_codes(kind, count)
    lists = in_lists(codes)
    assert sorted(lists.codes.order.tolist()) == list(range(count)) and lists.starts[-1] == count
    assert (np.asarray(lists.codes) == codes).all() and (lists.codes[count - 1] == codes[-1]).all()
    assert (lists.codes[np.array([0, count // 2])] == codes[[0, count // 2]]).all()
    for low, high in zip(lists.starts[:-1], lists.starts[1:], strict=True):
        assert (np.diff(lists.codes.order[low:high].astype(int)) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_reading_all_lists_is_exact_and_reading_few_still_gives_k_hits(kind: str) -> None:
    codes = made_codes(kind, 20_000)
    lists = in_lists(codes)
    whole = replace(lists, near=Reading(50.0), deep=Reading(50.0))
    for k in (0, 1, 100, 20_000, 30_000):
        found, distances = whole.search(codes[11], k)
        assert (found.tolist(), distances.tolist()) == by_brute_force(codes, codes[11], k)
        assert len(np.unique(lists.search(codes[11], k)[0])) == min(k, 20_000)


@pytest.mark.parametrize("kind", KINDS)
def test_P07_recall_of_queries_that_were_held_out_reaches_the_aim(kind: str) -> None:
    codes, held_out = np.split(made_codes(kind, 30_400), [30_000])
    lists, measured = calibrated(in_lists(codes))
    assert measured.recall >= AIM and measured.near == lists.near
    for k in (100, 1000):
        found = []
        for query in held_out:
            limit = flat_search(codes, query, k)[1][-1]
            found.append((lists.search(query, k)[1] <= limit).mean())
        assert np.mean(found) >= AIM


def test_walking_among_many_centres_finds_almost_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = made_codes("clustered", 40_000)
    exact = find_centres(codes, 1024)
    monkeypatch.setattr(making, "_MANY", 512)
    centres, graph = fitted(codes, 1024)
    assert graph is not None and graph.shape == (1024, 32)

    def spread(among: np.ndarray, chosen: np.ndarray) -> float:  # type: ignore[type-arg]
        return float(np.bitwise_count(codes ^ among[chosen]).sum(axis=1).mean())

    chosen = np.concatenate([part for _, part in assigned(codes, centres, graph)])
    assert (chosen == nearest_centre(codes, centres)).mean() > 0.9
    assert spread(centres, chosen) < 1.02 * spread(exact, nearest_centre(codes, exact))


def test_the_middle_of_a_list_is_what_most_of_its_codes_have() -> None:
    codes = made_codes("uniform", 30, 72)
    starts = np.array([0, 7, 7, 30])
    found = middles(codes, starts, codes[:3])
    for one, low, high in ((0, 0, 7), (2, 7, 30)):
        usual = np.unpackbits(codes[low:high], axis=1).mean(axis=0) > 0.5
        assert (np.unpackbits(found[one]) == usual).all()
    assert (found[1] == codes[1]).all()


def test_a_search_that_reads_more_finds_no_less() -> None:
    codes, held_out = np.split(made_codes("clustered", 30_020), [30_000])
    lists = in_lists(codes)
    for query in held_out:
        limit = flat_search(codes, query, 100)[1][-1]
        steps = [replace(lists, near=Reading(np.log(rows))) for rows in (300, 3000, 30_000)]
        found = [int((one.search(query, 100)[1] <= limit).sum()) for one in steps]
        assert found == sorted(found) and found[-1] == 100


def test_equal_codes_give_equal_lists() -> None:
    codes = made_codes("clustered", 3000)
    first, second = in_lists(codes), in_lists(codes.copy())
    assert (first.codes.order == second.codes.order).all() and (first.centres == second.centres).all()
