"""What TAO's data services (nvidia-tao-ds) have in common: ports that become keys of the spec, and tidy outputs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from runtime.component import Input, Param
from runtime.errors import BadInput, Problem
from runtime.metrics import Metrics

IMAGES = (".jpg", ".jpeg", ".png")  # Source: nvidia-tao-ds 7.3.0, kitti_to_coco.py
_TAO_OWN = ("status.json", "experiment.yaml")


@dataclass(kw_only=True)
class ServicePorts:
    """What every data service takes besides its own ports."""

    spec: Annotated[Path | None, Input("Your own spec, left untouched; else the network's template", "uri_file")] = None
    spec_overrides: Annotated[str | None, Param("Keys of the spec to set: key=value, separated by blanks")] = None


@dataclass(kw_only=True)
class Request:
    """A data service as `perform` wants it; `chosen` are the keys of the spec that the step's own ports set."""

    network: str
    dataset: Path
    spec: Path | None
    spec_overrides: str | None
    chosen: Sequence[tuple[str, Any]]
    inputs: Sequence[Path]
    device: str = "cpu"
    trust_checkpoint: bool = False


def run(request: Request, action: str, metrics: Metrics, results: Path, place: Path) -> None:
    """Run one action of a data service, then move what it made to `place`, away from TAO's own files.

    Raises:
        BadInput: a key is set by `spec_overrides` and by a port.
    """
    from runtime.tao import launcher, spec_text
    from runtime.tao.perform import perform

    ours = {key for key, _ in request.chosen}
    twice = [key for key, _ in spec_text.parse_overrides(request.spec_overrides) if key in ours]
    if twice:
        todo = "leave it out, and set the port"
        raise BadInput(Problem("spec_overrides", key, "is set by a port of this step", todo) for key in twice)
    if launcher.asked_for():
        request = replace(request, device="gpu")  # the launcher's containers ask for one, whatever they run
    perform(action, request, metrics, results)
    lift(results / action, place)


def lift(folder: Path, target: Path) -> None:
    """Move all but TAO's own files from `folder` to `target`; an empty folder is left out."""
    target.mkdir(exist_ok=True)
    for path in sorted(folder.iterdir()):
        if path.name not in _TAO_OWN and (path.is_file() or any(path.iterdir())):
            shutil.move(path, target / path.name)


def labels_of(port: str, given: Path, form: str) -> Path:
    """The labels that TAO is given: KITTI's folder, or the one file of the other formats.

    Accepts what these steps write: a folder that holds `labels/`, or `annotations.json`.
    """
    if form == "kitti":
        folder = given / "labels" if (given / "labels").is_dir() else given
        if not folder.is_dir() or not any(folder.glob("*.txt")):
            raise BadInput.of(port, given, "holds no KITTI labels (*.txt)", "name the folder of the label files")
        return folder.absolute()
    if given.is_file() or form not in ("coco", "odvg"):
        return given.absolute()
    suffix = ".json" if form == "coco" else ".jsonl"
    files = [p for p in sorted(given.glob(f"*{suffix}")) if p.name not in ("model.json", "metrics.json")]
    if (given / "annotations.json") in files:
        files = [given / "annotations.json"]
    if len(files) != 1:
        raise BadInput.of(port, given, f"holds {len(files)} {suffix} files", f"name the {form} file")
    return files[0].absolute()


def images_of(given: Path) -> Path:
    """The folder of images: the given one, or its `images/`."""
    return (given / "images" if (given / "images").is_dir() else given).absolute()


def unlabelled(images: Path, labels: Path) -> list[Problem]:
    """One problem when images have no KITTI label file, at the first of which TAO would stop."""
    names = {path.stem for path in labels.glob("*.txt")}
    alone = [p.name for p in sorted(images.iterdir()) if p.suffix.lower() in IMAGES and p.stem not in names]
    if not alone:
        return []
    wrong = f"{len(alone)} images have no label file ({', '.join(alone[:3])})"
    return [Problem("images", images, wrong, "add the .txt files (empty where there is no object)")]


def classes_of(labels: Path) -> list[str]:
    """The classes of a folder of KITTI labels, sorted: the first word of each line."""
    texts = (path.read_text(encoding="utf-8") for path in sorted(labels.glob("*.txt")))
    return sorted({line.split(" ")[0] for text in texts for line in text.splitlines() if line.strip()})


def mapping_text(classes: Sequence[str]) -> str:
    """TAO's mapping of each class to itself. Source: nvidia-tao-ds 7.3.0, annotations/experiment_specs/mapping.yaml."""
    import yaml

    table: list[Mapping[str, list[str]]] = [{name: [name]} for name in classes]
    return yaml.safe_dump(table, sort_keys=False, allow_unicode=True)
