"""`ngcrun tao ...`: what TAO has, a spec to start from, a check in a second, old specs and commands brought up to date.

`ngcrun tao train NETWORK dataset=DATA train.num_epochs=3` is `ngcrun run tao_train` with the spec's keys typed plainly.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import BadInput, Problem, nearest
from runtime.tao import network

if TYPE_CHECKING:
    from runtime.tao.migrate import Migration

USAGE = """\
ngcrun tao networks [WORD]                       every network, its image and its actions
ngcrun tao spec NETWORK ACTION                   a spec with TAO's defaults, ranges and descriptions
ngcrun tao check NETWORK SPEC [ACTION] [dataset=DIR] [checkpoint=PATH] [key=value...]
                                                 all that is wrong with a spec, before a GPU is asked for
ngcrun tao migrate OLD_SPEC [from=NETWORK] [to=5.0] [key=value...]
ngcrun tao migrate 'OLD COMMAND LINE'            what they are today
ngcrun tao ACTION NETWORK [port=value...] [key=value...]
                                                 run it: ngcrun tao train rtdetr dataset=data train.num_epochs=3"""


def main(words: Sequence[str]) -> int:
    """Run one `ngcrun tao` command; returns its exit status. Raises our own errors."""
    if not words or words[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if words else 2
    command, rest = words[0], list(words[1:])
    handlers = {"networks": _networks, "spec": _spec, "check": _check, "migrate": _migrate}
    if command in handlers:
        if rest[:1] in (["-h"], ["--help"]):
            print(USAGE)
            return 0
        return handlers[command](rest)
    return _act(command, rest)


def _act(action: str, words: list[str]) -> int:
    """Run the component `tao_<action>`: words whose key is a port stay, the others are keys of the spec."""
    from runtime import catalog, single

    actions = [n.removeprefix("tao_") for n in catalog.components() if n.startswith("tao_")]
    if action not in actions:
        todo = nearest(action, [*actions, "networks", "spec", "check", "migrate"])
        raise BadInput.of("tao", action, "is neither a command nor an action", todo)
    component = catalog.find(f"tao_{action}")
    if not words or words[0] in ("-h", "--help"):
        from runtime.show import text_of

        print(text_of(component))
        return 0
    dry_run = "--dry-run" in words
    words = [w for w in words if w != "--dry-run"]
    first = [] if "=" in words[0] or words[0].startswith("-") else [f"network={words.pop(0)}"]
    ports = component.all_ports()
    mine = [w for w in words if w.startswith("-") or w.partition("=")[0] in ports]
    spec = [w for w in words if w not in mine]
    wrong = [w for w in spec if "=" not in w]
    if wrong:
        raise BadInput.of("argument", wrong[0], "is neither port=value nor a key=value of the spec", "write key=value")
    if spec:
        mine.append(f"--spec_overrides={shlex.join(spec)}")
    return single.run(component, [*first, *mine], dry_run=dry_run)


def _networks(words: list[str]) -> int:
    word = words[0].lower() if words else ""
    found = [network.find(name) for name in network.names()]
    found = [n for n in found if word in f"{n.name} {n.task} {n.image} {' '.join(n.actions)}".lower()]
    if not found:
        raise BadInput.of("word", words[0], "matches no network", "ngcrun tao networks lists all")
    width = max(len(n.name) for n in found)
    tasks = max(len(n.task) for n in found)
    for one in found:
        print(f"{one.name:<{width}}  {one.task:<{tasks}}  {one.image:<11}  {' '.join(one.actions)}")
    print(f"{len(found)} networks")
    return 0


def _spec(words: list[str]) -> int:
    from runtime.tao import commented

    if len(words) != 2:
        todo = "ngcrun tao spec rtdetr train"
        raise BadInput.of("arguments", shlex.join(words), "NETWORK and ACTION are needed", todo)
    found = network.find(words[0])
    print(commented.text_of(found, found.action(words[1])), end="")
    return 0


def _check(words: list[str]) -> int:
    from runtime.tao import spec_text
    from runtime.tao.examine import Asked, examine

    ports = {w.partition("=")[0]: w.partition("=")[2] for w in words if w.partition("=")[0] in _PORTS and "=" in w}
    plain = [w for w in words if "=" not in w]
    keys = [w for w in words if "=" in w and w.partition("=")[0] not in _PORTS]
    if not 2 <= len(plain) <= 3:
        todo = "ngcrun tao check rtdetr spec.yaml train train.num_epochs=3"
        raise BadInput.of("arguments", shlex.join(plain), "NETWORK and SPEC are needed", todo)
    found = network.find(plain[0])
    action = found.action(plain[2] if len(plain) == 3 else _usual(found, Path(plain[1])))
    images = ports.pop("images", None)
    paths = {name: Path(value) for name, value in ports.items()}
    missing = [Problem(n, p, "does not exist", "name a path that is there") for n, p in paths.items() if not p.exists()]
    if missing:
        raise BadInput(missing)
    asked = Asked(
        found, action, Path(plain[1]), spec_text.parse_overrides(keys), device="any", dataset=paths.get("dataset"),
        records=paths.get("records"), checkpoint=paths.get("checkpoint"), pretrained=paths.get("pretrained"),
        images=images,
    )  # fmt: skip
    answer = examine(asked, needs=False)
    for one in sorted(answer.findings, key=lambda f: f.warning):
        print(f"{'warning' if one.warning else 'error'}: {one.problem.line()}")
    errors = sum(not f.warning for f in answer.findings)
    warnings = len(answer.findings) - errors
    what = f"{plain[1]}: {found.name} {action.name}"
    print(f"{what}: {errors} errors, {warnings} warnings" if answer.findings else f"{what}: nothing is wrong with it")
    return 2 if errors else 0


def _usual(found: network.Network, spec: Path) -> str:
    """The action that a spec is most likely for: `train`; of a TF1 network, the one whose message it fits best."""
    if found.dialect == "yaml" or not found.schema:
        return "train" if "train" in found.actions else next(iter(found.actions))
    from runtime.tao import schema, spec_text

    folder, text = schema.package_folder(os.environ, "nvidia_tao_deploy"), spec_text.read_user_spec(spec)
    actions = sorted(found.actions.values(), key=lambda a: a.name != "train")
    mistakes = {a.name: _mistakes(found, a, folder, text) for a in actions if a.message}
    return min(mistakes, key=lambda name: mistakes[name])


def _mistakes(found: network.Network, action: network.Action, folder: Path, text: str) -> int:
    """How many errors a text has as the spec of an action of a TF1 network."""
    from runtime.tao import check_prototext

    tree = check_prototext.descriptor(found.schema, folder, action.message)
    return sum(not f.warning for f in check_prototext.check(tree, text))


_PORTS = ("dataset", "records", "checkpoint", "pretrained", "images")


def _migrate(words: list[str]) -> int:
    from runtime.tao import migrate_command

    if not words:
        raise BadInput.of("arguments", "", "OLD_SPEC is needed", "ngcrun tao migrate old_spec.txt")
    old = words[0]
    if " " in old and not Path(old).exists():
        return _tell(migrate_command.command_line(old))
    given = dict(w.split("=", 1) for w in words[1:] if "=" in w)
    return _tell(_migrate_spec(Path(old), given))


def _migrate_spec(path: Path, given: dict[str, str]) -> Migration:
    from runtime.tao import check_prototext, migrate, schema, spec_text

    text = spec_text.read_user_spec(path)
    target, name = given.pop("to", ""), given.pop("from", "")
    folder = schema.package_folder(os.environ, "nvidia_tao_deploy")
    old = network.find(name) if name else _recognise(path, text, folder)
    if target:
        message = old.actions[_usual(old, path)].message
        return migrate.to_tao5(text, check_prototext.descriptor(old.schema, folder, message), given)
    return migrate.to_successor(old.name, text, given)


def _recognise(path: Path, text: str, folder: Path) -> network.Network:
    """The TF1 network whose message has the most fitting fields; raises `BadInput` when two fit alike."""
    mistakes: dict[int, list[network.Network]] = {}
    for one in (network.find(n) for n in network.names()):
        if one.dialect == "prototext" and one.schema and "train" in one.actions:
            mistakes.setdefault(_mistakes(one, one.actions["train"], folder, text), []).append(one)
    best = mistakes[min(mistakes)]
    schemas = {one.schema for one in best}
    if len(schemas) > 1:
        names = ", ".join(one.name for one in best)
        raise BadInput.of("spec", path, f"could be of {names}", f"say which: from={best[0].name}")
    return best[0]


def _tell(done: Migration) -> int:
    """The new text on standard output; the account of it on standard error."""
    print(done.text, end="" if done.text.endswith("\n") else "\n")
    for key in done.carried:
        print(f"carried: {key}", file=sys.stderr)
    for left in done.not_carried:
        print(f"left: {left.key}: {left.reason}", file=sys.stderr)
    for ask in done.asks:
        was = f" (was {ask.old})" if ask.old else ""
        print(f"decide: {ask.key}{was}: {ask.question}; give {ask.key}=VALUE", file=sys.stderr)
    return 2 if done.asks else 0
