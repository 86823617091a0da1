"""Reading COCO files: which images, categories and annotations they hold; nothing is believed unchecked."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import LabelInvalid


@dataclass(frozen=True)
class CocoImage:
    """An image as a COCO file names it: the file that does, its name there, and its (rows, cols)."""

    document: str
    file_name: str
    size: tuple[int, int]


@dataclass
class Coco:
    """What one or several COCO files say together.

    Attributes:
        images: in the order of the files.
        categories: (name, colour or "") by category id.
        found: (category id, crowd, segmentation) of each annotation by document and file name.
    """

    images: list[CocoImage] = field(default_factory=list)
    categories: dict[int, tuple[str, str]] = field(default_factory=dict)
    found: dict[tuple[str, str], list[tuple[int, bool, Any]]] = field(default_factory=lambda: defaultdict(list))

    def annotations(
        self, numbers: Mapping[int, int] | Collection[int], paths: Mapping[tuple[str, str], str] | None = None
    ) -> dict[str, tuple[tuple[int, bool, Any], ...]]:
        """The annotations by image.

        Args:
            numbers: class number by category id; categories that are not named are refused.
            paths: path of each image by document and file name; the file name itself when None.

        Raises:
            LabelInvalid: an annotation is of a category that is not named.
        """
        table = numbers if isinstance(numbers, Mapping) else {number: number for number in numbers}
        result = {}
        for (document, file_name), items in self.found.items():
            strange = {category for category, _, _ in items} - set(table)
            if strange:
                raise LabelInvalid(
                    f"{document}: {file_name[:80]!r} has annotations of category {min(strange)}, which is none of the "
                    f"categories {sorted(table)[:20]}. Add it to the categories, or take those annotations out."
                )
            image = file_name if paths is None else paths[document, file_name]
            result[image] = tuple((table[category], crowd, shape) for category, crowd, shape in items)
        return result


def is_coco(path: Path) -> bool:
    """Whether a file looks like COCO annotations."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(value, dict) and all(
        isinstance(value.get(key), list) for key in ("images", "annotations", "categories")
    )


def read_coco(folder: Path, documents: Sequence[str]) -> Coco:
    """Read COCO files as one.

    Raises:
        LabelInvalid: a file cannot be read, or what it says does not fit together.
    """
    coco = Coco()
    for document in documents:
        try:
            _add(coco, document, json.loads((folder / document).read_bytes()))
        except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise LabelInvalid(
                f"{folder / document} cannot be used as COCO annotations ({type(error).__name__}: {str(error)[:200]}). "
                "Expected images, annotations and categories that belong together. Export the file again."
            ) from error
    return coco


def _add(coco: Coco, document: str, value: dict[str, Any]) -> None:
    for category in value["categories"]:
        told = (str(category["name"]), str(category.get("color", "")))
        if coco.categories.setdefault(int(category["id"]), told)[0] != told[0]:
            raise ValueError(f"category {category['id']} is {told[0]!r} here and another class in another file")
    names: dict[int, str] = {}
    for image in value["images"]:
        size = int(image["height"]), int(image["width"])
        if int(image["id"]) in names or min(size) < 1:
            raise ValueError(f"image {image['id']} is there twice, or has no size")
        names[int(image["id"])] = str(image["file_name"])
        coco.images.append(CocoImage(document, str(image["file_name"]), size))
    if len(set(names.values())) != len(names):
        raise ValueError("two images have the same file_name")
    for annotation in value["annotations"]:
        image_name = names[int(annotation["image_id"])]
        crowd = bool(annotation.get("iscrowd", 0))
        if annotation["segmentation"]:
            coco.found[document, image_name].append((int(annotation["category_id"]), crowd, annotation["segmentation"]))
