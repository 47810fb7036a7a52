from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.errors import BadInput
from runtime.local.track import shown_uri, store_uri
from runtime.metrics import JsonLines, Memory, Metrics, Record, told
from runtime.tracking import MlflowRun, artifact_location, flatten


class AzureLimits:
    """A stand-in for a client of AzureML's store: refuses what AzureML refuses (docs: resource-limits-capacity)."""

    def __init__(self) -> None:
        self.metrics: list[Any] = []
        self.params: dict[str, str] = {}

    def log_batch(self, _run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        assert len(metrics) <= 200
        assert len(params) <= 100
        self.metrics += metrics
        self.params |= {p.key: p.value for p in params}
        assert len(self.params) <= 200
        assert all(len(v) <= 500 for v in self.params.values())


def test_what_azureml_refuses_is_never_sent() -> None:
    run = MlflowRun("step", {"MLFLOW_TRACKING_URI": "azureml://x", "MLFLOW_RUN_ID": "r"})
    run._client = client = AzureLimits()
    run.write([Record("metric", "loss", float(i), i, 0) for i in range(1000)])
    run.write([Record("param", f"p{i}", "x" * 900, 0, 0) for i in range(150)])
    run.write([Record("param", f"q{i}", "x", 0, 0) for i in range(150)])
    run.close("FINISHED")
    assert [m.step for m in client.metrics] == list(range(1000))
    assert len(client.params) == 200


class FailsAt(AzureLimits):
    """Refuses its n-th call, once: as a server does that restarts."""

    def __init__(self, call: int) -> None:
        super().__init__()
        self.call = call

    def log_batch(self, _run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        self.call -= 1
        if self.call == 0:
            raise OSError("connection reset")
        super().log_batch(_run_id, metrics, params, tags)


@pytest.mark.parametrize("call", [1, 4, 6, 7])
def test_a_call_that_is_tried_again_neither_doubles_nor_loses_anything(call: int) -> None:
    run = MlflowRun("step", {"MLFLOW_TRACKING_URI": "azureml://x", "MLFLOW_RUN_ID": "r"})
    run._client = client = FailsAt(call)
    records = [Record("metric", "loss", float(i), i, 0) for i in range(1000)]
    records += [Record("param", f"p{i}", "x", 0, 0) for i in range(150)]
    with pytest.raises(OSError, match="reset"):
        run.write(records)
    run.write(records)
    assert [m.step for m in client.metrics] == list(range(1000))
    assert len(client.params) == 150


def test_an_error_is_told_without_the_secrets_of_an_address() -> None:
    error = OSError("request to http://me:secret@host:9/api?sig=abc failed with https://host/x?token=abc\nmore")
    assert told(error) == "OSError: request to http://host:9/api failed with https://host/x"


def test_nested_settings_become_dotted_names() -> None:
    assert flatten({"a": 1, "b": {"c": True, "d": None}, "e": None}) == {"a": "1", "b.c": "True"}


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sqlite:////home/a/mlflow.db", "sqlite:////home/a/mlflow.db"),
        ("https://me:secret@host:5000/path?sig=abc", "https://host:5000/path"),
        ("azureml://host/mlflow/v1.0/subscriptions/s?token=x", "azureml://host/mlflow/v1.0/subscriptions/s"),
    ],
)
def test_a_store_is_shown_without_its_secrets(uri: str, shown: str) -> None:
    assert shown_uri(uri) == shown


def test_artifacts_stand_beside_a_sqlite_store() -> None:
    assert artifact_location("sqlite:////data/mlflow.db") == "file:///data/mlartifacts"
    assert artifact_location("https://host") is None


@pytest.mark.parametrize("name", ["a?b", "100%20x", "a#b"])
def test_a_folder_that_no_sqlite_uri_can_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(BadInput, match="which MLflow's sqlite store cannot; use another folder"):
        store_uri(tmp_path / name)


def test_a_part_of_a_step_has_records_of_its_own_and_ends_with_the_step(tmp_path: Path) -> None:
    memory, lines = Memory(), JsonLines(tmp_path / "metrics.jsonl")
    log = Metrics([memory, lines])
    done, left = log.child("trial-000"), log.child("trial-001")
    log.log({"loss": 1.0})
    done.log({"loss": 2.0})
    done.end()
    left.log({"loss": 3.0})
    log.close("FAILED")
    assert memory.latest() == {"loss": 1.0}
    assert {n: (m.latest(), m.status) for n, m in memory.children.items()} == {
        "trial-000": ({"loss": 2.0}, "FINISHED"),
        "trial-001": ({"loss": 3.0}, "FAILED"),
    }
    files = {p.name: p.read_text().count('"loss"') for p in tmp_path.iterdir()}
    assert files == {"metrics.jsonl": 1, "metrics.trial-000.jsonl": 1, "metrics.trial-001.jsonl": 1}


def test_a_store_that_fails_for_every_part_is_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(Memory):
        def write(self, records: object) -> None:
            raise OSError("disk I/O error")

        def child(self, name: str) -> Memory:
            return Broken()

    log = Metrics([Broken()])
    for part in (log, log.child("a"), log.child("b")):
        part.log({"loss": 1.0})
    log.close()
    told = capsys.readouterr().err
    assert told == "warning: metrics: Broken: OSError: disk I/O error; 1 records not stored\n"
