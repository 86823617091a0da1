"""Finding: what a click or a drawn outline brings, and how map and gallery show the same."""

from __future__ import annotations

from pathlib import Path

from browser.bench import Bench
from browser.conftest import BuiltArchive
from browser.lab import Lab


def test_a_click_on_a_tile_fills_the_gallery_and_outlines_the_page_on_the_map(
    each_lab: Lab, scene_archive: BuiltArchive, tmp_path: Path
) -> None:
    bench = Bench.open(each_lab, scene_archive.folder, tmp_path / "labels")
    bench.search(400)
    cards = bench.cards()
    assert [card.number for card in cards] == bench.hits()[:20] and cards[0].number == 400
    assert [card.rank for card in cards] == list(range(1, 21)) and cards[0].score == "1.000"
    assert all(card.shown for card in cards)
    assert {outline.number for outline in bench.outlines()} == {card.number for card in cards}
    assert bench.root.locator("path.wb-query").count() == 1
    assert bench.status() == "200 hits like tile 400."
