"""From one webhook to one generation: what is decided, why, and until when it counts."""

import math
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from services.generator.assign import Split
from services.generator.catalog import OrgConfig
from services.generator.cells import Cells
from services.generator.compose import compose, fault_of
from services.generator.records import Generation
from services.generator.render import Renderer
from services.generator.select import uniform
from shared.schemas.attributes import StringAttribute
from shared.schemas.decisions import NOT_RENDERED, OUTSIDE, PLANNED_CONTROL, TREATMENT
from shared.schemas.jobs import GenerateJob, Preview
from shared.vars_codec import decode_vars
from tests.unit.generator.given import COPIES, ORG, TEN, config, job, source, template


def made(of: GenerateJob, served: OrgConfig) -> Generation:
    return compose(of, served, Renderer())


def test_a_served_template_is_treatment_with_everything_that_estimates_need() -> None:
    variants = [source(copy_id, body="<p>{{ name }}</p>") for copy_id in COPIES]

    generation = made(job(attrs={"Plan": "Pro"}, fields={"name": "Ann"}), config(template(*variants)))

    chosen = next(variant for variant in variants if variant.copy_id == generation.copy_id)
    assert (generation.decision, generation.reason, generation.variant_version) == ("treatment", "burn_in", 1)
    assert (generation.cell, generation.propensity, generation.probabilities) == ("plan=pro", 0.25, (0.25,) * 4)
    assert generation.snapshot is not None
    assert generation.snapshot.eligible == COPIES
    assert generation.attrs_json == '{"Plan":"Pro"}'
    assert generation.vars is not None
    assert decode_vars(generation.vars, chosen) == ("Hello", "News", "<p>Ann</p>")


@pytest.mark.parametrize(
    ("served", "reason"),
    [
        (config(), "unknown_template"),
        (config(template(source(), state="draft")), "template_draft"),
        (config(template(source(), state="archived")), "template_archived"),
        (config(template(source(), stopped=True)), "stopped"),
        (config(template(source(), state="draft", stopped=True)), "stopped"),
        (config(template()), "no_approved_variant"),
        (config(template(source(body="{{ name }}"))), "field_missing"),
        (config(template(source(body="{{ name | safe }}"))), "copy_broken"),
        (config(template(source(body="<a href={{ name }}>x</a>"))), "unsafe_place"),
    ],
)
def test_whatever_keeps_our_copy_back_is_control_with_its_reason(served: OrgConfig, reason: str) -> None:
    generation = made(job(), served)

    assert (generation.decision, generation.reason) == ("control", reason)
    assert (generation.copy_id, generation.variant_version, generation.vars) == (None, None, None)
    assert generation.propensity is None
    assert reason in OUTSIDE | NOT_RENDERED


@pytest.mark.parametrize(
    ("model", "fallback", "reason"),
    [
        ("uniform", False, "burn_in"),
        ("uniform", True, "fallback"),
        ("fixed", False, "fixed"),
        ("logistic", False, "explore"),
        ("thompson", False, "explore"),
    ],
)
def test_the_reason_of_treatment_says_how_the_variant_was_drawn(model: str, fallback: bool, reason: str) -> None:
    drawn = replace(uniform(ORG, "welcome", COPIES), model=model, fallback=fallback)

    generation = made(job(), config(template(*map(source, COPIES), snapshot=drawn)))

    assert (generation.decision, generation.reason) == ("treatment", reason)
    assert reason in TREATMENT


@pytest.mark.parametrize(
    ("state", "split", "reason"),
    [
        ("active", Split("random", 0.9999999), "control_split"),
        ("active", Split("persistent", 0.9999999), "control_split"),
        ("active", Split("external", control_share=0.9999999), "control_holdout"),
        ("shipped", Split("persistent", 0.9999999, control_share=0.9999999), "control_holdout"),
        ("shipped", Split("random", 0.9999999), "burn_in"),
    ],
)
def test_planned_control_has_its_reason_and_only_the_holdout_stays_when_the_template_is_shipped(
    state: str, split: Split, reason: str
) -> None:
    generation = made(job(attrs={"plan": "pro"}), config(template(*map(source, COPIES), state=state, split=split)))

    assert (generation.decision == "control", generation.reason) == (reason in PLANNED_CONTROL, reason)
    assert generation.cell == "plan=pro"
    if generation.decision == "control":
        assert (generation.snapshot, generation.propensity, generation.probabilities) == (None, None, ())


def test_who_is_nobodys_arm_is_not_split() -> None:
    split = Split("random", 0.9999999, 0.9999999)

    assert made(job(), config(template(split=split))).reason == "no_approved_variant"
    assert made(job(), config(template(source(), split=split, stopped=True))).reason == "stopped"
    assert made(job(), config(template(source(), split=split, state="draft"))).reason == "template_draft"


def test_the_variant_to_avoid_has_probability_0_and_the_logged_vector_is_the_one_drawn_from() -> None:
    served = config(template(*map(source, COPIES)))

    generation = compose(job(), served, Renderer(), last=COPIES[1])

    assert generation.probabilities == (1 / 3, 0.0, 1 / 3, 1 / 3)
    assert generation.propensity == 1 / 3
    assert generation.snapshot is not None
    assert generation.snapshot.eligible == COPIES


def test_a_template_that_allows_repeats_draws_as_its_policy_says() -> None:
    served = config(template(*map(source, COPIES), avoids_repeats=False))

    assert compose(job(), served, Renderer(), last=COPIES[1]).probabilities == (0.25,) * 4


def test_a_template_reads_attrs_by_its_own_definitions() -> None:
    cells = Cells({"plan": StringAttribute(kind="string", options={"pro": ["premium"]})}, other_attrs="ignore")

    generation = made(job(attrs={"Plan": "PREMIUM", "x": "y"}), config(template(source(), cells=cells)))

    assert generation.cell == "plan=pro"
    assert generation.attrs_json == '{"Plan":"PREMIUM","x":"y"}'


@pytest.mark.parametrize(
    ("broken", "value", "reason"),
    [
        ("<p>{{ city }}</p>", "x", "field_missing"),
        ("<a href='{{ name }}'>x</a>", "javascript:alert(1)", "unsafe_link"),
        ("<p>{{ name }}</p>", "{{ config }}", "unfilled_tag"),
        ("{% for i in (1..1000) %}{{ name }}{% endfor %}", "x" * 5_000, "render_limit"),
        ("{% for i in (1..900) %}x{% endfor %}{% for i in (1..900) %}x{% endfor %}" * 2, "x", "render_limit"),
        ("{% assign n = 9999 | times: 9999999 | times: 9999999999 %}x{{ n }}", "x", "render_failed"),
        ("<p>{{ name }}</p>" + "x" * 79_990, "x" * 100, "body_too_large"),
    ],
)
def test_what_fails_for_one_person_is_control_with_its_reason_and_never_another_variant(
    broken: str, value: str, reason: str
) -> None:
    served = config(template(source(COPIES[0], body="<p>Fine</p>"), source(COPIES[1], body=broken)))

    people = [job(user_id=f"USER{number:02}", fields={"name": value}) for number in range(40)]
    decided = [made(one, served) for one in people]

    fine, failed = (
        [one for one in decided if one.decision == decision] for decision in ("treatment", "control")
    )  # fmt: skip
    assert len(fine) >= 5
    assert len(failed) >= 5
    assert {one.copy_id for one in fine} == {COPIES[0]}
    assert {(one.reason, one.copy_id, one.vars, one.propensity) for one in failed} == {(reason, None, None, None)}
    assert all(one.probabilities == (0.5, 0.5) for one in failed)
    assert ({one.drawn_copy_id for one in failed}, {one.drawn_copy_id for one in fine}) == ({COPIES[1]}, {None})


def test_a_shipped_template_is_still_served() -> None:
    assert made(job(), config(template(source(), state="shipped"))).decision == "treatment"


def test_treatment_asks_for_a_write_and_control_for_a_clear_of_the_templates_own_prefix() -> None:
    written = made(job(), config(template(source(), property_prefix="jai_welcome"))).write
    cleared = made(job(), config(template(source(), property_prefix="jai_welcome", state="draft"))).write

    assert written is not None
    assert cleared is not None
    assert (written.action, written.prefix, written.profile_id) == ("write", "jai_welcome", "ABC123")
    assert (cleared.action, cleared.prefix, cleared.profile_id) == ("clear", "jai_welcome", "ABC123")


def test_an_unknown_template_clears_nothing_because_its_prefix_is_a_guess() -> None:
    assert made(job(), config()).write is None


def test_the_delay_is_flow_syncs_then_the_templates_then_two_minutes() -> None:
    synced = made(job(), config(template(source(), delay_s=300), waits={"77": (240, 240)}))
    set_by_hand = made(job(), config(template(source(), delay_s=300), waits={"78": (240, 240)}))
    default = made(job(), config(template(source())))

    assert synced.deadline_at == TEN + timedelta(seconds=240)
    assert set_by_hand.deadline_at == TEN + timedelta(seconds=300)
    assert default.deadline_at == TEN + timedelta(seconds=120)


def test_clean_up_is_due_one_send_window_after_the_deadline() -> None:
    generation = made(job(), config(template(source(), delay_s=60, send_window_s=600)))

    assert generation.clean_at == TEN + timedelta(seconds=660)


@pytest.mark.parametrize(
    ("flow", "own_s", "deadline_s", "most_s"),
    [
        ((180, 3600), None, 180, 3600),  # two branches
        ((86_400, 259_200), None, 86_400, 259_200),  # 2 days, until 09:00
        ((0, 86_400), None, 120, 86_400),  # until 09:00, and nothing before it
        ((0, 86_400), 600, 120, 86_400),
        ((0, 86_400), 60, 60, 86_400),
        ((0, 60), 300, 60, 60),
        ((0, 0), 300, 0, 0),
        ((0, None), None, 120, 120),  # until a date
        ((0, None), 604_800, 120, 604_800),
        ((0, None), 60, 60, 60),
        ((7200, None), 604_800, 7200, 604_800),
        ((7200, None), 300, 7200, 7200),
    ],
)
def test_copy_is_due_by_the_earliest_email_and_stays_until_the_latest(
    flow: tuple[int, int | None], own_s: int | None, deadline_s: int, most_s: int
) -> None:
    generation = made(job(), config(template(source(), delay_s=own_s), waits={"77": flow}))

    assert generation.deadline_at == TEN + timedelta(seconds=deadline_s)
    assert generation.clean_at == TEN + timedelta(seconds=most_s + 900)


@pytest.mark.parametrize(
    ("tracking_id", "marker"),
    [
        ("ABC123.FLOW1.77", "welcome.FLOW1.77"),
        ("free text", "welcome"),
        ("OTHER1.FLOW1.77", "welcome"),
        ("", "welcome"),
    ],
)
def test_the_marker_names_the_flow_message_where_the_tracking_id_does(tracking_id: str, marker: str) -> None:
    assert made(job(tracking_id=tracking_id), config(template(source()))).written_for == marker


def test_attrs_are_stored_as_given_but_for_what_postgresql_cannot_store() -> None:
    attrs: dict[str, str | list[str]] = {"a\x00": "b\x00c", "d": ["e\x00", "\\u0000"]}

    assert made(job(attrs=attrs), config(template(source()))).attrs_json == '{"a":"bc","d":["e","\\\\u0000"]}'


@pytest.mark.parametrize("name", ["template_id", "user_id", "tracking_id"])
def test_an_id_that_cannot_be_stored_is_a_fault_of_the_job(name: str) -> None:
    assert fault_of(job().model_copy(update={name: "a\x00b"})) == f"unusable_{name}"
    assert fault_of(job().model_copy(update={name: "a" * 513})) == f"unusable_{name}"
    assert fault_of(job().model_copy(update={name: "a" * 512})) is None


def test_a_day_far_from_the_acceptance_is_a_fault_of_the_job() -> None:
    far = job().model_copy(update={"day": TEN.date() + timedelta(days=2)})

    assert fault_of(far) == "wrong_day"
    assert fault_of(job()) is None


def test_the_choice_is_the_same_for_every_delivery_and_shared_evenly_over_many() -> None:
    served = config(template(*(source(copy_id) for copy_id in COPIES)))
    jobs = [job().model_copy(update={"generation_id": UUID(int=number)}) for number in range(800)]

    first = [made(one, served).copy_id for one in jobs]

    assert first == [made(one, served).copy_id for one in jobs]
    for copy_id in COPIES:
        assert abs(first.count(copy_id) - 200) < 5 * math.sqrt(800 * 0.25 * 0.75)


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("forced", [COPIES[2], None])
def test_a_preview_is_rendered_and_says_nothing_that_could_be_learned(forced: UUID | None, write: bool) -> None:
    served = config(template(*(source(copy_id, body="<p>{{ name }}</p>") for copy_id in COPIES)))
    ordinary = made(job(fields={"name": "Ann"}), served)

    generation = made(job(fields={"name": "Ann"}, preview=Preview(copy_id=forced, write=write)), served)

    assert generation.decision == ("written_preview" if write else "preview")
    assert (generation.reason, generation.copy_id) == ("preview", forced or ordinary.copy_id)
    assert generation.vars is not None
    assert (generation.snapshot, generation.probabilities, generation.propensity) == (None, (), None)
    assert (generation.write and generation.write.action) == ("write" if write else None)


@pytest.mark.parametrize(
    ("served", "forced", "reason"),
    [
        (config(), None, "unknown_template"),
        (config(template(source(), stopped=True)), COPIES[0], "stopped"),
        (config(template(source(), state="draft")), COPIES[0], "template_draft"),
        (config(template(source())), COPIES[1], "variant_not_served"),
        (config(template(source(body="{{ name }}"))), COPIES[0], "field_missing"),
    ],
)
def test_a_preview_without_copy_says_why_and_writes_only_if_asked_to(
    served: OrgConfig, forced: UUID | None, reason: str
) -> None:
    shown, written = (made(job(preview=Preview(copy_id=forced, write=write)), served) for write in (False, True))

    assert (shown.decision, shown.reason, shown.copy_id, shown.write) == ("preview", reason, None, None)
    assert shown.drawn_copy_id is None
    assert (written.decision, written.reason) == ("written_preview", reason)
    assert (written.write and written.write.action) == (None if reason == "unknown_template" else "clear")
