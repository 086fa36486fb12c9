"""A failure says how to see it again."""

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        command = f'python -m pytest -n 0 -m "study or not study" "{item.nodeid}"'
        report.sections.append(("run it again", command))
    return report
