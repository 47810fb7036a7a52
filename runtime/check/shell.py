"""The programs that a command starts in its code folder, read without a shell: a script and its words."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from runtime.local.expression import BINDING

HOLE = "\x01"  # stands for what is not known before the run
_PYTHON = re.compile(r"(?:.*/)?python(?:3(?:\.\d+)?)?")
_SHELLS = re.compile(r"(?:.*/)?(?:bash|sh)")
_ASSIGNED = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
# After any other program a script may be there that was not before.
_MAKES_NO_FILE = {
    "cd",
    "echo",
    "ls",
    "export",
    "pip",
    "nvidia-smi",
    "pwd",
    "env",
    "set",
    "which",
    "ulimit",
    "sleep",
    "true",
}
_LAUNCHERS = re.compile(r"mpirun|mpiexec|horovodrun|nohup|exec|time|srun")
_FLAGS_WITH_VALUE = {"-W", "-X", "--check-hash-based-pycs"}


@dataclass(frozen=True)
class Call:
    """A script (`script` or `module`) and the words behind it. `sure`: nothing before it can have made the script."""

    script: str
    words: tuple[str, ...]
    module: bool = False
    bash: bool = False
    sure: bool = True


def calls(command: str) -> Iterator[Call]:
    """Each Python or shell script that a command starts, as far as that can be read; nothing of what cannot."""
    text = BINDING.sub(HOLE, command).replace("$[[", " ").replace("]]", " ")
    folder, sure = PurePosixPath(), True
    for simple in _simple(text):
        words = list(itertools.dropwhile(_ASSIGNED.fullmatch, simple))
        if not words:
            continue
        if words[0] == "cd":
            if len(words) != 2 or HOLE in words[1] or "$" in words[1] or words[1].startswith(("/", "~", "-")):
                return
            folder /= words[1]
            continue
        call = _call(words)
        if call is not None and not _unknown(call.script):
            script = call.script if call.module else str(folder / call.script)
            known = sure and not (call.module and folder.parts)
            yield Call(script, call.words, call.module, call.bash, known)
        sure = sure and (words[0] in _MAKES_NO_FILE if call is None else not call.bash)


def _unknown(text: str) -> bool:
    return HOLE in text or "$" in text or "`" in text or text.startswith(("/", "~"))


def _simple(text: str) -> Iterator[list[str]]:
    """The simple commands of a shell text, each as its words; none where the text is no plain list of them."""
    text = re.sub(r"\\[ \t]*\n", " ", text)
    if re.search(r"<<|\b(?:if|for|while|case|function)\b[^;\n]*[;\n]|\$\(|`", text):
        return
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        lexer.commenters = "#"
        words: list[str] = []
        try:
            tokens = list(lexer)
        except ValueError:  # a quote that does not end in this line
            return
        for token in tokens:
            if token in ("&&", "||", ";", "|", "&", "(", ")"):
                yield words
                words = []
            else:
                words.append(token)
        yield words


def _call(words: list[str]) -> Call | None:
    words = _redirected(words)
    if words and _LAUNCHERS.fullmatch(words[0]):
        words = list(itertools.dropwhile(lambda word: not _PYTHON.fullmatch(word), words))
    if words and _SHELLS.fullmatch(words[0]):
        words = words[1:]
    elif words and _PYTHON.fullmatch(words[0]):
        return _python(words[1:])
    if words and words[0].endswith(".sh"):
        return Call(words[0], tuple(words[1:]), bash=True)
    return None


def _python(words: list[str]) -> Call | None:
    """The script or module behind `python` and its flags."""
    while words and words[0].startswith("-") and words[0] != "-m":
        if words[0] == "-c" or HOLE in words[0]:
            return None
        words = words[2:] if words[0] in _FLAGS_WITH_VALUE else words[1:]
    if words[:1] == ["-m"]:
        return Call(words[1], tuple(words[2:]), module=True) if len(words) > 1 else None
    return Call(words[0], tuple(words[1:])) if words and words[0].endswith(".py") else None


def _redirected(words: list[str]) -> list[str]:
    """The words without what is behind `>` and `<`."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif re.fullmatch(r"[<>]+&?|&>+|>&", word):
            skip = True
            if kept and kept[-1].isdigit():
                kept.pop()
        else:
            kept.append(word)
    return kept
