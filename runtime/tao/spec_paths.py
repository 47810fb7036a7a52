"""The paths in a final spec: made absolute, and looked at before TAO starts.

TAO's Hydra changes the working directory, so a relative path of a user would never be found; and a missing folder
becomes `num_samples=0` half a minute later. Source: nvidia-tao-pytorch 7.3.0, run.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from runtime.tao import finding
from runtime.tao.check_yaml import ACTION_SECTIONS, Key, is_open
from runtime.tao.finding import Finding

# Keys that hold paths; TAO's schema does not say which do. The last words of its 6,500 field names were looked through.
_PATH_KEY = re.compile(
    r"(^|_)(dir|path|file|folder|checkpoint|root|images|directory|engine|annotations?|image_dir|json|txt|csv|parquet)$"
)
_WRITTEN = re.compile(
    r"^(results_dir|output.*|.*output_dir|dirpath|.*_cache.*|cache_dir|onnx_file(_\w+)?|trt_engine|pruned_file|save_.*"
    r"|.*_dump_.*|.*_output.*|serialized_.*)$"
)
_REMOTE = re.compile(r"^[a-z][a-z0-9+.-]*:")


def path_values(values: Any, key: Key = ()) -> Iterator[tuple[Key, str]]:
    """Every text in a spec that its key, or how it begins, says is a path on this machine."""
    if isinstance(values, Mapping):
        for name, inner in values.items():
            yield from path_values(inner, (*key, str(name)))
    elif isinstance(values, list):
        for index, inner in enumerate(values):
            yield from path_values(inner, (*key, str(index)))
    elif isinstance(values, str) and values and not is_open(values) and _is_path(key, values):
        yield key, values


def without(values: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """The values less some, each named with its sections: `dataset.val.names`."""
    left = dict(values)
    for key in keys:
        first, _, rest = key.partition(".")
        if not rest:
            left.pop(first, None)
        elif isinstance(left.get(first), Mapping):
            left[first] = without(left[first], [rest])
    return left


def _is_path(key: Key, value: str) -> bool:
    name = next((part for part in reversed(key) if not part.isdigit()), "")
    if _REMOTE.match(value) or "\n" in value:
        return False
    return value.startswith(("/", "./", "../", "~/")) or _PATH_KEY.search(name) is not None


def is_written(key: Key, action: str) -> bool:
    """Whether TAO writes there: results, and files that this action makes."""
    name = next((part for part in reversed(key) if not part.isdigit()), "")
    if name in ("onnx_file", "trt_engine"):  # export writes the one, gen_trt_engine reads it and writes the other
        return (name, action) in (("onnx_file", "export"), ("trt_engine", "gen_trt_engine"))
    return _WRITTEN.match(name) is not None


def concerns(key: Key, action: str) -> bool:
    """Whether a value matters to an action: it is in its own section, or in one that all share."""
    return key[0] not in ACTION_SECTIONS or key[0] == action


def resolve(value: str, folders: tuple[Path, ...]) -> Path | None:
    """The absolute path of a value: as it is, or below the first folder where it (or what it matches) exists."""
    path = Path(value).expanduser()
    candidates = [path] if path.is_absolute() else [folder / path for folder in folders]
    return next((c.absolute() for c in candidates if c.exists() or _matches(c)), None)


def _matches(pattern: Path) -> bool:
    """Whether a path with wildcards, as TF1's `tfrecords_path`, names a file."""
    return glob.has_magic(str(pattern)) and any(glob.iglob(str(pattern)))  # noqa: PTH207 - the pattern is absolute


def check(values: Mapping[str, Any], action: str, folders: tuple[Path, ...], where: Any) -> list[Finding]:
    """An error for each path that TAO would read and that is not there; `where` names a key with its line."""
    found = []
    for key, value in path_values(values):
        if not concerns(key, action) or is_written(key, action) or resolve(value, folders) is not None:
            continue
        place = "" if Path(value).is_absolute() else f" below {', '.join(dict.fromkeys(map(str, folders)))}"
        todo = "name a path on this machine; one inside a container is another"
        wrong = "matches no file" if "*" in value else "does not exist"
        found.append(finding.error(where(key), value, f"{wrong}{place}", todo))
    return found


def relative(values: Mapping[str, Any], folders: tuple[Path, ...]) -> dict[str, str]:
    """The keys whose relative path exists, with the absolute path to put there."""
    found = {}
    for key, value in path_values(values):
        if not Path(value).is_absolute():
            place = resolve(value, folders)
            if place is not None:
                found[re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", ".".join(key))] = str(place)
    return found
