"""AzureML's `${{ }}` and `$[[ ]]`, and what a shell would do to a value that is put in their place.

Source: MicrosoftDocs/azure-ai-docs, concept-expressions and reference-yaml-core-syntax.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Mapping

BINDING = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
OPTIONAL = re.compile(r"\$\[\[(.*?)\]\]", re.DOTALL)
# What changes or ends a value in each kind of shell quoting; no character is safe from all but the single quotes.
HARMED_BY = {"'": "'", '"': '"$`\\', "": "'\"$`\\;&|<>()#*?[]{}~!\n\r"}


def binding_of(text: object) -> tuple[str, ...] | None:
    """`("parent", "inputs", "x")` for a value that is one whole `${{parent.inputs.x}}`; None for a literal."""
    match = BINDING.fullmatch(text.strip()) if isinstance(text, str) else None
    return tuple(match[1].split(".")) if match else None


def placeholders(command: str) -> Iterator[tuple[tuple[str, ...], str, bool]]:
    """Each `${{...}}` of a command: its parts, the quote that it stands in (`'`, `"`, none), whether in `$[[ ]]`."""
    optional = [match.span() for match in OPTIONAL.finditer(command)]
    quotes = _quotes(command)
    for match in BINDING.finditer(command):
        inside = any(start < match.start() < end for start, end in optional)
        yield tuple(match[1].split(".")), quotes[match.start()], inside


def _quotes(command: str) -> list[str]:
    """For each character the quote that it stands in."""
    found, quote, skip = [], "", False
    for character in command:
        found.append(quote)
        if skip:
            skip = False
        elif character == "\\" and quote != "'":
            skip = True
        elif not quote and character in "'\"":
            quote = character
        elif character == quote:
            quote = ""
    return found


def render(command: str, values: Mapping[tuple[str, ...], str | None], paths: Collection[tuple[str, ...]] = ()) -> str:
    """The command with its placeholders replaced, as AzureML does; a `$[[ ]]` with an unbound one is left out.

    Those in `paths` are quoted for the shell where they stand: on AzureML a path holds nothing that needs it.
    Raises KeyError for a placeholder without a value: the check before the run has found it.
    """

    def block(match: re.Match[str]) -> str:
        bound = all(values.get(tuple(m[1].split("."))) is not None for m in BINDING.finditer(match[1]))
        return match[1] if bound else ""

    def one(match: re.Match[str]) -> str:
        value = values[tuple(match[1].split("."))]
        if value is None:
            raise KeyError(match[1])
        return _quoted(value, quotes[match.start()]) if tuple(match[1].split(".")) in paths else value

    text = OPTIONAL.sub(block, command)
    quotes = _quotes(text)
    return BINDING.sub(one, text).strip()


def _quoted(path: str, quote: str) -> str:
    if quote == "'":
        return path.replace("'", "'\\''")
    return re.sub(r'(["$`\\])', r"\\\1", path) if quote else shlex.quote(path)


def harm(value: str, quote: str) -> str:
    """The first character of `value` that a shell would change inside `quote`; empty when it hands on all of them."""
    return next((c for c in value if c in HARMED_BY[quote] or c == "\0"), "")
