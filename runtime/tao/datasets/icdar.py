"""Layout `icdar`: <split>/img/<name>.<ext> and <split>/gt/gt_<name>.txt, a word a line: four corners and its text.

Parts: the splits (folders that hold img/ and gt/), `batch_size`.

Sources (nvidia-tao-pytorch 7.3.0, read): cv/ocdnet/utils/util.py (a missing label stops TAO),
cv/ocdnet/data_loader/dataset.py (a line without eight numbers is printed and left out, and so is an image without a
usable line).
"""

from __future__ import annotations

from pathlib import Path

from runtime.tao.datasets import pictures
from runtime.tao.datasets.image_files import check_folder
from runtime.tao.datasets.listing import files, folder_missing, several, too_few
from runtime.tao.datasets.parts import Parts, Place
from runtime.tao.finding import Finding, error, warning

CORNERS = 8  # numbers


def check(parts: Parts) -> list[Finding]:
    """Each image has its label, each label its image, each line its corners; every image opens."""
    found: list[Finding] = []
    for split in parts.splits():
        for place in parts.places(split):
            if place.path.is_file():  # a list of pairs, which TAO accepts too
                continue
            if parts.action == "inference":
                found += check_folder(parts, split, place, deep=False)
            else:
                found += _split(parts, split, place)
    return found


def _split(parts: Parts, split: str, place: Place) -> list[Finding]:
    folders = [Place(place.key, str(place.path / name)) for name in ("img", "gt")]
    absent = [finding for folder in folders if (finding := folder_missing(folder, "lay it out as img/ and gt/"))]
    if absent:
        return absent
    images, labels = (folder.path for folder in folders)
    paths = files(images)
    wanted = {f"gt_{path.stem}.txt": path.name for path in paths}
    here = {path.name: path for path in files(labels, (".txt",))}
    found = []
    bare = [image for label, image in wanted.items() if label not in here]
    if bare:
        wrong = "holds " + several(bare, "image", "without a label gt/gt_<name>.txt")
        found.append(error(place.key, place.value, wrong, "add the label: TAO stops at the first that is missing"))
    loose = [label for label in here if label not in wanted]
    if loose:
        wrong = "holds " + several(loose, "label", "without an image")
        found.append(warning(place.key, place.value, wrong, "add the image, or remove it"))
    found += _lines(place, [here[label] for label in wanted if label in here])
    _, broken = pictures.check(place, paths)
    return [*found, *broken, *too_few(parts, split, len(paths))]


def _lines(place: Place, labels: list[Path]) -> list[Finding]:
    malformed, empty = [], []
    for path in labels:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        bad = [number for number, line in enumerate(lines, start=1) if not _word(line)]
        malformed += [f"{path.name} line {number}" for number in bad]
        if len(bad) == len(lines):
            empty.append(path.name)
    found = []
    if malformed:
        wrong = "holds " + several(malformed, "line", "without eight numbers and a text, which TAO leaves out")
        found.append(warning(place.key, place.value, wrong, "write x1,y1,x2,y2,x3,y3,x4,y4,text"))
    if empty:
        wrong = "holds " + several(empty, "label", "without a word, whose image TAO leaves out")
        found.append(warning(place.key, place.value, wrong, "nothing, when the image shows no text"))
    return found


def _word(line: str) -> bool:
    fields = line.strip().split(",")
    try:
        return len([float(field) for field in fields[:CORNERS]]) == CORNERS and len(fields) > CORNERS
    except ValueError:
        return False
