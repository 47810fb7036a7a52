"""Layout `ocr`: a folder of images of words, and a text file: image and word a line.

A folder with data.mdb (LMDB) is left alone.

Parts: the splits (folders), `<split>_labels`; `characters` (a file, a character a line), `max_length`, `batch_size`.

Sources (nvidia-tao-pytorch 7.3.0, read): cv/ocrnet/dataloader/ocr_dataset.py: a line is split at blanks into exactly
two; cv/ocrnet/utils/utils.py (run): a word that is too long or has another character ends the training;
cv/ocrnet/scripts/dataset_convert.py: the blank is a tab.
"""

from __future__ import annotations

from pathlib import Path

from runtime.tao.datasets import pictures
from runtime.tao.datasets.image_files import check_folder
from runtime.tao.datasets.listing import file_missing, folder_missing, several, too_few
from runtime.tao.datasets.parts import Parts, Place
from runtime.tao.finding import Finding, error


def check(parts: Parts) -> list[Finding]:
    """The character list, and of every split the lines, their images and their characters."""
    if parts.action == "inference":
        return [f for place in parts.places("inference") for f in check_folder(parts, "inference", place)]
    found: list[Finding] = []
    characters: set[str] = set()
    listed = parts.first("characters")
    if parts.splits() and listed is not None:
        missing = file_missing(listed, "write the characters, one a line")
        found += [missing] if missing else []
        if missing is None:
            characters = {
                line.strip() for line in listed.path.read_text(encoding="utf-8", errors="replace").splitlines()
            } - {""}
    for split in parts.splits():
        labels = parts.first(f"{split}_labels")
        for place in parts.places(split):
            if labels is not None and not (place.path / "data.mdb").is_file():
                found += _split(parts, split, place, labels, characters)
    return found


def _split(parts: Parts, split: str, place: Place, labels: Place, characters: set[str]) -> list[Finding]:
    missing = folder_missing(place, "give the folder of the images") or file_missing(
        labels, "write image and word a line"
    )
    if missing:
        return [missing]
    separator = "\t" if parts.action == "dataset_convert" else None
    words: dict[Path, str] = {}
    malformed = []
    for number, line in enumerate(labels.path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        fields = line.split(separator)
        if len(fields) == 2:
            words[place.path / fields[0]] = fields[1]
        else:
            malformed.append(f"line {number}")
    found = []
    if malformed:
        blank = "a tab" if separator else "a blank"
        wrong = "holds " + several(malformed, "line", f"that is not an image and a word with {blank} between")
        found.append(error(labels.key, labels.value, wrong, "correct them: TAO stops at the first"))
    absent = [path.name for path in words if not path.is_file()]
    if absent:
        wrong = "lacks " + several(absent, "image", f"of {labels.path.name}")
        found.append(error(place.key, place.value, wrong, "add them or remove their lines"))
    _, broken = pictures.check(place, [path for path in words if path.is_file()])
    few = [] if parts.action == "dataset_convert" else too_few(parts, split, len(words))
    return [*found, *broken, *_words(parts, labels, words, characters), *few]


def _words(parts: Parts, labels: Place, words: dict[Path, str], characters: set[str]) -> list[Finding]:
    found = []
    strange: dict[str, str] = {}
    for path, word in words.items():
        for character in word:
            if characters and character not in characters:
                strange.setdefault(character, f"{character!r} in {path.name}")
    if strange:
        wrong = "holds " + several(list(strange.values()), "character", "outside the character list")
        todo = "add it to dataset.character_list_file, or correct the word"
        found.append(error(labels.key, labels.value, wrong, todo))
    most = parts.first("max_length")
    if most is not None and isinstance(most.value, int):
        long = [f"{path.name} has {len(word)}" for path, word in words.items() if len(word) > most.value]
        if long:
            wrong = f"{labels.path.name} holds " + several(long, "word", "that is longer")
            found.append(error(most.key, most.value, wrong, "raise it: TAO stops at the first"))
    return found
