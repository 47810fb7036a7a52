"""A search that can be stopped at any moment and goes on: Optuna's study in a sqlite file, one process writing it.

A search has numbered places, `trials` of them, and each ends with exactly one finished trial. What was running when the
search was killed is marked as failed, and its place is tried again with the same values. The sampler of a place is
seeded by the place alone, so with one worker a search that was stopped finds what an unbroken one finds.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import BadInput
from runtime.rapids import space as spaces
from runtime.rapids.space import Space

SAMPLERS = ("tpe", "random")
PRUNERS = ("median", "hyperband", "none")
RANDOM_FIRST = 5  # trials before TPE has enough to go by
NAME = "rapids_tune"
REPORTS = 20  # a trial asks the pruner so many times over its rounds: each costs a write to the file
_PLACE, _ASKED = "place", "asked"


@dataclass(frozen=True)
class Row:
    """One finished trial: its place, its values, `completed` or `pruned`, and its validation RMSE when it ended."""

    place: int
    values: dict[str, Any]
    state: str
    rmse: float
    rounds: int
    rmse_by_round: dict[int, float]


@dataclass(frozen=True)
class Asked:
    """What makes a search the same one: two starts must agree on it to share a study."""

    data: str
    settings: dict[str, Any]
    space: dict[str, Any]
    validation_share: float
    seed: int
    sampler: str
    pruner: str
    search_share: float = 1.0


def fingerprint(files: list[Path]) -> str:
    """SHA-256 over the footers of Parquet files, which hold each column's sizes and statistics."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            file.seek(-8, os.SEEK_END)
            length = int.from_bytes(file.read(4), "little")
            file.seek(-8 - length, os.SEEK_END)
            digest.update(file.read(length))
    return digest.hexdigest()


class Study:
    """The study in `<folder>/study.db`; its methods may be called from several threads.

    Args:
        folder: kept from start to start.
        asked: what is searched.
        space: the ranges.
        first: the values of place 0, if there are any to begin with.
        workers: how many trials run at once.
    """

    def __init__(self, folder: Path, asked: Asked, space: Space, first: Mapping[str, Any] | None, workers: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.asked, self.space, self._workers = asked, space, workers
        rounds = int(asked.settings["rounds"])
        self.every = max(1, rounds // REPORTS)
        self._lock = threading.RLock()
        self._again: dict[int, dict[str, Any]] = {0: dict(first)} if first else {}
        self.study = optuna.create_study(
            storage=_storage(folder),
            study_name=NAME,
            direction="minimize",
            load_if_exists=True,
            pruner=_pruner(asked.pruner, rounds),
        )
        self._agree(folder)
        self.taken_up = self._take_up()

    def _agree(self, folder: Path) -> None:
        """The same question as before, or a new study."""
        asked = json.loads(json.dumps(vars(self.asked)))
        before = self.study.user_attrs.get(_ASKED)
        if before is None:
            self.study.set_user_attr(_ASKED, asked)
        elif (before := {"search_share": 1.0} | before) != asked:  # a study of an older version has none
            other = ", ".join(key for key in asked if before.get(key) != asked[key])
            raise BadInput.of(
                "storage", folder, f"holds a search with another {other}", "name another folder, or remove this one"
            )

    def _take_up(self) -> int:
        """Mark what was running when the last start ended, to be tried again; returns how many trials are finished."""
        import optuna

        for trial in self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            if _PLACE in trial.user_attrs and trial.params:
                self._again[trial.user_attrs[_PLACE]] = trial.params
        return len(self.rows())

    def next(self, trials: int) -> tuple[int, Any, dict[str, Any]] | None:
        """The first free place below `trials`, its Optuna trial and its values; None when all are taken."""
        import optuna

        states = optuna.trial.TrialState
        with self._lock:
            live = self.study.get_trials(deepcopy=False, states=(states.RUNNING, states.COMPLETE, states.PRUNED))
            taken = {trial.user_attrs[_PLACE] for trial in live if _PLACE in trial.user_attrs}
            place = next((n for n in range(trials) if n not in taken), None)
            if place is None:
                return None
            self.study.sampler = self._sampler(place)
            trial = self.study.ask()
            trial.set_user_attr(_PLACE, place)
            return place, trial, spaces.suggest(trial, self.space)

    def _sampler(self, place: int) -> Any:
        import optuna

        samplers = optuna.samplers
        seed = int.from_bytes(hashlib.sha256(f"{self.asked.seed} {place}".encode()).digest()[:4], "little")
        with warnings.catch_warnings():  # Optuna calls two of them experimental, which is for its own API
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler: Any = samplers.RandomSampler(seed=seed)
            if self.asked.sampler == "tpe":
                sampler = samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_FIRST, constant_liar=self._workers > 1)
            fixed = self._again.get(place)
            return samplers.PartialFixedSampler(fixed, sampler) if fixed else sampler

    def report(self, trial: Any, rounds: int, rmse: float) -> bool:
        """Note a running trial's figure after so many rounds; returns whether it is to end. Few rounds are noted."""
        if rounds % self.every:
            return False
        with self._lock:
            trial.report(rmse, rounds)
            return bool(trial.should_prune())

    def tell(self, trial: Any, rmse: float, rounds: int, *, pruned: bool) -> None:
        """A trial has ended."""
        import optuna

        with self._lock:
            trial.set_user_attr("rounds", rounds)
            if pruned:
                trial.set_user_attr("rmse", rmse)
                self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            else:
                self.study.tell(trial, rmse)

    def rows(self) -> list[Row]:
        """Every finished trial, by place."""
        import optuna

        states = optuna.trial.TrialState
        with self._lock:
            trials = self.study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED))
        found = []
        for trial in trials:
            more, completed = trial.user_attrs, trial.state == states.COMPLETE
            rmse = float(trial.value if completed else more["rmse"])  # type: ignore[arg-type] # a completed one has a value
            state = "completed" if completed else "pruned"
            row = Row(more[_PLACE], trial.params, state, rmse, more["rounds"], trial.intermediate_values)
            found.append(row)
        return sorted(found, key=lambda row: row.place)

    def best(self) -> Row | None:
        """The completed trial with the least RMSE, the first of equal ones."""
        return min((r for r in self.rows() if r.state == "completed"), key=lambda r: r.rmse, default=None)


def _storage(folder: Path) -> Any:
    import optuna
    import sqlalchemy

    path = str(folder / "study.db")
    if re.search("[?#%]", path):  # they end or change the path in a URI
        raise BadInput.of("storage", path, "holds ?, # or %, which a sqlite address cannot", "use another folder")
    url = sqlalchemy.URL.create("sqlite", database=path).render_as_string()
    try:
        return optuna.storages.RDBStorage(url)
    except (sqlalchemy.exc.DatabaseError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput.of("storage", path, f"is not a readable study: {reason}", "remove it") from error


def _pruner(name: str, rounds: int) -> Any:
    """Optuna's pruner; the median one lets a third of the rounds pass, as what learns slowly starts high."""
    import optuna

    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=rounds // 3)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=max(1, rounds // 9), max_resource=rounds, reduction_factor=3)
    return optuna.pruners.NopPruner()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the study's folder; raises `BadInput` while another run has it."""
    lock = os.open(folder, os.O_RDONLY)  # the folder itself, so that no lock file is left
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise BadInput.of("storage", folder, "is in use by another run", "wait for it, or name another") from None
    except OSError:
        pass  # a mount without locks, such as blobfuse: then there is one node
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.close(lock)
