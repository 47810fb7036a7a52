from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.metrics import Memory, Metrics
from runtime.tao.status import Follower

STAMP = {"date": "11/23/2026", "time": "1:50:27", "verbosity": "INFO"}


def line(message: str, status: str = "RUNNING", **fields: object) -> str:
    return json.dumps({**fields, **STAMP, "status": status, "message": message}) + "\n"


def epoch(number: int, **figures: object) -> str:
    kpi = {"val_acc_1": figures["val"]}
    return (
        line("Eval metrics generated.", kpi=kpi)
        + line("Training loop in progress", epoch=number, max_epoch=2, eta="0:00:36.5", kpi=kpi)
        + line("Train metrics generated.", kpi={"train_loss": figures["loss"]})
    )


class Watched:
    def __init__(self, path: Path, *, skip: bool = False) -> None:
        self.memory = Memory()
        self.metrics = Metrics([self.memory])
        self.follower = Follower(path, self.metrics, skip=skip)

    def logged(self) -> list[tuple[str, int, float]]:
        self.follower.close()
        self.metrics.close()
        return [(r.key, r.step, r.value) for r in self.memory.records]


def test_every_figure_is_logged_once_at_its_epoch(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    watched = Watched(path)
    assert watched.follower.read().started is False
    with path.open("a") as file:
        for number, (val, loss) in enumerate([(0.39, 2.0), (0.72, 1.2), (0.72, 0.6)]):
            file.write(epoch(number, val=val, loss=loss))
            file.flush()
            watched.follower.read()
        file.write(line("Training loop complete.", kpi={"train_loss": 0.6}))
        file.write(line("Train finished successfully.", kpi={"train_loss": 0.6}))
    assert watched.logged() == [
        ("val_acc_1", 0, 0.39),
        ("train_loss", 0, 2.0),
        ("val_acc_1", 1, 0.72),
        ("train_loss", 1, 1.2),
        ("val_acc_1", 2, 0.72),
        ("train_loss", 2, 0.6),
    ]
    followed = watched.follower.followed
    assert (followed.epoch, followed.last_epoch, followed.eta, followed.finished) == (2, 2, "0:00:36.5", True)


def test_a_figure_that_is_only_repeated_is_not_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "s").write_text(
        epoch(0, val=0.5, loss=1.0)
        + line("Training loop in progress", epoch=1, kpi={"val_acc_1": 0.5})  # validated every second epoch only
        + line("Train metrics generated.", kpi={"train_loss": 0.9})
    )
    assert Watched(tmp_path / "s").logged() == [("val_acc_1", 0, 0.5), ("train_loss", 0, 1.0), ("train_loss", 1, 0.9)]


def test_figures_that_stand_on_the_epoch_s_own_line_are_logged_when_they_change(tmp_path: Path) -> None:
    lines = [line("Training loop in progress", epoch=n, kpi={"loss": v}) for n, v in enumerate([3, 2, 1])]
    (tmp_path / "s").write_text("".join(lines))
    assert Watched(tmp_path / "s").logged() == [("loss", 0, 3.0), ("loss", 1, 2.0), ("loss", 2, 1.0)]


def test_a_restarted_run_logs_no_step_twice(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text(epoch(0, val=0.3, loss=2.0) + epoch(1, val=0.4, loss=1.0) + '{"epoch": 2, "st')
    watched = Watched(path, skip=True)
    assert watched.follower.followed.finished is False
    with path.open("a") as file:
        file.write("\n" + epoch(1, val=0.41, loss=1.1) + epoch(2, val=0.6, loss=0.5))
    assert watched.logged() == [("val_acc_1", 2, 0.6), ("train_loss", 2, 0.5)]


def test_an_evaluation_has_no_epoch_and_its_figures_may_be_text(tmp_path: Path) -> None:
    (tmp_path / "s").write_text(
        line("Starting evaluate.", "STARTED")
        + line("Test metrics generated.", kpi={"test_mAP": "0.354", "classes": "cat", "car": {"AP": 0.5}, "none": None})
        + line("Evaluation finished successfully.", kpi={"test_mAP": "0.354"})
    )
    watched = Watched(tmp_path / "s")
    assert watched.logged() == [("test_mAP", 0, 0.354), ("car/AP", 0, 0.5)]
    assert watched.follower.followed.finished


@pytest.mark.parametrize("torn", range(1, 60, 7))
def test_a_line_torn_anywhere_is_put_together_again(tmp_path: Path, torn: int) -> None:
    path, text = tmp_path / "s", epoch(0, val=0.5, loss=1.0)
    watched = Watched(path)
    with path.open("a") as file:
        for start in range(0, len(text), torn):
            file.write(text[start : start + torn])
            file.flush()
            watched.follower.read()
    assert watched.logged() == [("val_acc_1", 0, 0.5), ("train_loss", 0, 1.0)]


def test_what_is_no_json_is_passed_over_and_a_replaced_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("not json\n[1]\n\xff\n" + epoch(0, val=0.5, loss=1.0) * 3)
    watched = Watched(path)
    watched.follower.read()
    path.write_text(line("Something failed", "FAILURE"))
    watched.follower.read()
    assert watched.follower.followed.failures == ["Something failed"]
    assert not watched.follower.followed.finished


def tf1(number: int, message: str | None = None, **fields: object) -> str:
    told = {"message": message} if message else {}
    return (
        json.dumps(
            {
                **({"epoch": number, "max_epoch": 2} if number >= 0 else {}),
                **STAMP,
                "status": "RUNNING",
                **told,
                **fields,
            }
        )
        + "\n"
    )


def test_tf1_networks_that_open_an_epoch_are_logged_at_that_epoch(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    kept: dict[str, object] = {}
    with path.open("w") as file:
        for number, loss in enumerate((2.0, 1.0)):
            file.write(tf1(number, graphical={"loss": loss, "learning_rate": "Not logged"}, **kept))
            kept = {"kpi": {"validation cost": loss / 2}}
            file.write(tf1(-1, "Evaluation metrics generated.", graphical={"loss": loss}, **kept))
    watched = Watched(path)
    assert watched.logged() == [
        ("loss", 0, 2.0),
        ("validation cost", 0, 1.0),
        ("loss", 1, 1.0),
        ("validation cost", 1, 0.5),
    ]
    assert (watched.follower.followed.epoch, watched.follower.followed.last_epoch) == (1, 1)


def test_tf1_networks_that_tell_of_an_epoch_afterwards_are_logged_at_it_counted_from_0(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    with path.open("w") as file:
        for number, loss in ((1, 2.0), (2, 1.0)):
            file.write(tf1(-1, "Evaluation metrics generated.", graphical={"mean average precision": 1 / loss}))
            file.write(tf1(number, "Training loop in progress", graphical={"loss": str(loss)}))
    watched = Watched(path)
    assert watched.logged() == [
        ("mean average precision", 0, 0.5),
        ("loss", 0, 2.0),
        ("mean average precision", 1, 1.0),
        ("loss", 1, 1.0),
    ]
    assert (watched.follower.followed.epoch, watched.follower.followed.last_epoch) == (1, 1)
