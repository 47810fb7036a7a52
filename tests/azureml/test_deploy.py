"""`ngcrun azureml deploy|endpoint`: blue and green, golden requests to a real tritonserver, and the way back."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.azureml.support import SCHEMAS, Checkout
from tests.fakes import triton_models
from tests.fakes.azure.wire import Request, Response
from tests.fakes.triton_server import packaged, server

FILE = "component_specs/endpoints/fare/deployment.yaml"
DEPLOYMENT = f"""\
    $schema: {SCHEMAS}/managedOnlineDeployment.schema.json
    name: blue
    endpoint_name: fare-ep
    model: azureml:fare:1
    instance_type: Standard_NC4as_T4_v3
    instance_count: 1
"""


def forward(address: str) -> Callable[[Request], Response]:
    """A deployment that answers as the tritonserver at `address` does."""

    def answer(request: Request) -> Response:
        kept = {
            k: v
            for k, v in request.headers.items()
            if k in ("content-type", "inference-header-content-length", "content-encoding")
        }
        asked = urllib.request.Request(
            f"http://{address}{request.path}", request.body or None, kept, method=request.method
        )
        try:
            with urllib.request.urlopen(asked) as got:  # noqa: S310 - loopback
                names = ("Content-Type", "Inference-Header-Content-Length")
                return Response(got.status, got.read(), {n: got.headers[n] for n in names if got.headers[n]})
        except urllib.error.HTTPError as error:
            return Response(error.code, error.read())

    return answer


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, str, str]]:
    """(repository, golden rows, a server with the model, a server with another model of the same name)."""
    good, other = tmp_path_factory.mktemp("good"), tmp_path_factory.mktemp("other")
    words = ("model_name=fare", "max_batch_size=64")
    repository, golden = packaged(good, triton_models.model_folder(good / "m", "xgboost"), *words)
    wrong, _ = packaged(other, triton_models.model_folder(other / "m", "linear"), *words)
    with server(repository, "fare") as right, server(wrong, "fare") as left:
        yield repository, golden, right.http, left.http


@pytest.fixture
def ready(checkout: Checkout) -> Checkout:
    checkout.write(FILE, DEPLOYMENT)
    scope = "workspaces/ml-dev-ws"
    from tests.fakes.azure.state import Asset

    checkout.azure.state.assets[(scope, "models", "fare", "1")] = Asset(
        {"modelType": "triton_model", "modelUri": "azureml://x"}
    )
    return checkout


def traffic(checkout: Checkout) -> dict[str, int]:
    return dict(checkout.azure.state.endpoints["fare-ep"]["traffic"])


def deployments(checkout: Checkout) -> list[str]:
    return sorted(name for _, name in checkout.azure.state.deployments)


def test_a_first_deploy_makes_the_endpoint_and_a_second_takes_the_other_colour(ready: Checkout) -> None:
    before = ready.files()
    done = ready.ngcrun("deploy", FILE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "make endpoint fare-ep: deployment blue, 1 x Standard_NC4as_T4_v3",
        "  model    azureml:fare:1",
        "  traffic  none -> blue=100",
        "endpoint fare-ep is there",
        "deployment blue is ready",
        "traffic: none -> blue=100",
        "endpoint fare-ep: blue=100",
    ]
    again = ready.ngcrun("deploy", FILE, "--traffic", "10")
    assert again.returncode == 0, again.stderr
    assert traffic(ready) == {"blue": 90, "green": 10}
    assert deployments(ready) == ["blue", "green"]
    assert ready.files() == before


def test_golden_requests_are_asked_of_the_new_deployment_before_it_gets_traffic(
    ready: Checkout, served: tuple[Path, Path, str, str]
) -> None:
    repository, golden, right, wrong = served
    ready.azure.options.answers |= {"blue": forward(right), "green": forward(wrong)}
    words = ("--repository", str(repository), "--golden", str(golden))
    done = ready.ngcrun("deploy", FILE, *words)
    assert done.returncode == 0, done.stderr
    assert "deployment blue answers the golden requests as the model does" in done.stdout
    bad = ready.ngcrun("deploy", FILE, *words)
    assert bad.returncode == 3
    assert len([line for line in bad.stderr.splitlines() if not line.startswith("  | ")]) == 1
    assert bad.stderr.startswith(
        "endpoint fare-ep: deployment green failed, it was removed, the traffic is as before (blue=100): the golden requests failed: "
    )
    assert "answers differ from the model's" in bad.stderr
    assert traffic(ready) == {"blue": 100}
    assert deployments(ready) == ["blue"]


def test_a_model_that_breaks_under_the_traffic_gives_it_back(
    ready: Checkout, served: tuple[Path, Path, str, str]
) -> None:
    repository, golden, right, wrong = served
    state: dict[str, Any] = {}

    def turns_bad(request: Request) -> Response:
        shares = ready.azure.state.endpoints["fare-ep"]["traffic"]
        return forward(wrong if shares.get("green") else right)(request)

    ready.azure.options.answers |= {"blue": forward(right), "green": turns_bad, **state}
    words = ("--repository", str(repository), "--golden", str(golden))
    assert ready.ngcrun("deploy", FILE, *words).returncode == 0
    done = ready.ngcrun("deploy", FILE, *words)
    assert done.returncode == 3
    assert "the golden requests failed with the traffic on it" in done.stderr
    assert traffic(ready) == {"blue": 100}
    assert deployments(ready) == ["blue"]


def test_a_deployment_that_never_gets_ready_is_removed_and_its_log_shown(ready: Checkout) -> None:
    assert ready.ngcrun("deploy", FILE).returncode == 0
    ready.azure.options.fail_late["green"] = "User container has crashed or terminated: model fare failed to load"
    done = ready.ngcrun("deploy", FILE)
    assert done.returncode == 3
    assert "deployment green failed, it was removed, the traffic is as before (blue=100)" in done.stderr
    assert "model fare failed to load" in done.stderr
    assert "  | green: tritonserver says that it is ready" in done.stderr
    assert traffic(ready) == {"blue": 100} and deployments(ready) == ["blue"]


def test_the_output_of_a_job_is_registered_without_a_download(ready: Checkout) -> None:
    ready.azure.state.jobs["job1"] = {"sent": {}, "status": "Completed", "asked": 0, "parent": None}
    done = ready.ngcrun("deploy", FILE, "--model", "job:job1/repository@fare")
    assert done.returncode == 0, done.stderr
    model = ready.azure.state.assets[("workspaces/ml-dev-ws", "models", "fare", "job1")].properties
    assert model["modelUri"] == "azureml://jobs/job1/outputs/repository"
    assert model["modelType"] == "triton_model"
    assert not [r for r in ready.azure.requests if r.host.endswith("blob.core.windows.net")]


def test_a_folder_is_uploaded_once_under_its_content(ready: Checkout) -> None:
    ready.write("repo/fare/config.pbtxt", "name: 'fare'\n")
    ready.write("repo/fare/1/model.onnx", "x\n")
    for _ in range(2):
        assert ready.ngcrun("deploy", FILE, "--model", "repo").returncode == 0
    made = [k for k in ready.azure.state.created if k[1] == "models"]
    assert len(made) == 1 and made[0][2] == "repo"


def test_traffic_rollback_logs_and_delete(ready: Checkout) -> None:
    for _ in range(2):
        assert ready.ngcrun("deploy", FILE).returncode == 0
    assert traffic(ready) == {"green": 100}
    assert ready.ngcrun("endpoint", "rollback", "fare-ep").stdout.splitlines() == ["fare-ep: blue=100"]
    assert traffic(ready) == {"blue": 100}
    assert ready.ngcrun("endpoint", "traffic", "fare-ep", "blue=70", "green=30").returncode == 0
    assert traffic(ready) == {"blue": 70, "green": 30}
    assert "tritonserver says that it is ready" in ready.ngcrun("endpoint", "logs", "fare-ep", "green").stdout
    assert ready.ngcrun("endpoint", "show", "fare-ep").stdout.splitlines()[0] == "fare-ep: blue=70 green=30"
    refused = ready.ngcrun("endpoint", "delete", "fare-ep", "green")
    assert refused.returncode == 2 and "has traffic" in refused.stderr
    assert ready.ngcrun("endpoint", "delete", "fare-ep").returncode == 0
    assert ready.azure.state.endpoints == {} and ready.azure.state.deployments == {}


def test_autoscale_is_set_for_the_new_deployment(ready: Checkout) -> None:
    ready.write(
        "component_specs/endpoints/fare/autoscale.yaml",
        "maximum: 4\nmetric: GpuUtilizationPercentage\nabove: 70\nbelow: 30\n",
    )
    done = ready.ngcrun("deploy", FILE)
    assert done.returncode == 0, done.stderr
    assert "autoscale: 1 to 4 instances by GpuUtilizationPercentage" in done.stdout
    setting = ready.azure.state.autoscale["fare-ep-blue"]
    assert setting["targetResourceUri"].endswith("/onlineEndpoints/fare-ep/deployments/blue")
    assert setting["profiles"][0]["capacity"] == {"minimum": "1", "maximum": "4", "default": "1"}
    triggers = [
        (r["scaleAction"]["direction"], r["metricTrigger"]["operator"], r["metricTrigger"]["threshold"])
        for r in setting["profiles"][0]["rules"]
    ]
    assert triggers == [("Increase", "GreaterThan", 70), ("Decrease", "LessThan", 30)]


def test_an_autoscale_that_cannot_work_is_refused_with_every_reason(ready: Checkout) -> None:
    ready.write("component_specs/endpoints/fare/autoscale.yaml", "maximum: 0\nmetrik: x\nabove: 30\nbelow: 70\n")
    done = ready.ngcrun("deploy", FILE)
    assert done.returncode == 2
    assert [line.partition(": ")[2] for line in done.stderr.splitlines()] == [
        "metrik='x': is not a field; did you mean 'metric'? known: above, below, cooldown_minutes, maximum, metric, minimum, window_minutes",
        "maximum=0: is below minimum (1); give more",
        "below=70: is not below `above` (30); leave room between them, or it goes up and down for ever",
    ]
    assert ready.azure.requests == []


BAD = [
    (("deploy", "none.yaml"), "file='none.yaml': does not exist; name a YAML file"),
    (("deploy", FILE, "--traffic", "120"), "--traffic=120: is no percentage; give 0 to 100"),
    (("deploy", FILE, "--golden", "g"), "--golden='g': needs --repository beside it; give both outputs of triton_package"),
    (("deploy", FILE, "--model", "azureml:fare"), "--model='azureml:fare': is no model; write azureml:NAME:VERSION, job:JOB/OUTPUT[@NAME], or a folder"),
    (("deploy", FILE, "--model", "azureml:nope:1"), "Could not find asset with ID"),
    (("endpoint", "show", "nope"), "azure='endpoint nope': does not exist ((ResourceNotFound) Endpoint nope was not found in workspace ml-dev-ws)"),
    (("endpoint", "show"), "endpoint=None: show needs a name; say ngcrun azureml endpoint show NAME"),
    (("endpoint", "traffic", "fare-ep", "blue=50"), "traffic='blue=50': sums up to 50; give shares of 100 in all"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "line"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_a_mistake_is_one_line(ready: Checkout, words: tuple[str, ...], line: str) -> None:
    done = ready.ngcrun(*words)
    assert done.returncode in (2, 3)
    lines = [text for text in done.stderr.splitlines() if not text.startswith("  | ")]
    assert len(lines) == 1, done.stderr
    assert line in lines[0]


def test_a_retired_size_is_refused_before_azure_is_asked(ready: Checkout) -> None:
    ready.edit(FILE, "Standard_NC4as_T4_v3", "Standard_NC6s_v3")
    done = ready.ngcrun("deploy", FILE)
    assert done.returncode == 2
    assert "deployment.yaml: instance_type='Standard_NC6s_v3': was retired by Azure" in done.stderr
    assert ready.azure.requests == []


def test_an_engine_for_another_gpu_is_refused_before_anything_is_made(ready: Checkout, tmp_path: Path) -> None:
    version = tmp_path / "engines" / "fare" / "1"
    version.mkdir(parents=True)
    (version / "model.plan").write_bytes(b"stands for an engine: only its provenance is read")
    (version / "provenance.json").write_text('{"engine": {"compute_capability": "8.0", "tensorrt": "10.3.0"}}')
    done = ready.ngcrun("deploy", FILE, "--model", str(tmp_path / "engines"))
    assert done.returncode == 2
    assert "is a TensorRT engine for compute capability 8.0 with TensorRT 10.3.0" in done.stderr
    assert "and the GPU has compute capability 7.5; build it there (tao_gen_trt_engine" in done.stderr
    assert "fare-ep" not in ready.azure.state.endpoints
