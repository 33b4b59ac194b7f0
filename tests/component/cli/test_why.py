"""One generation's story, as a person asks for it."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.admin.person.why_store import SELECT_BY_ID
from shared.schemas.copy import VariantSource, Vars
from shared.vars_codec import encode_vars
from tests.component.cli import facts
from tests.component.cli.facts import NOW, cli_at_now
from tests.component.cli.rig import Cli

PERSON = "01GDDKASAP8TKDDA2GRZDSVP4H"
ACCOUNT = "acct:AbC123"


@pytest.fixture
def cli(database_url: str) -> Cli:
    return cli_at_now(database_url)


@pytest.fixture
def connected(acme: Cli) -> Cli:
    """The org with a Klaviyo account."""
    acme.rows(
        "INSERT INTO integrations (org_id, account_key, sealed_key, last4, updated_at) "
        "SELECT org_id, $1, 'x', 'abcd', $2 FROM orgs",
        ACCOUNT, NOW,
    )  # fmt: skip
    acme.rows("INSERT INTO klaviyo_accounts (account_key) VALUES ($1)", ACCOUNT)
    return acme


def a_generation(cli: Cli, *, ago_s: float = 60, **given: Any) -> UUID:
    """One of PERSON whose write has not ended yet."""
    return facts.a_generation(cli, **{"user_id": PERSON, "outcome": None, "ago_s": ago_s, **given})


def an_outcome(
    cli: Cli, generation_id: UUID, outcome: str, reason: str | None = None, *, attempts: int = 1, after_s: float = 2.5
) -> None:
    cli.rows(
        "INSERT INTO write_outcomes SELECT day, generation_id, org_id, $2, $3, accepted_at + $4::interval, $5 "
        "FROM generations WHERE generation_id = $1",
        generation_id, outcome, reason, timedelta(seconds=after_s), attempts,
    )  # fmt: skip


def a_pending_write(cli: Cli, generation_id: UUID, *, lane: int = 1, profile_id: str = PERSON, **changes: Any) -> None:
    values = {"attempt": 0, "last_reason": None, "taken_by": None, "next_attempt_at": NOW, "sent": None, **changes}
    cli.rows(
        "INSERT INTO pending_writes (account_key, profile_id, prefix, org_id, action, lane, day, generation_id, "
        "written_for, accepted_at, deadline_at, clean_at, next_attempt_at, attempt, last_reason, taken_by, "
        "sent_generation_id) SELECT $2, $3, 'jai', org_id, 'write', $4, day, generation_id, written_for, accepted_at, "
        "deadline_at, clean_at, $5, $6, $7, $8, $9 FROM generations WHERE generation_id = $1",
        generation_id, ACCOUNT, profile_id, lane, values["next_attempt_at"], values["attempt"], values["last_reason"],
        values["taken_by"], values["sent"],
    )  # fmt: skip


def held(cli: Cli, generation_id: UUID, state: str = "holding", older_for: tuple[str, ...] = ()) -> None:
    cli.rows(
        "INSERT INTO profile_state (account_key, profile_id, prefix, org_id, state, day, generation_id, written_for, "
        "older_for, accepted_at, clean_at) SELECT $2, user_id, 'jai', org_id, $3, day, generation_id, written_for, $4, "
        "accepted_at, clean_at FROM generations WHERE generation_id = $1",
        generation_id, ACCOUNT, state, list(older_for),
    )  # fmt: skip


def told(cli: Cli, generation_id: object, *options: str) -> str:
    """The story in one line, whatever the window."""
    return " ".join(cli.ok("why", str(generation_id), *options).split())


def story(cli: Cli, generation_id: object, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli.ok("why", str(generation_id), "--json", *options))
    return found


# --- what was decided ------------------------------------------------------------------------------------------------


def test_a_written_one_is_told_from_its_webhook_to_its_email(connected: Cli) -> None:
    connected.rows(
        "INSERT INTO templates (org_id, template_id, name, created_at, updated_at) "
        "SELECT org_id, 'welcome', 'W', $1, $1 FROM orgs",
        NOW,
    )
    first, second = uuid4(), uuid4()
    for copy_id, name in ((first, "Warm"), (second, "Short")):
        connected.rows(
            "INSERT INTO variants (org_id, copy_id, template_id, name, created_at, updated_at) "
            "SELECT org_id, $1, 'welcome', $2, $3, $3 FROM orgs",
            copy_id, name, NOW,
        )  # fmt: skip
    one = a_generation(connected, ago_s=600)
    connected.rows(
        "UPDATE generations SET copy_id = $1, variant_version = 2, eligible = $2, probabilities = '{0.25,0.75}', "
        "propensity = 0.25, cell = 'tier=gold', attrs = $3, repairs = '{quotes}' WHERE generation_id = $4",
        first, [first, second], '{"tier": "Gold"}', one,
    )  # fmt: skip
    an_outcome(connected, one, "written")
    held(connected, one)
    connected.rows(
        "INSERT INTO sends (org_id, transmission_id, profile_id, sent_at, day, attribution, generation_id, delivered, "
        "bounced, unsubscribed, spam, first_open_at, human_opens, machine_opens, human_clicks, bot_clicks) "
        "SELECT org_id, 't1', $1, $2, $2::timestamptz::date, 'message', $3, true, false, false, false, $2, 1, 0, 0, 0 "
        "FROM orgs",
        PERSON, NOW - timedelta(minutes=7), one,
    )  # fmt: skip

    text = told(connected, one)
    data = story(connected, one)

    assert f"org acme, template welcome, profile {PERSON}" in text
    assert "accepted 2026-11-23 14:20:00 UTC" in text
    assert "decided treatment, because of uniform: variant Warm, version 2, propensity 0.25" in text
    assert "eligible: Warm 0.25, Short 0.75 cell tier=gold" in text
    assert 'attrs {"tier":"Gold"} repairs quotes' in text
    assert "may render from 2026-11-23 14:22:00 UTC" in text
    assert "shows our copy" in text
    assert "written, at 2026-11-23 14:20:02 UTC, 2.5 s after it was accepted, 1 attempt means: our copy was" in text
    assert "is believed to hold this generation's copy for welcome.f.a" in text
    assert "sent at 2026-11-23 14:23:00 UTC, delivered, opened at 2026-11-23 14:23:00 UTC (found by message)" in text
    assert data["decided"]["eligible"][1] == {"copy_id": str(second), "name": "Short", "probability": 0.75}
    assert (data["ended"]["outcome"], data["ended"]["took_s"], data["waiting"]) == ("written", 2.5, None)
    assert data["sends"][0]["transmission_id"] == "t1"


def test_the_copy_and_each_event_are_told_as_they_were(acme: Cli) -> None:
    one, copy_id, copy = a_generation(acme, ago_s=600), uuid4(), Vars("Hi Ada", "", "<p>Beans</p>\n<p>Bye\x1b[2J</p>")
    acme.rows(
        "INSERT INTO templates (org_id, template_id, name, created_at, updated_at) "
        "SELECT org_id, 'welcome', 'W', $1, $1 FROM orgs",
        NOW,
    )
    acme.rows(
        "INSERT INTO variants (org_id, copy_id, template_id, name, created_at, updated_at) "
        "SELECT org_id, $1, 'welcome', 'Warm', $2, $2 FROM orgs",
        copy_id, NOW,
    )  # fmt: skip
    acme.rows(
        "INSERT INTO variant_versions (org_id, copy_id, version, subject, preheader, body, created_at) "
        "SELECT org_id, $1, 2, 'a', 'b', 'c', $2 FROM orgs",
        copy_id, NOW,
    )  # fmt: skip
    acme.rows(
        "UPDATE generations SET copy_id = $1, variant_version = 2, vars = $2, eligible = $3, probabilities = '{1}'",
        copy_id, encode_vars(copy, VariantSource(copy_id, 2, "a", "b", "c")), [copy_id],
    )  # fmt: skip
    acme.rows(
        "INSERT INTO sends (org_id, transmission_id, profile_id, message_id, sent_at, day, attribution, generation_id, "
        "delivered, bounced, unsubscribed, spam, human_opens, machine_opens, human_clicks, bot_clicks) "
        "SELECT org_id, 't1', $1, 'm1', $2, $2::timestamptz::date, 'message', $3, true, false, true, false, 0, 1, 0, 0 "
        "FROM orgs",
        PERSON, NOW - timedelta(minutes=7), one,
    )  # fmt: skip
    acme.rows("SELECT ensure_partition('events', $1)", NOW.date())
    for number, (metric, transmission, message) in enumerate(
        [("Opened Email", "t1", "m1"), ("Unsubscribed", None, "m1"), ("Unsubscribed", None, "m2")]
    ):
        acme.rows(
            "INSERT INTO events (day, org_id, event_id, metric, profile_id, event_at, transmission_id, message_id, "
            "file_id, line) "
            "SELECT $1::timestamptz::date, org_id, $2, $3, $4, $1, $5, $6, gen_random_uuid(), $7 FROM orgs",
            NOW - timedelta(minutes=6 - number), f"e{number}", metric, PERSON, transmission, message, number,
        )  # fmt: skip

    text, data = told(acme, one), story(acme, one)

    assert "subject Hi Ada preview none body <p>Beans</p> <p>Bye�[2J</p>" in text
    assert "drawn number 0." in text
    opened = "2026-11-23 14:24:00 UTC Opened Email by a machine"
    assert f"{opened} (a source that is gone, a file that is gone, line 0)" in text
    assert data["content"] == {"subject": "Hi Ada", "preheader": "", "body": copy.body}
    events = data["sends"][0]["events"]
    assert [(event["metric"], event["line"]) for event in events] == [("Opened Email", 0), ("Unsubscribed", 1)]
    assert 0 <= data["decided"]["draw"] < 1


def test_a_control_decision_says_what_would_change_it(acme: Cli) -> None:
    one = a_generation(acme, decision="control", decided="field_missing")
    an_outcome(acme, one, "nothing_to_clear", attempts=0)

    text = told(acme, one)

    assert "decided control, because of field_missing" in text
    assert "means: copy prints a field that this person's webhook did not bring" in text
    assert "do: a fallback in the copy, or the field in the webhook" in text
    assert "shows control, as decided" in text


# --- what became of the write ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "reason", "words"),
    [
        ("expired", "quota", "could not carry all in time do: `justai quota acme` shows"),
        ("rejected", "profile_not_found", "means: the profile was merged or deleted"),
        ("rejected", "conflict", "means: Klaviyo's answer do: the profile writer's log"),
        ("written", "answered_late", "after the first moment at which the email may render"),
    ],
)
def test_an_end_is_told_in_the_words_of_the_runbook(acme: Cli, outcome: str, reason: str, words: str) -> None:
    one = a_generation(acme)
    an_outcome(acme, one, outcome, reason, attempts=3)

    text = told(acme, one)

    when = "2026-11-23 14:29:02 UTC, 2.5 s after it was accepted"
    assert f"{outcome}, because of {reason}, at {when}, 3 attempts" in text
    assert words in text


def test_a_waiting_one_says_what_is_served_before_it_and_how_it_went_so_far(connected: Cli) -> None:
    one = a_generation(connected)
    a_pending_write(
        connected, one, lane=2, attempt=2, last_reason="klaviyo_503", next_attempt_at=NOW + timedelta(seconds=20)
    )
    for number, (lane, ago_s) in enumerate([(0, 10), (1, 10), (2, 90), (2, 10), (3, 300)]):
        other = a_generation(connected, user_id=f"P{number:05}", ago_s=ago_s)
        a_pending_write(connected, other, lane=lane, profile_id=f"P{number:05}")

    waiting = story(connected, one)["waiting"]

    assert (waiting["lane"], waiting["ahead"], waiting["in_flight"]) == ("retry", 3, False)
    assert "waits (write) in lane retry, 3 of the account before it; 2 attempts, last: klaviyo_503" in told(
        connected, one
    )
    assert "shows control, unless it is written in time" in told(connected, one)


def test_one_in_flight_names_the_newer_one_that_waits_behind_it(connected: Cli) -> None:
    older, newer = a_generation(connected, ago_s=60), a_generation(connected, ago_s=30)
    a_pending_write(connected, newer, taken_by=uuid4(), sent=older, next_attempt_at=NOW + timedelta(seconds=30))
    held(connected, older, "unknown", ("other.f.a",))

    of_older, of_newer = story(connected, older), story(connected, newer)

    assert (of_older["waiting"]["in_flight"], of_older["waiting"]["behind"]) == (True, str(newer))
    assert (of_newer["waiting"]["in_flight"], of_newer["waiting"]["behind"]) == (False, None)
    assert of_older["newer"]["generation_id"] == str(newer)
    assert of_newer["newer"] is None
    assert "may hold this generation's copy for welcome.f.a; perhaps older copy for other.f.a" in told(connected, older)
    assert f"may hold copy of generation {older}" in told(connected, newer)


def test_a_superseded_one_names_its_successor_and_nobody_who_came_after_its_window(acme: Cli) -> None:
    one = a_generation(acme, ago_s=3000)
    an_outcome(acme, one, "superseded")
    a_generation(acme, ago_s=2995, user_id="01OTHER")
    successor = a_generation(acme, ago_s=2990)
    last = a_generation(acme, ago_s=100)

    assert story(acme, one)["newer"]["generation_id"] == str(successor)
    assert f"generation {successor} of this person" in told(acme, one)
    assert story(acme, successor)["newer"] is None
    assert str(last) not in told(acme, successor)


def test_what_holds_the_org_up_is_said(connected: Cli) -> None:
    one = a_generation(connected)
    connected.rows(
        "INSERT INTO write_pauses SELECT org_id, $2, 'key_refused', 'Klaviyo answered 401', $1, $1 FROM orgs",
        NOW, ACCOUNT,
    )  # fmt: skip
    connected.rows(
        "UPDATE klaviyo_accounts SET blocked_until = $1, blocked_reason = 'klaviyo_503'", NOW + timedelta(minutes=5)
    )

    text = told(connected, one)

    assert "writing is paused since 2026-11-23 14:30:00 UTC: Klaviyo answered 401 (key_refused)" in text
    assert "Klaviyo is left alone until 2026-11-23 14:35:00 UTC" in text


def test_one_that_never_reached_the_profile_writer_says_where_to_look(acme: Cli) -> None:
    fresh, lost = a_generation(acme, ago_s=10), a_generation(acme, ago_s=4000)
    unknown = a_generation(acme, decision="control", decided="unknown_template", ago_s=4000)

    assert "means: it has not reached the profile writer yet" in told(acme, fresh)
    assert "do: `justai dead list` shows whether it was given up" in told(acme, lost)
    assert "for a template that is not known nothing is written" in told(acme, unknown)


# --- finding it ------------------------------------------------------------------------------------------------------


def test_an_alias_leads_to_its_generation(acme: Cli) -> None:
    one, alias = a_generation(acme, ago_s=3600), uuid4()
    acme.rows(
        "INSERT INTO generation_aliases SELECT $1, org_id, generation_id, day, $2 FROM generations "
        "WHERE generation_id = $3",
        alias, NOW, one,
    )  # fmt: skip

    assert story(acme, alias)["generation_id"] == str(one)
    assert f"{alias} is an alias of it: the same webhook, seen again at 2026-11-23 14:30:00 UTC" in told(acme, alias)


def test_older_ones_are_found_as_far_back_as_asked(acme: Cli) -> None:
    old = a_generation(acme, ago_s=40 * 86_400)

    said = acme.line("why", str(old))

    assert "within 30 days" in said
    assert "stored since 2026-10-14" in said
    assert story(acme, old, "--days", "41")["generation_id"] == str(old)


def test_only_the_days_asked_for_are_looked_into(acme: Cli) -> None:
    """Each partition costs a look into its index, and the id does not say which one it is."""
    for days in range(60):
        acme.rows("SELECT ensure_partition('generations', $1)", (NOW - timedelta(days=days)).date())
    plan = acme.rows(
        f"EXPLAIN {SELECT_BY_ID}",
        (NOW - timedelta(days=30)).date(), (NOW + timedelta(days=1)).date(), uuid4(),
    )  # fmt: skip
    text = "\n".join(str(row) for row in plan)

    assert text.count("_pkey on generations_") + text.count("Bitmap Index Scan on generations_") == 31
    assert "Seq Scan on generations" not in text


def test_an_unknown_id_may_be_too_young_and_one_that_is_no_id_is_named(acme: Cli) -> None:
    said = acme.line("why", str(uuid4()))

    assert said.startswith("No generation ")
    assert "may not be generated yet" in said
    assert "none is stored yet" in said
    assert acme.line("why", "welcome").startswith("GENERATION_ID: 'welcome' is no uuid")


def test_an_org_sees_its_own_generations_only_and_two_with_one_id_are_told_apart(acme: Cli) -> None:
    acme.ok("org", "create", "other", "Other")
    one = a_generation(acme)
    a_generation(acme, org="other", ago_s=86_400, generation_id=one)

    both = acme.line("why", str(one))

    assert "(acme, other): name one with --org" in both
    assert story(acme, one, "--org", "acme")["org"] == "acme"
    assert story(acme, one, "--org", "other")["org"] == "other"
    assert "There is no org 'third'" in acme.line("why", str(one), "--org", "third")
    alone = a_generation(acme)
    assert "of org other" in acme.line("why", str(alone), "--org", "other")


def test_a_strangers_text_cannot_rewrite_the_terminal(acme: Cli) -> None:
    one = a_generation(acme, user_id="01\x1b[2JX")

    assert "\x1b" not in acme.ok("why", str(one))
