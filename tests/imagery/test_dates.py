"""When imagery was taken, from its header or its name, and the days that a date may mean."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import QueryInvalid
from workbench.imagery.dates import days_of, find_date


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("m_4709963_se_14_1_20090818.tif", "2009-08-18"),
        ("ortho_2021-06-03_rgb.tif", "2021-06-03"),
        ("ortho.2021_06_03.tif", "2021-06-03"),
        ("dop20_2019.tif", "2019"),
        ("2019/tile_17.tif", "2019"),
        ("2018/flight 2020.tif", "2020"),
        ("2018_05_07/flight-2020.tif", "2018-05-07"),
        ("tile_2019-13-45.tif", "2019"),
        ("grid_1950_2010.tif", None),
        ("crop_9999.tif", None),
        ("5b90f92da0d72019fab355.tif", None),
        ("tile_120190603.tif", None),
        ("image2048px.tif", None),
    ],
)
def test_a_date_in_a_name_is_found_and_what_only_looks_like_one_is_not(name: str, found: str | None) -> None:
    assert find_date(name, {}) == found


def test_the_header_counts_before_the_name_unless_it_makes_no_sense() -> None:
    assert find_date("m_20090818.tif", {"TIFFTAG_DATETIME": "2022:01:17 12:04:09"}) == "2022-01-17"
    assert find_date("m_20090818.tif", {"ACQUISITIONDATETIME": "2021-02-03T10:00:00"}) == "2021-02-03"
    assert find_date("m_20090818.tif", {"TIFFTAG_DATETIME": "0000:00:00 00:00:00"}) == "2009-08-18"


@given(st.dates(date(1900, 1, 1), date(2100, 1, 1)))
def test_a_date_means_all_the_days_that_it_leaves_open(day: date) -> None:
    assert days_of(day.isoformat()) == (day, day)
    first, last = days_of(f"{day:%Y-%m}")
    assert first <= day <= last and first.day == 1 and (last + timedelta(days=1)).day == 1
    assert (last - first).days < 31
    assert days_of(f"{day:%Y}") == (date(day.year, 1, 1), date(day.year, 12, 31))


@pytest.mark.parametrize("text", ["", "yesterday", "2019-13", "2019-02-30", "03.06.2019", "19", "0000"])
def test_what_is_no_date_is_refused_in_words(text: str) -> None:
    with pytest.raises(QueryInvalid, match=r"is no date\. Write a year"):
        days_of(text)
