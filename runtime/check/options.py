"""The arguments that a Python script takes, read from its source: argparse, click and typer. Nothing is imported."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass, field
from pathlib import Path

# What makes the list of arguments something else than what is written down.
_DYNAMIC_WORDS = {"parents", "fromfile_prefix_chars", "prefix_chars", "argument_default", "conflict_handler"}
_DYNAMIC_CALLS = {"parse_known_args", "add_subparsers", "parse_intermixed_args", "parse_known_intermixed_args"}
_COMPLETION = ("--help", "--install-completion", "--show-completion")
_GROUPS = {"add_argument_group", "add_mutually_exclusive_group"}


@dataclass
class Options:
    """`names` with their dashes; `required` of them must be given; `abbreviated`: a unique beginning is enough."""

    names: set[str] = field(default_factory=set)
    required: set[str] = field(default_factory=set)
    abbreviated: bool = False

    def listed(self) -> set[str]:
        """The names that are the script's own."""
        return self.names - {"-h", *_COMPLETION}

    def takes(self, word: str) -> bool:
        """Whether the script takes this word, which begins with a dash."""
        name = word.partition("=")[0]
        if name in self.names:
            return True
        if name.startswith("--"):
            return self.abbreviated and sum(known.startswith(name) for known in self.names) == 1
        return any(name[:2] == known for known in self.names)  # -xVALUE, -xyz


def read(path: Path) -> ast.Module | None:
    """The syntax tree of a script; None for one that cannot be read."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of an invalid escape, and the like
            return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def of(tree: ast.Module) -> Options | None:
    """The arguments of a script; None when they are not written down in it, or only a part of them is."""
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    loaded = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    if "argv" in names and not _only_passed_on(tree):
        return None
    if "ArgumentParser" in names | loaded:
        return _argparse(tree)
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    if "click" in imported:
        return _click(tree)
    return _typer(tree) if "typer" in imported else None


def _only_passed_on(tree: ast.Module) -> bool:
    """Whether `sys.argv` is only handed on as `sys.argv[1:]`, as in `main(sys.argv[1:])`."""
    uses = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr == "argv"]
    sliced = [
        n.value
        for n in ast.walk(tree)
        if isinstance(n, ast.Subscript) and isinstance(n.slice, ast.Slice) and ast.unparse(n.slice) == "1:"
    ]
    return all(use in sliced for use in uses)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _argparse(tree: ast.Module) -> Options | None:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    made = [call for call in calls if _name(call.func) == "ArgumentParser"]
    methods = {_name(call.func) for call in calls}
    words = {keyword.arg for call in made for keyword in call.keywords}
    if len(made) != 1 or methods & _DYNAMIC_CALLS or words & _DYNAMIC_WORDS or None in words:
        return None
    if "parse_args" not in methods or not _all_here(tree, calls):
        return None
    plain = not any(k.arg == "allow_abbrev" for call in made for k in call.keywords)
    options = Options({"-h", "--help"}, abbreviated=plain)
    for call in calls:
        if _name(call.func) == "add_argument" and not _add(options, call):
            return None
    return options


def _add(options: Options, call: ast.Call) -> bool:
    flags = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    words = {k.arg: k.value for k in call.keywords}
    if len(flags) != len(call.args) or None in words or not flags:
        return False
    nargs, action = words.get("nargs"), words.get("action")
    if nargs is not None and not (isinstance(nargs, ast.Constant) and nargs.value in ("?", "*", "+", 1, 2, 3, 4)):
        return False
    options.names |= {flag for flag in flags if flag.startswith("-")}
    if action is not None and not isinstance(action, ast.Constant):
        if _name(action) != "BooleanOptionalAction":
            return True
        options.names |= {f"--no-{flag[2:]}" for flag in flags if flag.startswith("--")}
    required = words.get("required")
    if isinstance(required, ast.Constant) and required.value is True:
        options.required.add(next((f for f in flags if f.startswith("--")), flags[0]))
    return True


def _all_here(tree: ast.Module, calls: list[ast.Call]) -> bool:
    """Whether no parser is handed to a function of another module, and no argument is added in a loop or a branch."""
    here = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    parsers = {"parser"}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        if _name(node.value.func) in {"ArgumentParser", *_GROUPS}:
            parsers |= {_name(target) for target in node.targets}
    for call in calls:
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        if any(_name(value) in parsers for value in given) and _name(call.func) not in here:
            return False
    return not any(
        isinstance(inner, ast.Call) and _name(inner.func) == "add_argument"
        for node in ast.walk(tree)
        if isinstance(node, ast.For | ast.While | ast.ListComp)
        for inner in ast.walk(node)
    )


def _functions(tree: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def _click(tree: ast.Module) -> Options | None:
    decorators = [d for f in _functions(tree) for d in f.decorator_list if isinstance(d, ast.Call)]
    names = [_name(d.func) for d in decorators]
    if names.count("command") != 1 or set(names) - {"command", "option", "argument"}:
        return None
    options = Options({"--help"})
    for decorator in decorators:
        if _name(decorator.func) == "command" and any(k.arg != "help" for k in decorator.keywords):
            return None
        if _name(decorator.func) == "option" and not _click_option(options, decorator):
            return None
    return options


def _click_option(options: Options, call: ast.Call) -> bool:
    flags = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    if len(flags) != len(call.args) or any(k.arg is None for k in call.keywords):
        return False
    both = [part.strip() for flag in flags for part in flag.split("/")]
    options.names |= {part for part in both if part.startswith("-")}
    for keyword in call.keywords:
        if keyword.arg == "required" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True:
            options.required.add(next((f for f in both if f.startswith("--")), both[0]))
    return True


def _typer(tree: ast.Module) -> Options | None:
    run = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "typer.run" and n.args]
    commands = [f for f in _functions(tree) for d in f.decorator_list if _name(getattr(d, "func", d)) == "command"]
    found = [f for f in _functions(tree) if run and f.name == _name(run[0].args[0])] + commands
    if len(found) != 1 or "add_typer" in {_name(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}:
        return None
    options = Options(set(_COMPLETION))
    every = [*found[0].args.posonlyargs, *found[0].args.args, *found[0].args.kwonlyargs]
    for argument in every:
        text = ast.unparse(argument.annotation) if argument.annotation else ""
        if "Option(" in text or "Argument(" in text or "Context" in text:
            return None  # Annotated[..., typer.Option("--other-name")]
    plain = [*found[0].args.posonlyargs, *found[0].args.args]
    defaults = dict(zip([a.arg for a in plain][::-1], found[0].args.defaults[::-1], strict=False))
    for argument in plain:
        default = defaults.get(argument.arg)
        if default is None:
            continue  # an argument by its place
        given = isinstance(default, ast.Call)
        flags = (
            [a.value for a in default.args[1:] if isinstance(a, ast.Constant)] if isinstance(default, ast.Call) else []
        )
        if given and _name(default.func) == "Argument":  # type: ignore[attr-defined]
            continue
        name = argument.arg.replace("_", "-")
        switch = argument.annotation is not None and ast.unparse(argument.annotation) == "bool"
        options.names |= {str(flag) for flag in flags} or {f"--{name}", *([f"--no-{name}"] if switch else [])}
    return options
