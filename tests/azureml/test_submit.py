"""`ngcrun azureml submit|follow|cancel|download|compute` against the stand-in: sent once, followed, fetched."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import time
from typing import Any

import pytest

from tests.azureml.support import ROOT, SCHEMAS, Checkout, azure_python
from tests.fakes.azure import Azure

WORKSPACE = "workspace:ml-dev-ws"
JOB = "component_specs/pipelines/job.yaml"
PIPELINE = f"""\
    $schema: {SCHEMAS}/pipelineJob.schema.json
    type: pipeline
    display_name: two
    inputs:
      data: {{type: uri_folder, path: ../../data}}
      text: hello
    outputs:
      out: {{type: uri_folder}}
    settings: {{default_compute: azureml:small-cluster}}
    jobs:
      a:
        type: command
        component: ../area/first.yaml
        inputs: {{text: "${{{{parent.inputs.text}}}}"}}
      b:
        type: command
        component: ../area/second.yaml
        outputs: {{out: "${{{{parent.outputs.out}}}}"}}
"""
CLUSTER = f"""\
    $schema: {SCHEMAS}/amlCompute.schema.json
    type: amlcompute
    name: small-cluster
    size: Standard_NC4as_T4_v3
    min_instances: 0
    max_instances: 2
"""


def fill(checkout: Checkout) -> Checkout:
    checkout.write(JOB, PIPELINE)
    checkout.write("data/a.txt", "1\n")
    checkout.write("component_specs/compute/small-cluster.yaml", CLUSTER)
    return checkout


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Azure holds once the environment and the cluster are published; made once, for each test to begin with."""
    folder = tmp_path_factory.mktemp("published")
    with Azure(folder) as azure:
        checkout = fill(Checkout(folder / "checkout", azure))
        before = checkout.files()
        assert checkout.ngcrun("publish", "--to", WORKSPACE, "small").returncode == 0
        assert checkout.ngcrun("compute", "create", "small-cluster").returncode == 0
        assert checkout.files() == before  # nothing but Azure remembers it
        kept = ("assets", "blobs", "operations", "computes", "created")
        return {name: getattr(azure.state, name) for name in kept}


@pytest.fixture
def ready(checkout: Checkout, published: dict[str, Any]) -> Checkout:
    """A workspace with the environment and the cluster, and a pipeline to send."""
    for name, value in copy.deepcopy(published).items():
        setattr(checkout.azure.state, name, value)
    return fill(checkout)


def jobs(checkout: Checkout) -> list[str]:
    return [name for _, kind, name, _ in checkout.azure.state.created if kind == "jobs"]


def sent(checkout: Checkout, name: str) -> dict[str, Any]:
    return dict(checkout.azure.state.jobs[name]["sent"])


def test_a_pipeline_is_sent_and_followed_to_its_end(ready: Checkout) -> None:
    before = ready.files()
    done = ready.ngcrun("submit", JOB, "--name", "j1", "--follow", "text=bye", "experiment=tests")
    assert done.returncode == 0, done.stderr
    lines = [line.partition(" ")[2] if line[:2].isdigit() else line for line in done.stdout.splitlines()]
    assert lines[0].startswith("job j1 (two) is NotStarted in ml-dev/ml-dev-ws")
    assert lines[1].startswith("studio: https://ml.azure.com/runs/j1?")
    wanted = [
        "a | a: begins",
        "a | a: done",
        "a | accuracy=0.875 loss=0.25",
        "a: Completed",
        "b | b: done",
        "two: Completed",
        "j1: Completed",
    ]
    assert [line for line in lines if line in wanted] == wanted
    body = sent(ready, "j1")
    assert body["inputs"]["text"]["value"] == "bye"
    assert body["inputs"]["data"]["uri"].startswith("azureml://datastores/workspaceblobstore/paths/LocalUpload/")
    assert body["experimentName"] == "tests"
    assert body["settings"]["default_compute"].endswith("/computes/small-cluster")
    assert ready.files() == before


def test_the_same_name_is_the_same_job_and_its_data_goes_up_once(ready: Checkout) -> None:
    assert ready.ngcrun("submit", JOB, "--name", "j1").returncode == 0
    uploads = [
        r for r in ready.azure.requests if r.method == "PUT" and r.path.endswith("a.txt") and "comp" not in r.query
    ]
    done = ready.ngcrun("submit", JOB, "--name", "j1", "text=other")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "job j1 is there already: nothing is sent"
    assert ready.ngcrun("submit", JOB, "--name", "j2").returncode == 0
    assert jobs(ready) == ["j1", "j2"]
    again = [
        r for r in ready.azure.requests if r.method == "PUT" and r.path.endswith("a.txt") and "comp" not in r.query
    ]
    assert len(uploads) == len(again) == 1


@pytest.mark.parametrize("kind", ["429", "500", "502", "reset", "reset-after", "401"])
def test_a_job_is_sent_once_whatever_the_service_does(ready: Checkout, kind: str) -> None:
    fault = ready.azure.faults.add(kind, "PUT", "/jobs/j1", times=1)
    done = ready.ngcrun("submit", JOB, "--name", "j1")
    assert done.returncode == 0, done.stderr
    assert fault.hits == 1
    assert jobs(ready) == ["j1"]


def test_an_outage_while_following_is_waited_out(ready: Checkout) -> None:
    fault = ready.azure.faults.add("503", "GET", "/runs/j1/details", times=6, skip=2)
    done = ready.ngcrun("submit", JOB, "--name", "j1", "--follow", timeout_s=200)
    assert fault.hits == 6
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("a | a: begins") == 1


def test_a_step_that_fails_says_why_and_the_exit_status_is_3(ready: Checkout) -> None:
    ready.azure.options.failing_step = "a"
    done = ready.ngcrun("submit", JOB, "--name", "j1", "--follow")
    assert done.returncode == 3
    assert "a: Failed: Execution failed. CUDA out of memory" in done.stdout
    assert done.stderr.splitlines() == ["j1: Failed; its logs: ngcrun azureml download j1"]


def test_outputs_and_logs_are_downloaded_whole(ready: Checkout) -> None:
    ready.ngcrun("submit", JOB, "--name", "j1", "--follow")
    done = ready.ngcrun("download", "j1")
    assert done.returncode == 0, done.stderr
    place = ready.root / "downloads" / "j1"
    assert (place / "named-outputs" / "out" / "data.txt").read_text() == "b wrote out\n"
    assert (place / "steps" / "a" / "artifacts" / "user_logs" / "std_log.txt").read_text() == "a: begins\na: done\n"
    assert list(place.parent.iterdir()) == [place]
    again = ready.ngcrun("download", "j1")
    assert again.returncode == 2
    assert again.stderr.splitlines() == ["--into='downloads/j1': already holds data; remove it or name another folder"]


def _hears_ctrl_c() -> None:
    """A shell without job control starts its background jobs deaf to it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("cancel", [False, True])
def test_ctrl_c_leaves_the_job_alone_unless_it_was_asked_to_cancel(ready: Checkout, cancel: bool) -> None:
    ready.azure.options.job_polls = 1000
    words = ["submit", JOB, "--name", "j1", "--follow", *(["--cancel-on-interrupt"] if cancel else [])]
    env = ready.azure.environment(PYTHONPATH=str(ROOT))
    process = subprocess.Popen([azure_python(), "-m", "runtime", "azureml", *words], cwd=ready.root, env=env, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                               preexec_fn=_hears_ctrl_c)  # fmt: skip  # noqa: PLW1509 - one assignment
    until = time.monotonic() + 60
    while "j1" not in ready.azure.state.jobs or not any("/runs/j1/details" in r.path for r in ready.azure.requests):
        assert time.monotonic() < until
        time.sleep(0.1)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert ready.azure.state.jobs["j1"]["status"] == ("Canceled" if cancel else "NotStarted")
    assert ("j1 was canceled" if cancel else "j1 goes on; look again: ngcrun azureml follow j1") in said


def test_a_missing_cluster_is_made_when_asked(ready: Checkout) -> None:
    assert ready.ngcrun("compute", "delete", "small-cluster").returncode == 0
    refused = ready.ngcrun("submit", JOB)
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        "compute='small-cluster': is not in the workspace; it has none; ngcrun azureml compute create NAME, or submit with --create-compute"
    ]
    assert ready.ngcrun("submit", JOB, "--create-compute").returncode == 0
    assert "small-cluster" in ready.azure.state.computes


def test_a_missing_environment_is_told_before_the_job_is_sent(checkout: Checkout) -> None:
    checkout.write(JOB, PIPELINE)
    checkout.write("data/a.txt", "1\n")
    checkout.write("component_specs/compute/small-cluster.yaml", CLUSTER)
    done = checkout.ngcrun("submit", JOB, "--create-compute")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "environment='azureml:small:1': is not in the workspace; publish it: ngcrun azureml publish --to workspace:ml-dev-ws"
    ]
    assert jobs(checkout) == []


def test_what_it_needs_is_shown_and_nothing_is_asked_of_azure(ready: Checkout) -> None:
    ready.edit(
        "component_specs/area/first.yaml",
        "environment:",
        "limits: {timeout: 3600}\nresources: {instance_count: 2}\nenvironment:",
    )
    ready.edit("component_specs/area/second.yaml", "environment:", "limits: {timeout: 1800}\nenvironment:")
    before = len(ready.azure.requests)
    done = ready.ngcrun("submit", JOB, "--dry-run", "prices.Standard_NC4as_T4_v3=0.5")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "two: 2 steps on small-cluster",
        "  a  small-cluster x 2 (Standard_NC4as_T4_v3, 2 GPU), at most 1.00 h, at most 1.00 USD",
        "  b  small-cluster x 1 (Standard_NC4as_T4_v3, 1 GPU), at most 0.50 h, at most 0.25 USD",
        "  at most 1.25 USD at your prices",
        "  nodes at the same time: 3",
    ]
    assert len(ready.azure.requests) == before


def test_a_retired_size_is_refused_with_what_replaces_it(ready: Checkout) -> None:
    ready.edit("component_specs/compute/small-cluster.yaml", "Standard_NC4as_T4_v3", "Standard_NC6s_v3")
    done = ready.ngcrun("compute", "create", "small-cluster")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "small-cluster.yaml: size='Standard_NC6s_v3': was retired by Azure (2025-09-30); use Standard_NC4as_T4_v3: "
        "or Standard_NC24ads_A100_v4; the V100 (compute capability 7.0) is below what Triton 26 needs, too"
    ]


def test_a_quota_is_told_in_the_service_s_words(ready: Checkout) -> None:
    ready.azure.options.quota_cores = 4
    done = ready.ngcrun("compute", "create", "small-cluster")
    assert done.returncode == 2
    assert "Requested 8 cores exceed the quota of 4" in done.stderr and len(done.stderr.splitlines()) == 1


BAD = [
    (("submit", JOB, "txet=x"), 2, "txet='x': is neither an input of the pipeline nor a setting; did you mean 'text'? known: data, text"),
    (("submit", "none.yaml"), 2, "file='none.yaml': does not exist; name a YAML file"),
    (("submit", JOB, "data=nowhere"), 2, "data='nowhere': does not exist; name an existing folder"),
    (("follow", "nope"), 2, "azure='job nope': does not exist ((UserError) Job nope was not found in workspace ml-dev-ws)"),
    (("cancel", "nope"), 2, "azure='job nope': does not exist"),
    (("download", "nope"), 2, "azure='job nope': does not exist"),
    (("compute", "create"), 2, "compute=None: create needs a name; say ngcrun azureml compute create NAME"),
    (("compute", "create", "smal-cluster"), 2, "compute='smal-cluster': has no file in component_specs/compute/; did you mean 'small-cluster'?"),
    (("compute", "show", "nope"), 2, "azure='compute nope': does not exist"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "status", "line"), BAD, ids=[" ".join(words) for words, _, _ in BAD])
def test_a_mistake_is_one_line(checkout: Checkout, words: tuple[str, ...], status: int, line: str) -> None:
    checkout.write(JOB, PIPELINE)
    checkout.write("data/a.txt", "1\n")
    checkout.write("component_specs/compute/small-cluster.yaml", CLUSTER)
    done = checkout.ngcrun(*words)
    assert done.returncode == status
    assert line in done.stderr.replace(str(checkout.root), "."), done.stderr
    assert len(done.stderr.splitlines()) == 1
