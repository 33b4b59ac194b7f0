"""Samples count for the place of ours that they were taken in, and for the service whose process it was."""

from bench import profiles
from bench.profiles import Place

GATEWAY = 'process 7:"/x/.venv/bin/python -m services.gateway"'
BENCH = 'process 5:"/x/.venv/bin/python -m bench.console --rounds=30"'
POOL = "execute (/x/.venv/lib/python3.11/site-packages/asyncpg/pool.py:9)"
MAIN = f"<module> ({profiles.ROOT}/services/gateway/__main__.py:7)"
LOOP = f"run ({profiles.ROOT}/shared/runtime.py:90);run (/x/site-packages/uvloop/__init__.py:92)"
STORE = f"insert ({profiles.ROOT}/shared/db/pool.py:40)"
VIEW = f"hooks ({profiles.ROOT}/services/gateway/hooks.py:12)"
PAGES = f"page ({profiles.ROOT}/services/console/pages/results/page.py:3)"


def test_a_librarys_time_is_that_of_the_deepest_place_of_ours() -> None:
    lines = [
        f"{BENCH};{GATEWAY};{VIEW};{STORE};{POOL} 3",
        f"{BENCH};{GATEWAY};{VIEW} 2",
        f"{BENCH};{GATEWAY};run (/usr/lib/python3.11/asyncio/runners.py:118);{POOL} 1",
        f"{BENCH};{GATEWAY};{MAIN};{LOOP} 5",
        f"{BENCH};{GATEWAY};<module> ({profiles.ROOT}/services/gateway/app.py);_load (<frozen importlib._bootstrap>) 6",
    ]

    assert profiles.read(lines) == {
        "gateway": {
            Place("shared/db/pool.py: insert", "asyncpg"): 3,
            Place("services/gateway/hooks.py: hooks", ""): 2,
            Place("(asyncpg)", ""): 1,
            Place("(event loop)", ""): 5,
            Place("(start)", ""): 6,
        }
    }


def test_a_service_inside_the_benchmarks_own_process_is_known_by_its_frames() -> None:
    lines = [
        f"{BENCH};{PAGES};render (/x/site-packages/jinja2/environment.py) 4",
        f"{BENCH};main (bench/console.py:9) 8",
    ]

    assert profiles.read(lines) == {
        "console": {Place("services/console/pages/results/page.py: page", "jinja2"): 4},
    }


def test_the_page_is_that_of_what_was_profiled_last_and_says_of_each_service_what_was_taken() -> None:
    assert profiles.PAGE.read_text() == profiles.page(profiles._kept())
    assert set(profiles.TAKEN) == set(profiles.OF)
    assert {benchmark for benchmark, _ in profiles.OF.values()} == set(profiles.WORK)


def test_a_service_that_nobody_profiled_says_so() -> None:
    assert profiles.page({}).count("Not profiled yet") == len(profiles.OF)
