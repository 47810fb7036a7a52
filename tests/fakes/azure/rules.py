"""What the service refuses in an asset, with the fields that it knows."""

from __future__ import annotations

import re
from typing import Any

from tests.fakes.azure.state import State, user_error
from tests.fakes.azure.wire import Response

# Source: the models of azure-ai-ml 1.35.2, _restclient (generated from Azure's own OpenAPI files), CodeVersion... .
_SHARED = {
    "description",
    "tags",
    "properties",
    "isArchived",
    "isAnonymous",
    "provisioningState",
    "stage",
    "intellectualProperty",
    "autoDeleteSetting",
}
FIELDS = {
    "codes": _SHARED | {"codeUri"},
    "environments": _SHARED | {"build", "condaFile", "image", "inferenceConfig", "osType", "autoRebuild", "datasets"},
    "components": _SHARED | {"componentSpec"},
    "models": _SHARED
    | {
        "flavors",
        "jobName",
        "modelType",
        "modelUri",
        "datasets",
        "defaultDeploymentTemplate",
        "allowedDeploymentTemplates",
    },
    "data": _SHARED | {"dataType", "dataUri", "referencedUris"},
}
SPEC = {
    "$schema", "name", "version", "display_name", "description", "is_deterministic", "type", "inputs", "outputs", "command",
    "code", "environment", "environment_variables", "resources", "distribution", "limits", "tags", "properties", "jobs",
    "_source", "sourceJobId", "services", "auto_delete_setting",
}  # fmt: skip
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9\-_.]{0,254}")
COMPONENT_NAME = re.compile(r"[a-z][a-z0-9_]{0,254}")
PORT_TYPES = {
    "uri_file",
    "uri_folder",
    "mltable",
    "mlflow_model",
    "custom_model",
    "triton_model",
    "string",
    "integer",
    "number",
    "boolean",
}
PLACEHOLDER = re.compile(r"\$\{\{\s*(\w+)\.(\w+)\s*\}\}")
TAG_VALUE, TAGS = 256, 50  # Source: learn.microsoft.com, tag-resources (limits of ARM tags)


def check(state: State, scope: str, kind: str, name: str, version: str, body: Any) -> Response | None:
    """None for a body that the service takes, else its answer."""
    properties = (body or {}).get("properties")
    if not isinstance(properties, dict):
        return user_error("The request is invalid: properties is missing.")
    unknown = sorted(set(properties) - FIELDS[kind])
    if unknown:
        return user_error(f"The request is invalid: unknown field {unknown[0]} in {kind}.")
    if not NAME.fullmatch(name) or not NAME.fullmatch(version):
        return user_error(f"{kind}: {name}:{version} is not a valid name and version.")
    if len(properties.get("tags") or {}) > TAGS or any(
        len(str(v)) > TAG_VALUE for v in (properties.get("tags") or {}).values()
    ):
        return user_error("Tags exceed the limit of 50, or a value that of 256 characters.")
    checks = {"components": _component, "environments": _environment, "models": _model, "codes": _code, "data": _data}
    return checks[kind](state, scope, name, version, properties)


def _code(state: State, _scope: str, name: str, _version: str, properties: dict[str, Any]) -> Response | None:
    return _uploaded(state, properties.get("codeUri"), f"code {name}")


def _data(_state: State, _scope: str, name: str, _version: str, properties: dict[str, Any]) -> Response | None:
    return None if properties.get("dataUri") else user_error(f"data {name}: dataUri is missing.")


def _model(state: State, _scope: str, name: str, _version: str, properties: dict[str, Any]) -> Response | None:
    uri = str(properties.get("modelUri") or "")
    job = re.match(r"azureml://(?:.*/)?jobs/([^/]+)/outputs/([^/]+)", uri)
    if job and job[1] not in state.jobs:
        return user_error(f"model {name}: job {job[1]} does not exist.")
    if not uri:
        return user_error(f"model {name}: modelUri is missing.")
    return None if job or not uri.startswith("https://") else _uploaded(state, uri, f"model {name}")


def _uploaded(state: State, uri: Any, what: str) -> Response | None:
    """The files have to be there before the asset is."""
    path = str(uri or "").split("?")[0].partition("core.windows.net/")[2]
    container, _, prefix = path.partition("/")
    if any(box == container and name.startswith(prefix) for box, name in state.blobs):
        return None
    return user_error(f"{what}: nothing was uploaded to {str(uri).split('?')[0]}.")


def _environment(state: State, _scope: str, name: str, _version: str, properties: dict[str, Any]) -> Response | None:
    build, image = properties.get("build"), properties.get("image")
    if bool(build) == bool(image):
        return user_error(f"Environment {name} has to have an image or a build context, and not both.")
    return _uploaded(state, build.get("contextUri"), f"environment {name}") if build else None


def _component(state: State, scope: str, name: str, version: str, properties: dict[str, Any]) -> Response | None:
    spec = properties.get("componentSpec") or {}
    unknown = sorted(set(spec) - SPEC)
    if unknown:
        return user_error(f"Component {name}: unknown field {unknown[0]}.")
    fits = spec.get("name") == name and (properties.get("isAnonymous") or str(spec.get("version")) == version)
    if not COMPONENT_NAME.fullmatch(name) or not fits:
        return user_error(f"Component name {spec.get('name')}:{spec.get('version')} does not fit {name}:{version}.")
    for port, declared in {**(spec.get("inputs") or {}), **(spec.get("outputs") or {})}.items():
        if declared.get("type") not in PORT_TYPES:
            return user_error(f"Component {name}: port {port} has the unknown type {declared.get('type')}.")
    return _command(state, scope, name, spec) if spec.get("type") == "command" else _jobs(state, scope, name, spec)


def _command(state: State, scope: str, name: str, spec: dict[str, Any]) -> Response | None:
    for group, port in PLACEHOLDER.findall(str(spec.get("command", ""))):
        if group not in ("inputs", "outputs") or port not in (spec.get(group) or {}):
            return user_error(f"Component {name}: the command refers to {group}.{port}, which does not exist.")
    for field in ("environment", "code"):
        if spec.get(field):
            missing = reference(state, scope, str(spec[field]))
            if missing:
                return user_error(f"Component {name}: {missing}")
    return (
        None
        if spec.get("environment") and spec.get("command")
        else user_error(f"Component {name} has no environment or no command.")
    )


def _jobs(state: State, scope: str, name: str, spec: dict[str, Any]) -> Response | None:
    if not spec.get("jobs"):
        return user_error(f"Pipeline component {name} has no jobs.")
    for step, job in spec["jobs"].items():
        missing = reference(state, scope, component_id(job))
        if missing:
            return user_error(f"Pipeline component {name}, job {step}: {missing}")
    return bindings(state, name, spec.get("inputs") or {}, spec["jobs"])


def reference(state: State, scope: str, text: str) -> str:
    """What is wrong with a reference to another asset as seen from `scope`; empty when it is there."""
    match = re.search(
        r"(?P<scope>(?:registries|workspaces)/[^/]+)/(?P<kind>\w+)/(?P<name>[^/]+)/versions/(?P<version>[^/]+)$", text
    )
    if not match:
        return f"{text} is not an asset id."
    if scope.startswith("registries/") and match["scope"].startswith("workspaces/"):
        return f"an asset of a registry cannot refer to the workspace asset {text}."
    key = (match["scope"], match["kind"], match["name"], match["version"])
    return "" if state.find(key) is not None else f"Could not find asset with ID: {text}"


def component_id(job: dict[str, Any]) -> str:
    """The component of a step; a sweep's is that of its trials. Source: azure-ai-ml 1.35.2, _builders/sweep.py."""
    return str(job.get("componentId") or (job.get("trial") or {}).get("componentId"))


def spec_of(state: State, text: str) -> dict[str, Any] | None:
    """The component that an id names."""
    match = re.search(r"((?:registries|workspaces)/[^/]+)/components/([^/]+)/versions/([^/]+)$", text)
    asset = state.find((match[1], "components", match[2], match[3])) if match else None
    return asset.properties["componentSpec"] if asset else None


_BINDING = re.compile(
    r"\$\{\{parent\.(?:inputs\.(?P<input>\w+)|jobs\.(?P<job>\w+)\.(?P<side>inputs|outputs)\.(?P<port>\w+)|outputs\.(?P<output>\w+))\}\}"
)


def bindings(state: State, name: str, inputs: dict[str, Any], jobs: dict[str, Any]) -> Response | None:
    """Each step's inputs exist, are bound where they must be, and come from something that is there."""
    specs = {step: spec_of(state, component_id(job)) or {} for step, job in jobs.items()}
    for step, job in jobs.items():
        declared = specs[step].get("inputs") or {}
        given = job.get("inputs") or {}
        for port, bound in given.items():
            if port not in declared:
                return user_error(f"{name}: job {step} has no input {port}.")
            wrong = _broken(str(bound.get("value") or bound.get("uri") or ""), inputs, specs)
            if wrong:
                return user_error(f"{name}: job {step}, input {port}: {wrong}")
        for port, declaration in declared.items():
            searched = port in given or port in (job.get("search_space") or {})
            if not searched and not declaration.get("optional") and declaration.get("default") is None:
                return user_error(f"{name}: job {step} misses the required input {port}.")
        for port in job.get("outputs") or {}:
            if port not in (specs[step].get("outputs") or {}):
                return user_error(f"{name}: job {step} has no output {port}.")
    return None


def _broken(text: str, inputs: dict[str, Any], specs: dict[str, dict[str, Any]]) -> str:
    for match in _BINDING.finditer(text):
        if match["input"] and match["input"] not in inputs:
            return f"there is no input {match['input']}."
        if match["job"] and match["port"] not in (specs.get(match["job"], {}).get(match["side"]) or {}):
            return f"job {match['job']} has no {match['side']} {match['port']}."
    return ""
