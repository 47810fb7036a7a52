"""All that can be run on this repository. `make demo` and `make test` call the sessions that a newcomer needs.

The sessions share one environment, `.venv`, so that nothing is installed twice: it is filled the first time that a
session asks for it and left alone until pyproject.toml or the pins change. Nothing is downloaded after that.
"""

from __future__ import annotations

import ctypes.util
import hashlib
import json
import logging
import os
import shutil
import sys
import venv
from pathlib import Path

import nox

ROOT = Path(__file__).parent
CACHE = ROOT / ".cache"
PINS = ROOT / ".ci" / f"pins-{sys.version_info.major}.{sys.version_info.minor}.txt"
TRITON = CACHE / f"triton-py{sys.version_info.major}.{sys.version_info.minor}"
# azure-ai-ml and azureml-mlflow want older libraries than the rest does: an environment of their own, for tests.
AZUREML = CACHE / f"azureml-py{sys.version_info.major}.{sys.version_info.minor}"

# They exclude each other's requirements; NeMo-Run 0.11.1 does not import with the newest leptonai.
PEERS = {
    "kfp": ["kfp==2.17.0"],
    "torchx": ["torchx==0.7.0"],
    "nemo": ["nemo-run==0.11.1", "leptonai==0.27.3"],
    "metaflow": ["metaflow==2.19.39"],
}

AZURITE = "azurite@3.37.0"

# It looks for uv whatever the backend, and says so to people who never asked for it.
logging.getLogger("nox").addFilter(lambda record: "uv binary not found" not in record.getMessage())

# Where it is set, every process compiles anew all that it imports: some seconds of each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

nox.options.sessions = ["lint", "types", "tests", "specs", "images", "docs", "e2e", "azureml"]
nox.options.default_venv_backend = "none"


def _bin(folder: Path, name: str = "python") -> str:
    return str(folder / "bin" / name)


def _environment(session: nox.Session, folder: Path, requirements: list[str]) -> None:
    """Install `requirements` into `folder` unless a stamp says that exactly these are there already."""
    stamp = folder / "installed.json"
    key = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + (PINS.read_bytes() if PINS.is_file() else b""))
    wanted = {"key": key.hexdigest(), "python": sys.version.split()[0], "requirements": sorted(requirements)}
    have = json.loads(stamp.read_text()) if stamp.is_file() else {}
    same = all(have.get(k) == wanted[k] for k in ("key", "python"))
    if same and set(wanted["requirements"]) <= set(have["requirements"]):
        return
    if not same:
        session.log(f"making {folder.relative_to(ROOT)} (once; about a minute)")
        venv.create(folder, with_pip=True, clear=True)
    # --no-compile: Python compiles what is imported, which is a small part of what is installed.
    pip = [_bin(folder), "-m", "pip", "install", "-qq", "--no-compile", "--disable-pip-version-check"]
    pip.append("--no-warn-script-location")
    constraint = ["-c", str(PINS)] if PINS.is_file() and folder == ROOT / ".venv" else []
    session.run(*pip, *constraint, *requirements, external=True)
    if same:
        wanted["requirements"] = sorted({*wanted["requirements"], *have["requirements"]})
    stamp.write_text(json.dumps(wanted))


def _work(session: nox.Session, *, dev: bool) -> None:
    extras = ["-e", ".[rapids-cpu,tao,triton,data,sweep]"]
    _environment(session, ROOT / ".venv", extras)
    if dev:
        _environment(session, ROOT / ".venv", ["-e", ".[rapids-cpu,tao,triton,data,dev]"])


def _triton(session: nox.Session) -> dict[str, str]:
    """The environment that holds a real tritonserver and runs its python models."""
    session.run(_bin(ROOT / ".venv"), "-m", "runtime.triton.serve_env", env={"NGCRUN_CACHE": str(CACHE)}, external=True)
    return {"NGCRUN_CACHE": str(CACHE)}


def _tao(session: nox.Session, *names: str) -> dict[str, str]:
    """TAO's schemas (2 MB), which the checks read, and the environments of `names` besides."""
    made = {"NGCRUN_CACHE": str(CACHE)}
    session.run(_bin(ROOT / ".venv"), "-m", "runtime.tao.env", "schema", *names, env=made, external=True)
    return made | {"NGCRUN_TAO_SCHEMA": os.environ.get("NGCRUN_TAO_SCHEMA", str(CACHE / "tao-schema"))}


def _azureml(session: nox.Session) -> dict[str, str]:
    """The environment that holds ngcrun[azureml]; tests start it as a user would, as a process."""
    _environment(session, AZUREML, ["-e", ".[azureml,triton,remote]"])
    return {"NGCRUN_AZURE_PYTHON": _bin(AZUREML)}


def _pytest(session: nox.Session, *arguments: str, env: dict[str, str] | None = None) -> None:
    session.run(_bin(ROOT / ".venv"), "-m", "pytest", *arguments, *session.posargs, env=env or {}, external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and format."""
    _work(session, dev=True)
    session.run(_bin(ROOT / ".venv", "ruff"), "check", ".", external=True)
    session.run(_bin(ROOT / ".venv", "ruff"), "format", "--check", ".", external=True)


@nox.session
def images(session: nox.Session) -> None:
    """The Dockerfiles: hadolint, and that they agree with containers/images.yaml."""
    _work(session, dev=True)
    files = sorted(str(p) for p in (ROOT / "containers").glob("*/Dockerfile"))
    session.run(_bin(ROOT / ".venv", "hadolint"), "--config", "containers/hadolint.yaml", *files, external=True)
    session.run(_bin(ROOT / ".venv", "ngcrun"), "images", "check", external=True)


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict, on the package."""
    _work(session, dev=True)
    session.run(_bin(ROOT / ".venv", "mypy"), external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """Unit and contract tests, on a real tritonserver and azure-ai-ml's own loader."""
    _work(session, dev=True)
    env = _triton(session) | _tao(session) | _azureml(session)
    _pytest(session, "tests/unit", "tests/contract", "-n", "2", env=env)


@nox.session
def specs(session: nox.Session) -> None:
    """The committed AzureML specs agree with the components, and nothing is wrong with any AzureML file here."""
    _work(session, dev=True)
    session.run(_bin(ROOT / ".venv", "ngcrun"), "specs", "--check", external=True)
    session.run(_bin(ROOT / ".venv", "ngcrun"), "check", "--strict", "component_specs", "containers", external=True)


@nox.session
def azureml(session: nox.Session) -> None:
    """`ngcrun azureml` with the real SDK, over TLS, against the stand-in for Azure in tests/fakes/azure."""
    _work(session, dev=True)
    _pytest(session, "tests/azureml", "-n", "3", env=_triton(session) | _azureml(session))


@nox.session(default=False)
def docker(session: nox.Session) -> None:
    """The Dockerfiles built by a real dockerd on stand-ins of their bases; root on Debian, it installs docker.io."""
    _work(session, dev=True)
    _pytest(session, "tests/docker", "-s")  # the sizes of our layers are on the screen


@nox.session(default=False)
def storage(session: nox.Session) -> None:
    """Tables in object storage: Microsoft's Azurite (npm installs it) and moto's S3, both on loopback."""
    here, moto, azurite = CACHE / "storage", CACHE / "moto", CACHE / "azurite"
    _environment(session, here, ["-e", ".[rapids-cpu,remote,s3,delta]", "pytest>=9,<10", "hypothesis>=6.155"])
    _environment(session, moto, ["moto[server]>=5.1"])  # it and s3fs want different releases of botocore
    program = azurite / "node_modules" / ".bin" / "azurite-blob"
    if not program.exists():
        session.run("npm", "install", "--silent", "--no-fund", "--prefix", str(azurite), AZURITE, external=True)
    found = {"NGCRUN_AZURITE": str(program), "NGCRUN_MOTO": _bin(moto, "moto_server")}
    session.run(_bin(here), "-m", "pytest", "tests/storage", *session.posargs, env=found, external=True)


@nox.session(default=False)
def umap(session: nox.Session) -> None:
    """rapids_reduce with method=umap on a CPU, by umap-learn (with numba, 250 MB), which no extra of ours names."""
    _environment(session, CACHE / "umap", ["-e", ".[rapids-cpu]", "umap-learn>=0.5.9", "pytest>=9,<10", "hypothesis"])
    tests = ["tests/unit/test_rapids_reduce.py", *session.posargs]
    session.run(_bin(CACHE / "umap"), "-m", "pytest", *tests, external=True)


@nox.session(default=False)
def azure(session: nox.Session) -> None:
    """The AzureML tests that can, on a real subscription: needs AZURE_SUBSCRIPTION_ID and the rest, and credentials."""
    names = ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZURE_ML_WORKSPACE")
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        session.error(f"set {', '.join(missing)}: this session asks Azure itself, and has never been run by its makers")
    _work(session, dev=True)
    _pytest(session, "tests/azureml/test_everywhere.py", env=_azureml(session) | {"NGCRUN_REAL_AZURE": "1"})


@nox.session
def e2e(session: nox.Session) -> None:
    """Whole pipelines on real parts, but for those of `heavy`."""
    _work(session, dev=True)
    # A file's tests stay on one worker, so that what they share is made once.
    how = ["-m", "not heavy", "-n", "2", "--dist", "loadscope", "--no-loadscope-reorder"]
    _pytest(session, "tests/e2e", *how, env=_triton(session) | _tao(session))


@nox.session(default=False)
def heavy(session: nox.Session) -> None:
    """The end-to-end tests that take a minute each: millions of rows, whole searches."""
    _work(session, dev=True)
    _pytest(session, "tests/e2e", "-m", "heavy", env=_triton(session) | _tao(session))


@nox.session
def docs(session: nox.Session) -> None:
    """The README's generated blocks are up to date and every command in the docs works."""
    _work(session, dev=True)
    _pytest(session, "tests/docs", "-n", "2", env=_triton(session) | _tao(session))


@nox.session(default=False)
def tao(session: nox.Session) -> None:
    """Tests on the real TAO: training on a CPU, the data services, the launcher (10 GB, the first time)."""
    _work(session, dev=True)
    env = _tao(session, "cpu", "ds", "launcher") | _triton(session) | {"NGCRUN_SCHEMA_KEYS": "60"}
    _pytest(session, "tests/tao", "tests/contract/test_tao_schema.py", env=env)


@nox.session(default=False)
def triton(session: nox.Session) -> None:
    """Every broken repository of the corpus, shown to a real tritonserver: docs/triton-faults.md (3 minutes)."""
    _work(session, dev=True)
    _pytest(session, "tests/triton", env=_triton(session))


@nox.session(default=False)
def torch(session: nox.Session) -> None:
    """PyTorch models through a real torch; where PyPI is the only index, its CUDA build comes, several GB."""
    _work(session, dev=True)
    folder = CACHE / "torch"
    _environment(session, folder, ["-e", ".[torch]", "hypothesis>=6.155", "pytest>=9,<10"])
    words = [_bin(folder), "-m", "pytest", "tests/torch", *session.posargs]
    session.run(*words, env=_triton(session), external=True)


@nox.session(default=False)
def gpu(session: nox.Session) -> None:
    """Tests that need an NVIDIA GPU; here a missing GPU is a failure, not a skip."""
    _work(session, dev=True)
    folder = ROOT / ".venv"
    if ctypes.util.find_library("cuda"):  # 6.8 GB, and only one of xgboost's builds can be in an environment
        folder = CACHE / "gpu"
        _environment(session, folder, ["-e", ".[rapids-gpu,tao,triton,dev]"])
    words = [_bin(folder), "-m", "pytest", "tests/gpu", "-m", "gpu", *session.posargs]
    session.run(*words, env={"NGCRUN_REQUIRE_GPU": "1"}, external=True)


@nox.session(default=False)
def demo(session: nox.Session) -> None:
    """Raw taxi trips to a verified Triton model: `make demo`."""
    _work(session, dev=False)
    env = _triton(session)
    ngcrun = _bin(ROOT / ".venv", "ngcrun")
    pipeline = "component_specs/pipelines/taxi_fare.yaml"
    session.run(ngcrun, "pipeline", pipeline, *session.posargs, env=env, external=True)
    sys.stdout.flush()
    print(_headline(max((ROOT / "runs").glob("taxi_fare-*"), key=lambda run: run.stat().st_mtime)))
    print(
        "\nLook at it:\n"
        "  .venv/bin/ngcrun list                      the components\n"
        "  .venv/bin/ngcrun show rapids_train         one of them\n"
        "  .cache/nox/bin/nox -s ui                   the metrics, in MLflow's own pages on 127.0.0.1:5000\n"
        "  .venv/bin/ngcrun doctor                    what this machine can run, and why not",
        flush=True,
    )


def _headline(run: Path) -> str:
    """What came out, from the files that the steps wrote."""
    score = json.loads((run / "outputs" / "score" / "score.json").read_text())
    report = json.loads((run / "outputs" / "verification" / "report.json").read_text())
    worst = max(answer["max_abs"] for answer in report["answers"])
    fastest = max(figures["rows_per_s"] for figures in report["figures"])
    rows = sum(answer["rows"] for answer in report["answers"])
    return (
        f"\nfare of {score['rows']:,} held-out trips: rmse {score['rmse']:.2f} {score['unit']}, r2 {score['r2']:.3f}\n"
        f"tritonserver answered {rows} real rows over HTTP and gRPC within {worst:.1g} {score['unit']} of the model; "
        f"up to {fastest:,.0f} rows a second"
    )


@nox.session(name="demo-tao", default=False)
def demo_tao(session: nox.Session) -> None:
    """Real TAO on this machine's CPU, from images to a verified Triton model: `make demo-tao`."""
    _work(session, dev=False)
    env = _triton(session) | _tao(session, "cpu")
    pipeline = "component_specs/pipelines/tao_digits.yaml"
    session.run(_bin(ROOT / ".venv", "ngcrun"), "pipeline", pipeline, *session.posargs, env=env, external=True)
    sys.stdout.flush()
    if "--dry-run" in session.posargs:
        return
    run = max((ROOT / "runs").glob("tao_digits-*"), key=lambda run: run.stat().st_mtime)
    print(_tao_headline(run / "outputs"))
    print(
        "\nLook at it:\n"
        f"  {run.relative_to(ROOT)}/report.html   curves, predictions, figures\n"
        "  .cache/nox/bin/nox -s ui                    the metrics, in MLflow's own pages on 127.0.0.1:5000\n"
        "  .venv/bin/ngcrun tao networks               what else there is to train",
        flush=True,
    )


def _tao_headline(outputs: Path) -> str:
    """What came out, from the files that the steps wrote."""
    accuracy = {}
    for name in ("trained", "distilled"):
        figures = json.loads((outputs / name / "model.json").read_text())["metrics"]
        accuracy[name] = 100 * figures["val_acc_1"]
    report = json.loads((outputs / "verification" / "report.json").read_text())
    worst = max(answer["max_abs"] for answer in report["answers"])
    return (
        f"\nhandwritten digits: {accuracy['trained']:.1f} percent of 200 right (ResNet-34), "
        f"{accuracy['distilled']:.1f} percent distilled into a ResNet-18\n"
        f"tritonserver answered {'exactly as' if worst == 0 else f'within {worst:.1g} of'} the exported model"
    )


@nox.session(default=False)
def browser(session: nox.Session) -> None:
    """The report page in Chromium; root on Debian installs Chromium and its driver."""
    _work(session, dev=True)
    if shutil.which("chromedriver") is None:
        session.run("apt-get", "-qq", "update", external=True)
        session.run(
            "apt-get", "-qq", "install", "-y", "--no-install-recommends", "chromium", "chromium-driver", external=True
        )
    _pytest(session, "tests/browser")


@nox.session(default=False)
def ui(session: nox.Session) -> None:
    """MLflow's pages over the local store; full mlflow in an environment of its own."""
    _environment(session, CACHE / "mlflow-ui", ["mlflow==3.15.0"])
    store = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{ROOT / 'runs' / 'mlflow.db'}")
    command = [_bin(CACHE / "mlflow-ui", "mlflow"), "ui", "--backend-store-uri", store, "--host", "127.0.0.1"]
    session.run(*command, *session.posargs, external=True)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """The tables of bench/README.md, measured again; each peer in an environment of its own."""
    _work(session, dev=True)
    python, peers = _bin(ROOT / ".venv"), []
    for name, requirements in PEERS.items():
        _environment(session, CACHE / f"peer-{name}", requirements)
        peers += ["--peer", f"{name}={_bin(CACHE / f'peer-{name}')}"]
    session.run(python, "bench/steps.py", *peers, *session.posargs, external=True)
    session.run(python, "bench/parallel.py", *peers, external=True)
    session.run(python, "bench/metrics.py", external=True)
    if os.geteuid() == 0:
        session.run(python, "bench/docker.py", external=True)
    session.run(python, "bench/data.py", external=True)
    session.run(python, "bench/etl.py", external=True)
    session.run(python, "bench/hpo.py", external=True)
    load = CACHE / "perf-analyzer"
    if os.geteuid() == 0 and not (load / "bin").is_dir():
        session.run(python, "bench/perf_analyzer.py", str(load), external=True)
    path = f"{load / 'bin'}{os.pathsep}{os.environ['PATH']}"
    session.run(python, "bench/triton.py", env=_triton(session) | {"PATH": path}, external=True)
    session.run(python, "bench/azureml.py", env=_azureml(session), external=True)
    session.run(python, "bench/check.py", env=_azureml(session), external=True)
    session.run(python, "bench/tao.py", env=_tao(session), external=True)
    session.run(python, "bench/triton_infer.py", env=_triton(session) | {"PYTHONPATH": str(ROOT)}, external=True)


@nox.session(default=False)
def pins(session: nox.Session) -> None:
    """Resolve everything anew and write .ci/pins-3.x.txt for this Python."""
    session.run("rm", "-f", str(PINS), external=True)
    _work(session, dev=True)
    frozen = session.run(_bin(ROOT / ".venv"), "-m", "pip", "freeze", "--exclude-editable", external=True, silent=True)
    PINS.write_text(f"# What `nox -s pins` resolved; .venv is installed within it.\n{frozen}")
