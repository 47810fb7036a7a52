from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.errors import BadInput
from runtime.local import graph
from runtime.local.graph import Value
from runtime.local.plan import plan
from tests.fakes.pipelines import write_component, write_pipeline


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_component(tmp_path)
    (tmp_path / "trips").mkdir()
    (tmp_path / "trips" / "a.csv").write_text("x\n")
    (tmp_path / "empty").mkdir()
    return tmp_path


def told(path: Path, **overrides: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        graph.read(path, overrides)
    return caught.value.lines()


A = "${{parent.jobs.a.outputs.out}}"
FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("misspelled port", {"a": {"inputs": {"txt": "x"}}},
     "pipe.yaml:8: jobs.a.inputs.txt='x': say has no such input; did you mean 'text'? "
     "known: count, data, file, mode, note, text"),
    ("undeclared parent input", {"a": {"inputs": {"text": "${{parent.inputs.wrod}}"}}},
     "pipe.yaml:8: jobs.a.inputs.text='${{parent.inputs.wrod}}': the pipeline has no input 'wrod'; none is known here"),
    ("unknown step", {"a": {"inputs": {"data": "${{parent.jobs.b.outputs.out}}"}}},
     "pipe.yaml:8: jobs.a.inputs.data='${{parent.jobs.b.outputs.out}}': there is no step 'b'; known: a"),
    ("undefined output", {"a": {}, "b": {"inputs": {"data": "${{parent.jobs.a.outputs.ot}}"}}},
     "pipe.yaml:11: jobs.b.inputs.data='${{parent.jobs.a.outputs.ot}}': step 'a' has no output 'ot'; "
     "did you mean 'out'? known: out"),
    ("cycle", {"a": {"inputs": {"data": "${{parent.jobs.b.outputs.out}}"}}, "b": {"inputs": {"data": A}}},
     "pipe.yaml:3: jobs='a -> b -> a': is a circle: each step waits for another; unbind one"),
    ("folder into text", {"a": {}, "b": {"inputs": {"text": A}}},
     "pipe.yaml:11: jobs.b.inputs.text='a.out': is a uri_folder of step 'a', and this input takes a string; "
     "bind an output of that type"),
    ("folder into file", {"a": {}, "b": {"inputs": {"file": A}}},
     "pipe.yaml:11: jobs.b.inputs.file='a.out': is a uri_folder of step 'a', and this input takes a uri_file; "
     "bind an output of that type"),
    ("text into folder", {"a": {"inputs": {"data": "trips"}}},
     "pipe.yaml:8: jobs.a.inputs.data='trips': is a string, and this input takes a uri_folder; "
     "write {type: uri_folder, path: ./...}"),
    ("words into integer", {"a": {"inputs": {"count": "abc"}}},
     "pipe.yaml:8: jobs.a.inputs.count='abc': is not an integer; write an integer"),
    ("below the minimum", {"a": {"inputs": {"count": 0}}},
     "pipe.yaml:8: jobs.a.inputs.count=0: is below the minimum 1; give a larger number"),
    ("above the maximum", {"a": {"inputs": {"count": 10}}},
     "pipe.yaml:8: jobs.a.inputs.count=10: is above the maximum 9; give a smaller number"),
    ("not in the enum", {"a": {"inputs": {"mode": "god"}}},
     "pipe.yaml:8: jobs.a.inputs.mode='god': is not a choice; did you mean 'good'? known: bad, good"),
    ("missing folder", {"a": {"inputs": {"data": {"type": "uri_folder", "path": "./gone"}}}},
     "pipe.yaml:8: jobs.a.inputs.data='{here}/gone': does not exist; name an existing folder"),
    ("empty folder", {"a": {"inputs": {"data": {"type": "uri_folder", "path": "./empty"}}}},
     "pipe.yaml:8: jobs.a.inputs.data='{here}/empty': is an empty folder; name a folder that holds the data"),
    ("data elsewhere", {"a": {"inputs": {"data": {"type": "uri_folder", "path": "azureml:trips:1"}}}},
     "pipe.yaml:10: jobs.a.inputs.data.path='azureml:trips:1': is not on this machine; "
     "pip install 'ngcrun[azureml,remote]', or download it and name the local copy: data=PATH, or --map it"),
    ("unsupported step", {"a": {"type": "parallel"}},
     "pipe.yaml:5: jobs.a.type='parallel': does not run on this machine; "
     "command, pipeline and sweep steps do; run this one on AzureML"),
    ("missing component", {"a": {"component": "./gone.yaml"}},
     "pipe.yaml:6: jobs.a.component='./gone.yaml': does not exist; name a YAML file"),
    ("component elsewhere", {"a": {"component": "azureml:say:1"}},
     "pipe.yaml:6: jobs.a.component='azureml:say:1': is not on this machine; "
     "name a local file, or say with --map which one stands for it (docs/pipelines.md)"),
    ("not a binding", {"a": {"inputs": {"text": "${{inputs.text}}"}}},
     "pipe.yaml:8: jobs.a.inputs.text='${{inputs.text}}': is not a binding that a pipeline has; "
     "write ${{parent.inputs.NAME}} or ${{parent.jobs.STEP.outputs.NAME}}"),
    ("a quote that ends the quoting", {"a": {"inputs": {"text": "it's"}}},
     "pipe.yaml:8: jobs.a.inputs.text=\"it's\": holds \"'\", which the shell of the command changes inside '...'; "
     "remove it"),
    ("a pipeline in itself", {"a": {"type": "pipeline", "component": "./pipe.yaml"}},
     "pipe.yaml:6: jobs.a.component='./pipe.yaml': contains itself; break the circle"),
]  # fmt: skip


@pytest.mark.parametrize(("jobs", "line"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_a_fault_in_the_pipeline_is_one_line_that_says_where(here: Path, jobs: dict[str, Any], line: str) -> None:
    assert told(write_pipeline(here, jobs)) == [line.replace("{here}", str(here))]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"command": "echo ${{inputs.nope}}"}, "say.yaml:32: command='${{inputs.nope}}': inputs has no 'nope'"),
        ({"command": "echo ${{outputs.nope}}"}, "say.yaml:32: command='${{outputs.nope}}': outputs has no 'nope'"),
        ({"command": "echo ${{inputs.note}}"}, "say.yaml:32: command='${{inputs.note}}': is optional but stands outside"),
        ({"command": "echo $[[${{inputs.text}}]]"}, "say.yaml:32: command='${{inputs.text}}': is required but stands inside"),
        ({"command": "echo ${{search.x}}"}, "say.yaml:32: command='${{search.x}}': is no placeholder of a command"),
        ({"command": ""}, "say.yaml:32: command=None: is missing"),
        ({"environment": None}, "say.yaml:31: environment=None: is missing"),
        ({"inputs": {"n": {"type": "integer", "default": "x"}}, "command": "true"}, "say.yaml:7: inputs.n.default='x': is not an integer"),
        ({"inputs": {"n": {"type": "uri_foldr"}}, "command": "true"}, "say.yaml:6: inputs.n.type='uri_foldr': is not a type; did you mean 'uri_folder'"),
        ({"code": "./none"}, "say.yaml:33: code='./none': does not exist; name a folder, relative to this file"),
        ({"code": "say.yaml"}, "say.yaml:33: code='say.yaml': is not a folder"),
        ({"code": "git+https://github.com/a/b"}, "say.yaml:33: code='git+https://github.com/a/b': is not on this machine"),
        ({"type": "spark"}, "say.yaml:1: type='spark': is no component that runs here"),
    ],
)  # fmt: skip
def test_a_fault_in_the_component_says_where(here: Path, changes: dict[str, Any], line: str) -> None:
    write_component(here, **changes)
    assert told(write_pipeline(here, {"a": {}}))[0].startswith(line)


def test_required_inputs_must_be_bound_at_every_level(here: Path) -> None:
    write_component(here, inputs={"text": {"type": "string"}})
    inner = {"x": {"inputs": {"text": "${{parent.inputs.word}}"}}}
    write_pipeline(here, inner, name="inner", inputs={"word": {"type": "string"}})
    found = told(write_pipeline(here, {"a": {}, "b": {"type": "pipeline", "component": "./inner.yaml"}}))
    assert sorted(line.split(": ", 1)[1] for line in found) == [
        "jobs.a.inputs.text=None: is required and not bound; add `text:` below `inputs:`",
        "jobs.b.inputs.word=None: is required and not bound; add `word:` below `inputs:`",
        "jobs.x.inputs.text=None: is required and not bound; add `text:` below `inputs:`",
    ]


def test_all_findings_come_at_once(here: Path) -> None:
    jobs = {
        "a": {"inputs": {"txt": 1}},
        "b": {"inputs": {"count": 0}},
        "c": {"inputs": {"data": A.replace(".a.", ".z.")}},
    }
    assert len(told(write_pipeline(here, jobs))) == 3


def test_an_unknown_pipeline_input_gets_the_nearest_name(here: Path) -> None:
    path = write_pipeline(here, {"a": {"inputs": {"text": "${{parent.inputs.word}}"}}}, inputs={"word": "x"})
    assert told(path, wrod="y") == ["wrod='y': is not an input of the pipeline; did you mean 'word'? known: word"]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("a: [", "is not YAML"), ("- a\n", "holds no YAML mapping"), ("", "holds no YAML mapping"), ("type: datastore\n", "is nothing that runs")],
)  # fmt: skip
def test_a_file_that_is_no_pipeline_is_refused(here: Path, text: str, wrong: str) -> None:
    (here / "x.yaml").write_text(text)
    assert wrong in told(here / "x.yaml")[0]


JOB = "type: pipeline\njobs:\n"
SHAPES = [
    (JOB + "  a: {component: ./say.yaml}\n  a: {component: ./say.yaml}\n", "file='x.yaml:4': is not YAML: the key 'a' is there twice"),
    (JOB + "  a: &x {component: ./say.yaml, inputs: *x}\n", "file='x.yaml:3': is not YAML: an alias that holds itself"),
    (JOB + "  a: {component: ./say.yaml, inputs: {text: !foo x}}\n", "file='x.yaml:3': is not YAML: could not determine"),
    (JOB + "  a: {component: ./say.yaml, inputs: {text: 2026-13-45}}\n", "file='x.yaml': is not YAML: month must be in"),
    ("type: pipeline\njobs: [a]\n", "x.yaml:2: jobs=['a']: is not a mapping"),
    ("type: pipeline\nsettings: true\njobs: {}\n", "x.yaml:2: settings=True: is not a mapping"),
    (JOB + "  a: ./say.yaml\n", "x.yaml:3: jobs.a='./say.yaml': is not a mapping"),
    (JOB + "  a: {component: ./say.yaml, inputs: [x]}\n", "x.yaml:3: jobs.a.inputs=['x']: is not a mapping"),
    (JOB + "  a: {component: ./say.yaml, inputs: {1: x}}\n", "x.yaml:3: jobs.a.inputs=1: is not a name"),
    (JOB + "  a: {component: ./say.yaml, inputs: {text: [1, 2]}}\n", "x.yaml:3: jobs.a.inputs.text=[1, 2]: is a list"),
    (JOB + "  on: {component: ./say.yaml}\n", "x.yaml:2: jobs=True: is not a name"),
    (JOB + "  ../../out: {component: ./say.yaml}\n", "x.yaml:3: jobs='../../out': is not a name"),
    (JOB + "  a: {component: ./say.yaml, inputs: {file: {type: uri_file, path: ./trips}}}\n", "x.yaml:3: jobs.a.inputs.file='{here}/trips': is a folder"),
    (JOB + "  a: {component: ./say.yaml, inputs: {text: '${{parent.jobs.a.inputs.text}}'}}\n", "x.yaml:3: jobs.a.inputs.text='${{parent.jobs.a.inputs.text}}': refers to itself"),
    (JOB + "  a: {component: ./say.yaml, inputs: {text: '${{parent.jobs.a.inputs.txt}}'}}\n", "x.yaml:3: jobs.a.inputs.text='${{parent.jobs.a.inputs.txt}}': step 'a' has no input 'txt'"),
    (JOB + "  a: {component: ./say.yaml, outputs: {ot: '${{parent.outputs.x}}'}}\noutputs: {x: {type: uri_folder}}\n", "x.yaml:3: jobs.a.outputs.ot='${{parent.outputs.x}}': step 'a' has no such output"),
    (JOB + "  a: {component: ./say.yaml, outputs: {out: '${{parent.outputs.y}}'}}\n", "x.yaml:3: jobs.a.outputs.out='${{parent.outputs.y}}': the pipeline has no output 'y'"),
    (JOB + "  a: {component: ./say.yaml}\noutputs: {x: {type: uri_folder}}\n", "x.yaml:4: outputs.x=None: is written by no step"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), SHAPES)
def test_what_yaml_allows_and_azureml_does_not_is_one_line(here: Path, text: str, line: str) -> None:
    (here / "x.yaml").write_text(text)
    (first,) = told(here / "x.yaml")
    assert first.startswith(line.replace("{here}", str(here)))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"inputs": ["x"], "command": "true"}, "say.yaml:4: inputs=['x']: is not a mapping"),
        ({"inputs": {"x": "string"}, "command": "true"}, "say.yaml:5: inputs.x='string': is not a mapping"),
        ({"inputs": {"n": {"type": "integer", "min": "few"}}, "command": "true"}, "say.yaml:7: inputs.n.min='few': is not a number"),
    ],
)  # fmt: skip
def test_a_misshapen_component_is_told_in_its_own_file(here: Path, changes: dict[str, Any], line: str) -> None:
    write_component(here, **changes)
    assert told(write_pipeline(here, {"a": {}}))[0].startswith(line)


def test_an_input_elsewhere_can_be_replaced_by_a_local_copy_as_the_error_says(here: Path) -> None:
    jobs = {"a": {"inputs": {"data": "${{parent.inputs.trips}}"}}}
    for raw in ({"type": "uri_folder", "path": "azureml:trips:1"}, {"type": "uri_folder"}):
        path = write_pipeline(here, jobs, inputs={"trips": raw})
        assert len(told(path)) == 1
        assert graph.read(path, {"trips": "trips"}).steps["a"].inputs["data"] == Value(here / "trips", "uri_folder")


def test_absent_values_are_absent_and_not_the_word_none(here: Path) -> None:
    write_component(here, inputs={"text": {"type": "string", "default": None, "optional": True}}, command="true")
    jobs = {"a": {}, "b": {"inputs": {"text": None}}, "c": {"inputs": {"text": "${{parent.jobs.a.inputs.text}}"}}}
    steps = plan(graph.read(write_pipeline(here, jobs)), here / "run", mount=False)
    assert {name: dict(step.inputs) for name, step in steps.items()} == {"a": {}, "b": {}, "c": {}}


def test_the_input_of_another_step_is_taken_as_that_step_gets_it(here: Path) -> None:
    data = {"type": "uri_folder", "path": "./trips"}
    jobs = {
        "a": {"inputs": {"data": data, "count": {"type": "integer", "value": "${{parent.inputs.n}}"}}},
        "b": {"inputs": {n: f"${{{{parent.jobs.a.inputs.{n}}}}}" for n in ("data", "count", "text")}},
    }
    steps = plan(graph.read(write_pipeline(here, jobs, inputs={"n": 7})), here / "run", mount=False)
    assert steps["b"].inputs == {"text": "hello", "count": "7", "mode": "good", "data": str(here / "trips")}
