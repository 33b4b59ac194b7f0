"""What is run before a change is taken in, and the lanes beside it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
RUN = (ROOT / ".ci" / "run").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def steps(lane: str) -> list[str]:
    """The targets of make that a lane goes through."""
    told = RUN.partition(f"\n{lane})\n")[2].partition(";;")[0]
    return [word for line in told.splitlines() for word in line.split()[1:] if "=" not in word]


def test_every_step_is_a_target_of_make() -> None:
    for lane in ("main", "spark", "soak"):
        assert steps(lane), lane
        assert set(steps(lane)) <= TARGETS, lane


def test_checks_packages_and_tests_are_in_the_main_lane_and_what_takes_its_time_in_lanes_of_their_own() -> None:
    assert {"check", "audit", "check-deploy", "test", "demo-once"} <= set(steps("main"))
    assert (steps("spark"), steps("soak")) == (["test-spark", "test-spark-glue"], ["soak"])


def test_the_lane_of_spark_holds_the_version_that_the_glue_job_asks_for() -> None:
    """Which Spark a release of Glue runs is what AWS says of it."""
    spark_of = {"5.0": "3.5", "5.1": "3.5", "6.0": "4.1"}
    glue = re.search(r'GlueVersion: "([\d.]+)"', (ROOT / "deploy" / "glue" / "template.yaml").read_text())
    pinned = re.search(r"^pyspark==(\d+\.\d+)", (ROOT / "requirements" / "spark-glue.txt").read_text(), re.MULTILINE)

    assert glue is not None
    assert pinned is not None
    assert pinned[1] == spark_of[glue[1]]
