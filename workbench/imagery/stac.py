"""A minimal STAC client: one item search, and the https addresses of the assets asked for."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

from workbench.errors import CatalogError
from workbench.imagery.download import Remote, Web, shown
from workbench.imagery.entries import Stac

# A multihash that says "SHA-256, 32 bytes" (https://github.com/multiformats/multihash), as STAC's file extension has it.
_SHA256_MULTIHASH = "1220"


@dataclass(frozen=True)
class Asset:
    """One file of one item."""

    item: str
    remote: Remote


def search(question: Stac, web: Web) -> list[Asset]:
    """Ask a STAC API for items and pick the assets that were named.

    Raises:
        CatalogError: no answer, an answer that is not a STAC item collection, no item, no such asset, or an asset that
            is not at an https address (``s3://`` means that the reader pays and needs an account).
    """
    body: dict[str, object] = {
        "collections": list(question.collections),
        "bbox": list(question.bbox),
        "limit": question.limit,
    }
    if question.dates is not None:
        body["datetime"] = _interval(question.dates)
    if question.query is not None:
        body["query"] = question.query
    answer = web.json(question.api, body)
    items = answer.get("features") if isinstance(answer, dict) else None
    if not isinstance(items, list):
        raise CatalogError(
            f"{shown(question.api)} did not answer with STAC items. Is it the address of an item search?"
        )
    if not items:
        raise CatalogError(
            f"{shown(question.api)} has nothing of {', '.join(question.collections)} at {question.bbox} "
            f"({question.dates or 'any date'}). Choose another bbox (west, south, east, north in degrees) or other dates."
        )
    return [asset for item in items[: question.limit] for asset in _assets(item, question, web)]


def _assets(item: object, question: Stac, web: Web) -> list[Asset]:
    assets = item.get("assets") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(assets, dict) or not isinstance(item.get("id"), str):
        raise CatalogError(f"{shown(question.api)} answered with an item without id or assets: it is not STAC.")
    found = []
    for pattern in question.assets:
        names = sorted(fnmatch.filter([name for name in assets if isinstance(name, str)], pattern))
        if not names:
            raise CatalogError(
                f"{item['id']} has no asset {pattern!r}; it has {', '.join(map(str, list(assets)[:20]))}. "
                "Name one of these in the catalog entry."
            )
        found += [Asset(item["id"], _remote(item["id"], name, assets[name], web)) for name in names]
    return found


def _remote(item: str, name: str, asset: object, web: Web) -> Remote:
    url = asset.get("href") if isinstance(asset, dict) else None
    if not isinstance(asset, dict) or not isinstance(url, str):
        raise CatalogError(f"{item}: asset {name!r} has no address.")
    web.check(url)
    multihash = asset.get("file:checksum") or asset.get("checksum:multihash")
    is_sha256 = isinstance(multihash, str) and multihash.startswith(_SHA256_MULTIHASH) and len(multihash) == 68
    return Remote(url, sha256=str(multihash)[4:] if is_sha256 else None)


def _interval(dates: str) -> str:
    """Plain days as the instants that STAC APIs ask for: from the first second to the last."""
    first, _, last = dates.partition("/")
    last = last or first
    begin = f"{first}T00:00:00Z" if len(first) == 10 else first
    end = f"{last}T23:59:59Z" if len(last) == 10 else last
    return f"{begin}/{end}"
