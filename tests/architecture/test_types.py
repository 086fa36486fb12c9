"""A user's type checker knows what estimators and inference take and return."""

import os
import re
import subprocess
import sys
from pathlib import Path

import skmixed

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("user_types.py")


def test_package_says_that_it_has_types():
    assert (Path(skmixed.__file__).parent / "py.typed").is_file()


def test_mypy_finds_what_is_wrong_in_a_program_and_nothing_else(request, tmp_path):
    flags = ["--strict", "--ignore-missing-imports", "--follow-imports=silent", "--config-file="]
    cache = f"--cache-dir={request.config.cache.mkdir('mypy')}"
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *flags, cache, PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    found = {int(line) for line in re.findall(r"user_types\.py:(\d+): error", done.stdout)}
    lines = PROGRAM.read_text("utf-8").splitlines()
    assert found == {n for n, line in enumerate(lines, 1) if line.endswith("# error")}, done.stdout
    assert not done.stderr
