"""The arithmetic of `make capacity`."""

import json
from pathlib import Path

import pytest

from deploy import scale_page
from deploy.capacity import Costs, accounts_by_single, first_to_give_out, measured_here, needs, predicted_rate

COSTS = Costs(
    gateway_us=100, generator_us=200, profile_writer_us=50, postgres_us=400, rabbitmq_us=150, load_us=100,
    single_write_us=1000, bulk_write_us=200, event_us=50, event_postgres_us=25, row_us=60,
)  # fmt: skip


def cores(rate: float, bulk: float) -> dict[str, float]:
    return {need.part.name: need.cores or 0.0 for need in needs(COSTS, rate, bulk)}


def test_busy_cores_are_rate_times_cost() -> None:
    found = cores(1000, bulk=0.5)

    assert found["gateway"] == pytest.approx(0.1)
    assert found["profile_writer"] == pytest.approx(0.05 + 0.5 + 0.1)
    assert found["ingest"] == pytest.approx(1000 * 3.2 * 50 / 1e6)
    assert found["PostgreSQL"] == pytest.approx(1000 * (400 + 3.2 * 25) / 1e6)


def test_what_nobody_measured_is_not_told_as_nothing() -> None:
    found = {need.part.name: need.cores for need in needs(Costs(event_us=None), 1000, bulk=0.5)}

    assert found["ingest"] is None
    assert all(cores for name, cores in found.items() if name != "ingest")


def test_ten_times_the_load_is_ten_times_the_cores_and_never_fewer_than_two_processes() -> None:
    small, large = needs(COSTS, 100, 0), needs(COSTS, 1000, 0)

    assert [(one.cores or 0) * 10 for one in small] == pytest.approx([one.cores for one in large])
    assert {one.nodes for one in small if one.part.name == "gateway"} == {2}


def test_what_comes_nearest_to_its_most_gives_out_first() -> None:
    assert first_to_give_out(needs(COSTS, 10_000, bulk=1)).part.name == "PostgreSQL"
    assert first_to_give_out(needs(COSTS, 10_000, bulk=0)).part.name == "PostgreSQL"


def test_klaviyos_minute_bounds_what_one_account_writes_alone() -> None:
    assert accounts_by_single(12.5) == 1
    assert accounts_by_single(12.6) == 2


def test_two_cores_carry_what_their_microseconds_allow() -> None:
    assert predicted_rate(COSTS, 2) == pytest.approx(2e6 / 1000)


def test_figures_of_this_machine_take_the_place_of_those_that_were_committed(tmp_path: Path) -> None:
    (tmp_path / "pipeline.json").write_text(json.dumps({"figures": {"gateway_cpu_us": 7.5}}))

    costs, used = measured_here(COSTS, tmp_path)

    assert (costs.gateway_us, costs.generator_us, used) == (7.5, 200, ["pipeline.json"])


def test_the_page_says_what_the_arithmetic_says() -> None:
    text = scale_page.TARGET.read_text()

    assert text.count("\n|---|") == 4
    assert text == scale_page.page(text), "run `python -m deploy.scale_page`"
    assert scale_page.page(text.replace(", 2 |", ", 3 |")) == text


def test_what_one_core_carries_is_its_share_of_a_second_over_the_cost() -> None:
    rows = {name: carried for name, carried, _ in scale_page.carried(COSTS)}

    assert rows["gateway: webhooks"] == "6,000"
    assert rows["profile_writer: writes sent one by one"] == "571"  # 0.6 s over 50 and 1000 microseconds
    assert (
        dict((name, one) for name, one, _ in scale_page.carried(Costs(event_us=None)))["ingest: events"]
        == "not measured"
    )
