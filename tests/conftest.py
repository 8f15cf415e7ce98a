import os
import sys
from pathlib import Path

import pytest

# So that tests in all folders find the helpers, and the mutants are a package.
sys.path[:0] = [str(Path(__file__).parent / "helpers"), str(Path(__file__).parent)]

from places import SHARED  # noqa: E402


def _may_not_be(reason):
    """With NUMBERT_NO_SKIPS, a test may be skipped only for data that is not beside this checkout."""
    return os.environ.get("NUMBERT_NO_SKIPS") and (SHARED.exists() or "../shared" not in reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped and _may_not_be(str(report.longrepr)):
        report.outcome, report.longrepr = "failed", f"{item.nodeid} was skipped: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    if report.skipped and _may_not_be(str(report.longrepr)):
        report.outcome, report.longrepr = "failed", f"{collector.nodeid} was skipped: {report.longrepr}"
    return report
