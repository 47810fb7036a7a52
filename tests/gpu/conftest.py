"""`nox -s gpu` sets NGCRUN_REQUIRE_GPU: a test that would skip for want of a GPU then fails, with the same reason."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("NGCRUN_REQUIRE_GPU") and item.get_closest_marker("gpu"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome, report.longrepr = "failed", f"this run requires a GPU, and the test was skipped: {reason}"
    return report
