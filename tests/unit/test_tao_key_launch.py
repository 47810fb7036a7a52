"""The launcher runs inside NVIDIA's image: what its Python is able to read."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from runtime.tao import key_launch


def test_the_launcher_is_readable_by_python_3_6_and_needs_the_standard_library_only() -> None:
    tree = ast.parse(Path(key_launch.__file__).read_text(), feature_version=(3, 6))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported <= sys.stdlib_module_names
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    annotations = [
        arg.annotation for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for arg in node.args.args
    ]
    assert all(isinstance(a, ast.Constant | ast.Name) for a in annotations)  # `list[str]` bare would fail before 3.9
