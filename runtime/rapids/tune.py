"""Features to the best fare model of a search over settings, and the study that found them."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from runtime.component import Group, Input, Output, Param, component
from runtime.errors import BadInput, ToolFailed
from runtime.execute import main
from runtime.metrics import Metrics
from runtime.rapids import boosting, learners, study_plots, trainers, training
from runtime.rapids import engine as engines
from runtime.rapids import space as spaces
from runtime.rapids import study as studies
from runtime.rapids.learners import XGBoost
from runtime.rapids.space import DepthAndRate, Wide
from runtime.rapids.study import Study
from runtime.rapids.training import Parts


@dataclass(kw_only=True)
class Ports:
    """Search the settings of XGBoost (Optuna, resumable), and train the best ones last as rapids_train would.

    Trials are compared on rows of the training part; the held-out part only scores the model that is kept.
    """

    train: Annotated[Path, Input("The training part that rapids_transform wrote", remote=True)]
    test: Annotated[Path, Input("The held-out part that rapids_transform wrote", remote=True)]
    model: Annotated[
        XGBoost, Group("What is trained; its own settings are the first trial", options={"xgboost": XGBoost})
    ] = field(default_factory=XGBoost)
    space: Annotated[Wide | DepthAndRate, Group("The ranges that are searched", options=spaces.NAMES)] = field(
        default_factory=Wide
    )
    trials: Annotated[int, Param("Trials in all, those of earlier starts counted", minimum=1, maximum=10_000)] = 30
    timeout_s: Annotated[int | None, Param("No trial begins after so many seconds", minimum=1)] = None
    sampler: Annotated[str, Param("How the next values are chosen", choices=studies.SAMPLERS)] = "tpe"
    pruner: Annotated[str, Param("Which trials end early", choices=studies.PRUNERS)] = "median"
    workers: Annotated[
        int, Param("Processes that train trials side by side; each reads the data once", minimum=1, maximum=64)
    ] = 1
    validation_share: Annotated[
        float, Param("Share of the training part that trials are compared on", minimum=0.01, maximum=0.5)
    ] = 0.1
    search_share: Annotated[
        float,
        Param("Share of the rows to learn from that trials get; the last training gets all", minimum=0.001, maximum=1),
    ] = 1.0
    seed: Annotated[int, Param("Seed of all that is random", minimum=0, maximum=1_000_000)] = 0
    engine: Annotated[str, Param("Where it trains", choices=engines.CHOICES)] = "auto"
    trained: Annotated[Path, Output("MLflow model folder, exactly as rapids_train writes it", type="mlflow_model")]
    study: Annotated[Path, Output("trials.csv, best.json and plots: history, importance, parallel coordinates")]
    storage: Annotated[
        Path | None, Output("The study's sqlite file; a search that was stopped goes on from it", kept=True)
    ] = None


@component(name="rapids_tune", version="1", image="rapids")
def tune(ports: Ports, metrics: Metrics) -> None:
    """Search, train the best settings, and write the model, the table of trials and the plots."""
    learners.check(ports.model)
    spaces.check(ports.space)
    engine = engines.choose(ports.engine, learners.GPU_PACKAGE["xgboost"], metrics)
    parts = training.open_parts(ports.train, ports.test, metrics)
    data = dataclasses.replace(parts.training(ports.validation_share, ports.seed), share=ports.search_share)
    if not (data.any_rows(validation=True) and data.any_rows(validation=False)):
        wrong = "leaves no row to learn from, or none to compare trials on"
        todo = "give more trips, or another share" + (", or a larger search_share" if ports.search_share < 1 else "")
        raise BadInput.of("validation_share", ports.validation_share, wrong, todo)
    assert ports.storage is not None  # noqa: S101 - execute binds every kept output; narrows for mypy
    with studies.locked(ports.storage):
        study = _study(ports, parts)
        made = trainers.start(
            trainers.Work(data, engine, ports.model.max_bin),
            min(ports.workers, ports.trials),
            engines.devices() if engine == "gpu" else [],
        )
        try:
            Search(ports, study, metrics).run(made)
        finally:
            for trainer in made:
                trainer.end()
        matrices = made[0].matrices if isinstance(made[0], trainers.Here) and ports.search_share == 1 else None
        _finish(ports, study, parts, Final(engine, matrices), metrics)


def _study(ports: Ports, parts: Parts) -> Study:
    settings = {k: v for k, v in vars(ports.model).items() if k not in spaces.ranges(ports.space)}
    asked = studies.Asked(
        studies.fingerprint([*parts.train, *parts.test]),
        settings,
        spaces.plain(ports.space),
        ports.validation_share,
        ports.seed,
        ports.sampler,
        ports.pruner,
        ports.search_share,
    )
    first = spaces.inside(ports.space, ports.model)
    assert ports.storage is not None  # noqa: S101 - as in tune
    return Study(ports.storage, asked, ports.space, first, ports.workers)


class Search:
    """The trials of one start."""

    def __init__(self, ports: Ports, study: Study, metrics: Metrics) -> None:
        self.ports, self.study, self.metrics = ports, study, metrics
        self._stop = threading.Event()
        self._until = time.monotonic() + ports.timeout_s if ports.timeout_s else None

    def run(self, made: list[trainers.Trainer]) -> None:
        """Run trials until there are enough, or the time is over; the first failure ends all."""
        if self.study.taken_up:
            print(f"goes on after {self.study.taken_up} trials")
        self.metrics.log({"trials_taken_up": float(self.study.taken_up)})
        if len(made) == 1:
            return self._work(made[0])
        with concurrent.futures.ThreadPoolExecutor(len(made), thread_name_prefix="worker") as pool:
            try:
                for future in concurrent.futures.as_completed([pool.submit(self._work, one) for one in made]):
                    future.result()
            except BaseException:
                self._stop.set()
                for trainer in made:
                    trainer.end()
                raise
        return None

    def _work(self, trainer: trainers.Trainer) -> None:
        while not self._stop.is_set() and not self._late():
            asked = self.study.next(self.ports.trials)
            if asked is None:
                return
            self._one(trainer, *asked)

    def _late(self) -> bool:
        """Whether the time is over; one trial there must be."""
        return self._until is not None and time.monotonic() > self._until and self.study.best() is not None

    def _one(self, trainer: trainers.Trainer, place: int, trial: Any, values: dict[str, Any]) -> None:
        log = self.metrics.child(f"trial-{place:03d}")
        log.params(values)
        began, pruned = time.monotonic(), False

        def on_round(scores: Mapping[str, float], epoch: int) -> bool:
            nonlocal pruned
            log.log({f"{part}_rmse": rmse for part, rmse in scores.items()}, epoch)
            pruned = self.study.report(trial, epoch + 1, scores["validation"])
            return pruned

        outcome = trainer.train(dataclasses.replace(self.ports.model, **values), on_round)
        self.study.tell(trial, outcome.rmse, outcome.rounds, pruned=pruned)
        seconds = time.monotonic() - began
        state = "pruned" if pruned else "completed"
        log.tags({"trial_state": state})
        log.log({"rmse": outcome.rmse, "rounds": float(outcome.rounds), "seconds": seconds})
        log.end()
        best = self.study.best()
        self.metrics.log({"trial_rmse": outcome.rmse} | ({"best_rmse": best.rmse} if best else {}), place)
        print(
            f"trial {place}: {state}, rmse {outcome.rmse:.6g} after {outcome.rounds} rounds, {seconds:.1f} s",
            flush=True,
        )


@dataclass(frozen=True)
class Final:
    """What the last training needs: where it runs, and matrices that are there already."""

    engine: str
    matrices: boosting.Matrices | None


def _finish(ports: Ports, study: Study, parts: Parts, final: Final, metrics: Metrics) -> None:
    """Train the best settings and write everything."""
    rows, best = study.rows(), study.best()
    if best is None:
        raise ToolFailed(f"none of {len(rows)} trials completed; give more trials, or pruner=none")
    learner = dataclasses.replace(ports.model, **best.values)
    data = parts.training(ports.validation_share, ports.seed)
    task = learners.Task(parts.features, data.training, data.validation, ports.seed, final.engine, metrics.log)
    fitted = boosting.fit(learner, task, final.matrices)
    held_out = training.write_model(ports.trained, fitted, learner, parts, metrics)
    shares = study_plots.importances(study)
    study_plots.write_table(ports.study / "trials.csv", rows)
    content = {
        "trial": best.place,
        "validation_rmse": best.rmse,
        "rounds": best.rounds,
        "searched": best.values,
        "settings": vars(learner),
        "importance": shares,
        "held_out": held_out,
    }
    (ports.study / "best.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    study_plots.plot_all(ports.study, rows, ports.space, shares)
    metrics.params({f"best.{name}": value for name, value in best.values.items()})
    metrics.log({f"trials_{s}": float(sum(r.state == s for r in rows)) for s in ("completed", "pruned")})
    metrics.artifact(ports.study, "study")


if __name__ == "__main__":
    sys.exit(main(tune))
