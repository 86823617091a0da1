"""STAC searches against a real server on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from local_web import HERE, Server, an_entry, names_in

from workbench.errors import CatalogError
from workbench.imagery.catalog import fetch
from workbench.imagery.entries import Entry, Stac
from workbench.jobs import Progress


def stac(server: Server, *assets: str) -> Entry:
    how = Stac(f"{server.url}/search", ("things",), assets, (10.0, 50.0, 11.0, 51.0), "2023-06-01/2023-06-30", 2)
    return an_entry(how)


def item(server: Server, name: str, **assets: str) -> dict[str, object]:
    return {"type": "Feature", "id": name, "assets": {key: {"href": server.url + path} for key, path in assets.items()}}


def test_a_stac_source_is_searched_and_its_assets_fetched_by_item(
    server: Server, tmp_path: Path, quiet: Progress
) -> None:
    server.files |= {f"/{day}/B0{band}.tif": f"{day}{band}".encode() for day in "12" for band in "48"}
    server.items = [item(server, f"S2_{day}", red=f"/{day}/B04.tif", nir=f"/{day}/B08.tif", big="/x") for day in "12"]
    folder = fetch(stac(server, "red", "nir"), tmp_path, allow_http=HERE, progress=quiet)
    assert folder == tmp_path
    assert [n for n in names_in(folder) if n.endswith("tif")] == [
        "S2_1/B04.tif",
        "S2_1/B08.tif",
        "S2_2/B04.tif",
        "S2_2/B08.tif",
    ]
    assert (folder / "S2_2" / "B04.tif").read_bytes() == b"24"
    assert fetch(stac(server, "red", "nir"), tmp_path, allow_http=HERE, progress=quiet) == folder
    assert server.searches == [
        {
            "collections": ["things"],
            "bbox": [10.0, 50.0, 11.0, 51.0],
            "limit": 2,
            "datetime": "2023-06-01T00:00:00Z/2023-06-30T23:59:59Z",
        }
    ]


def test_another_area_and_time_is_another_search(server: Server, tmp_path: Path, quiet: Progress) -> None:
    server.files |= {"/a.tif": b"a", "/b.tif": b"b"}
    thing = stac(server, "vis*")
    server.items = [item(server, "one", visual="/a.tif")]
    assert fetch(thing, tmp_path, allow_http=HERE, progress=quiet).read_bytes() == b"a"
    server.items = [item(server, "two", visual="/b.tif")]
    path = fetch(thing, tmp_path, bbox=(1, 2, 3, 4), dates="2024-01-01", allow_http=HERE, progress=quiet)
    assert path == tmp_path / "two" / "b.tif"
    assert server.searches[-1]["bbox"] == [1.0, 2.0, 3.0, 4.0]
    assert server.searches[-1]["datetime"] == "2024-01-01T00:00:00Z/2024-01-01T23:59:59Z"
    with pytest.raises(CatalogError, match="'June' is no ISO day"):
        fetch(thing, tmp_path, dates="June", allow_http=HERE, progress=quiet)
    with pytest.raises(CatalogError, match="west, south, east, north"):
        fetch(thing, tmp_path, bbox=(3, 2, 1, 4), allow_http=HERE, progress=quiet)


def test_a_stac_checksum_is_checked(server: Server, tmp_path: Path, quiet: Progress) -> None:
    server.files["/a.tif"] = b"a"
    server.items = [item(server, "one", visual="/a.tif")]
    server.items[0]["assets"]["visual"]["file:checksum"] = "1220" + "0" * 64  # type: ignore[index]
    with pytest.raises(CatalogError, match="another SHA-256"):
        fetch(stac(server, "visual"), tmp_path, allow_http=HERE, progress=quiet)


def test_P39_an_item_whose_name_climbs_out_stays_inside(server: Server, tmp_path: Path, quiet: Progress) -> None:
    server.files["/a.tif"] = b"a"
    server.items = [item(server, "../../evil", visual="/a.tif")]
    path = fetch(stac(server, "visual"), tmp_path / "data", allow_http=HERE, progress=quiet)
    assert path.is_relative_to(tmp_path / "data") and names_in(tmp_path)[0] == "data"


def test_what_a_stac_api_does_not_have_is_said_in_words(server: Server, tmp_path: Path, quiet: Progress) -> None:
    def asking(*assets: str) -> None:
        fetch(stac(server, *assets), tmp_path, allow_http=HERE, progress=quiet)

    with pytest.raises(CatalogError, match="has nothing of things at"):
        asking("visual")
    server.items = [item(server, "one", visual="/a.tif")]
    with pytest.raises(CatalogError, match="no asset 'red'; it has visual"):
        asking("red")
    server.items = [{"id": "one", "assets": {"visual": {"href": "s3://paid/a.tif"}}}]
    with pytest.raises(CatalogError, match=r"s3://paid/a.tif is not fetched: only https"):
        asking("visual")
    server.items.insert(0, item(server, "good", visual="/a.tif"))
    with pytest.raises(CatalogError, match="only https"):
        asking("visual")
    assert server.requests == []
    plain_http = replace(stac(server, "visual").how, api=server.url.replace("127.0.0.1", "localhost"))  # type: ignore[type-var]
    with pytest.raises(CatalogError, match="only https"):
        fetch(an_entry(plain_http), tmp_path, allow_http=HERE, progress=quiet)  # type: ignore[arg-type]
    server.items = ["junk"]  # type: ignore[list-item]
    with pytest.raises(CatalogError, match="it is not STAC"):
        asking("visual")
