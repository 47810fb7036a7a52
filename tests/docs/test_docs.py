"""The docs cannot drift: every command block is run, every test that a table names exists, generated blocks agree."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import catalog, readme

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
# What a test cannot run inside itself; the next test looks that each exists.
NOT_RUN = ("make ", "git clone", "cd ", "sudo apt-get", ".cache/nox/bin/nox")


def commands(page: Path) -> list[str]:
    """The lines after `$ ` of the page's console blocks; a line that ends in a backslash goes on in the next."""
    found = []
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        text = block.replace("\\\n", " ")
        found += [line[2:].strip() for line in text.splitlines() if line.startswith("$ ")]
    return found


def test_there_are_pages_with_commands() -> None:
    assert {"README.md", "pipelines.md", "errors.md"} <= {p.name for p in PAGES}
    assert len([c for p in PAGES for c in commands(p)]) >= 10


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=lambda p: p.name)
def test_every_command_of_the_page_works(page: Path, tmp_path: Path) -> None:
    for name in ("component_specs", "containers", "tests", "README.md", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    path = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
    for command in commands(page):
        if command.startswith(NOT_RUN):
            continue
        line = command.replace(".venv/bin/", "")
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, check=False, timeout=180,
        )  # fmt: skip
        assert done.returncode == 0, f"{page.name}: {command}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"


def test_every_make_target_and_nox_session_that_the_docs_name_exists() -> None:
    text = "\n".join(p.read_text(encoding="utf-8") for p in PAGES)
    sessions = set(re.findall(r"nox -s (\w+)", text))
    defined = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.MULTILINE))
    assert sessions
    assert sessions <= defined
    targets = set(re.findall(r"^\$ make (\w+)", text, re.MULTILINE))
    assert targets == {"demo", "test"}
    assert all(re.search(rf"^{t}:", (ROOT / "Makefile").read_text(), re.MULTILINE) for t in targets)


def test_every_test_that_the_error_table_names_exists() -> None:
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs" / "errors.md").read_text(encoding="utf-8"))
    assert len(named) >= 20
    source = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in named if f"def {name}(" not in source] == []


def test_the_readmes_table_of_components_is_up_to_date() -> None:
    assert readme.drift(ROOT / "README.md", catalog.components()) == []


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert link.startswith("http") or (page.parent / link).exists(), f"{page.name}: {link}"
