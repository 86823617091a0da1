"""Which side of the split a chip is on where nothing is known of its place: what its folder says, else whole folders by lot."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

import numpy as np

from workbench.errors import LabelInvalid
from workbench.labels.chip_records import SPLITS, Split

_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class Sides:
    """What was asked of the split of a folder made elsewhere; see `chips.open_chips`."""

    patterns: Mapping[str, Sequence[str]]
    validation: float
    test: float
    seed: int


def side_in(path: str) -> Split | None:
    """The side that a folder or file name says: train, val, test or the like as a word of its own."""
    for part in reversed(PurePosixPath(path).parts):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in _WORDS:
                return _WORDS[word]
    return None


def choose_sides(
    names: Sequence[str], groups: Sequence[str], told: Sequence[Split | None], asked: Sides
) -> list[Split]:
    """The side of each chip.

    Args:
        names: path of each image.
        groups: chips of one group stay together where there are several.
        told: the side that the folder says, if it does.
        asked: patterns, which come first, and the shares of the sides that nothing was said of.

    Raises:
        LabelInvalid: a side is unknown, a pattern fits nothing, or a share is none.
    """
    shares: dict[Split, float] = {"test": asked.test, "validation": asked.validation}
    unknown = set(asked.patterns) - set(SPLITS)
    if unknown or min(shares.values()) < 0 or sum(shares.values()) >= 1:
        raise LabelInvalid(
            f"splits={dict(asked.patterns)}, validation={asked.validation}, test={asked.test} make no split. Sides are "
            f"{', '.join(SPLITS)}; shares are at least 0 and leave something for training."
        )
    found = list(told)
    for side in (each for each in SPLITS if each in asked.patterns):
        for pattern in asked.patterns[side]:
            fitting = [number for number, name in enumerate(names) if _fits(name, pattern)]
            if not fitting:
                raise LabelInvalid(f"splits: {pattern!r} fits no image. They are called such as {names[0]!r}.")
            for number in fitting:
                found[number] = side
    random = np.random.default_rng(asked.seed)
    for side, share in shares.items():
        if share and side not in found:
            free = [number for number, given in enumerate(found) if given is None]
            pool = free or (
                [] if side == "test" else [number for number, given in enumerate(found) if given == "train"]
            )
            for number in _drawn(pool, groups, share * len(names), random):
                found[number] = side
    return [side or "train" for side in found]


def _drawn(pool: Sequence[int], groups: Sequence[str], wanted: float, random: np.random.Generator) -> list[int]:
    """Whole groups by lot, about as many chips as wanted, never all groups; single chips of a single group."""
    members: dict[str, list[int]] = defaultdict(list)
    several = len({groups[number] for number in pool}) > 1
    for number in pool:
        members[groups[number] if several else str(number)].append(number)
    order = [members[list(members)[place]] for place in random.permutation(len(members))]
    total = np.cumsum([len(group) for group in order])
    count = min(int(np.argmin(np.abs(total - wanted))) + 1, len(order) - 1) if len(order) else 0
    return [number for group in order[:count] for number in group]


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or name.startswith(pattern.rstrip("/") + "/")
