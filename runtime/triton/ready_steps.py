"""Ready-made steps of an ensemble: from what its YAML file says, and the model that a step is for, to a model's parts.

One table, `MAKES`. What a step computes is in step_pictures.py, step_answers.py, step_features.py and step_recipe.py.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from runtime.component import Param, ports_of
from runtime.convert import convert
from runtime.errors import BadInput, Problem, nearest
from runtime.triton import model_config, ready_features, step_answers, step_pictures
from runtime.triton.infer_images import Ports
from runtime.triton.model_config import Signature, Tensor
from runtime.triton.picture_plan import Plan, plan_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Function = Callable[[Mapping[str, NDArray[Any]]], dict[str, NDArray[Any]]]

TASK_OF = {"classes": "classification", "mask": "segmentation"}  # where neither a step nor the model says one
KEYS = ("make", "for", "input", "output")  # of every step that is made
MODULES = tuple(f"runtime.triton.step_{name}" for name in ("pictures", "answers", "features", "recipe"))
LOOKS = ("task", "resize", "interpolation", "pixels", "channels", "layout", "mean", "scale")


@dataclass(kw_only=True)
class Own:
    """Settings that the image client has no port for."""

    max_boxes: Annotated[
        int, Param("Boxes of each image, filled up with zeros; 0: as many as there are", minimum=0)
    ] = 100
    instances: Annotated[int, Param("Copies of the step that the server runs", minimum=1, maximum=64)] = 1


@dataclass(frozen=True)
class Ready:
    """One step as a model. `needs`: modules that the server's Python must have; `model`: the one that it is for."""

    name: str
    make: str
    model: str
    module: str
    settings: Mapping[str, Any]
    signature: Signature
    max_batch_size: int
    needs: tuple[str, ...]
    instances: int = 1

    def document(self) -> str:
        """What step.json says: the same text for the same settings, each float with its whole value."""
        content = {"module": self.module, "settings": self.settings, "needs": self.needs}
        return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)

    @property
    def config(self) -> Any:
        """Its config.pbtxt as a message. `numpy_below`: as of every model of the python backend."""
        parameters = {"numpy_below": "2"}
        plan = model_config.Plan(
            self.name, "python", self.signature, self.max_batch_size, "KIND_CPU", self.instances, parameters
        )
        return model_config.build(plan)

    def function(self) -> Function:
        """What the step computes, in this process, by the settings as the server will read them."""
        open_step: Callable[[Mapping[str, Any]], Function] = importlib.import_module(self.module).open_step
        return open_step(json.loads(self.document())["settings"])


@dataclass(frozen=True)
class Wish:
    """What the file says of one step: its place, its settings as values, and the config of its model."""

    name: str
    make: str
    config: Any
    said: Mapping[str, Any]
    folder: Path
    fit: bool  # whether a step of the ensemble needs to know how images lie in the network's input

    def plan(self) -> Plan:
        """How the image client would send to this model and read it."""
        looks = {k: v for k, v in self.said.items() if k not in ("labels", *Own.__dataclass_fields__)}
        labels = self.said.get("labels")
        if isinstance(labels, str):
            looks["labels"] = self._file("labels", labels)
        if "clustering" in looks:
            looks["clustering"] = self._file("clustering", looks["clustering"])
        plan = plan_of(self.config, Ports(images=Path(), predictions=Path(), **looks))
        if isinstance(labels, list):
            plan = replace(plan, settings=replace(plan.settings, labels=tuple(str(name) for name in labels)))
        return plan

    def _file(self, key: str, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise BadInput.of(key, name, "is no file there", "name it as seen from the ensemble's file")
        return path


@dataclass(frozen=True)
class Make:
    """A row: which settings the step takes, and the function that makes it."""

    settings: tuple[str, ...]
    run: Callable[[Wish], Ready]


def pictures(wish: Wish) -> Ready:
    """JPEG, PNG or BMP bytes to the model's input, and how each image lies in it where a step asks for that."""
    plan = wish.plan()
    how, images = plan.preparation, _images(wish.config, plan)
    outputs = [Tensor(how.tensor.name, how.tensor.dtype, how.tensor.dims)]
    if wish.fit:
        outputs.append(Tensor(step_pictures.FIT, "FP64", (*images, step_pictures.FIT_NUMBERS)))
    signature = Signature((Tensor(step_pictures.IMAGE, "BYTES", images or (1,)),), tuple(outputs), _batched(wish))
    settings = {"preparation": asdict(how), "stacked": plan.stacked, "fit": wish.fit}
    return _ready(wish, "step_pictures", settings, signature, ("numpy", "PIL"))


def classes(wish: Wish) -> Ready:
    """The `top_k` best labels and their scores."""
    plan = _planned(wish, "classes", "gives no classes of an image")
    images, (source, *_) = _images(wish.config, plan), model_config.signature_of(wish.config).outputs
    count = math.prod(source.dims[len(images) :]) if min(source.dims[len(images) :], default=1) > 0 else -1
    dims = (*images, min(count, plan.settings.top_k) if count > 0 else -1)
    outputs = (Tensor(step_answers.CLASSES, "BYTES", dims), Tensor(step_answers.SCORES, "FP64", dims))
    return _answers(wish, plan, (source,), outputs)


def boxes(wish: Wish) -> Ready:
    """Boxes in the image's pixels, their scores and classes, and how many there are, decoded and suppressed."""
    plan = _planned(wish, "boxes", "gives no boxes")
    images = _images(wish.config, plan)
    most = wish.said.get("max_boxes", Own.max_boxes) or -1
    fit = Tensor(step_pictures.FIT, "FP64", (*images, step_pictures.FIT_NUMBERS))
    outputs = (
        Tensor(step_answers.BOXES, "FP64", (*images, most, 4)), Tensor(step_answers.SCORES, "FP64", (*images, most)),
        Tensor(step_answers.CLASSES, "BYTES", (*images, most)), Tensor(step_answers.COUNT, "INT32", (*images, 1)),
    )  # fmt: skip
    return _answers(wish, plan, (*model_config.signature_of(wish.config).outputs, fit), outputs)


def mask(wish: Wish) -> Ready:
    """The class of each pixel of the image, in its own size, and that size."""
    plan = _planned(wish, "mask", "gives no mask")
    images, (source, *_) = _images(wish.config, plan), model_config.signature_of(wish.config).outputs
    fit = Tensor(step_pictures.FIT, "FP64", (*images, step_pictures.FIT_NUMBERS))
    outputs = (Tensor(step_answers.MASK, "UINT8", (*images, -1, -1)), Tensor(step_answers.SIZE, "INT32", (*images, 2)))
    return _answers(wish, plan, (source, fit), outputs)


def features(wish: Wish) -> Ready:
    """Columns of rapids_prepare, or of the table of a recipe, to the features that the model takes, in its order."""
    signature = model_config.signature_of(wish.config)
    told = model_config.parameter(wish.config, "feature_names")
    names, tensor = json.loads(told) if told else [], signature.inputs[0]
    if len(signature.inputs) != 1 or tensor.dtype != "FP32" or tensor.dims[-1] != len(names):
        listed = ", ".join(f"{t.name} {t.text()}" for t in signature.inputs)
        wrong = f"takes {listed}, and names {len(names)} features"
        raise BadInput.of("for", wish.config.name, wrong, "package a model that rapids_train wrote")
    made = ready_features.features_of(wish.config, names)
    rows = () if signature.batched else tensor.dims[:1]
    inputs = tuple(Tensor(name, kind, (*rows, 1)) for name, kind in made.columns.items())
    settings = {"features": names, "tensor": tensor.name, **made.settings}
    shape = Signature(inputs, (tensor,), signature.batched)
    return _ready(wish, made.module, settings, shape, ("numpy", "polars"))


MAKES = {
    "pictures": Make((*LOOKS, "instances"), pictures),
    "classes": Make(("task", "labels", "top_k", "instances"), classes),
    "boxes": Make(("task", "labels", "threshold", "overlap", "clustering", "max_boxes", "instances"), boxes),
    "mask": Make(("task", "instances"), mask),
    "features": Make(("instances",), features),
}


def values_of(make: str, step: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """The settings of a step, held to the image client's own ports, and what is wrong with them."""
    ports = ports_of(Ports) | ports_of(Own)
    values, problems = dict[str, Any](), list[Problem]()
    for key, value in step.items():
        if key in KEYS:
            continue
        if key not in MAKES[make].settings:
            problems.append(Problem(key, value, f"is no setting of {make}", nearest(key, MAKES[make].settings)))
            continue
        if key == "labels":
            values[key] = value
            continue
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        try:
            values[key] = str(value) if key == "clustering" else convert(ports[key], text)
        except BadInput as error:
            problems += error.problems
    return values, problems


def _images(config: Any, plan: Plan) -> tuple[int, ...]:
    """The dim for the images of a request, where the model has it among its own and not as a batch."""
    return tuple(config.input[0].dims[:1]) if plan.stacked and not config.max_batch_size else ()


def _batched(wish: Wish) -> bool:
    return bool(wish.config.max_batch_size)


def _planned(wish: Wish, kind: str, wrong: str) -> Plan:
    """How the image client would use the model; raises `BadInput` where its task is of another kind."""
    plan = wish.plan()
    if plan.task.kind != kind:
        raise BadInput.of("task", _task_of(plan), wrong, f"make: {plan.task.kind}")
    return plan


def _task_of(plan: Plan) -> str:
    return plan.task.run.__name__


def _answers(wish: Wish, plan: Plan, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> Ready:
    told = asdict(plan.settings)
    settings = {
        "task": _task_of(plan), "settings": told, "stacked": plan.stacked,
        "max_boxes": wish.said.get("max_boxes", Own.max_boxes),
    }  # fmt: skip
    return _ready(wish, "step_answers", settings, Signature(inputs, outputs, _batched(wish)), ("numpy",))


def _ready(wish: Wish, module: str, settings: Mapping[str, Any], signature: Signature, needs: tuple[str, ...]) -> Ready:
    return Ready(
        wish.name, wish.make, wish.config.name, f"runtime.triton.{module}", settings, signature,
        wish.config.max_batch_size, needs, wish.said.get("instances", 1),
    )  # fmt: skip


def made(doc: Any, configs: Mapping[str, Any]) -> Iterator[tuple[int, Ready | list[Problem]]]:
    """Each step of the file that is to be made, by its number: the step, or what is wrong with it, with its line."""
    steps = [step if isinstance(step, Mapping) else {} for step in doc.data["steps"]]
    fit = any(step.get("make") in ("boxes", "mask") for step in steps)
    names: list[str] = []
    for number, step in enumerate(steps):
        if "make" not in step:
            continue
        make, model = str(step["make"]), str(step.get("for"))
        problems = _unknown(make, model, configs)
        said, wrong = values_of(make, step) if not problems else ({}, [])
        problems += wrong
        names.append(f"{doc.data['name']}_{make}")
        name = names[-1] if names.count(names[-1]) == 1 else f"{names[-1]}_{names.count(names[-1])}"
        if name in configs:
            problems.append(Problem("make", make, f"would be the model {name}, which is there", "name this otherwise"))
        if not problems:
            looks = _looks(steps, model, configs[model])
            try:
                yield number, MAKES[make].run(Wish(name, make, configs[model], looks | said, doc.path.parent, fit))
                continue
            except BadInput as error:
                problems = error.problems
        at = ("steps", str(number))
        yield number, [doc.problem((*at, p.port), p.value, p.wrong, p.todo) for p in problems]


def _unknown(make: str, model: str, configs: Mapping[str, Any]) -> list[Problem]:
    problems = []
    if make not in MAKES:
        problems.append(Problem("make", make, "is nothing that can be made", nearest(make, MAKES)))
    if model not in configs:
        problems.append(Problem("for", model, "is no model of the repository", nearest(model, configs)))
    return problems


def _looks(steps: list[Any], model: str, config: Any) -> dict[str, Any]:
    """What all steps of one model say of its images and its task: the way in and the way out must agree."""
    mine = [step for step in steps if step.get("for") == model and step.get("make") in MAKES]
    told = model_config.parameter(config, "task") is not None
    found: dict[str, Any] = {}
    for step in mine:
        found |= {"task": TASK_OF[step["make"]]} if not told and step["make"] in TASK_OF else {}
    for step in mine:
        values, _ = values_of(step["make"], step)
        found |= {key: values[key] for key in LOOKS if key in values}
    return found
