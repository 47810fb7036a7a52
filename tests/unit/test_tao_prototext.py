"""The editor of protobuf texts: what it changes, and that it changes nothing else."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import BadInput
from runtime.tao import prototext
from runtime.tao.prototext import Word, get, remove, set_value, to_dict
from runtime.tao.prototext_tree import ProtoTextError, parse, quote, unquote

SPECS = sorted((Path(__file__).parents[1] / "data" / "tao" / "specs").glob("*.txt"))


def _read(path: Path) -> str:
    return path.read_bytes().decode()


def _changed(old: str, new: str) -> list[tuple[str, str]]:
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    assert len(before) == len(after)
    return [(a, b) for a, b in zip(before, after, strict=True) if a != b]


def test_there_are_eight_specs_to_try_on() -> None:
    assert [path.stem for path in SPECS] == [
        "detectnet_inference", "detectnet_retrain", "detectnet_retrain_qat", "detectnet_tfrecords", "detectnet_train",
        "facenet_retrain", "facenet_tfrecords", "facenet_train",
    ]  # fmt: skip


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_setting_each_value_to_itself_changes_no_byte(path: Path) -> None:
    text = _read(path)
    seen = 0

    def visit(message: object, above: str) -> None:
        nonlocal seen
        counts: dict[str, int] = {}
        for field in message.fields:  # type: ignore[attr-defined]
            for value in field.values:
                nth = counts[field.name] = counts.get(field.name, -1) + 1
                key = f"{above}{field.name}[{nth}]"
                if value.kind == "message":
                    visit(value, key + ".")
                else:
                    seen += 1
                    bare = value.kind != "text"
                    same = Word(value.raw) if bare else unquote(value.raw)
                    assert set_value(text, key, same) == text

    visit(parse(text), "")
    assert seen >= 7


@pytest.mark.parametrize("path", [p for p in SPECS if "train" in p.stem], ids=lambda p: p.stem)
def test_two_overrides_change_two_lines_and_keep_their_comments(path: Path) -> None:
    text = _read(path)
    new = set_value(text, "training_config.num_epochs", 3)
    new = set_value(new, "dataset_config.data_sources[0].tfrecords_path", "/x/{y}#z*")
    changed = _changed(text, new)
    assert [b.strip() for _, b in changed] == [
        'tfrecords_path: "/x/{y}#z*"  # the part that is "seen" {'.replace("  #", "\t#" if "\t" in text else "  #"),
        "num_epochs: 3",
    ]
    assert get(new, "training_config.num_epochs") == 3
    assert get(new, "dataset_config.data_sources[0].tfrecords_path") == "/x/{y}#z*"


def test_line_ends_tabs_and_a_missing_last_line_end_are_kept() -> None:
    crlf = _read(next(p for p in SPECS if p.stem == "detectnet_retrain_qat"))
    new = set_value(crlf, "training_config.num_gpus_wanted", 2)
    assert "\tnum" not in new
    assert "  checkpoint_interval: 10\r\n  num_gpus_wanted: 2\r\n}\r\n" in new
    tabs = _read(next(p for p in SPECS if p.stem == "facenet_train"))
    assert "\tcheckpoint_interval: 10\n\tnew {\n\t\tdeep: 1\n\t}\n}" in set_value(tabs, "training_config.new.deep", 1)
    endless = _read(next(p for p in SPECS if p.stem == "facenet_retrain"))
    assert not endless.endswith("\n")
    assert set_value(endless, "last", 1) == endless + "\nlast: 1"


@pytest.mark.parametrize(
    ("text", "key", "value", "wanted"),
    [
        ("a: 1", "a", 2, "a: 2"),
        ("a { b: 'x' }", "a.b", "y'z", "a { b: 'y\\'z' }"),
        ("a { b: 1 }", "a.c", 2.5, "a { b: 1 c: 2.5 }"),
        ("a {}", "a.b", True, "a { b: true }"),
        ("a {\n}\n", "a.b", 1, "a {\n  b: 1\n}\n"),
        ("", "a.b", "x", 'a {\n  b: "x"\n}\n'),
        ("# nothing yet", "a", 1, "# nothing yet\na: 1\n"),
        ("a: [1, 2]", "a[1]", 5, "a: [1, 5]"),
        ("a: [1, 2]", "a[+]", 5, "a: [1, 2, 5]"),
        ("a: []", "a[+]", 5, "a: [5]"),
        ("a: 1\nb: 2\na: 3\nc: 4\n", "a[+]", 9, "a: 1\nb: 2\na: 3\na: 9\nc: 4\n"),
        ("a: 1\na: 2\na: 3\n", "a", [7, 8], "a: 7\na: 8\n"),
        ("a: 1\n", "a", [7, 8, 9], "a: 7\na: 8\na: 9\n"),
        ("s {\n  p: 'x'\n}\n", "s[+].p", "y", "s {\n  p: 'x'\n}\ns {\n  p: \"y\"\n}\n"),
        ("mode: FAST # or SLOW", "mode", "SLOW", "mode: SLOW # or SLOW"),
        ("a: 1, b: 2; c < d: 3 >", "c.d", 4, "a: 1, b: 2; c < d: 4 >"),
        ("a: 'x' \"y\"\nb: 1", "a", "z", "a: 'z'\nb: 1"),
        ("lr: 5e-04", "lr", 0.001, "lr: 0.001"),
        ("lr: 1.0", "lr", 2.0, "lr: 2.0"),
        ("name: '7'", "name", 8, 'name: "8"'),
    ],
)
def test_an_edit_writes_exactly_this(text: str, key: str, value: object, wanted: str) -> None:
    assert set_value(text, key, value) == wanted


@pytest.mark.parametrize(
    ("text", "key", "wanted"),
    [
        ("a: 1\nb: 2\n", "a", "b: 2\n"),
        ("a: 1\nb: 2", "b", "a: 1"),
        ("a: 1  # why\nb: 2\n", "a", "b: 2\n"),
        ("x { a: 1 b: 2 }", "x.a", "x {  b: 2 }"),
        ("a: [1, 2, 3]", "a[1]", "a: [1, 3]"),
        ("a: [1, 2, 3]", "a[0]", "a: [2, 3]"),
        ("m {\n  a: 1\n}\nn: 1\n", "m", "n: 1\n"),
    ],
)
def test_a_removed_field_takes_its_own_line_and_no_other(text: str, key: str, wanted: str) -> None:
    assert remove(text, key) == wanted


def test_the_type_in_the_tree_says_how_a_new_value_is_written() -> None:
    tree = {"fields": {"n": {"type": "int32", "repeated": False}, "s": {"type": "string", "repeated": False}}}
    assert set_value("", "n", "5", tree) == "n: 5\n"
    assert set_value("", "s", "5", tree) == 's: "5"\n'
    assert set_value("", "s", 5, tree) == 's: "5"\n'


def test_a_dict_has_lists_where_a_field_is_repeated() -> None:
    tree = {"fields": {"once": {"type": "int32", "repeated": True}}}
    text = "a: 1 a: 2 b: [3] once: 4 w: DBSCAN t: True f: 1.5f h: 0x10 o: 010 s: 'x' 'y' m { n: -inf }"
    assert to_dict(text, tree) == {
        "a": [1, 2], "b": [3], "once": [4], "w": "DBSCAN", "t": True, "f": 1.5, "h": 16, "o": 8, "s": "xy",
        "m": {"n": float("-inf")},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a {\n  b: 1\n", "spec='{': line 1:3: this '{' is never closed; add '}'"),
        ("a: 1\n}", "spec='}': line 2:1: there is nothing that this '}' closes; remove it, or add what it closes"),
        ("a: 'x\nb: 1", "spec=\"'\": line 1:4: the string has no closing quote on its line; close it with '"),
        ("a: ", "spec='end of the spec': line 1:4: expected a value; write a number, a word, a string or { ... }"),
        ("a: [1 2]", "spec='2': line 1:7: expected ',' or ']' in a list; separate the values by ','"),
        ("a 1", "spec='1': line 1:3: no ':' and no '{' follows 'a'; write `a: VALUE` or `a { ... }`"),
        ("a <\n b: 1 }", "spec='}': line 2:7: there is nothing that this '}' closes; remove it, or add what it closes"),
    ],
)
def test_a_text_that_is_none_is_refused_with_line_and_column(text: str, said: str) -> None:
    with pytest.raises(ProtoTextError) as caught:
        parse(text)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: set_value("a: 1\na: 2", "a", 3),
            "key='a': a is given 2 times; say which: a[0] to a[1], or a[+] for one more",
        ),
        (lambda: set_value("a: 1", "a[3]", 3), "key='a[3]': a is given 1 times; the next is a[1]"),
        (lambda: set_value("a: 1", "a.b", 3), "a.b='1': a is a plain value; set a itself"),
        (lambda: set_value("a { b: 1 }", "a", 3), "a=3: is a message with fields of its own; name one of its fields"),
        (lambda: get("abc: 1", "abd"), "abd='abd': is not in the spec; did you mean 'abc'? known: abc"),
        (lambda: get("a: 1", "a b"), "key='a b': 'a b' is no field; write field.field, field[0].field or field[+]"),
    ],
)
def test_a_key_that_leads_nowhere_is_refused_with_the_way_out(call: object, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        call()  # type: ignore[operator]
    assert str(caught.value) == said


def test_messages_a_thousand_deep_are_refused_and_do_not_overflow_the_stack() -> None:
    with pytest.raises(ProtoTextError, match="more than 100 deep"):
        parse("a {" * 5000 + "}" * 5000)


names = st.text(string.ascii_lowercase + "_", min_size=1, max_size=5).filter(lambda n: n not in ("true", "inf", "nan"))
scalars = st.one_of(st.integers(-(2**31), 2**31), st.booleans(), st.text(max_size=12), st.floats(allow_nan=False))
messages = st.recursive(st.dictionaries(names, scalars, max_size=4), lambda m: st.dictionaries(names, m | scalars, max_size=4), max_leaves=12)  # fmt: skip


def _write(message: dict[str, object], indent: str, eol: str) -> str:
    out = ""
    for name, value in message.items():
        if isinstance(value, dict):
            out += f"{indent}{name} {{ # \"{{'{eol}{_write(value, indent + '  ', eol)}{indent}}}{eol}"
        else:
            word = str(value).lower() if isinstance(value, bool) else repr(value)
            out += f"{indent}{name}: {quote(value) if isinstance(value, str) else word}{eol}"
    return out


@given(messages, st.sampled_from(["\n", "\r\n"]), names, scalars)
def test_what_is_set_is_got_back_and_every_other_line_stands(
    spec: dict[str, object], eol: str, name: str, value: object
) -> None:
    text = _write(spec, "", eol)
    assert to_dict(text) == spec
    new = set_value(text, f"added_here.{name}", value)
    assert get(new, f"added_here.{name}") == value
    kept = new.split("\n")
    for line in text.split("\n")[:-1]:
        assert line in kept
        kept.remove(line)
    assert len(kept) <= 4


@given(st.text(max_size=40))
def test_a_string_survives_its_quotes(value: str) -> None:
    for mark in "\"'":
        assert unquote(quote(value, mark)) == value
        assert get(set_value(f"a: {mark}{mark}", "a", value), "a") == value


@given(st.text("ab{}<>[]:;,#\"'\\ \n1.-", max_size=30))
def test_any_text_is_read_or_refused_but_never_crashes(text: str) -> None:
    try:
        root = parse(text)
    except ProtoTextError as failure:
        assert failure.line >= 1
        return
    assert text[root.start : root.end] == text
    assert isinstance(prototext.to_dict(text), dict)
