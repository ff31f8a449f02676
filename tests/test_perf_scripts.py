"""Every measurement of docs/performance.md can be rerun: the scripts end and print their table."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(p.name for p in (ROOT / "perf").glob("*.py") if not p.name.startswith("_"))  # "_": parts of others


def test_every_script_is_in_the_performance_page():
    page = (ROOT / "docs" / "performance.md").read_text()
    assert SCRIPTS and [name for name in SCRIPTS if f"python perf/{name}" not in page] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SCRIPTS)
def test_quick_run_prints_a_table(name):
    run = subprocess.run(
        [sys.executable, str(ROOT / "perf" / name), "--quick"], cwd=ROOT, capture_output=True, text=True, timeout=850
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.count("|---") >= 1
