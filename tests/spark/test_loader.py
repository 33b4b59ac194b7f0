"""What `justai export loader spark` prints, run as it is on an export in a folder; and the page that says how."""

import os
import re
import shutil
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.dataset as ds
import pytest

pytest.importorskip("pyspark.sql", reason="pyspark is not installed; `make test-spark` installs it")
if shutil.which("java") is None:
    pytest.skip("Spark needs Java, which is not installed", allow_module_level=True)

ROOT = Path(__file__).parents[2]
EXPORTER = [str(ROOT / ".venv/bin/python"), "-m", "tests.spark.exported"]


def told(bucket: Path, *words: str) -> str:
    return subprocess.run([*EXPORTER, str(bucket), *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def run(folder: Path, *command: str) -> list[str]:
    """Its lines on standard output; Spark says much beside them. What Spark is to use is said as its users say it."""
    conf = folder.parent / "conf"
    conf.mkdir(exist_ok=True)
    (conf / "spark-defaults.conf").write_text(
        "spark.master local[2]\nspark.ui.enabled false\nspark.sql.shuffle.partitions 2\n"
        "spark.driver.host 127.0.0.1\nspark.driver.bindAddress 127.0.0.1\n"
    )
    env = {**os.environ, "SPARK_CONF_DIR": str(conf), "SPARK_LOCAL_IP": "127.0.0.1"}
    ran = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout.splitlines()


@pytest.mark.timeout(900)
def test_the_script_counts_right_at_once_and_again_and_after_a_day_was_overwritten(tmp_path: Path) -> None:
    desk = tmp_path / "desk"
    desk.mkdir()
    told(desk / "bucket", "export", "hive")
    (desk / "load_spark.py").write_text(told(desk, "print", "bucket/e'x/port", "hive"))
    load = (sys.executable, "load_spark.py")

    first = run(desk, *load, "2026-11")
    again = run(desk, *load, "2026-11", "2025-01")
    told(desk / "bucket", "overwrite", "hive")
    after = run(desk, *load)

    before = ["generations: 39 rows", "variants: 1 rows", "outcomes: 39 rows"]
    now = ["generations: 37 rows", "variants: 1 rows", "outcomes: 37 rows"]
    assert first == ["7 manifests, 7 of them new, 7 loaded.", *before]
    assert again == ["7 manifests, 0 of them new, 0 loaded.", *before]
    assert after == ["7 manifests, 5 of them new, 5 loaded.", *now]
    assert loaded_people(desk) == {2026112310: 32, 2026113010: 5}


@pytest.mark.timeout(900)
def test_an_object_that_is_not_what_its_manifest_says_is_left_for_the_next_run(tmp_path: Path) -> None:
    desk, bucket = tmp_path / "desk", tmp_path / "desk/bucket"
    desk.mkdir()
    told(bucket, "export", "plain")
    (desk / "load_spark.py").write_text(told(desk, "print", "bucket/e'x/port", "plain"))
    load = (sys.executable, "load_spark.py")
    earn = bucket / "e'x/port/_tables/outcomes/2026/11/23/10/part-000.parquet"
    run(desk, *load)

    before = earn.read_bytes()
    told(bucket, "earn", "plain")  # as many rows as before
    after = earn.read_bytes()
    earn.write_bytes(before)
    half_copied = run(desk, *load)
    earn.unlink()
    missing = run(desk, *load)
    earn.write_bytes(after)
    whole = run(desk, *load)

    waits = "Being overwritten just now, or half copied, so run this again: outcomes 2026-11-23T10:00:00Z"
    rows = ["generations: 39 rows", "variants: 0 rows", "outcomes: 39 rows"]
    assert half_copied == ["7 manifests, 3 of them new, 2 loaded.", waits, *rows]
    assert missing == ["7 manifests, 1 of them new, 0 loaded.", waits, *rows]
    assert whole == ["7 manifests, 1 of them new, 1 loaded.", *rows]
    table = ds.dataset(desk / "justai/outcomes", partitioning="hive").to_table(filter=ds.field("hour") == 2026112310)
    assert set(table["revenue"].to_pylist()) == {99.0}


def loaded_people(desk: Path) -> dict[int, int]:
    """People by hour, as pyarrow reads what Spark wrote; each with what the export says of them."""
    rows = ds.dataset(desk / "justai/generations", partitioning="hive").to_table().to_pylist(maps_as_pydicts="strict")
    for row in rows:
        person = row["user_id"]
        assert row["vars"] == {"subject": f"Hi {person} ü", "preheader": "", "body": f"<p>{person} ü</p>"}
        assert row["attrs"] == {"name": 'Zoë "Z" \\', "none": None, "likes": '["tea","rain"]'}
    return dict(Counter(row["hour"] for row in rows))


@pytest.mark.timeout(900)
def test_the_page_loads_a_month_and_counts_right_after_a_day_was_overwritten(tmp_path: Path) -> None:
    bucket, bin = tmp_path / "bucket", tmp_path / "bin"
    told(bucket, "export", "plain")
    commands = {
        "justai": f'cd {ROOT} && exec {" ".join(EXPORTER)} {bucket} justai "$@"',
        "aws": f'here=$PWD; cd {ROOT} && exec {" ".join(EXPORTER)} {bucket} aws "$1" "$2" "$3" "$here/$4" "$5"',
        "pip": 'shift; for name; do python -c "import $name"; done',
        "python": f'exec {sys.executable} "$@"',
    }
    bin.mkdir()
    for name, does in commands.items():
        (bin / name).write_text(f"#!/bin/sh\n{does}\n")
        (bin / name).chmod(stat.S_IRWXU)
    load, count, reload = page_of("A month into Spark")
    desk = tmp_path / "desk"
    desk.mkdir()

    def says(block: str) -> list[str]:
        return run(desk, "env", f"PATH={bin}:/usr/bin:/bin", "bash", "-euc", block)

    loaded, counted = says(load), says(f"python - <<'PAGE'\n{count}\nPAGE")
    reloaded, counted_again = says(reload), says(f"python - <<'PAGE'\n{count}\nPAGE")

    assert loaded[:2] == ["7 manifests, 7 of them new, 7 loaded.", "generations: 39 rows"]
    assert counted == ["(39, 30)"]
    assert reloaded[:2] == ["7 manifests, 5 of them new, 5 loaded.", "generations: 37 rows"]
    assert counted_again == ["(37, 32)"]


def page_of(title: str) -> list[str]:
    """The fenced blocks below a heading of the page about exports."""
    page = (ROOT / "docs/egress.md").read_text()
    section = page.split(f"### {title}\n")[1].split("\n## ")[0].split("\n### ")[0]
    return re.findall(r"```(?:sh|python)\n(.*?)```", section, re.DOTALL)
