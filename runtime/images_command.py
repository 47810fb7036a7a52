"""`ngcrun images`: the rows of containers/images.yaml, their digests, and the images made from them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from runtime import catalog, dockerfile, images
from runtime.errors import BadInput, NgcrunError, Problem, ToolFailed
from runtime.images import Image

# Source: distribution/reference (a tag); the repository part of NGC's names is lower case.
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
REPOSITORY = re.compile(r"[a-z0-9.-]+(?::\d+)?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)+")
_FROM = re.compile(r"^FROM\s+(\S+)", re.MULTILINE)


def build_parser() -> argparse.ArgumentParser:
    """The command line of `ngcrun images`."""
    parser = argparse.ArgumentParser("ngcrun images", description="NGC images, and the environments made from them.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("list", help="every row: image, Python, CUDA, floors, digest, what runs in it")
    commands.add_parser("check", help="rows, digests, Dockerfiles and environments agree and are well formed")
    bump = commands.add_parser("bump", help="give a row another tag, and write what is generated from it")
    bump.add_argument("row")
    bump.add_argument("tag")
    lock = commands.add_parser("lock", help="ask the registries for the digests, and pin them")
    _rows(lock)
    lock.add_argument("--check", action="store_true", help="write nothing; fail where a tag has moved")
    build = commands.add_parser("build", help="build images with docker, or with ACR tasks")
    push = commands.add_parser("push", help="push images that were built")
    for command in (build, push):
        _rows(command)
        command.add_argument("--registry", help="registry to name the images for, such as NAME.azurecr.io")
        command.add_argument("--dry-run", action="store_true", help="print the commands, run nothing")
    build.add_argument("--push", metavar="REGISTRY", help="name them for this registry, and push each when it is built")
    build.add_argument("--acr", metavar="NAME", help="build there: `az acr build`, which also pushes")
    build.add_argument("--base", help="another base image than the row's")
    build.add_argument("--network", help="as docker build has it: host, where only this machine reaches PyPI")
    return parser


def _rows(command: argparse.ArgumentParser) -> None:
    command.add_argument("rows", nargs="*", metavar="ROW")
    command.add_argument("--all", action="store_true", help="every row that a component runs in")


def main(words: Sequence[str], root: Path) -> int:
    """Run one command; returns its exit status. Raises our own errors."""
    arguments = build_parser().parse_args(list(words))
    rows = images.load(root / "containers" / "images.yaml")
    if arguments.command == "list":
        print(table(rows))
        return 0
    if arguments.command == "check":
        return check(rows, root)
    if arguments.command == "bump":
        return bump(rows, arguments.row, arguments.tag, root)
    chosen = chosen_rows(rows, arguments.rows, every=arguments.all)
    if arguments.command == "lock":
        return lock(chosen, root, write=not arguments.check)
    from runtime import images_build

    return images_build.each(chosen, arguments, root)


def chosen_rows(rows: Mapping[str, Image], names: Sequence[str], *, every: bool) -> list[Image]:
    """The rows that were named, or with `--all` those that a component runs in."""
    if every == bool(names):
        raise BadInput.of("row", " ".join(names) or None, "is not one choice", "name rows, or say --all")
    return dockerfile.used(rows, catalog.components()) if every else [images.find(dict(rows), n) for n in names]


def table(rows: Mapping[str, Image]) -> str:
    """The rows for the screen."""
    head = ("row", "image", "Python", "CUDA", "driver", "cc", "digest", "environment", "runs")
    lines = [head]
    for row in rows.values():
        floors = (row.python, row.cuda, row.driver, row.compute_capability)
        digest = row.digest[:19] if row.digest else "unpinned"
        lines.append((row.key, row.reference, *floors, digest, f"{row.environment}:{row.version}", row.runs))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head) - 1)]
    return "\n".join(
        "  ".join([*(f"{c:<{w}}" for c, w in zip(line, widths, strict=False)), line[-1]]).rstrip() for line in lines
    )


def check(rows: Mapping[str, Image], root: Path) -> int:
    """Everything that can be told without a network; raises `BadInput` with all that is wrong."""
    containers = root / "containers"
    problems = [*wrong(rows), *wrong_locks(rows, containers), *wrong_bases(rows, containers)]
    problems += dockerfile.drift(rows, catalog.components(), containers)
    if problems:
        raise BadInput(problems)
    print(f"{len(rows)} rows are well formed and agree with their files")
    print(f"not seen in public as such: {', '.join(k for k, r in rows.items() if not r.literal) or 'none'}")
    unpinned = [key for key, row in rows.items() if not row.digest]
    print(f"unpinned, so that their tags may move: {', '.join(unpinned) or 'none'}")
    return 0


def wrong(rows: Mapping[str, Image]) -> list[Problem]:
    """What is not well formed in the rows themselves."""
    found = []
    seen: dict[str, str] = {}

    def tell(key: str, field: str, wrong: str, todo: str) -> None:
        found.append(Problem(f"images.yaml: {key}.{field}", getattr(rows[key], field), wrong, todo))

    for key, row in rows.items():
        if not REPOSITORY.fullmatch(row.image):
            tell(key, "image", "is no repository", "write host/name in lower case")
        if not TAG.fullmatch(row.tag) or row.tag == "latest":
            tell(key, "tag", "pins nothing or is no tag", "write a release's tag")
        twin = seen.setdefault(f"{row.environment}:{row.version}", key)
        if twin != key:
            tell(key, "environment", f"is also that of {twin}", "rename it")
        if row.interpreter not in ("image", "isolated"):
            tell(key, "interpreter", "is neither", "image or isolated")
        for fact in images.FACTS:
            if getattr(row, fact) not in (images.UNKNOWN, "none") and fact not in row.sources:
                tell(key, fact, "names no source", f"add it to the row's sources, or write {images.UNKNOWN}")
    return found


def wrong_locks(rows: Mapping[str, Image], containers: Path) -> Iterator[Problem]:
    """Digests that belong to no row, to another reference, or are none."""
    for key, entry in images.locks(containers / images.LOCK).items():
        where = f"{images.LOCK}: {key}"
        if key not in rows:
            yield Problem(where, entry.get("reference"), "is no row of images.yaml", "remove it")
        elif entry.get("reference") != rows[key].reference:
            todo = f"run `ngcrun images lock {key}`"
            yield Problem(where, entry.get("reference"), f"is not {rows[key].reference}, which the row has", todo)
        elif not images.DIGEST.fullmatch(str(entry.get("digest"))):
            yield Problem(where, entry.get("digest"), "is no digest", f"run `ngcrun images lock {key}`")


def wrong_bases(rows: Mapping[str, Image], containers: Path) -> Iterator[Problem]:
    """Dockerfiles written by hand whose base is no row's."""
    known = {reference for row in rows.values() for reference in (row.reference, row.pinned)}
    for path in by_hand(rows, containers):
        for base in _FROM.findall(path.read_text(encoding="utf-8")):
            if base not in known:
                wrong = "is the base of no row of images.yaml"
                yield Problem(f"{path.parent.name}/Dockerfile: FROM", base, wrong, "give it the reference of a row")


def by_hand(rows: Mapping[str, Image], containers: Path) -> list[Path]:
    """The Dockerfiles that `ngcrun specs` does not write."""
    return [p for p in sorted(containers.glob("*/Dockerfile")) if p.parent.name not in rows]


def bump(rows: Mapping[str, Image], key: str, tag: str, root: Path) -> int:
    """Write another tag into a row, no other byte, forget its digest, and write what is generated from the row.

    The facts of the row were those of the other tag, so it says which have to be looked at again.
    """
    from runtime.tao.yaml_edit import set_value

    row = images.find(dict(rows), key)
    if not TAG.fullmatch(tag) or tag == "latest":
        raise BadInput.of("tag", tag, "pins nothing or is no tag", "give a release's tag")
    if tag == row.tag:
        raise BadInput.of("tag", tag, f"is what {key} has", "give another, or run `ngcrun images lock`")
    path = root / "containers" / "images.yaml"
    text = path.read_text(encoding="utf-8")
    for name, value in (("tag", tag), ("version", tag[:30]), ("literal", False)):
        text = set_value(text, f'"{key}".{name}', value)
    path.write_text(text, encoding="utf-8")
    held = images.locks(path.with_name(images.LOCK))
    if held.pop(key, None) is not None:
        images.write_locks(path.with_name(images.LOCK), held)
    for file in by_hand(rows, path.parent):
        before = file.read_text(encoding="utf-8")
        now = f"FROM {row.image}:{tag}"
        after = before.replace(f"FROM {row.pinned}\n", f"{now}\n").replace(f"FROM {row.reference}\n", f"{now}\n")
        if after != before:
            file.write_text(after, encoding="utf-8")
            print(f"wrote containers/{file.parent.name}/Dockerfile; give its environment.yaml another version")
    _generate(root)
    facts = f"python={row.python} cuda={row.cuda} compute_capability={row.compute_capability} driver={row.driver}"
    print(f"{key}: {row.tag} -> {tag}, unpinned; look at its facts again ({facts})")
    return 0


def _generate(root: Path) -> None:
    """What `ngcrun specs` writes from the rows."""
    from runtime import spec

    rows = images.load(root / "containers" / "images.yaml")
    touched = spec.write_all(catalog.components(), rows, root / "component_specs")
    touched += dockerfile.write(rows, catalog.components(), root / "containers")
    for path in touched:
        print(f"wrote {path.relative_to(root)}")


def lock(chosen: Sequence[Image], root: Path, *, write: bool) -> int:
    """Pin each row to the digest that its tag stands for now; what was told is kept, also when another row fails."""
    from runtime import registry

    path = root / "containers" / images.LOCK
    held = images.locks(path)
    problems: list[Problem] = []
    failed: NgcrunError | None = None
    for row in chosen:
        try:
            digest = registry.digest_of(row.image, row.tag)
        except BadInput as error:
            problems += error.problems
            continue
        except ToolFailed as error:
            failed = failed or error
            continue
        moved = row.digest not in (None, digest)
        print(f"{row.key}: {digest}{f', was {row.digest}' if moved else ''}", flush=True)
        if not write and row.digest != digest:
            wrong = "has moved" if moved else "is not pinned"
            problems.append(Problem("image", row.reference, wrong, f"run `ngcrun images lock {row.key}`"))
        held[row.key] = {"reference": row.reference, "digest": digest}
    if write and held != images.locks(path):
        images.write_locks(path, held)
        _generate(root)
    if problems:
        raise BadInput(problems)
    if failed:
        raise failed
    return 0
