"""`triton_ensemble`: models of one repository become one for the client, what one gives being what the next takes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from runtime.component import Input, Output, Param, component
from runtime.errors import BadInput, Problem, nearest
from runtime.execute import main
from runtime.metrics import Metrics

if TYPE_CHECKING:
    from runtime.triton.ready_steps import Ready


@dataclass(kw_only=True)
class Ports:
    """Join models of a Triton repository into an ensemble, checked edge by edge, beside them in one repository.

    The file has `name` and `steps`; a step has `model`, or `make` and `for`: a step that is made for a model (pictures,
    classes, boxes, mask, features). `input` and `output` give a tensor of the step its name in the ensemble (absent:
    the step's own). What no step gives is an input of the ensemble, what none takes an output; `output: [NAME, ...]` at
    the top names others.
    """

    models: Annotated[Path, Input("Model repository that holds the models", type="triton_model")]
    config: Annotated[Path, Input("YAML file: name, steps, and what goes in and out", type="uri_file")]
    samples: Annotated[
        Path | None,
        Input("Golden rows are made of these: images, trips of rapids_prepare, or rows that rapids_recipe read"),
    ] = None
    trust_pickle: Annotated[bool, Param("Run Python functions among the models, for the golden rows")] = False
    repository: Annotated[Path, Output("The models, the steps that were made, and the ensemble", type="triton_model")]
    golden: Annotated[Path, Output("Rows and the answers of the steps in this process, for triton_verify")]


@component(name="triton_ensemble", version="1", image="triton")
def ensemble(ports: Ports, metrics: Metrics) -> None:
    """Write the repository and the golden rows; types, dims and batches of the ensemble follow from its models.

    Raises:
        BadInput: with the line of each mistake in the file, or what does not fit between two models.
    """
    from runtime.local.document import load
    from runtime.triton import ensemble_golden, model_config, provenance, ready_files
    from runtime.triton.check import check_repository
    from runtime.triton.repository import place, write_golden

    doc = load(ports.config)
    paths = {p.parent.name: p for p in sorted(ports.models.glob(f"*/{model_config.FILE}"))}
    configs = {name: model_config.read(path) for name, path in paths.items()}
    made, steps = _checked(doc, configs)
    shutil.copytree(
        ports.models, ports.repository, dirs_exist_ok=True, copy_function=lambda s, t: place(Path(s), Path(t))
    )
    for step in steps:
        ready_files.write_step(ports.repository, step, ports.config)
    version = ports.repository / made.name / "1"  # the server wants one; an upload would lose it if it were empty
    version.mkdir(parents=True)
    model_config.write(made, version.parent)
    provenance.write(version, ports.config, model=made.name, kind="ensemble", backend="ensemble")
    served = check_repository(ports.repository, made.name)
    for what, entries in (("in", made.input), ("out", made.output)):
        print(f"{what}: {', '.join(f'{e.name} {model_config.tensor_of(e).text()}' for e in entries)}")
    golden, why = ensemble_golden.of(served, steps, ports.samples, trusted=ports.trust_pickle)
    print(f"golden rows: {golden.rows} ({why})")
    write_golden(golden, ports.golden, {"model": made.name, "version": 1, "kind": "ensemble"})
    metrics.tags({"golden_source": golden.source})
    metrics.log({"steps": len(made.ensemble_scheduling.step), "steps_made": len(steps), "golden_rows": golden.rows})


def _checked(doc: Any, configs: Mapping[str, Any]) -> tuple[Any, list[Ready]]:
    """The ensemble's config and the steps made for it; raises `BadInput` with all that is wrong in the file."""
    from runtime.triton.ready_steps import made

    problems = list(_head(doc, configs))
    data, steps = doc.data, list[Any]()
    if problems:
        raise BadInput(problems)
    ready = dict(made(doc, configs))
    for number, step in enumerate(data["steps"]):
        one = ready.get(number)
        if isinstance(one, list):
            problems += one
            continue
        name, config = (one.name, one.config) if one is not None else (_model_of(step), None)
        if config is None and name not in configs:
            wrong = "is no model of the repository"
            problems.append(doc.problem(("steps", str(number), "model"), name, wrong, nearest(name, configs)))
            continue
        steps.append({**step, "model": name})
        problems += _tensors(doc, number, step, name, config or configs[name])
    built = [one for one in ready.values() if not isinstance(one, list)]
    known = {**configs, **{one.name: one.config for one in built}}
    problems += _batches(doc, [step["model"] for step in steps], known)
    if problems:
        raise BadInput(problems)
    return build({**data, "steps": steps}, known), built


def _model_of(step: Any) -> str:
    return str(step.get("model")) if isinstance(step, Mapping) else ""


def _head(doc: Any, configs: Mapping[str, Any]) -> Iterator[Problem]:
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


def _tensors(doc: Any, number: int, step: Mapping[str, Any], name: str, config: Any) -> Iterator[Problem]:
    for key, entries in (("input", config.input), ("output", config.output)):
        known = [entry.name for entry in entries]
        for tensor in step.get(key) or {}:
            if tensor not in known:
                place = ("steps", str(number), key, tensor)
                yield doc.problem(place, tensor, f"is no {key} of {name}", nearest(tensor, known))


def _batches(doc: Any, names: list[str], configs: Mapping[str, Any]) -> Iterator[Problem]:
    sizes = {name: configs[name].max_batch_size for name in names}
    if len({size > 0 for size in sizes.values()}) > 1:
        told = ", ".join(f"{name} {size}" for name, size in sizes.items())
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
