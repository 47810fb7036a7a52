from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

from runtime import catalog
from runtime.component import Input, Output, Param, component, ports_of
from runtime.errors import BadInput
from runtime.metrics import Metrics


@dataclass(kw_only=True)
class NoMarker:
    x: int = 1


@dataclass(kw_only=True)
class WrongType:
    x: Annotated[list[int], Param("a list")]


@dataclass(kw_only=True)
class Reserved:
    path: Annotated[Path, Input("taken by AzureML")]


@dataclass(kw_only=True)
class Good:
    """First paragraph,
    folded.

    Second paragraph.
    """

    data: Annotated[Path, Input("d")]
    extra: Annotated[Path | None, Input("e")] = None
    out: Annotated[Path, Output("o")]


@pytest.mark.parametrize(
    ("ports", "text"),
    [(NoMarker, "carries no Input"), (WrongType, "is not str, int"), (Reserved, "the name is reserved")],
)
def test_a_port_that_no_spec_can_carry_is_our_bug(ports: type[Any], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        ports_of(ports)


def test_a_declaration_is_read_from_the_function() -> None:
    @component(name="x_y", version="2", image="rapids")
    def run(ports: Good, metrics: Metrics) -> None: ...

    assert run.doc == "First paragraph, folded."
    ports = run.all_ports()
    assert [(p.name, p.required, p.optional) for p in ports.values()] == [
        ("data", True, False),
        ("extra", False, True),
        ("out", False, False),
    ]


def test_component_names_follow_azuremls_rule() -> None:
    with pytest.raises(ValueError, match="not lower case"):
        component(name="X-y", version="1", image="rapids")


def test_the_catalog_holds_every_verb_of_every_area() -> None:
    names = set(catalog.components())
    assert {f"rapids_{v}" for v in ("prepare", "transform", "train", "predict", "score")} <= names
    assert {f"triton_{v}" for v in ("package", "verify", "infer")} <= names


def test_every_component_lives_where_its_name_says() -> None:
    found = catalog.components()
    assert len(found) >= 8
    for name, declared in found.items():
        area, _, verb = name.partition("_")
        assert declared.module == f"runtime.{area}.{verb}"
        assert declared.doc, name
        assert declared.all_ports(), name


def test_an_unknown_component_gets_the_nearest_name() -> None:
    with pytest.raises(BadInput, match="component='rapids_trian': is not a component; did you mean 'rapids_train'"):
        catalog.find("rapids_trian")
