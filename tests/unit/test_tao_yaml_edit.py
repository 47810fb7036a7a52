from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import BadInput
from runtime.tao.yaml_edit import duplicates, lines_of, parse, render, set_value

SPEC = """\
# the experiment  # with two marks
results_dir: /results   # where
train:
  num_epochs: 12  # passes
  optim:
    lr: 1e-4
    "policy": 'step'
  gpu_ids:
    - 0
    - 1   # second
  empty:
dataset: {train: {images: "a b", classes: [x, y]}, val: {}}
base: &base {a: 1}
other: *base
text: |
  two
  lines
augment:
- flip: true
  p: 0.5
-  crop: false
# the end
"""

CASES: list[tuple[str, Any, str, str]] = [
    ("train.num_epochs", 3, "  num_epochs: 12  # passes", "  num_epochs: 3  # passes"),
    ("train.optim.lr", 0.00001, "    lr: 1e-4", "    lr: 1.0e-05"),
    ("train.optim.policy", "linear", "    \"policy\": 'step'", '    "policy": linear'),
    ("results_dir", "/out/a b", "results_dir: /results   # where", 'results_dir: "/out/a b"   # where'),
    ("dataset.train.images", "/data", '{images: "a b",', "{images: /data,"),
    ("dataset.train.classes", ["k"], "classes: [x, y]", "classes: [k]"),
    ("dataset.val.images", 1, "val: {}", "val: {images: 1}"),
    ("dataset.train.more", True, "classes: [x, y]}", "classes: [x, y], more: true}"),
    ("train.empty", 5, "  empty:\n", "  empty: 5\n"),
    ("train.empty.deep", 5, "  empty:\n", "  empty: {deep: 5}\n"),
    ("other", 3, "other: *base", "other: 3"),
    ("text", "one", "text: |\n  two\n  lines\n", "text: one\n"),
    ("train.gpu_ids", [0], "  gpu_ids:\n    - 0\n    - 1   # second", "  gpu_ids: [0]   # second"),
    ("train.gpu_ids[1]", 7, "    - 1   # second", "    - 7   # second"),
    ("augment.0.p", 1, "  p: 0.5", "  p: 1"),
    ("augment.1.p", 1, "-  crop: false\n", "-  crop: false\n   p: 1\n"),
    ("train.optim.momentum", 0.9, "    \"policy\": 'step'\n", "    \"policy\": 'step'\n    momentum: 0.9\n"),
    ("train.a.b", "x", "  empty:\n", "  empty:\n  a:\n    b: x\n"),
]


@pytest.mark.parametrize(("key", "value", "before", "after"), CASES, ids=[c[0] for c in CASES])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_only_what_was_asked_for_changes(key: str, value: object, before: str, after: str, newline: str) -> None:
    assert SPEC.count(before) == 1
    spec, wanted = SPEC.replace("\n", newline), SPEC.replace(before, after).replace("\n", newline)
    assert set_value(spec, key, value) == wanted


@pytest.mark.parametrize(
    ("text", "key", "wanted"),
    [
        ("", "a.b", "a:\n  b: 1\n"),
        ("# only a comment", "a", "# only a comment\na: 1\n"),
        ("a: 2", "a", "a: 1"),
        ("a: 2", "b", "a: 2\nb: 1"),
        ("\ufeffa: 2\n", "a", "\ufeffa: 1\n"),
        ("a:\n  # nothing yet\nb: 2\n", "a", "a: 1\n  # nothing yet\nb: 2\n"),
        ("---\na: 2\n...\n", "a", "---\na: 1\n...\n"),
        ("a: 1\na: 2\n", "a", "a: 1\na: 1\n"),
        ("0: x\n", "0", "0: 1\n"),
    ],
)
def test_odd_texts_are_edited_as_well(text: str, key: str, wanted: str) -> None:
    assert set_value(text, key, 1) == wanted


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("a: 1\n", "a.b", "a.b=1: 'a' is '1', not a section; leave out what follows it"),
        ("a: [1]\n", "a.3", "a.3=1: '3' is not in the list; give an index that is there"),
        ("a: 1\n", "a..b", "key='a..b': has an empty part; write it like train.num_epochs"),
        (
            "a: {x: 1\nb: 2\n",
            "a",
            "spec='line 2, column 2': is not YAML: expected ',' or '}', but got ':'; mend the file there",
        ),
        (
            "a: \tb: 1\n",
            "a",
            "spec='line 1, column 4': is not YAML: found character '\\t' that cannot start any token; mend the file there",
        ),
        ("- a\n", "a", "spec='line 1': is no mapping; a spec is lines of key: value"),
        (
            "a: \x07\n",
            "a",
            "spec='text': is not YAML: unacceptable character #x0007: special characters are not allowed; mend the file",
        ),
        ("a: &x {b: 1}\nc: *x\n", "c.b", "c.b=1: 'c' is an alias of another section; edit the section it names"),
    ],
)
def test_what_cannot_be_edited_is_refused(text: str, key: str, line: str) -> None:
    with pytest.raises(BadInput) as caught:
        set_value(text, key, 1)
    assert str(caught.value) == line


NAMES = st.sampled_from(["a", "b", "num_epochs", "lr", "x y", "on", "0"])
SCALARS = st.one_of(
    st.integers(-9, 99), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8)
)
TREES = st.dictionaries(
    NAMES,
    st.recursive(
        SCALARS,
        lambda inner: st.one_of(st.dictionaries(NAMES, inner, max_size=3), st.lists(inner, max_size=3)),
        max_leaves=8,
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(TREES, SCALARS, st.booleans(), st.randoms())
def test_any_value_of_any_tree_can_be_set_and_the_other_lines_stay(
    tree: dict[str, Any], value: object, flow: bool, random: Any
) -> None:
    text = yaml.safe_dump(tree, default_flow_style=flow, sort_keys=False, allow_unicode=True)
    key = random.choice(sorted(tree))
    changed = set_value(text, key, value)
    assert yaml.safe_load(changed) == {**yaml.safe_load(text), key: value} or isinstance(value, float)
    if not flow and not isinstance(tree[key], dict | list | str):
        before, after = text.splitlines(), changed.splitlines()
        assert len(before) == len(after)
        assert sum(b != a for b, a in zip(before, after, strict=True)) <= 1


def test_the_lines_of_all_keys_and_those_that_stand_twice_are_known() -> None:
    tree = parse("a:\n  b: 1\n  c: [1, 2]\n  b: 3\n")
    assert lines_of(tree)[("a", "c", "1")] == 3
    assert duplicates(tree) == [(("a", "b"), 4)]


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-5, "1.0e-05"), (2.0, "2.0"), (True, "true"), (None, "null"), ("on", '"on"'), ("1", '"1"'), ("${x}", '"${x}"'), ("/a/b.png", "/a/b.png"), ("", '""'), ([1, {"a": "b c"}], '[1, {a: "b c"}]')],
)  # fmt: skip
def test_values_are_written_so_that_they_are_read_as_what_they_are(value: object, text: str) -> None:
    assert render(value) == text
    assert yaml.safe_load(text) == value


def test_a_key_that_holds_a_dot_is_put_in_quotes() -> None:
    text = "a-5.5:\n  version: 1 # one\na: 2\n"
    assert set_value(text, '"a-5.5".version', "1-1") == 'a-5.5:\n  version: "1-1" # one\na: 2\n'
