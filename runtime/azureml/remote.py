"""One registry or workspace through the SDK: look an asset up, create one. Thread-safe by a client for each thread."""

from __future__ import annotations

import io
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from runtime import snapshot
from runtime.azureml import assets as assets_module
from runtime.azureml import client
from runtime.azureml.assets import FINGERPRINT, PLURAL, Asset
from runtime.azureml.plan import Remote

REVISION = "ngcrun.revision"


class Target:
    """`registry:NAME` or `workspace:NAME`, connected; `wheel` makes the file that build contexts need, once."""

    def __init__(self, name: str, connect: Callable[[], Any], wheel: Callable[[], Path] | None = None) -> None:
        self.name = name
        self.kind, _, self.place = name.partition(":")
        self._connect, self._wheel = connect, wheel
        self._local, self._lock = threading.local(), threading.Lock()
        self.renew()

    def renew(self) -> None:
        """Connect this thread anew, with a fresh token."""
        self._local.client = self._connect()

    @property
    def client(self) -> Any:
        """This thread's `MLClient`: the SDK's are not made for several."""
        if not hasattr(self._local, "client"):
            self.renew()
        return self._local.client

    def reference(self, key: str) -> str:
        """How an asset of this target is named in another one: an id in a registry, a short form in a workspace."""
        kind, _, rest = key.partition("/")
        name, _, version = rest.rpartition(":")
        if self.kind == "registry":
            return f"azureml://registries/{self.place}/{PLURAL[kind]}/{name}/versions/{version}"
        return f"azureml:{name}:{version}"

    def find(self, asset: Asset) -> Remote | None:
        """What the target has under the asset's name and version; None when there is nothing."""
        from azure.core.exceptions import ResourceNotFoundError

        operations = getattr(self.client, PLURAL[asset.kind])
        try:
            got = operations.get(name=asset.name, version=asset.version)
        except ResourceNotFoundError:
            return None
        return Remote((got.tags or {}).get(FINGERPRINT), bool(getattr(got, "_is_archived", False)))

    def create(self, asset: Asset, tags: Mapping[str, str], known: Mapping[str, Asset]) -> None:
        """Create the asset; the working tree is read and never written. Raises the SDK's errors."""
        from azure.ai.ml import load_component, load_data, load_environment, load_model

        load = {"component": load_component, "environment": load_environment, "data": load_data, "model": load_model}
        with tempfile.TemporaryDirectory(prefix="ngcrun-") as folder:
            spec = self._rewritten(asset, known)
            origin = asset.source.path
            if isinstance(asset.spec.get("build"), Mapping):
                origin = self._context(asset, Path(folder), spec)
            spec["tags"] = {**(spec.get("tags") or {}), FINGERPRINT: asset.fingerprint, **tags}
            # The SDK fills in "./" where a stream has no origin.
            loaded = load[asset.kind](io.StringIO(yaml.safe_dump(spec, sort_keys=False)), relative_origin=str(origin))
            getattr(self.client, PLURAL[asset.kind]).create_or_update(loaded)

    def _rewritten(self, asset: Asset, known: Mapping[str, Asset]) -> dict[str, Any]:
        """The document with references to other assets as this target takes them."""
        spec = dict(asset.spec) | {"version": asset.version}
        paths = {a.source.path: key for key, a in known.items()}
        environment = spec.get("environment")
        named = assets_module.REFERENCE.fullmatch(environment) if isinstance(environment, str) else None
        if named:
            spec["environment"] = self.reference(f"environment/{named['name']}:{named['version']}")
        if isinstance(spec.get("jobs"), Mapping):
            spec["jobs"] = {n: self._job(asset, job, paths) for n, job in spec["jobs"].items()}
        return spec

    def _job(self, asset: Asset, job: Any, paths: Mapping[Path, str]) -> Any:
        if not isinstance(job, Mapping) or not isinstance(job.get("component"), str):
            return job
        key = assets_module.component_key(asset.source, job["component"], paths)
        return {**job, "component": self.reference(key)} if key else job

    def _context(self, asset: Asset, folder: Path, spec: dict[str, Any]) -> Path:
        """A copy of the build context, with the wheel of this package where its Dockerfile wants it."""
        build = dict(spec["build"])
        here = asset.source.path.parent
        context = (here / str(build.get("path", "."))).resolve()
        copied = folder / "context"  # the name is part of AzureML's content key
        snapshot.copy(context, copied)
        if snapshot.holds_package(context) and self._wheel is not None:
            with self._lock:
                shutil.copy2(self._wheel(), copied)
        spec["build"] = build | {"path": "context"}
        return folder / "environment.yaml"


def connected(target: str, settings: Any, wheel: Callable[[], Path] | None = None) -> Target:
    """Connect to a target; raises `BadInput` where there is none or one may not."""
    signed = client.credential(settings)
    return Target(target, lambda: client.connect(settings, target, signed), wheel)
