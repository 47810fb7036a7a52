"""VM sizes that Azure has retired, and images that the GPU of a size cannot run. No module of azure's is read."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime import images
from runtime.check import keys, paths
from runtime.check.interface import Interface
from runtime.check.ports import mapping
from runtime.check.rules import table
from runtime.check.tree import File, Tree, named_by
from runtime.check.types import value_of
from runtime.errors import Problem
from runtime.local.document import Document, Place

_CONF = Path(__file__).parents[1] / "azureml" / "conf"
_IN_NAME = re.compile(r"cuda-?(\d+\.\d+)")
_FROM = re.compile(r"^FROM\s+(?:--\S+\s+)*(\S+)", re.MULTILINE | re.IGNORECASE)
_SIZE_KEYS = ("size", "instance_type", "vm_size")


@dataclass(frozen=True)
class Needs:
    """What an image is known to need: its CUDA, the lowest compute capability and driver; empty where unknown."""

    image: str
    cuda: str = ""
    floor: str = ""
    driver: str = ""


@functools.cache
def _tables() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Sizes and retired sizes by small name, and GPUs by compute capability."""
    sizes, gpus = table(_CONF / "sizes.yaml"), table(_CONF / "gpus.yaml")
    low = {key: {name.lower(): row for name, row in sizes[key].items()} for key in ("sizes", "retired")}
    return low["sizes"], low["retired"], gpus


@functools.cache
def _rows() -> tuple[images.Image, ...]:
    """The rows of containers/images.yaml, or of its copy in the package."""
    return tuple(images.known().values())


def retired(doc: Document) -> list[Problem]:
    """Each VM size of a document that Azure has retired."""
    problems = []
    for place, value in doc.scalars():
        if not place or place[-1] not in _SIZE_KEYS or not isinstance(value, str) or not keys.FREE.isdisjoint(place):
            continue
        size = value_of(mapping(doc.data, "inputs"), value)
        row = _tables()[1].get(size.lower()) if isinstance(size, str) else None
        if row:
            wrong, todo = f"was retired by Azure ({row['when']})", f"use {row['instead']}: {row['why']}"
            problems.append(doc.problem(place, size, wrong, todo, "retired-size"))
    return problems


def of(doc: Document, tree: Tree, steps: Mapping[str, Interface]) -> list[Problem]:
    """Each image of a deployment, a job or a pipeline's steps that cannot run on the size that it is to run on."""
    problems = []
    for place, size, image in _pairs(doc, tree, steps):
        wrong, old = cannot(size, image), _old_driver(size, image)
        if wrong:
            problems.append(doc.problem(place, size, *wrong, "image-on-size"))
        elif old:
            problems.append(doc.problem(place, size, *old, "driver-on-size"))
    return problems


def _pairs(doc: Document, tree: Tree, steps: Mapping[str, Interface]) -> Iterator[tuple[Place, str, Needs]]:
    inputs = mapping(doc.data, "inputs")
    top = [(("instance_type",), doc.data.get("instance_type")), *_asked((), doc.data)]
    for place, size in _sizes(top, inputs, tree):
        for needs in _needs(doc, doc.data.get("environment"), tree):
            yield place, size, needs
    default = ("settings", "default_compute"), mapping(doc.data, "settings").get("default_compute")
    for name, job in mapping(doc.data, "jobs").items():
        if not isinstance(job, Mapping):
            continue
        step = steps.get(str(name))
        asked = [pair for pair in _asked(("jobs", str(name)), job) if pair[1]] or [default]
        component = job.get("component") if isinstance(job.get("component"), Mapping) else job
        where, environment = doc, mapping({"it": component}, "it").get("environment")
        if step is not None and step.file is not None:
            where, environment = step.file.doc, step.file.doc.data.get("environment")
        for place, size in _sizes(asked, inputs, tree):
            for needs in _needs(where, environment, tree):
                yield place, size, needs


def _asked(place: Place, data: Mapping[str, Any]) -> list[tuple[Place, Any]]:
    resources = mapping(data, "resources")
    return [
        ((*place, "resources", "instance_type"), resources.get("instance_type")),
        ((*place, "compute"), data.get("compute")),
    ]


def _sizes(asked: list[tuple[Place, Any]], inputs: Mapping[str, Any], tree: Tree) -> Iterator[tuple[Place, str]]:
    """Sizes by name; a cluster's from its file in the tree."""
    for place, raw in asked:
        value = value_of(inputs, raw)
        if not isinstance(value, str):
            continue
        if place[-1] == "instance_type":
            yield place, value
            continue
        for file in tree.named("compute", value.removeprefix("azureml:")):
            if isinstance(file.doc.data.get("size"), str):
                yield place, file.doc.data["size"]


def _needs(doc: Document, environment: Any, tree: Tree) -> Iterator[Needs]:
    """What the images behind an `environment:` need."""
    if isinstance(environment, Mapping):
        yield from _of_environment(doc, environment)
        return
    mapped = tree.map.find(environment) if isinstance(environment, str) else None
    if isinstance(mapped, Mapping):
        yield from _of_environment(doc, mapped)
        return
    named = named_by(environment) if isinstance(environment, str) else None
    if named is None:
        return
    row = next((r for r in _rows() if (r.environment, r.version) == named), None)
    if row is not None:
        yield _of_row(row)
        return
    files: list[File] = [
        f for f in tree.named("environment", named[0]) if named[1] in (None, str(f.doc.data.get("version")))
    ]
    if len(files) == 1:
        yield from _of_environment(files[0].doc, files[0].doc.data)


def _of_environment(doc: Document, data: Mapping[str, Any]) -> Iterator[Needs]:
    references = [data["image"]] if isinstance(data.get("image"), str) else []
    folder = paths.local(doc, mapping(data, "build").get("path"))
    if folder is not None:
        file = folder / str(mapping(data, "build").get("dockerfile_path", "Dockerfile"))
        references += _FROM.findall(file.read_text(encoding="utf-8", errors="replace"))[-1:] if file.is_file() else []
    for reference in references:
        plain = reference.partition("@")[0]
        row = next((r for r in _rows() if r.reference == plain), None)
        cuda = _IN_NAME.search(plain)
        if row is not None or cuda:
            version = cuda[1] if cuda else ""
            yield _of_row(row) if row is not None else Needs(plain, version, driver=_driver_of(version))


def _of_row(row: images.Image) -> Needs:
    facts = (row.cuda, row.compute_capability, row.driver)
    return Needs(row.reference, *(fact if re.fullmatch(r"\d+(\.\d+)?", fact) else "" for fact in facts))


@functools.cache
def _driver_of(cuda: str) -> str:
    """The lowest driver that a CUDA needs, by its major version; empty where the table has none."""
    return str(table(_CONF / "drivers.yaml").get(cuda.partition(".")[0], ""))


def cannot(size: str, image: Needs) -> tuple[str, str] | None:
    """Why the GPU of a size cannot run an image, and what to do; nothing where it can, or where it is not known."""
    sizes, gone, gpus = _tables()
    row = sizes.get(size.lower()) or gone.get(size.lower())
    has = str(row["compute_capability"]) if row else "0"
    if has not in gpus:  # no size of ours, or one without a GPU: many images run on a CPU as well
        return None
    gpu, name = gpus[has], f"has the {gpus[has]['gpu']} (compute capability {has})"
    todo = "choose another size (see `ngcrun azureml compute sizes`)"
    if image.floor and _version(image.floor) > _version(has):
        return f"{name}, and {image.image} needs {image.floor} or more", todo
    if image.cuda and "gone" in gpu and _version(image.cuda) >= _version(gpu["gone"]):
        return f"{name}, which CUDA {image.cuda} of {image.image} has no code for", todo
    if image.cuda and "first" in gpu and _version(image.cuda) < _version(gpu["first"]):
        newer = f"choose an image with CUDA {gpu['first']} or newer"
        return f"{name}, which CUDA {image.cuda} of {image.image} does not know yet", newer
    if image.driver and "last_driver" in gpu and _version(image.driver) > _version(gpu["last_driver"]):
        last = f"whose last driver is {gpu['last_driver']}, and {image.image} needs {image.driver} or newer"
        return f"{name}, {last}", todo
    return None


def _old_driver(size: str, image: Needs) -> tuple[str, str] | None:
    """Only a warning: an image with CUDA's forward compatibility package may run under an older driver."""
    row = _tables()[0].get(size.lower(), {})
    if not image.driver or "driver" not in row or _version(image.driver) <= _version(row["driver"]):
        return None
    has = f"has a virtual GPU, for which Azure has driver {row['driver']}"
    wrong = f"{has}, and {image.image} needs {image.driver} or newer"
    return wrong, "choose a size with a whole GPU, such as Standard_NC24ads_A100_v4, or try one node first"


def _version(text: str) -> tuple[int, ...]:
    parts = tuple(int(part) for part in text.split("."))
    return parts if len(parts) > 1 else (*parts, 99)  # `13` is some 13.x
