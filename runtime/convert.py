"""From the text of one port to its value: type, range and choices, with one line for what does not fit."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from runtime.component import Group, Input, Output, Param, Port
from runtime.errors import BadInput, nearest
from runtime.remote_path import Remote, is_remote

_BOOLS = {"true": True, "false": False}


def convert(port: Port, text: str | None, options: Iterable[str] = ()) -> Any:
    """The value that `text` means for `port`, within its range and choices; raises `BadInput`."""
    if text is None:
        return None
    if "\0" in text:
        raise BadInput.of(port.name, text, "holds a NUL character", "no file name or argument can; remove it")
    if isinstance(port.marker, Group):
        if text not in options:
            raise BadInput.of(port.name, text, "is not an option", nearest(text, options))
        return text
    value = _scalar(port, text)
    if isinstance(port.marker, Param):
        _check_range(port, port.marker, value)
    return value


def _scalar(port: Port, text: str) -> Any:
    if port.python is str:
        return text
    if port.python is Path:
        if not text.strip():
            raise BadInput.of(port.name, text, "is empty", "name a file or folder")
        return _address(port, text) if is_remote(text) else Path(text)
    word = text.strip()
    if port.python is bool and word.lower() in _BOOLS:
        return _BOOLS[word.lower()]
    if port.python is int and re.fullmatch(r"[+-]?[0-9]{1,4000}", word):  # Python itself reads no more than 4300
        return int(word)
    if port.python is float:
        try:
            return float(word)
        except ValueError:
            pass
    wanted = {bool: "true or false", int: "a whole number", float: "a number"}[port.python]
    raise BadInput.of(port.name, text, f"is not {wanted}", f"write {wanted}, such as {port.name}={_example(port)}")


def _address(port: Port, text: str) -> Remote:
    """An address in storage; raises `BadInput` where the port takes none."""
    if isinstance(port.marker, Input) and not port.marker.remote:
        todo = "download it first (`ngcrun run data_download`); a pipeline brings it here by itself (`ngcrun pipeline`)"
        raise BadInput.of(port.name, text, "is an address, and this step reads only what is on this machine", todo)
    if isinstance(port.marker, Output) and port.marker.kept:
        raise BadInput.of(port.name, text, "is an address, and is written in place", "name a folder on this machine")
    return Remote.of(port.name, text)


def _example(port: Port) -> str:
    if port.default is not dataclasses.MISSING and port.default is not None:
        return str(port.default).lower() if port.python is bool else str(port.default)
    return {bool: "true", int: "1", float: "0.5"}[port.python]


def _check_range(port: Port, param: Param, value: Any) -> None:
    if param.choices and value not in param.choices:
        raise BadInput.of(port.name, value, "is not a choice", nearest(str(value), param.choices))
    bounds = [b for b in (param.minimum, param.maximum) if b is not None]
    if bounds and not math.isfinite(value):
        raise BadInput.of(port.name, value, "is not finite", "give a finite number")
    if param.minimum is not None and value < param.minimum:
        raise BadInput.of(port.name, value, f"is below the minimum {param.minimum:g}", "give a larger number")
    if param.maximum is not None and value > param.maximum:
        raise BadInput.of(port.name, value, f"is above the maximum {param.maximum:g}", "give a smaller number")
