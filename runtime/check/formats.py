"""A report as text, as JSON and as SARIF 2.1.0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runtime import __version__
from runtime.check.rules import RULES
from runtime.check.whole import Finding, Report

SCHEMA_VERSION = 1
_PAGE = "docs/check.md"
_PLURAL = {"error": "errors", "warning": "warnings", "note": "notes"}
# Source: docs.oasis-open.org/sarif/sarif/v2.1.0, 3.27.10: `level` is none, note, warning or error.
_SARIF = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def text(report: Report, seconds: float, *, notes: bool = False) -> str:
    """One line a finding, and a last line that counts them; notes only when asked for."""
    lines = [finding.text() for finding in report.findings if notes or finding.severity != "note"]
    return "\n".join([*lines, summary(report, seconds, notes=notes)])


def summary(report: Report, seconds: float, *, notes: bool = False) -> str:
    """`3 errors, 2 warnings in 14 files (0.31 s)`."""
    counts = ", ".join(_counted(report.count(severity), severity) for severity in ("error", "warning"))
    found = report.count("note")
    hidden = "" if not found else f", {_counted(found, 'note')}{'' if notes else ' (--notes shows them)'}"
    some = "file" if report.skipped == 1 else "files"
    others = f", {report.skipped} other YAML {some} skipped" if report.skipped else ""
    files = f"{report.files} file{'' if report.files == 1 else 's'}"
    return f"{counts}{hidden} in {files}{others} ({seconds:.2f} s)"


def _counted(number: int, severity: str) -> str:
    return f"{number} {severity if number == 1 else _PLURAL[severity]}"


def as_json(report: Report, seconds: float) -> str:
    """The report as one JSON object; docs/check.md says what is in it, and `version` rises when that changes."""
    findings = [
        {
            "rule": f.rule, "severity": f.severity, "path": f.path, "line": f.line, "column": f.column,
            "place": f.place, "message": f.message, "hint": f.hint,
        }
        for f in report.findings
    ]  # fmt: skip
    counts = {plural: report.count(severity) for severity, plural in _PLURAL.items()}
    whole = {"version": SCHEMA_VERSION, "findings": findings, "counts": counts}
    return json.dumps(
        whole | {"files": report.files, "skipped": report.skipped, "seconds": round(seconds, 3)}, indent=2
    )


def sarif(report: Report) -> str:
    """The report as SARIF, for GitHub's code scanning: paths relative to this folder, where they are below it."""
    used = sorted({finding.rule for finding in report.findings})
    rules = [
        {
            "id": name,
            "shortDescription": {"text": RULES[name].looks_for},
            "help": {"text": f"{RULES[name].looks_for} (source: {RULES[name].source}); see {_PAGE}"},
            "defaultConfiguration": {"level": RULES[name].severity},
        }
        for name in used
    ]
    driver = {"name": "ngcrun check", "semanticVersion": __version__, "rules": rules}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, used.index(finding.rule)) for finding in report.findings],
    }
    return json.dumps({"$schema": _SARIF, "version": "2.1.0", "runs": [run]}, indent=2)


def _result(finding: Finding, index: int) -> dict[str, Any]:
    path = Path(finding.path)
    address = path.as_uri() if path.is_absolute() else path.as_posix().replace("%", "%25").replace(" ", "%20")
    region = {"startLine": finding.line, "startColumn": finding.column}
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": finding.severity,
        "message": {"text": f"{finding.message}; {finding.hint}"},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": address}, "region": region}}],
    }
