"""`triton_ensemble`: models of one repository become one for the client, what one gives being what the next takes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from runtime.component import Input, Output, component
from runtime.errors import BadInput, Problem, nearest
from runtime.execute import main
from runtime.metrics import Metrics


@dataclass(kw_only=True)
class Ports:
    """Join models of a Triton repository into an ensemble, checked edge by edge, beside them in one repository.

    The file has `name` and `steps`; a step has `model`, and `input` and `output`, which give each tensor of the model
    its name in the ensemble (absent: the model's own). What no step gives is an input of the ensemble, what none takes
    an output; `output: [NAME, ...]` at the top names others.
    """

    models: Annotated[Path, Input("Model repository that holds the models", type="triton_model")]
    config: Annotated[Path, Input("YAML file: name, steps, and what goes in and out")]
    repository: Annotated[Path, Output("The models, and the ensemble over them", type="triton_model")]


@component(name="triton_ensemble", version="1", image="triton")
def ensemble(ports: Ports, metrics: Metrics) -> None:
    """Write the repository; types, dims and batches of the ensemble follow from its models.

    Raises:
        BadInput: with the line of each mistake in the file, or what does not fit between two models.
    """
    from runtime.local.document import load
    from runtime.triton import model_config, provenance
    from runtime.triton.check import check_repository
    from runtime.triton.repository import place

    doc = load(ports.config)
    paths = {p.parent.name: p for p in sorted(ports.models.glob(f"*/{model_config.FILE}"))}
    configs = {name: model_config.read(path) for name, path in paths.items()}
    problems = list(_problems(doc, configs))
    if problems:
        raise BadInput(problems)
    made = build(doc.data, configs)
    shutil.copytree(
        ports.models, ports.repository, dirs_exist_ok=True, copy_function=lambda s, t: place(Path(s), Path(t))
    )
    version = ports.repository / made.name / "1"  # the server wants one; an upload would lose it if it were empty
    version.mkdir(parents=True)
    model_config.write(made, version.parent)
    provenance.write(version, ports.config, model=made.name, kind="ensemble", backend="ensemble")
    check_repository(ports.repository, made.name)
    for what, entries in (("in", made.input), ("out", made.output)):
        print(f"{what}: {', '.join(f'{e.name} {model_config.tensor_of(e).text()}' for e in entries)}")
    metrics.log({"steps": len(made.ensemble_scheduling.step)})


def _problems(doc: Any, configs: Mapping[str, Any]) -> Iterator[Problem]:
    data = doc.data
    for key in data:
        if key not in ("name", "steps", "output"):
            yield doc.problem(
                (key,), data[key], "is no field of an ensemble", nearest(key, ["name", "steps", "output"])
            )
    if not isinstance(data.get("name"), str):
        yield doc.problem(("name",), data.get("name"), "is no name", "write name: NAME")
    elif data["name"] in configs:
        yield doc.problem(("name",), data["name"], "is a model of the repository", "give the ensemble another name")
    steps = data.get("steps")
    if not isinstance(steps, list) or not steps:
        yield doc.problem(("steps",), steps, "is no list of steps", "write a `- model: NAME` for each")
        return
    for number, step in enumerate(steps):
        at = ("steps", str(number))
        name = str(step.get("model")) if isinstance(step, Mapping) else ""
        if name not in configs:
            yield doc.problem((*at, "model"), name, "is no model of the repository", nearest(name, configs))
            continue
        for key, entries in (("input", configs[name].input), ("output", configs[name].output)):
            known = [entry.name for entry in entries]
            for tensor in step.get(key) or {}:
                if tensor not in known:
                    yield doc.problem((*at, key, tensor), tensor, f"is no {key} of {name}", nearest(tensor, known))
    batches = {
        s["model"]: configs[s["model"]].max_batch_size
        for s in steps
        if isinstance(s, Mapping) and s.get("model") in configs
    }
    if len({size > 0 for size in batches.values()}) > 1:
        told = ", ".join(f"{name} {size}" for name, size in batches.items())
        todo = "package all of them with batches, or all without"
        yield doc.problem(("steps",), told, "take batches and do not (max_batch_size)", todo)


def build(data: Mapping[str, Any], configs: Mapping[str, Any]) -> Any:
    """The ensemble's config; a pure function of the file and of its models' configs."""
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    made = ModelConfig(name=data["name"], platform="ensemble")
    made.max_batch_size = min(configs[step["model"]].max_batch_size for step in data["steps"])
    taken: dict[str, Any] = {}
    given: dict[str, Any] = {}
    for step in data["steps"]:
        entry = made.ensemble_scheduling.step.add(model_name=step["model"], model_version=-1)
        config = configs[step["model"]]
        for tensors, renamed, mapped, seen in (
            (config.input, step.get("input") or {}, entry.input_map, taken),
            (config.output, step.get("output") or {}, entry.output_map, given),
        ):
            for tensor in tensors:
                name = str(renamed.get(tensor.name, tensor.name))
                mapped[tensor.name] = name
                seen.setdefault(name, tensor)
    _fill(made.input, {name: t for name, t in taken.items() if name not in given})
    chosen = data.get("output") or [name for name in given if name not in taken]
    _fill(made.output, {str(name): given[name] for name in chosen if name in given})
    return made


def _fill(entries: Any, tensors: Mapping[str, Any]) -> None:
    """Types and dims as the client sees them; a reshape is its model's own affair."""
    for name, tensor in tensors.items():
        entry = entries.add(name=name, data_type=tensor.data_type)
        entry.dims.extend(tensor.dims)
        if hasattr(tensor, "label_filename"):
            entry.label_filename = ""


if __name__ == "__main__":
    sys.exit(main(ensemble))
