"""Which Azure is meant: one typed config, put together from what is already on the machine, each value with its source.

From weak to strong: defaults here; what `az configure --defaults` and `az account set` left; the `config.json` that the
studio hands out; `azureml/config.yaml` and `azureml/profile/<profile>.yaml`; environment variables; `key=value` words.
Hydra composes the files and the words. No secret is ever read from or written to a file of ours.
"""

from __future__ import annotations

import configparser
import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import BadInput, nearest

CREDENTIALS = ("auto", "cli", "managed_identity", "service_principal", "device_code")


@dataclass
class Config:
    """What `config.sh` held. None: not known; a command that needs it says so.

    `prices`: USD an hour of a VM size, for `submit --cost`, since no price list can be asked without an account.
    `inputs`: values for inputs of pipelines of these names, such as `num_epochs`; a word on the command line wins.
    """

    tenant: str | None = None
    subscription: str | None = None
    resource_group: str | None = None
    workspace: str | None = None
    registry: str | None = None
    region: str | None = None
    credential: str = "auto"
    compute: str = "gpu-cluster"
    cpu_compute: str = "cpu-cluster"
    experiment: str | None = None
    parallel: int = 16
    prices: dict[str, float] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)


FIELDS = tuple(f.name for f in dataclasses.fields(Config))
# A later name wins. Source: azure-identity (tenant); azure-ai-ml and azureml-mlflow (AZUREML_ARM_*, set inside a job).
VARIABLES = {
    "tenant": ("AZURE_TENANT_ID",),
    "subscription": ("AZUREML_ARM_SUBSCRIPTION", "AZURE_SUBSCRIPTION_ID"),
    "resource_group": ("AZUREML_ARM_RESOURCEGROUP", "AZURE_RESOURCE_GROUP"),
    "workspace": ("AZUREML_ARM_WORKSPACE_NAME", "AZURE_ML_WORKSPACE", "AZUREML_WORKSPACE_NAME"),
    "registry": ("AZURE_ML_REGISTRY",),
    "region": ("AZURE_LOCATION",),
}
OWN_PREFIX = "NGCRUN_AZUREML_"


@dataclass(frozen=True)
class Settings:
    """The config, where each value that is set came from, and the profile that was chosen."""

    config: Config
    sources: Mapping[str, str]
    profile: str | None = None

    def need(self, *names: str) -> list[Any]:
        """The values of `names`; raises `BadInput` with every one that is not known, and how to give it."""
        from runtime.errors import Problem

        missing = [name for name in names if getattr(self.config, name) is None]
        if missing:
            ways = "say {0}=VALUE, set " + OWN_PREFIX + "{1}, or put it into azureml/config.yaml"
            raise BadInput(Problem(n, None, "is not known", ways.format(n, n.upper())) for n in missing)
        return [getattr(self.config, name) for name in names]


def read(
    words: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
    folder: Path | None = None,
) -> Settings:
    """Put the config together; raises `BadInput` for an unknown key, a wrong type or a profile that is not there.

    Args:
        words: `key=value` overrides; `profile=NAME` chooses a profile.
        environ: the environment.
        cwd: where `azureml/` and `config.json` are looked for.
        folder: the folder of config.yaml and profile/, instead of `<cwd>/azureml`.
    """
    here = cwd or Path.cwd()
    place = folder or here / "azureml"
    if folder is not None and not folder.is_dir():
        raise BadInput.of("--config-dir", folder, "is not a folder", "name the folder that holds config.yaml")
    weak = {**_from_az(environ), **_from_workspace_file(here)}
    words = [w for w in words if not w.startswith("profile=")] if (chosen := _profile(words, environ, place)) else words
    strong = _from_environment(environ)
    values = {name: value for name, (value, _) in weak.items()}
    config = _compose(place, chosen, values, {n: v for n, (v, _) in strong.items()}, words)
    if config.credential not in CREDENTIALS:
        raise BadInput.of(
            "credential", config.credential, "is no way to sign in", nearest(config.credential, CREDENTIALS)
        )
    sources = {name: source for name, (_, source) in weak.items()}
    sources |= _from_files(place, chosen, here)
    sources |= {name: source for name, (_, source) in strong.items()}
    sources |= {word.lstrip("+").split("=")[0].split(".")[0]: "command line" for word in words}
    return Settings(config, {n: sources.get(n, "default") for n in FIELDS}, chosen)


def _profile(words: Sequence[str], environ: Mapping[str, str], place: Path) -> str | None:
    named = [w.partition("=")[2] for w in words if w.startswith("profile=")]
    chosen = named[-1] if named else environ.get("NGCRUN_PROFILE") or None
    known = sorted(p.stem for p in (place / "profile").glob("*.yaml"))
    if chosen is not None and chosen not in known:
        todo = nearest(chosen, known) if known else f"write {place.name}/profile/{chosen}.yaml"
        raise BadInput.of("profile", chosen, f"is not in {place.name}/profile/", todo)
    return chosen


def _compose(
    place: Path, profile: str | None, weak: Mapping[str, str], strong: Mapping[str, str], words: Sequence[str]
) -> Config:
    """Hydra's composition of the layers on the schema; its errors as ours."""
    from hydra import compose, initialize, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from runtime.compose import first_line, quote

    unknown = [w for w in words if w.lstrip("+").split("=")[0].split(".")[0] not in FIELDS]
    if unknown:
        key = unknown[0].split("=")[0]
        todo = nearest(key, [*FIELDS, "profile"])
        raise BadInput.of("config", key, "is not a setting", todo)
    defaults: list[Any] = ["ngcrun_azureml_schema"]
    defaults += ["config"] if (place / "config.yaml").is_file() else []
    defaults += [{"profile@_global_": profile}] if profile else []
    store = ConfigStore.instance()
    store.store(name="ngcrun_azureml_schema", node=Config(**weak))  # type: ignore[arg-type]
    store.store(name="ngcrun_azureml", node={"defaults": [*defaults, "_self_"]})
    lines = [f"{name}={quote(value)}" for name, value in strong.items()]
    lines += [f"++{word}" if word.startswith(("inputs.", "prices.")) else word for word in words]
    try:
        context = (
            initialize_config_dir(config_dir=str(place.resolve()), version_base="1.3")
            if place.is_dir()
            else initialize(config_path=None, version_base="1.3")
        )
        with context:
            filled = OmegaConf.to_object(compose(config_name="ngcrun_azureml", overrides=lines))
    except (HydraException, OmegaConfBaseException) as error:
        raise BadInput.of("config", str(place), first_line(error), f"known settings: {', '.join(FIELDS)}") from error
    assert isinstance(filled, Config)  # noqa: S101 - the schema is a dataclass; narrows for mypy
    return filled


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    found = {}
    for name in FIELDS:
        if name in ("prices", "inputs"):
            continue
        for variable in (*VARIABLES.get(name, ()), OWN_PREFIX + name.upper()):
            if environ.get(variable):
                found[name] = (environ[variable], f"environment, {variable}")
    return found


def _from_az(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The CLI's own defaults. Source: Azure CLI, `az configure --defaults` and `azureProfile.json`."""
    folder = Path(environ.get("AZURE_CONFIG_DIR") or Path(environ.get("HOME", "~")).expanduser() / ".azure")
    found: dict[str, tuple[str, str]] = {}
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(folder / "config", encoding="utf-8")
        profile = json.loads((folder / "azureProfile.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, configparser.Error):
        profile = {}
    for ours, theirs in (("resource_group", "group"), ("workspace", "workspace"), ("region", "location")):
        value = parser.get("defaults", theirs, fallback="")
        if value:
            found[ours] = (value, f"az configure --defaults {theirs}=")
    for subscription in profile.get("subscriptions") or ():
        if subscription.get("isDefault"):
            found["subscription"] = (str(subscription.get("id")), "az account set")
            found["tenant"] = (str(subscription.get("tenantId")), "az account set")
    return found


def _from_workspace_file(here: Path) -> dict[str, tuple[str, str]]:
    """The `config.json` of the studio, upwards from here. Source: azure-ai-ml 1.35.2, MLClient.from_config."""
    for folder in (here, *here.parents):
        for path in (folder / "config.json", folder / ".azureml" / "config.json"):
            try:
                data = json.loads(path.read_text(encoding="utf-8-sig"))
            except (OSError, ValueError):
                continue
            names = {
                "subscription": "subscription_id",
                "resource_group": "resource_group",
                "workspace": "workspace_name",
            }
            if isinstance(data, dict) and names["workspace"] in data:
                shown = os.path.relpath(path, here)
                return {ours: (str(data[theirs]), shown) for ours, theirs in names.items() if data.get(theirs)}
    return {}


def _from_files(place: Path, profile: str | None, here: Path) -> dict[str, str]:
    """Which file sets which key, the profile over the config."""
    import yaml

    sources: dict[str, str] = {}
    for path in (place / "config.yaml", place / "profile" / f"{profile}.yaml"):
        if path.is_file():
            data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            sources |= {key: os.path.relpath(path, here) for key in data if key in FIELDS}
    return sources
