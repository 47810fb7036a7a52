"""Documents of a wrong shape: one line that says where, whatever is in the place of what."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.errors import BadInput
from runtime.local import graph
from runtime.local.plan import plan
from tests.fakes.pipelines import COMPONENT, write_component, write_pipeline


def told(path: Path) -> list[str]:
    with pytest.raises(BadInput) as caught:
        graph.read(path)
    return caught.value.lines()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_component(tmp_path)
    return tmp_path


TORCH = {"type": "pytorch", "process_count_per_instance": 2}
JOBS: list[tuple[str, dict[str, Any], str]] = [
    ("misspelled field", {"a": {"imputs": {"text": "x"}}},
     "pipe.yaml:7: jobs.a.imputs={'text': 'x'}: is not a field of a step; did you mean 'inputs'?"),
    ("a distribution of another kind", {"a": {"distribution": {"type": "ray"}}},
     "pipe.yaml:7: jobs.a.distribution={'type': 'ray'}: is no distribution that runs here; "
     "use pytorch or mpi, or AzureML"),
    ("several machines", {"a": {"resources": {"instance_count": 4}}},
     "pipe.yaml:8: jobs.a.resources.instance_count=4: machines are asked for, and here is one; "
     "write 1, or say `distribution: {type: pytorch}`"),
    ("a command without an environment", {"a": {"component": None, "command": "echo"}},
     "pipe.yaml:4: jobs.a.environment=None: is missing; add `environment:`"),
    ("a component in the pipeline", {"a": {"component": {"command": "echo"}}},
     "pipe.yaml:6: jobs.a.component.environment=None: is missing; add `environment:`"),
    ("a limit that is no number", {"a": {"limits": {"timeout": "soon"}}},
     "pipe.yaml:8: jobs.a.limits.timeout='soon': is not a number of seconds; write such as 3600"),
    ("code beside a component", {"a": {"code": "./src"}},
     "pipe.yaml:7: jobs.a.code='./src': stands beside `component`, which has its own; remove one of the two"),
    ("a binding inside a text", {"a": {"inputs": {"text": "x ${{parent.inputs.y}}"}}},
     "pipe.yaml:8: jobs.a.inputs.text='x ${{parent.inputs.y}}': mixes a binding with other text; "
     "bind one whole ${{...}}, and put it together in the command"),
    ("a list", {"a": {"inputs": {"text": ["x"]}}},
     "pipe.yaml:8: jobs.a.inputs.text=['x']: is a list; give one value"),
    ("a name that leaves the run folder", {"../a": {}},
     "pipe.yaml:4: jobs='../a': is not a name; use letters, digits, _ and -; quote a number"),
    ("a name that is a number", {1: {}},
     "pipe.yaml:3: jobs=1: is not a name; use letters, digits, _ and -; quote a number"),
]  # fmt: skip


@pytest.mark.parametrize(("jobs", "line"), [f[1:] for f in JOBS], ids=[f[0] for f in JOBS])
def test_a_step_of_a_wrong_shape_is_one_line(here: Path, jobs: dict[str, Any], line: str) -> None:
    path = write_pipeline(here, jobs)
    assert told(path) == [line]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("jobs: [a]", "x.yaml:2: jobs=['a']: is not a mapping; write `name: value` lines below it"),
        ("jbos: {}", "x.yaml:2: jbos={}: is not a field of a pipeline; did you mean 'jobs'?"),
        ("component: ./a.yaml", "x.yaml:2: component='./a.yaml': beside no `jobs` is not read here; list the steps below `jobs:`, or run it on AzureML"),
        ("settings: {continue_on_step_failur: false}", "x.yaml:2: settings.continue_on_step_failur=False: is not a field of a settings; did you mean 'continue_on_step_failure'?"),
        ("tags: {[a]: b}", "file='x.yaml:2': is not YAML: found unhashable key; mend the syntax"),
        ("version: 2020-13-45", "file='x.yaml': is not YAML: month must be in 1..12; mend the syntax"),
        ("tags: &a {b: *a}", "file='x.yaml:2': is not YAML: an alias that holds itself; mend the syntax"),
    ],
)  # fmt: skip
def test_a_pipeline_of_a_wrong_shape_is_one_line(here: Path, text: str, line: str) -> None:
    (here / "x.yaml").write_text(f"type: pipeline\n{text}\n")
    assert told(here / "x.yaml") == [line]


def test_a_folder_is_no_pipeline_file(here: Path) -> None:
    assert told(here) == [f"file={str(here.relative_to(here))!r}: is a folder; name a YAML file"]


def test_the_same_component_of_a_wrong_shape_is_told_once(here: Path) -> None:
    write_component(here, comand="x")
    assert told(write_pipeline(here, {"a": {}, "b": {}})) == [
        "say.yaml:33: comand='x': is not a field of a command; did you mean 'command'?"
    ]


def test_a_value_too_long_for_a_command_is_refused_and_not_shown_whole(here: Path) -> None:
    (line,) = told(write_pipeline(here, {"a": {"inputs": {"text": "x" * 200_000}}}))
    assert line.endswith(
        "xxx... (200002 characters): is 200000 bytes long, too much for a command line; put it into a file"
    )
    assert len(line) < 1000


PIPELINE: dict[str, Any] = {
    "type": "pipeline",
    "inputs": {"word": {"type": "string", "default": "x"}, "n": 3, "data": {"type": "uri_folder", "path": "."}},
    "outputs": {"o": {"type": "uri_folder"}},
    "settings": {"continue_on_step_failure": False},
    "jobs": {
        "a": {
            "component": "./c.yaml",
            "inputs": {"text": "${{parent.inputs.word}}", "data": "${{parent.inputs.data}}"},
            "environment_variables": {"A": "b"},
            "outputs": {"out": "${{parent.outputs.o}}"},
        },
        "b": {"component": "./c.yaml", "inputs": {"data": {"path": "${{parent.jobs.a.outputs.out}}"}}},
    },
}
ODD: tuple[Any, ...] = (None, 5, 1.5, True, "x", "", [], ["a"], {}, {"a": 1}, {1: None}, "${{parent}}", "${{}}")


def _mutants(document: Any) -> Iterator[Any]:
    """The document with each of its places, one at a time, holding something odd."""

    def places(node: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        for key in node if isinstance(node, dict) else ():
            yield (*path, key)
            yield from places(node[key], (*path, key))

    for *path, last in places(document, ()):
        for odd in ODD:
            mutant = copy.deepcopy(document)
            node = mutant
            for key in path:
                node = node[key]
            node[last] = odd
            yield mutant


@pytest.mark.parametrize("changed", ["pipeline", "component"])
def test_whatever_stands_anywhere_is_taken_or_refused_without_a_traceback(here: Path, changed: str) -> None:
    dump = {"pipeline": PIPELINE, "component": COMPONENT}
    for mutant in _mutants(dump[changed]):
        texts = {name: yaml.safe_dump(mutant if name == changed else data) for name, data in dump.items()}
        (here / "p.yaml").write_text(texts["pipeline"])
        (here / "c.yaml").write_text(texts["component"])
        try:
            plan(graph.read(here / "p.yaml"), here / "run", mount=False)
        except BadInput:
            continue
        except Exception as error:
            raise AssertionError(texts[changed]) from error
