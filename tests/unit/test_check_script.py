"""`ngcrun check` reads commands and scripts without running them, and is silent where that cannot tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.check.whole import check

SCRIPTS = {
    "known arguments only in part": "import argparse\np = argparse.ArgumentParser()\np.parse_known_args()\n",
    "subcommands": "import argparse\np = argparse.ArgumentParser()\ns = p.add_subparsers()\np.parse_args()\n",
    "a parent": "import argparse, base\np = argparse.ArgumentParser(parents=[base.p])\np.parse_args()\n",
    "a loop": "import argparse\np = argparse.ArgumentParser()\nfor n in 'ab':\n    p.add_argument('--' + n)\np.parse_args()\n",
    "another module adds": "import argparse, base\np = argparse.ArgumentParser()\nbase.add(p)\np.parse_args()\n",
    "another module parses": "from base import parse\nprint(parse())\n",
    "argv by hand": "import argparse, sys\np = argparse.ArgumentParser()\nprint(sys.argv)\np.parse_args()\n",
    "the rest": "import argparse\np = argparse.ArgumentParser()\np.add_argument('rest', nargs=argparse.REMAINDER)\np.parse_args()\n",
    "a subclass": "import argparse\nclass P(argparse.ArgumentParser): pass\np = P()\np.parse_args()\n",
    "two parsers": "import argparse\na = argparse.ArgumentParser()\nb = argparse.ArgumentParser()\na.parse_args()\n",
    "a click group": "import click\n@click.group()\ndef main(): pass\n@main.command()\n@click.option('--a')\ndef one(a): pass\n",
    "typer with names of its own": "import typer\nfrom typing import Annotated\ndef main(a: Annotated[int, typer.Option('--other')] = 1): pass\ntyper.run(main)\n",
    "two commands of typer": "import typer\napp = typer.Typer()\n@app.command()\ndef a(): pass\n@app.command()\ndef b(): pass\n",
    "a configuration from code": "import hydra\nfrom hydra.core.config_store import ConfigStore\n@hydra.main(config_path='.', config_name='c')\ndef main(c): pass\n",
    "a sum of many terms": "import hydra\n@hydra.main(config_path='.', config_name='c')\ndef main(c): pass\nx = " + "+".join("1" * 3000) + "\n",
}  # fmt: skip


@pytest.mark.parametrize("source", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_nothing_is_said_of_a_script_whose_arguments_are_not_all_written_down(tmp_path: Path, source: str) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "script.py").write_text(source)
    path = tmp_path / "component.yaml"
    path.write_text(
        "$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json\nname: a\ncode: ./code\n"
        "command: python script.py one --x 1 key=1 --no-y\nenvironment: azureml:a:1\n"
    )
    assert check([path]).findings == ()


COMMANDS = {
    "a folder that is not known": "cd $HERE && python nowhere.py",
    "a script that the command fetches": "wget https://example.com/a.py && python a.py",
    "a script of the image": "python /opt/tool/run.py --x 1",
    "a loop": "for x in 1 2; do python nowhere.py; done",
    "what a program says": "python $(ls *.py)",
    "code in the command": "python -c 'import nowhere'",
    "a module that the image may have": "python -m nowhere --x 1",
    "a quote over two lines": "echo 'one\n  two'; python nowhere.py",
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_nothing_is_said_of_a_command_that_cannot_be_read_without_a_shell(tmp_path: Path, command: str) -> None:
    (tmp_path / "code").mkdir()
    path = tmp_path / "component.yaml"
    path.write_text(
        "$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json\nname: a\ncode: ./code\n"
        f"command: |\n  {command}\nenvironment: azureml:a:1\n"
    )
    assert check([path]).findings == ()
