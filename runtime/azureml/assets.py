"""What can be published, read from files without any SDK: documents, what they refer to, and a fingerprint of each."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime import snapshot
from runtime.errors import BadInput, Problem, nearest
from runtime.local import document
from runtime.local.document import Document

# The schema a file names decides what it is, as for `az ml`; a job is submitted, not published.
KINDS = {
    "commandComponent": "component",
    "pipelineComponent": "component",
    "environment": "environment",
    "data": "data",
    "model": "model",
}
PLURAL = {"component": "components", "environment": "environments", "data": "data", "model": "models"}
FINGERPRINT = "ngcrun.fingerprint"
REFERENCE = re.compile(r"azureml:(?P<name>[\w.-]+):(?P<version>[\w.-]+)")


@dataclass(frozen=True)
class Asset:
    """One version of one asset. `refers` are keys of other assets that have to be there first."""

    kind: str
    name: str
    version: str
    source: Document
    fingerprint: str
    refers: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """`component/rapids_train:1`: unique in a registry or workspace."""
        return f"{self.kind}/{self.name}:{self.version}"

    @property
    def spec(self) -> Mapping[str, Any]:
        """The document as plain values."""
        return self.source.data  # type: ignore[no-any-return]


@dataclass
class Found:
    """The assets of some folders by key, and what kept others from being read."""

    assets: dict[str, Asset] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def kind_of(data: Mapping[str, Any]) -> str | None:
    """Which kind of asset a document is; None for a job, and for what is not AzureML's."""
    schema = re.search(r"/(\w+)\.schema\.json$", str(data.get("$schema", "")))
    return KINDS.get(schema[1]) if schema else None


def in_checkout(root: Path) -> Found:
    """Every asset of a checkout: `component_specs/` and `containers/*/environment.yaml`."""
    files = [
        *sorted((root / "component_specs").rglob("*.yaml")),
        *sorted((root / "containers").glob("*/environment.yaml")),
    ]
    return read(files, root)


def read(files: Iterable[Path], root: Path | None = None) -> Found:
    """The assets in `files`, what they name by path included; references are keys of assets that were found, too."""
    found = Found()
    documents: dict[Path, Document] = {}
    for path in files:
        _load(path.resolve(), documents, found)
    named = {path: _key(doc) for path, doc in documents.items()}
    for doc in documents.values():
        data, kind = doc.data, kind_of(doc.data)
        wrong = [p for n in ("name", "version") if (p := _scalar(doc, n)) is not None]
        found.problems += wrong
        if kind is None or wrong:
            continue
        refers = tuple(sorted(set(_refers(doc, named))))
        asset = Asset(kind, str(data["name"]), str(data["version"]), doc, _fingerprint(doc, named, root), refers)
        twin = found.assets.get(asset.key)
        if twin is not None:
            wrong_text = f"is also declared in {document.shown(twin.source.path)}"
            found.problems.append(doc.problem(("name",), asset.name, wrong_text, "give one of them another version"))
        found.assets[asset.key] = asset
    known = set(found.assets)
    found.assets = {k: _with(a, tuple(r for r in a.refers if r in known)) for k, a in found.assets.items()}
    return found


def _with(asset: Asset, refers: tuple[str, ...]) -> Asset:
    return Asset(asset.kind, asset.name, asset.version, asset.source, asset.fingerprint, refers)


def _load(path: Path, documents: dict[Path, Document], found: Found) -> None:
    """Read a file and the component files that it names."""
    if path in documents:
        return
    try:
        doc = document.load(path)
    except BadInput as error:
        found.problems += error.problems
        return
    if kind_of(doc.data) is None:
        return
    documents[path] = doc
    for _, reference in _components(doc.data):
        if reference.startswith((".", "file:")) or reference.endswith((".yaml", ".yml")):
            _load((path.parent / reference.removeprefix("file:")).resolve(), documents, found)


def _scalar(doc: Document, name: str) -> Problem | None:
    value = doc.data.get(name)
    if isinstance(value, str | int | float) and str(value):
        return None
    return doc.problem((name,), value, "is needed to publish this", f"add `{name}:`")


def _key(doc: Document) -> str:
    return f"{kind_of(doc.data)}/{doc.data.get('name')}:{doc.data.get('version')}"


def _components(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """`(job, reference)` of each step of a pipeline component."""
    jobs = data.get("jobs")
    for name, job in (jobs or {}).items() if isinstance(jobs, Mapping) else ():
        if isinstance(job, Mapping) and isinstance(job.get("component"), str):
            yield str(name), job["component"]


def _refers(doc: Document, named: Mapping[Path, str]) -> Iterator[str]:
    environment = doc.data.get("environment")
    match = REFERENCE.fullmatch(environment) if isinstance(environment, str) else None
    if match:
        yield f"environment/{match['name']}:{match['version']}"
    for _, reference in _components(doc.data):
        yield component_key(doc, reference, named) or reference


def component_key(doc: Document, reference: str, named: Mapping[Path, str]) -> str | None:
    """The key of the component that a step names by file or by `azureml:name:version`; None for one elsewhere."""
    match = REFERENCE.fullmatch(reference)
    if match:
        return f"component/{match['name']}:{match['version']}"
    return named.get((doc.path.parent / reference.removeprefix("file:")).resolve())


def _fingerprint(doc: Document, named: Mapping[Path, str], root: Path | None) -> str:
    """SHA-256 of all that makes the asset what it is; not of its version, so that two versions can be compared."""
    data = {k: v for k, v in doc.data.items() if k not in ("version", "$schema")}
    if isinstance(data.get("jobs"), Mapping):
        data["jobs"] = {n: _resolved(doc, job, named) for n, job in data["jobs"].items()}
    digest = hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode())
    for folder in _folders(doc):
        digest.update(snapshot.fingerprint(folder).encode())
    if doc.data.get("build") and root is not None and snapshot.holds_package(doc.path.parent):
        digest.update(snapshot.package_fingerprint(root).encode())
    return digest.hexdigest()


def _resolved(doc: Document, job: Any, named: Mapping[Path, str]) -> Any:
    if not isinstance(job, Mapping) or not isinstance(job.get("component"), str):
        return job
    return {**job, "component": component_key(doc, job["component"], named) or job["component"]}


def _folders(doc: Document) -> Iterator[Path]:
    """The files that are uploaded with it: `code`, a build context, the path of data or a model."""
    build = doc.data.get("build")
    kind = kind_of(doc.data)
    local = [
        doc.data.get("code"),
        build.get("path") if isinstance(build, Mapping) else None,
        doc.data.get("path") if kind in ("data", "model") else None,
        doc.data.get("conda_file"),
    ]
    for text in local:
        if isinstance(text, str) and "://" not in text and not text.startswith("azureml:"):
            yield (doc.path.parent / text).resolve()


def chosen(found: Found, names: Iterable[str]) -> dict[str, Asset]:
    """The assets called `names` (or the files of them) and all that they refer to; all where no name is given."""
    wanted = list(names)
    if not wanted:
        return dict(found.assets)
    by_name: dict[str, list[Asset]] = {}
    for asset in found.assets.values():
        by_name.setdefault(asset.name, []).append(asset)
    unknown = [name for name in wanted if name not in by_name]
    if unknown:
        raise BadInput(
            Problem("asset", name, "is none that can be published", nearest(name, by_name)) for name in unknown
        )
    taken: dict[str, Asset] = {}
    waiting = [asset for name in wanted for asset in by_name[name]]
    while waiting:
        asset = waiting.pop()
        if asset.key not in taken:
            taken[asset.key] = asset
            waiting += [found.assets[key] for key in asset.refers]
    return {key: asset for key, asset in found.assets.items() if key in taken}
