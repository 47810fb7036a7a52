from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runtime.component import Group, Output, component
from runtime.compose import compose, parse, quote
from runtime.errors import BadInput
from runtime.metrics import Metrics
from tests.fakes.echo import Line, Tree, echo

NASTY = [
    "two words", " outer blanks ", "a,b", "a=b", "k=v=w", "[1,2]", "(x)", "{a: b}", "it's", 'say "hi"', "'quoted'", '"x"',
    "back\\slash", "ends\\", "\\'", "${x}", "$HOME", "`id`", "$(id)", "a;b", "a|b", "a&b", "#no", "~", "!x", "*", "?",
    "ünïcödé", "日本語", "🚕", "line\nbreak", "dos\r\nbreak", "tab\there", "null", "true", "1e3", "007", "-x", "--x=y", "%s",
    "azureml://a/b=c?d=e&f", "C:\\dir\\file", "", "\u2028", "a: b", "- a", "@x", "<x>", "${{inputs.x}}", "$[[x]]",
]  # fmt: skip


def filled(*words: str) -> Any:
    return compose(echo, parse(echo, ["--out=/nowhere", *words]))


def lines(*words: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        filled(*words)
    return caught.value.lines("fakes_echo")


@pytest.mark.parametrize("value", NASTY)
def test_a_flag_takes_its_value_verbatim(value: str) -> None:
    assert filled(f"--text={value}", "--note", value).text == value
    assert filled("--note", value).note == value


@pytest.mark.parametrize("value", [v for v in NASTY if v not in ("'quoted'", '"x"')])
def test_an_override_of_a_text_port_takes_its_value_verbatim(value: str) -> None:
    assert filled(f"text={value}").text == value


def test_outer_quotes_of_an_override_are_hydras() -> None:
    assert filled("text='a b'").text == "a b"
    assert filled('text="it\'s"').text == "it's"
    assert filled("note=null").note is None


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
@example("???")
def test_any_text_survives_hydra(value: str) -> None:
    assert filled(f"--text={value}").text == value


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_any_path_survives_hydra(value: str) -> None:
    ports = compose(echo, parse(echo, [f"--out={value}x"]))
    assert ports.out == Path(value + "x")


def test_a_quoted_string_escapes_quotes_and_interpolations() -> None:
    assert quote("it's ${x}\\") == "'it\\'s \\${x}\\\\'"


def test_values_get_their_declared_types() -> None:
    ports = filled("count=7", "--rate=1e-3", "loud=True", "model=tree", "model.max_depth=8", "model.eta=0.1")
    assert (ports.count, ports.rate, ports.loud) == (7, 0.001, True)
    assert ports.model == Tree(max_depth=8, eta=0.1)
    assert filled("--model=line", "--overrides=model.l2=0.5").model == Line(l2=0.5)


def test_overrides_are_split_as_a_shell_does() -> None:
    assert filled("--overrides", 'model.max_depth=3 "model.note=two words"').model == Tree(
        max_depth=3, note="two words"
    )


def test_every_problem_is_told_at_once() -> None:
    assert lines("cuont=3", "--loud=perhaps", "count=0", "rate=fast", "mode=bad", "data=/nope", "model.max_dept=3") == [
        "fakes_echo: cuont='3': is not a port; did you mean 'count'? "
        "known: count, data, loud, mode, model, note, out, rate, text",
        "fakes_echo: count=0: is below the minimum 1; give a larger number",
        "fakes_echo: rate='fast': is not a number; write a number, such as rate=0.5",
        "fakes_echo: loud='perhaps': is not true or false; write true or false, such as loud=false",
        "fakes_echo: mode='bad': is not a choice; known: empty, fail, good",
        "fakes_echo: data='/nope': does not exist; name an existing folder",
        "fakes_echo: model.max_dept='3': is not a field of model=tree; "
        "did you mean 'max_depth'? known: eta, max_depth, note",
    ]  # fmt: skip


def test_a_field_of_the_wrong_type_names_the_right_one() -> None:
    assert lines("model.max_depth=deep") == [
        "fakes_echo: model.max_depth='deep': Value 'deep' of type 'str' could not be converted to Integer; "
        "it takes int; quote , = [ ] { } ( ) for Hydra"
    ]
    assert lines("model.eta=1,2") == [
        "fakes_echo: model.eta='1,2': is a sweep; give one value; quote it if it holds commas"
    ]


def test_an_unknown_option_lists_the_options() -> None:
    assert lines("model=tre") == ["fakes_echo: model='tre': is not an option; did you mean 'tree'? known: line, tree"]


@pytest.mark.parametrize(
    ("word", "wrong"),
    [
        ("--text", "text=None: has no value"),
        ("oops", "argument='oops': is not an override"),
        ("text.x=1", "text.x='1': text has no fields"),
        ("--text=a\0b", "text='a\\x00b': holds a NUL character"),
        ("--data=", "data='': is empty"),
        ("--count=101", "count=101: is above the maximum 100"),
        ("--count=" + "9" * 5000, "count='99999"),
    ],
)
def test_words_that_cannot_be_meant_are_refused(word: str, wrong: str) -> None:
    assert lines(word)[0].startswith(f"fakes_echo: {wrong}")


def test_a_number_without_bounds_may_be_nan() -> None:
    assert math.isnan(filled("--rate=nan").rate)


def test_a_users_own_option_starts_from_one_of_ours(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("defaults: [tree, _self_]\nmax_depth: 9\n")
    (tmp_path / "model" / "loose.yaml").write_text("max_depth: 9\n")
    where = f"--config-dir={tmp_path}"
    assert filled(where, "model=mine", "model.eta=0.9").model == Tree(max_depth=9, eta=0.9)
    assert lines(where, "model=loose") == [
        "fakes_echo: model='loose': does not start from one of the group's options; "
        "begin the file with `defaults: [tree, _self_]`"
    ]


@dataclass(frozen=True)
class Fixed:
    x: int = 1


@dataclass(kw_only=True)
class GroupPorts:
    """Groups in the other forms: optional, and with a frozen instance as default."""

    model: Annotated[Tree | None, Group("May be absent", options={"tree": Tree, "line": Line})] = None
    fixed: Annotated[Fixed, Group("Frozen", options={"fixed": Fixed})] = Fixed()
    out: Annotated[Path, Output("o")]


@component(name="fakes_groups", version="1", image="rapids")
def groups(ports: GroupPorts, metrics: Metrics) -> None: ...


@pytest.mark.parametrize(
    ("words", "model", "fixed"),
    [([], None, 1), (["model=null", "fixed=fixed"], None, 1), (["model=line", "model.l2=2"], Line(l2=2.0), 1)],
)
def test_a_group_may_be_optional_or_have_a_frozen_default(words: list[str], model: Any, fixed: int) -> None:
    ports = compose(groups, parse(groups, ["--out=/nowhere", *words]))
    assert (ports.model, ports.fixed) == (model, Fixed(fixed))
