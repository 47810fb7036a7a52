"""Features to a fare model in an MLflow model folder, with its figures on the held-out part."""

from __future__ import annotations

import dataclasses
import math
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from runtime.component import Group, Input, Output, Param, component
from runtime.errors import BadInput, Problem
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.rapids import boosting, cluster, learners, model_folder, training
from runtime.rapids import engine as engines
from runtime.rapids.learners import Linear, Neighbours, RandomForest, XGBoost

# A sweep sets inputs, each by itself; the fields of a group are one text, `overrides`.
SWEPT = ("max_depth", "learning_rate", "min_child_weight", "subsample", "reg_lambda")
_WINS = "For sweeps: what is given here wins over model"


def _bounds(name: str) -> dict[str, float]:
    low, high = learners.BOUNDS[name]
    return {"minimum": low} | ({} if math.isinf(high) else {"maximum": high})


@dataclass(kw_only=True)
class Ports:
    """Train a regression (XGBoost, random forest, linear, nearest neighbours) and write it as an MLflow model folder.

    With it go its feature list and a sample of real rows. RMSE, MAE and R2 are those on the held-out part.
    """

    train: Annotated[Path, Input("The training part that rapids_transform wrote", remote=True)]
    test: Annotated[Path, Input("The held-out part that rapids_transform wrote", remote=True)]
    model: Annotated[XGBoost | RandomForest | Linear | Neighbours, Group("What is trained", options=learners.NAMES)] = (
        field(default_factory=XGBoost)
    )
    validation_share: Annotated[
        float,
        Param("Share of the training part kept for validation and early stopping; 0 for none", minimum=0, maximum=0.5),
    ] = 0.1
    seed: Annotated[int, Param("Seed of all that is random", minimum=0, maximum=1_000_000)] = 0
    engine: Annotated[str, Param("Where it trains", choices=engines.TRAIN_CHOICES)] = "auto"
    workers: Annotated[int, Param(cluster.WORKERS_HELP, minimum=0)] = 0
    bins: Annotated[
        str, Param("Where XGBoost's bins lie; auto is disk where memory would not hold them", choices=boosting.PLACES)
    ] = "auto"
    max_depth: Annotated[int | None, Param(f"{_WINS}.max_depth", **_bounds("max_depth"))] = None
    learning_rate: Annotated[float | None, Param(f"{_WINS}.learning_rate", **_bounds("learning_rate"))] = None
    min_child_weight: Annotated[float | None, Param(f"{_WINS}.min_child_weight", **_bounds("min_child_weight"))] = None
    subsample: Annotated[float | None, Param(f"{_WINS}.subsample", **_bounds("subsample"))] = None
    reg_lambda: Annotated[float | None, Param(f"{_WINS}.reg_lambda", **_bounds("reg_lambda"))] = None
    trained: Annotated[
        Path, Output("MLflow model folder with features.json, sample.parquet and importances.png", type="mlflow_model")
    ]


@component(name="rapids_train", version="1", image="rapids")
def train(ports: Ports, metrics: Metrics) -> None:
    """Write the model folder; log XGBoost's RMSE of each round as it ends, and the figures of the held-out part."""
    learner = _settled(ports)
    learners.check(learner)
    name = learners.name_of(learner)
    if ports.engine == cluster.DISTRIBUTED:
        _train_distributed(ports, learner, metrics)
        return
    engine = engines.choose(ports.engine, learners.GPU_PACKAGE[name], metrics)
    parts, data, validation = _data(ports, metrics)
    task = learners.Task(parts.features, data.training, validation, ports.seed, engine, metrics.log)
    with tempfile.TemporaryDirectory(prefix="ngcrun-bins-") as cache:
        on_disk = _on_disk(ports, parts, engine) if name == "xgboost" else False
        metrics.tags({"bins": "disk" if on_disk else "memory"} if name == "xgboost" else {})
        fitted = learners.fit(learner, dataclasses.replace(task, cache=cache if on_disk else ""))
    training.write_model(ports.trained, fitted, learner, parts, metrics)
    if name != "xgboost":  # which has logged its own, round by round
        predict, _ = model_folder.load("trained", ports.trained)
        for part, batches in (("train", data.training), ("validation", validation)):
            found = training.scores(predict, batches) if batches else {}
            metrics.log({f"{part}_{k}": v for k, v in found.items()})


def _data(ports: Ports, metrics: Metrics) -> tuple[training.Parts, training.Data, learners.Batches | None]:
    """The two parts, the rows to learn from, and those to stop by where there are any."""
    parts = training.open_parts(ports.train, ports.test, metrics)
    data = parts.training(ports.validation_share, ports.seed)
    has = ports.validation_share and data.any_rows(validation=True)
    return parts, data, data.validation if has else None


def _train_distributed(ports: Ports, learner: learners.Learner, metrics: Metrics) -> None:
    """Train XGBoost on a cluster; raises `BadInput` for what does not train on one."""
    if not isinstance(learner, XGBoost):
        name = learners.name_of(learner)
        raise BadInput.of(
            "engine", ports.engine, f"does not train model={name}", "set model=xgboost, or another engine"
        )
    if ports.bins == "disk":
        raise BadInput.of(
            "bins", "disk", "is for one process", f"leave it out: with engine={ports.engine} memory adds up"
        )
    from runtime.rapids import boosting_dask

    with engines.cluster(ports.workers, "xgboost", metrics) as made:
        parts, data, validation = _data(ports, metrics)
        task = learners.Task(parts.features, data.training, validation, ports.seed, made.engine, metrics.log)
        fitted = boosting_dask.fit(learner, data, task, made)
        metrics.tags({"bins": "memory"})
    training.write_model(ports.trained, fitted, learner, parts, metrics)


def _on_disk(ports: Ports, parts: training.Parts, engine: str) -> bool:
    """Whether XGBoost's bins go into files; raises `BadInput` where a GPU trains, which has not been tried."""
    if engine == "gpu":
        if ports.bins == "disk":
            raise BadInput.of("bins", "disk", "is for training on a CPU", "set bins=auto, or engine=cpu")
        return False
    return boosting.place(ports.bins, parts.rows(), len(parts.features), boosting.free_bytes()) == "disk"


def _settled(ports: Ports) -> learners.Learner:
    """The learner with the settings that ports of their own give; raises `BadInput` for one that it does not have."""
    given = {name: getattr(ports, name) for name in SWEPT if getattr(ports, name) is not None}
    known, name = vars(ports.model), learners.name_of(ports.model)
    problems = [
        Problem(key, value, f"is no setting of model={name}", f"leave it out; {name} has {', '.join(known)}")
        for key, value in given.items()
        if key not in known
    ]
    if problems:
        raise BadInput(problems)
    return dataclasses.replace(ports.model, **given)


if __name__ == "__main__":
    sys.exit(main(train))
