"""XGBoost on a Dask cluster: each worker reads its own rows and keeps their bins; the trees are grown together.

Where the rows lie changes how bins are cut and sums are rounded, so a model of several workers is as good as one of a
single process and not equal to it, tree by tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runtime.errors import ToolFailed
from runtime.rapids import boosting, tables
from runtime.rapids.cluster import Cluster
from runtime.rapids.learners import Fitted, Task, XGBoost
from runtime.rapids.training import Data

_PIECES_A_WORKER = 4  # so that they can be shared out evenly
_TRIES = 2  # a worker that is lost takes the others' training with it; its rows are read again by those that are left


@dataclass(frozen=True)
class Piece:
    """Some row groups of a file of features."""

    file: Path
    groups: tuple[int, ...]


def pieces(files: list[Path], workers: int) -> list[Piece]:
    """The rows of Parquet files in pieces of whole row groups, some for each worker."""
    groups = []
    for file in files:
        with tables.parquet_file(file) as opened:
            groups += [(file, number) for number in range(opened.num_row_groups)]
    size = max(1, len(groups) // (workers * _PIECES_A_WORKER))
    found: list[Piece] = []
    for file, number in groups:
        last = found[-1] if found else None
        if last is not None and last.file == file and len(last.groups) < size:
            found[-1] = replace(last, groups=(*last.groups, number))
        else:
            found.append(Piece(file, (number,)))
    return found


def fit(learner: XGBoost, data: Data, task: Task, cluster: Cluster) -> Fitted:
    """Train on the cluster; each round is logged once all are done. Raises `ToolFailed` when workers are lost again."""
    for tries_left in reversed(range(_TRIES)):
        before = cluster.addresses()
        try:
            return _fit(learner, data, task, cluster)
        except Exception as error:  # XGBoost's collective, Dask's connections, XGBoost's check of who the workers are
            lost = before - cluster.addresses()
            if not lost:
                raise
            if not tries_left or not cluster.addresses():
                why = f"lost {len(lost)} of its {len(before)} workers, as where memory runs out"
                raise ToolFailed(f"the training {why}; give fewer workers, or machines with more memory") from error
            task.log({"workers_lost": float(len(lost))}, 0)
    raise AssertionError("not reached")


def _fit(learner: XGBoost, data: Data, task: Task, cluster: Cluster) -> Fitted:
    from xgboost import dask as xgboost_dask

    early = learner.early_stopping_rounds if task.validation is not None else 0
    matrices = dict(_matrices(learner, data, task, cluster))
    made = xgboost_dask.train(
        cluster.client,
        boosting.params_of(learner, replace(task, threads=cluster.threads)),
        matrices["train"],
        num_boost_round=learner.rounds,
        evals=[(matrix, part) for part, matrix in matrices.items()],
        early_stopping_rounds=early or None,
        verbose_eval=False,
    )
    seen: Mapping[str, Mapping[str, list[float]]] = made["history"]
    rounds = range(len(seen["train"]["rmse"]))
    told = [{part: scores["rmse"][epoch] for part, scores in seen.items()} for epoch in rounds]
    for epoch, scores in enumerate(told):
        task.log({f"{part}_rmse": rmse for part, rmse in scores.items()}, epoch)
    return boosting.fitted(boosting.up_to_the_best(made["booster"], seen, early=bool(early)), list(told), task)


def _matrices(learner: XGBoost, data: Data, task: Task, cluster: Cluster) -> Iterator[tuple[str, Any]]:
    """The matrix to learn from, and the one to stop by where there are such rows."""
    from xgboost import dask as xgboost_dask

    how = {"feature_names": data.features, "max_bin": learner.max_bin}
    train = xgboost_dask.DaskQuantileDMatrix(cluster.client, *_arrays(data, cluster, validation=False), **how)
    yield "train", train
    if task.validation is not None:
        rows = _arrays(data, cluster, validation=True)
        yield "validation", xgboost_dask.DaskQuantileDMatrix(cluster.client, *rows, ref=train, **how)


def _arrays(data: Data, cluster: Cluster, *, validation: bool) -> tuple[Any, Any]:
    """Dask arrays of (N, features) and (N,) float32, a chunk a piece; their rows are counted when they are read."""
    import dask
    import numpy as np
    from dask import array

    load = dask.delayed(_load, nout=2, pure=False)
    loaded = [load(data, piece, validation=validation) for piece in pieces(data.files, cluster.workers)]
    width, kind = len(data.features), np.dtype(np.float32)
    x = [array.from_delayed(one[0], (np.nan, width), kind) for one in loaded]
    y = [array.from_delayed(one[1], (np.nan,), kind) for one in loaded]
    joined = (array.concatenate(arrays, allow_unknown_chunksizes=True) for arrays in (x, y))
    kept: tuple[Any, Any] = tuple(cluster.client.persist(list(joined)))  # else each is read once for x and once for y
    return kept


def _load(data: Data, piece: Piece, *, validation: bool) -> tuple[Any, Any]:
    """The features and the target of a piece's rows, on a worker."""
    import polars as pl

    columns = [data.id, *data.features, data.target]
    with tables.parquet_file(piece.file) as file:
        frame = pl.from_arrow(file.read_row_groups(list(piece.groups), columns=columns))
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table, and no column of one; narrows for mypy
    return data.rows(frame, validation=validation)
