"""Everything that can be known before TAO starts: the final spec and all that is wrong with it, at once.

`ngcrun tao check` and every action call `examine`; it reads, and changes nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import BadInput, Problem
from runtime.tao import (
    check_engine,
    check_prune,
    check_yaml,
    checkpoint,
    finding,
    machine,
    schema,
    spec_paths,
    spec_text,
)
from runtime.tao.finding import Finding
from runtime.tao.network import CHOICES, Action, Network, fill, placeholders
from runtime.tao.spec_text import Given


@dataclass(frozen=True)
class Asked:
    """What a user asks TAO to do.

    `results` is where TAO will write; `spec` None takes the network's template; `images` is a folder below the dataset.
    """

    network: Network
    action: Action
    spec: Path | None = None
    overrides: Sequence[tuple[str, Any]] = ()
    dataset: Path | None = None
    records: Path | None = None
    checkpoint: Path | None = None
    pretrained: Path | None = None
    images: str | None = None
    calibration: Path | None = None
    data_type: str | None = None
    results: Path | None = None
    device: str = "gpu"
    trusted: bool = False
    has_key: bool = False


@dataclass
class Answer:
    """The final spec, what it holds with TAO's defaults behind it, and what was found."""

    text: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def examine(asked: Asked, environ: Mapping[str, str] = os.environ, *, needs: bool = True) -> Answer:
    """Build the final spec and check it, the dataset, the checkpoint and the machine.

    Args:
        asked: what to run.
        environ: where NVIDIA's schemas are looked for.
        needs: whether what the action cannot do without has to be given (a spec alone may be checked without data).
    """
    answer = Answer()
    if needs:
        answer.findings += _needs(asked)
    answer.given = _given(asked, answer)
    try:
        text = spec_text.read_user_spec(asked.spec) if asked.spec else spec_text.template(asked.network, asked.action)
        paths = answer.given if needs else {p: f"/{p}" for p in placeholders(text)} | answer.given
        given = Given(paths, asked.overrides, asked.has_key)
        answer.text = spec_text.build(asked.network, asked.action, text, given)
        answer.findings += _misread(asked, answer) if asked.action.argv else ()
        if asked.network.dialect == "yaml":
            _examine_yaml(asked, answer, environ, unbound=set(paths) - set(answer.given))
        else:
            _examine_prototext(asked, answer, environ, unbound=set(paths) - set(answer.given))
    except BadInput as error:
        told = {f.problem.port for f in answer.findings}
        answer.findings += [Finding(p) for p in error.problems if p.value is not None or p.port not in told]
    return answer


def _needs(asked: Asked) -> Iterator[Finding]:
    for name in asked.action.needs:
        if name == "pretrained" and asked.action.name == "retrain":
            continue  # its port is the checkpoint
        if getattr(asked, name, None) is None and not (name == "dataset" and asked.spec is not None):
            what = f"{asked.network.name} {asked.action.name} needs it"
            yield finding.error(name, None, what, f"give {name}=PATH")


def _given(asked: Asked, answer: Answer) -> dict[str, str]:
    """The placeholders' values; a checkpoint's folder becomes its file, looked at first."""
    given = {}
    for name in ("dataset", "records", "results"):
        value = getattr(asked, name)
        if value is not None:
            given[name] = str(value.absolute())
    if "dataset" in given:
        given.setdefault("records", given["dataset"])
    for name in ("checkpoint", "pretrained"):
        value = getattr(asked, name)
        if value is None:
            continue
        try:
            file = checkpoint.find(name, value, asked.network)
        except BadInput as error:
            answer.findings += [Finding(problem) for problem in error.problems]
            given[name] = str(value.absolute())  # so that what needs it is not told as missing, too
            continue
        problems = checkpoint.check(name, file, asked.network, trusted=asked.trusted, has_key=asked.has_key)
        answer.findings += [Finding(problem) for problem in problems]
        given[name] = str(file.absolute())
    if "checkpoint" in given:
        given["checkpoint_folder"] = str(Path(given["checkpoint"]).parent)
    if asked.action.name == "retrain" and "checkpoint" in given:
        given.setdefault("pretrained", given["checkpoint"])  # TF1 and some others start a retraining from weights
    return given | _choices(asked, given, answer)


def _choices(asked: Asked, given: Mapping[str, str], answer: Answer) -> dict[str, str]:
    """What an action may be told besides, as it was asked for or by default; an error where it has no use for it."""
    used = placeholders(" ".join(asked.action.argv))
    found: dict[str, str] = {}
    for name in CHOICES:
        value = getattr(asked, name)
        if value is None:
            text = fill(asked.action.defaults.get(name, ""), given)
            found |= {name: text} if text and "${" not in text else {}
        elif name not in used:
            wrong = f"{asked.network.name} {asked.action.name} does not take it"
            todo = "leave it out; what its spec holds is set with spec_overrides"
            answer.findings.append(finding.error(name, value, wrong, todo))
        else:
            found[name] = str(value)
    if "images" in found:
        found["images"] = _images(asked, found["images"], answer)
    if asked.calibration is not None and "calibration" in found:
        found["calibration"] = _calibration(asked.network, asked.calibration, answer)
    return found


def _images(asked: Asked, value: str, answer: Answer) -> str:
    """The folder of images to predict on: one that TAO would find missing, or empty, after minutes."""
    folder = (asked.dataset or Path()).absolute() / value
    if not folder.is_dir() or not any(folder.iterdir()):
        wrong = "is no folder with images" if asked.images is None else f"is no folder with images in {asked.dataset}"
        answer.findings.append(finding.error("images", value, wrong, "name one below the dataset: images=FOLDER"))
    return str(folder)


def _calibration(network: Network, given: Path, answer: Answer) -> str:
    """The file in the folder that tao_calibration_tensorfile wrote, or the file itself."""
    globs = network.actions["calibration_tensorfile"].writes
    files = [given] if given.is_file() else [path for glob in globs for path in sorted(given.glob(glob))]
    if not files:
        todo = "name what tao_calibration_tensorfile wrote"
        answer.findings.append(finding.error("calibration", given, f"holds no {', '.join(globs)}", todo))
    return str((files or [given])[0].absolute())


def _misread(asked: Asked, answer: Answer) -> Iterator[Finding]:
    """TF1's entrypoint runs a line of bash without quotes. Source: tao_tensorflow1_backend, cv/common/entrypoint."""
    told: set[str] = set()  # what follows from another path is told with it
    for name, value in answer.given.items():
        if re.search(r"[^\w./,:=+@%-]", value) and not any(value.startswith(other) for other in told):
            told.add(value)
            todo = "name a path of letters, digits and ._-"
            yield finding.error(name, value, "holds a character that TF1's bash would misread", todo)


def _examine_yaml(asked: Asked, answer: Answer, environ: Mapping[str, str], unbound: set[str]) -> None:
    folders = (Path.cwd(), *([asked.spec.absolute().parent] if asked.spec else []))
    answer.text = _absolute(asked.network, answer.text, check_yaml.read(answer.text).values, folders)
    spec = check_yaml.read(answer.text)
    section = asked.action.runs or asked.action.name
    if asked.network.schema:
        tree = schema.read(asked.network.schema, environ)
        answer.findings += check_yaml.check(tree, spec, section)
        answer.values = check_yaml.merge(schema.defaults(tree), spec.values)
    else:
        answer.values = spec.values
    looked_at = spec_paths.without(answer.values, asked.network.inner_paths)
    answer.findings += _real(spec_paths.check(looked_at, section, folders, spec.where), answer, unbound)
    answer.findings += _rules(answer.values, section)
    answer.findings += _teacher(asked, answer.values)
    if section == "prune":
        answer.findings += check_prune.check(asked.network.schema, answer.values)
    if not unbound & {"dataset"} and not any(not f.warning for f in answer.findings):
        answer.findings += _dataset(asked, section, answer.values)
    answer.findings += machine.check(answer.values, section, asked.device, asked.results)


def _real(found: list[Finding], answer: Answer, unbound: set[str]) -> list[Finding]:
    """The findings without those about a path that stands for something that is not given, or for the results."""
    made_up = (*(f"/{name}" for name in unbound), answer.given.get("results", "/results"))
    return [one for one in found if not str(one.problem.value).startswith(made_up)]


def _absolute(network: Network, text: str, values: Mapping[str, Any], folders: tuple[Path, ...]) -> str:
    """The spec with absolute paths: TAO runs in another folder than the user."""
    for key, place in spec_paths.relative(spec_paths.without(values, network.inner_paths), folders).items():
        text = spec_text.put(network, text, key, place)
    return text


def _examine_prototext(asked: Asked, answer: Answer, environ: Mapping[str, str], unbound: set[str]) -> None:
    from runtime.tao import check_prototext, prototext

    prototext.to_dict(answer.text)  # what cannot be read at all is told once
    tree = None
    if asked.network.schema and asked.action.message:
        folder = schema.package_folder(environ, "nvidia_tao_deploy")
        tree = check_prototext.descriptor(asked.network.schema, folder, asked.action.message)
        answer.findings += check_prototext.check(tree, answer.text)
    folders = (Path.cwd(), *([asked.spec.absolute().parent] if asked.spec else []))
    answer.text = _absolute(asked.network, answer.text, prototext.to_dict(answer.text, tree), folders)
    answer.values = prototext.to_dict(answer.text, tree)
    answer.findings += _real(spec_paths.check(answer.values, asked.action.name, folders, ".".join), answer, unbound)
    if asked.action.name == "gen_trt_engine":
        answer.findings += check_engine.check(answer.values, answer.given)
    if "dataset" not in unbound:
        answer.findings += _dataset(asked, asked.action.name, answer.values)
    answer.findings += machine.check(answer.values, asked.action.name, asked.device, asked.results)


def _dataset(asked: Asked, section: str, values: Mapping[str, Any]) -> list[Finding]:
    from runtime.tao import datasets

    try:
        return datasets.check(asked.network, section, values)
    except ModuleNotFoundError as error:
        wrong = f"was not looked into ({error.name} is not installed)"
        return [finding.warning("dataset", asked.dataset, wrong, "pip install 'ngcrun[tao]'")]


def _rules(values: Mapping[str, Any], section: str) -> Iterator[Finding]:
    """What TAO asserts after it has loaded everything. Source: nvidia-tao-pytorch 7.3.0, initialize_experiments.py."""
    if section not in ("train", "distill"):
        return
    train = values.get("train") or {}
    epochs = train.get("num_epochs")
    if not isinstance(epochs, int):
        return
    for name in ("checkpoint_interval", "validation_interval"):
        interval = train.get(name)
        counted_in_steps = name == "checkpoint_interval" and train.get("checkpoint_interval_unit") == "step"
        if isinstance(interval, int) and interval > epochs and not counted_in_steps:
            wrong = f"exceeds train.num_epochs ({epochs}), which TAO refuses"
            yield finding.error(f"train.{name}", interval, wrong, f"give {epochs} or less")
    gpus, ids = train.get("num_gpus"), train.get("gpu_ids")
    if isinstance(gpus, int) and isinstance(ids, list) and gpus != len(ids):
        wrong = f"differs from the {len(ids)} of train.gpu_ids; TAO takes the larger number"
        yield finding.warning("train.num_gpus", gpus, wrong, "make them agree")


def _teacher(asked: Asked, values: Mapping[str, Any]) -> Iterator[Finding]:
    """A teacher that is not the model of the checkpoint: TAO loads what fits, says nothing, and teaches at random.

    Source: nvidia-tao-pytorch 7.3.0, cv/classification_pyt/distillation/distiller.py (loaded as a backbone).
    """
    folder = asked.checkpoint if asked.checkpoint and asked.checkpoint.is_dir() else None
    specs = [folder / "spec.yaml"] if folder and asked.action.name == "distill" else []
    for spec in (s for s in specs if s.is_file()):
        trained = check_yaml.lookup(check_yaml.read(spec_text.read_user_spec(spec)).values, ("model", "backbone"))
        teacher = check_yaml.lookup(values, ("distill", "teacher", "backbone"))
        was, now = (b.get("type") if isinstance(b, Mapping) else b for b in (trained, teacher))
        if was and now and was != now:
            key = "distill.teacher.backbone" + (".type" if isinstance(teacher, Mapping) else "")
            yield finding.error(key, now, f"is not what the checkpoint was trained as ({was})", f"set {key}={was}")


def problems_of(answer: Answer) -> list[Problem]:
    """The errors of an answer, without the warnings."""
    return [f.problem for f in answer.findings if not f.warning]
