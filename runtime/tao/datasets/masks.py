"""Layout `masks`: <root>/images/<split>/<image> and <root>/masks/<split>/<mask>.

Parts: `root`; the splits (names of folders); `palette`, `transform`, `num_classes`, `batch_size`.

Source: nvidia-tao-pytorch 7.3.0, cv/segformer/dataloader/dataset.py, read and run: images and masks are paired by
their place in the two sorted listings, whatever their names; with `label_transform: norm` a mask is divided by 255 as
integers first; a colour that the palette lacks becomes class 0 without a word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from runtime.tao.datasets import pictures
from runtime.tao.datasets.listing import files, folder_missing, several, too_few
from runtime.tao.datasets.parts import Parts, Place
from runtime.tao.finding import Finding, error, warning

COLOURED = 200  # masks whose colours are counted, spread evenly; all when there are fewer
Colour = tuple[int, ...]


def check(parts: Parts) -> list[Finding]:
    """Images and masks pair up by name and size; a mask's colours are in the palette."""
    root = parts.first("root")
    if root is None:
        return []
    missing = folder_missing(root, "give the folder that holds images/ and masks/")
    if missing:
        return [missing]
    found = _palette(parts)
    for split in parts.splits():
        for place in parts.places(split):
            found += _split(parts, split, root, place)
    return found


def _split(parts: Parts, split: str, root: Place, folder: Place) -> list[Finding]:
    pair = [Place(root.key, str(root.path / kind / str(folder.value))) for kind in ("images", "masks")]
    if split == "inference" or parts.action == "inference":
        pair = pair[:1]
    todo = "lay it out as <root>/{images,masks}/<split>/"
    absent = [finding for place in pair if (finding := folder_missing(place, todo))]
    if absent:
        return absent
    images = pair[0]
    listed = [files(place.path) for place in pair]
    if not listed[0]:
        return [error(images.key, images.value, "holds no image", todo)]
    if len(pair) == 1:
        return [*pictures.check(images, listed[0])[1], *too_few(parts, split, len(listed[0]))]
    found = _names(images, *listed)
    sizes, broken = pictures.check(images, listed[0])
    mask_sizes, broken_masks = pictures.check(pair[1], listed[1])
    found += [*broken, *broken_masks, *_sizes(pair[1], sizes, mask_sizes)]
    found += _colours(parts, pair[1], list(mask_sizes))
    return [*found, *too_few(parts, split, len(listed[0]))]


def _names(place: Place, images: Sequence[Path], masks: Sequence[Path]) -> list[Finding]:
    found = []
    for these, others, what in ((images, masks, "image without a mask"), (masks, images, "mask without an image")):
        known = {path.stem for path in others}
        alone = [path.name for path in these if path.stem not in known]
        if alone:
            noun, _, which = what.partition(" ")
            wrong = "has " + several(alone, noun, which + " of its name")
            todo = "name both alike: TAO pairs them by their place in the listing"
            found.append(error(place.key, place.value, wrong, todo))
    if not found and [path.stem for path in images] != [path.stem for path in masks]:
        wrong = "lists its images in another order than the masks"
        found.append(
            error(place.key, place.value, wrong, "name both alike: TAO pairs them by their place in the listing")
        )
    return found


def _sizes(
    place: Place, images: Mapping[Path, pictures.Picture], masks: Mapping[Path, pictures.Picture]
) -> list[Finding]:
    by_stem = {path.stem: picture for path, picture in images.items()}
    other = [
        f"{path.name} is {mask.width}x{mask.height}, its image {image.width}x{image.height}"
        for path, mask in masks.items()
        if (image := by_stem.get(path.stem)) and (image.width, image.height) != (mask.width, mask.height)
    ]
    if not other:
        return []
    wrong = "holds " + several(other, "mask", "of another size than its image")
    return [error(place.key, place.value, wrong, "give the masks of these images")]


def _entries(parts: Parts) -> list[Mapping[str, Any]]:
    palette = parts.first("palette")
    entries = palette.value if palette is not None and isinstance(palette.value, list) else []
    return [entry for entry in entries if isinstance(entry, Mapping) and isinstance(entry.get("rgb"), list)]


def _palette(parts: Parts) -> list[Finding]:
    stated, palette = parts.first("num_classes"), parts.first("palette")
    numbers = {entry["label_id"] for entry in _entries(parts) if isinstance(entry.get("label_id"), int)}
    if stated is None or palette is None or not numbers or not isinstance(stated.value, int):
        return []
    if max(numbers) < stated.value:
        return []
    wrong = f"the palette has {max(numbers)} as the largest label_id, and ids count from 0"
    return [error(stated.key, stated.value, wrong, f"set it to {max(numbers) + 1}")]


def _colours(parts: Parts, place: Place, masks: Sequence[Path]) -> list[Finding]:
    palette = {tuple(entry["rgb"]) for entry in _entries(parts)}
    if not palette or not masks:
        return []
    transform = parts.first("transform")
    divide = transform is not None and transform.value == "norm"
    three = len(next(iter(palette))) == 3
    some = masks[:: max(1, -(-len(masks) // COLOURED))]
    with ThreadPoolExecutor() as pool:
        counted = list(pool.map(lambda path: _counted(path, three), some))
    strange: Counter[Colour] = Counter()
    for colours in counted:
        strange.update(colour for colour in colours if _seen(colour, divide) not in palette)
    found = []
    if strange:
        shown = [f"{_text(colour)} in {number} of them" for colour, number in strange.most_common()]
        wrong = f"{len(some)} masks hold " + several(shown, "colour", "outside the palette, which become class 0")
        todo = "add them to dataset.segment.palette" + (", divided by 255 (label_transform: norm)" if divide else "")
        found.append(error(place.key, place.value, wrong, todo))
    grey = {colour for colours in counted for colour in colours if divide and any(0 < part < 255 for part in colour)}
    if grey and not strange:
        wrong = f"holds masks with values between 0 and 255 ({_text(min(grey))}), which label_transform=norm makes 0"
        found.append(
            warning(place.key, place.value, wrong, "set label_transform to '' when the values are class numbers")
        )
    return found


def _seen(colour: Colour, divide: bool) -> Colour:
    return tuple(part // 255 for part in colour) if divide else colour


def _counted(path: Path, three: bool) -> set[Colour]:
    from PIL import Image

    with Image.open(path) as image:
        mask = image.convert("RGB") if three else image
        counted = mask.getcolors(maxcolors=mask.width * mask.height) or []
    return {colour if isinstance(colour, tuple) else (int(colour),) for _, colour in counted}


def _text(colour: Iterable[int]) -> str:
    return "[" + ", ".join(map(str, colour)) + "]"
