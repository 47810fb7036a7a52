"""Which image a step runs in: what its `environment:` says, on this machine, where no AzureML resolves it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime import images
from runtime.errors import BadInput, Problem
from runtime.local import document
from runtime.local.document import Document
from runtime.local.references import References, is_remote

_NAME = re.compile(r"(?:azureml:|azureml://registries/[^/]+/environments/)(?P<name>[^:@/]+)")
_TODO = "say with --map which image stands for it: `{}: {{image: NAME:TAG}}`"


@dataclass(frozen=True)
class Environment:
    """An image by reference, or what one is built from."""

    image: str = ""
    context: Path | None = None
    dockerfile: str = "Dockerfile"
    row: images.Image | None = None  # of containers/images.yaml: the wheel of this package goes into the context


def of(component: Document, references: References, rows: Mapping[str, images.Image], root: Path | None) -> Environment:
    """The environment of a command component.

    Raises `BadInput`, with file and line, for one that cannot be had here: a name that nothing maps, a conda file.
    """
    asked = component.data.get("environment")
    if isinstance(asked, Mapping):
        return _described(component.at(("environment",), asked), references)
    text = str(asked)
    if not is_remote(text):
        return _described(document.load((component.path.parent / text.removeprefix("file:")).resolve()), references)
    found = references.find(text)
    if isinstance(found, Mapping):
        return Environment(str(found["image"]))
    if isinstance(found, str):
        return _described(document.load((references.folder / found).resolve()), references)
    named = _NAME.match(text)
    row = next((r for r in rows.values() if named and r.environment == named["name"]), None)
    if row is not None and root is not None and (root / "containers" / row.key / "Dockerfile").is_file():
        return Environment(context=root / "containers" / row.key, row=row)
    raise BadInput([component.problem(("environment",), text, "is not on this machine", _TODO.format(text))])


def _described(doc: Document, references: References) -> Environment:
    """An environment document: `image`, or `build`; a conda file is AzureML's to build."""
    data = doc.data
    if data.get("conda_file"):
        todo = "name a finished image, or a build context"
        raise BadInput([doc.problem(("conda_file",), "...", "is built by AzureML only", todo)])
    build = data.get("build")
    if isinstance(build, Mapping) and build.get("path"):
        context = (doc.path.parent / str(build["path"])).resolve()
        dockerfile = str(build.get("dockerfile_path") or "Dockerfile")
        if not (context / dockerfile).is_file():
            wrong = doc.problem(("build", "path"), str(build["path"]), f"holds no {dockerfile}", "correct the path")
            raise BadInput([wrong])
        return Environment(context=context, dockerfile=dockerfile)
    if isinstance(data.get("image"), str):
        mapped = references.find(str(data["image"]))
        return Environment(str(mapped["image"]) if isinstance(mapped, Mapping) else str(data["image"]))
    raise BadInput([doc.problem(("image",), None, "is missing", "write `image:` or `build: {path: .}`")])


def all_of(
    components: Mapping[str, Document], references: References, rows: Mapping[str, images.Image], root: Path | None
) -> dict[str, Environment]:
    """The environment of each step; raises `BadInput` with every one that cannot be had."""
    found, problems = {}, list[Problem]()
    for name, component in components.items():
        try:
            found[name] = of(component, references, rows, root)
        except BadInput as error:
            problems += (p for p in error.problems if p not in problems)
    if problems:
        raise BadInput(problems)
    return found
