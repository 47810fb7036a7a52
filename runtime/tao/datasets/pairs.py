"""Layout `pairs`: two folders of images of the same names, one of labels, and lists of names a split.

Parts: `root`; `before`, `after`, `labels`, `lists` (names of folders below it); the splits (names of lists); `suffix`,
`batch_size`.

Source: nvidia-tao-pytorch 7.3.0, cv/visual_changenet/segmentation/dataloader/cn_dataset.py, read: a line of the list
is the file's name in both folders; the label's name is that with `.jpg` replaced by label_suffix.
"""

from __future__ import annotations

from pathlib import Path

from runtime.tao.datasets import pictures
from runtime.tao.datasets.listing import file_missing, folder_missing, several, too_few
from runtime.tao.datasets.parts import Parts, Place
from runtime.tao.finding import Finding, error


def check(parts: Parts) -> list[Finding]:
    """The folders, the lists, and for every line three files that open and have one size."""
    root = parts.first("root")
    if root is None:
        return []
    kinds = ["before", "after"] + ([] if parts.action == "inference" else ["labels"])
    folders = [Place(root.key, str(root.path / str(place.value))) for k in kinds if (place := parts.first(k))]
    found = [finding for place in folders if (finding := folder_missing(place, "lay it out as <root>/{A,B,label}/"))]
    if found:
        return found
    for split in parts.splits():
        for place in parts.places(split):
            found += _split(parts, split, root, place, folders)
    return found


def _split(parts: Parts, split: str, root: Place, name: Place, folders: list[Place]) -> list[Finding]:
    lists = parts.first("lists")
    path = root.path / str(lists.value if lists else "list") / f"{name.value}.txt"
    listed = Place(name.key, str(path))
    missing = file_missing(listed, "write the file names of the split, a line each")
    if missing:
        return [missing]
    lines = [
        line.split()[0] for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
    ]
    suffix = parts.first("suffix")
    found: list[Finding] = []
    sizes: list[dict[str, tuple[int, int]]] = []
    for index, folder in enumerate(folders):
        rename = index == 2 and suffix is not None
        files = {line: line.replace(".jpg", str(suffix.value)) if rename and suffix else line for line in lines}
        opened, findings = _folder(folder, listed, files)
        found += findings
        sizes.append(opened)
    return [*found, *_sizes(folders, sizes), *too_few(parts, split, len(lines))]


def _folder(folder: Place, listed: Place, names: dict[str, str]) -> tuple[dict[str, tuple[int, int]], list[Finding]]:
    paths = {line: folder.path / name for line, name in names.items()}
    absent = [path.name for path in paths.values() if not path.is_file()]
    found = []
    if absent:
        wrong = "lacks " + several(absent, "file", f"of {listed.path.name}")
        found.append(error(folder.key, folder.value, wrong, "add them or remove their lines"))
    seen, broken = pictures.check(folder, [path for path in paths.values() if path.is_file()])
    sizes = {line: (seen[path].width, seen[path].height) for line, path in paths.items() if path in seen}
    return sizes, [*found, *broken]


def _sizes(folders: list[Place], sizes: list[dict[str, tuple[int, int]]]) -> list[Finding]:
    found = []
    for folder, these in zip(folders[1:], sizes[1:], strict=True):
        other = [
            f"{line} is {_text(size)}, in {Path(str(folders[0].value)).name} {_text(sizes[0][line])}"
            for line, size in these.items()
            if sizes[0].get(line, size) != size
        ]
        if other:
            wrong = "holds " + several(other, "image", "of another size than its pair")
            found.append(error(folder.key, folder.value, wrong, "give images of one size"))
    return found


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
