"""`justai variant draft`: drafts by a model, held to the same checks as everybody's, and never served by themselves."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from tests.component.cli.facts import NOW, TODAY
from tests.component.cli.rig import Cli
from tests.support.drafting import BRIEF, KEY, draft, llm
from tests.support.llm import FakeModel, Reply, Request, completion, fake_model, llama_server, write_tiny_model

TEMPLATE = {
    "template_id": "welcome",
    "name": "Welcome",
    "state": "active",
    "control": {"subject": "Control", "body": "<p>Control</p>"},
    "variants": [
        {"name": "Warm", "theme": "welcome", "approved": True, "subject": "We kept your seat by the window",
         "preheader": "A preheader that is as long as it should be", "body": "<p>Our first blend is waiting</p>"},
    ],
}  # fmt: skip


@pytest.fixture
def brief(tmp_path: Path) -> str:
    path = tmp_path / "brief.yaml"
    path.write_text(yaml.safe_dump(BRIEF))
    return str(path)


@pytest.fixture
def shop(acme: Cli, tmp_path: Path) -> Cli:
    """An org with a template of one approved variant."""
    path = tmp_path / "welcome.yaml"
    path.write_text(yaml.safe_dump(TEMPLATE))
    acme.ok("template", "import", "acme", str(path))
    return acme


@pytest.fixture
def model() -> Iterator[FakeModel]:
    with fake_model(*(completion(draft(number)) for number in range(3))) as server:
        yield server


def with_model(cli: Cli, server: FakeModel, **more: str) -> Cli:
    return cli.with_settings(**{name: str(value) for name, value in llm(server, **more).items()})


def drafted(cli: Cli) -> list[tuple[str | None, ...]]:
    rows = cli.rows("SELECT name, theme, state, proposed_state FROM variants WHERE name <> 'Warm' ORDER BY created_at")
    return [tuple(row.values()) for row in rows]


COMMAND = ("variant", "draft", "acme", "welcome", "--brief")


def test_drafts_that_pass_go_into_review_and_none_is_served(shop: Cli, model: FakeModel, brief: str) -> None:
    said = with_model(shop, model, price_read="2", price_written="10").ok(*COMMAND, brief, "--as", "Ann")

    assert drafted(shop) == [
        ("Two cups", "welcome", "draft", "in_review"),
        ("Map", "offer", "draft", "in_review"),
        ("Letter", "welcome", "draft", "in_review"),
    ]
    assert shop.rows("SELECT name FROM variants WHERE state = 'approved'") == [{"name": "Warm"}]
    assert "3 of 3 drafts stored, 3 in review. None is served unapproved." in said
    assert "900 tokens read, 300 written, 0.0048 USD" in said


def test_the_history_says_which_model_prompt_and_settings_and_who_asked(
    shop: Cli, model: FakeModel, brief: str
) -> None:
    shown = shop.ok(*COMMAND, brief, "--dry-run", "--theme", "offer")

    with_model(shop, model, temperature="0.4").ok(*COMMAND, brief, "--number", "1", "--theme", "offer", "--as", "Ann")

    events = shop.rows(
        "SELECT e.event, e.actor, e.comment FROM variant_events e JOIN variants USING (copy_id) "
        "WHERE name = 'Two cups' ORDER BY event_id"
    )
    digest = shown.split()[2].rstrip(",")
    assert [tuple(row.values()) for row in events] == [
        (
            "written", "Ann",
            "drafted by gpt-test at 127.0.0.1 (openai), temperature 0.4, max_tokens 4096, answered by tiny-1, "
            f"prompt {digest}",
        ),
        ("submitted", "Ann", ""),
    ]  # fmt: skip
    assert f"prompt {digest}" in shop.ok("variant", "history", "acme", "welcome", "Two cups")


def test_where_reviews_are_required_whoever_asked_may_not_approve(
    shop: Cli, model: FakeModel, brief: str, tmp_path: Path
) -> None:
    (tmp_path / "rules.yaml").write_text("review_required: true\n")
    shop.ok("org", "rules", "import", "acme", str(tmp_path / "rules.yaml"))
    with_model(shop, model).ok(*COMMAND, brief, "--number", "1", "--as", "Ann")

    refused = shop.line("variant", "approve", "acme", "welcome", "Two cups", "--as", "ann")
    shop.ok("variant", "approve", "acme", "welcome", "Two cups", "--as", "Bob")

    assert "a review by somebody else" in refused
    assert drafted(shop) == [("Two cups", "welcome", "approved", None)]


def test_what_a_check_or_the_brief_blocks_stays_a_draft_and_what_cannot_be_served_is_not_stored(
    shop: Cli, brief: str, tmp_path: Path
) -> None:
    (tmp_path / "rules.yaml").write_text("banned_words: [kettle]\n")
    shop.ok("org", "rules", "import", "acme", str(tmp_path / "rules.yaml"))
    replies = (
        completion(draft(0)),
        completion(draft(1, body="<p>no word of it <script>x</script></p>")),
        completion(draft(2, body="<p>free shipping {% include 'x' %}</p>")),
        completion(draft(2)),
    )
    with fake_model(*replies) as server:
        result = with_model(shop, server).run(*COMMAND, brief, "--number", "4")

    assert result.exit_code == 1
    assert drafted(shop) == [
        ("Two cups", "welcome", "draft", None),
        ("Map", "offer", "draft", None),
        ("Letter", "offer", "draft", "in_review"),
    ]
    assert 'Blocking (banned_word): variant "Two cups", preheader' in result.stdout
    assert 'Blocking (brief_must_say): variant "Map", body: does not say "free shipping"' in result.stdout
    assert "Warning (removed_markup)" in result.stdout
    assert "not stored   Letter (welcome)" in result.stdout
    assert "Blocking (language)" in result.stdout
    assert "1 of 4 drafts could not be stored" in result.stderr
    assert "<script>" not in shop.value(
        "SELECT s.body FROM variant_versions s JOIN variants v USING (copy_id) WHERE v.name = 'Map'"
    )


def test_a_draft_like_another_or_like_a_variant_that_is_there_is_found_and_gets_a_name_of_its_own(
    shop: Cli, brief: str
) -> None:
    with fake_model(completion(draft(0))) as server:
        said = with_model(shop, server).ok(*COMMAND, brief, "--number", "2")

    assert [row[0] for row in drafted(shop)] == ["Two cups", "Two cups 2"]
    assert 'Warning (near_duplicate): variant "Two cups 2", body: says 100% of what "Two cups" says' in said


def test_an_answer_that_is_no_draft_is_told_and_the_others_go_on(shop: Cli, brief: str) -> None:
    broken = {name: text for name, text in draft(0).items() if name != "subject"}
    replies = (completion("{"), completion(broken), completion(None, refusal="no"), completion(draft(1)))
    with fake_model(*replies) as server:
        result = with_model(shop, server).run(*COMMAND, brief, "--number", "4")

    assert result.exit_code == 1
    assert [row[0] for row in drafted(shop)] == ["Map"]
    assert "no draft     1: the answer is no JSON" in result.stdout
    assert "no draft     2: subject: is missing" in result.stdout
    assert "no draft     3: the model declines" in result.stdout
    assert "1,200 tokens read, 400 written" in result.stdout
    assert "3 of 4 drafts could not be stored" in result.stderr


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Reply(401, {"error": {"message": f"no: {KEY}"}}), "JUSTAI_LLM_API_KEY is not accepted"),
        (Reply(503), "answered 503, and was asked once"),
    ],
)
def test_a_failure_that_would_meet_all_ends_the_run_and_what_was_drafted_stays(
    shop: Cli, brief: str, fault: Reply, told: str
) -> None:
    with fake_model(completion(draft(0)), fault) as server:
        result = with_model(shop, server).run(*COMMAND, brief, "--number", "5")

    assert result.exit_code == 1
    assert told in result.stderr
    assert KEY not in result.output
    assert [row[0] for row in drafted(shop)] == ["Two cups"]
    assert "1 of 5 drafts stored" in result.stdout
    assert len(server.requests) == 2


def test_a_draft_that_is_cut_off_is_told_and_a_second_one_in_a_row_ends_the_run(shop: Cli, brief: str) -> None:
    cut = completion("{", finish="length")
    with fake_model(completion(draft(0)), cut, completion(draft(1)), cut, cut) as server:
        result = with_model(shop, server).run(*COMMAND, brief, "--number", "9")

    assert [row[0] for row in drafted(shop)] == ["Two cups", "Map"]
    assert len(server.requests) == 5
    assert "no draft     2: the draft was cut off after 4096 tokens" in result.stdout
    assert "1,500 tokens read, 500 written" in result.stdout
    assert "raise JUSTAI_LLM_MAX_TOKENS" in result.stderr


def test_each_prompt_names_the_subjects_that_are_there(shop: Cli, model: FakeModel, brief: str) -> None:
    with_model(shop, model).ok(*COMMAND, brief)

    first, _, third = (request.body["messages"][1]["content"] for request in model.requests)
    assert "- We kept your seat by the window" in first
    assert "A short map of the roasts we keep" not in first
    assert "A short map of the roasts we keep" in third


def test_no_person_and_no_value_of_a_field_is_in_what_a_model_is_sent(shop: Cli, model: FakeModel, brief: str) -> None:
    _people(shop)

    with_model(shop, model).ok(*COMMAND, brief)

    known = shop.rows("SELECT user_id FROM generations UNION SELECT profile_id FROM sends")
    sent = "\n".join(str(request) for request in model.requests)
    assert len(known) > 300
    assert not [row for row in known if row["user_id"] in sent]
    assert "Zuleika" in shop.everything()
    assert "Zuleika" not in sent
    assert "first_name" in sent
    assert "- welcome: 10.0% of 300" in sent


def _people(cli: Cli) -> None:
    """People who got the variant that is there, with values in their generations, and what they did."""
    cli.rows("SELECT ensure_partition('generations', $1)", TODAY)
    cli.rows(
        "INSERT INTO generations (day, generation_id, org_id, template_id, user_id, tracking_id, accepted_at, "
        "deadline_at, clean_at, decision, reason, copy_id, property_prefix, written_for, cell, eligible, "
        "probabilities, propensity, attrs) SELECT $1, gen_random_uuid(), org_id, 'welcome', 'PERSON' || n, 'u.f.a', "
        "$2, $2, $2, 'treatment', 'ranked', copy_id, 'jai', 'w.f.a', '', '{}', '{}', 1, $3 "
        "FROM variants, generate_series(1, 301) n",
        TODAY, NOW, json.dumps({"name": "Zuleika"}),
    )  # fmt: skip
    cli.rows(
        "INSERT INTO sends (org_id, transmission_id, profile_id, sent_at, day, attribution, template_id, copy_id, "
        "delivered, bounced, unsubscribed, spam, human_opens, machine_opens, human_clicks, bot_clicks) SELECT org_id, "
        "'t' || n, 'PROFILE' || n, $2, $1, 'message', 'welcome', copy_id, true, false, false, false, 1, 0, 0, 0 "
        "FROM variants, generate_series(1, 300) n",
        TODAY, NOW - timedelta(hours=1),
    )  # fmt: skip
    cli.rows(
        "INSERT INTO rollups (org_id, template_id, copy_id, cell, day, sends, delivered, human_opens, machine_opens, "
        "human_clicks, bot_clicks, unsubscribes, bounces, spam) SELECT org_id, 'welcome', copy_id, '', $1, 300, 300, "
        "0, 0, 30, 0, 0, 0, 0 FROM variants",
        TODAY,
    )


def test_a_dry_run_shows_the_prompt_needs_no_model_and_sends_nothing(shop: Cli, model: FakeModel, brief: str) -> None:
    without = shop.ok(*COMMAND, brief, "--dry-run")
    with_one = with_model(shop, model).ok(*COMMAND, brief, "--dry-run")

    assert without == with_one
    assert model.requests == []
    assert drafted(shop) == []
    for words in ("not sent", "Bring new customers", "first_name", '"additionalProperties": false'):
        assert words in without


def test_without_a_model_the_command_says_so_and_everything_else_works(shop: Cli, brief: str) -> None:
    message = shop.line(*COMMAND, brief)
    half = shop.with_settings(llm_provider="openai", llm_url="http://127.0.0.1:1").error(*COMMAND, brief)

    assert message.startswith("No model is set up: set JUSTAI_LLM_PROVIDER")
    assert "Warm" in shop.ok("variant", "list", "acme", "welcome")
    assert "JUSTAI_LLM_MODEL: is missing" in half


def test_a_brief_comes_from_standard_input_too(shop: Cli, model: FakeModel) -> None:
    with_model(shop, model).ok(*COMMAND, "-", "--number", "1", given=yaml.safe_dump(BRIEF))

    assert [row[0] for row in drafted(shop)] == ["Two cups"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("goal: [", "is no YAML"),
        ("", "is no brief, 1 fault"),
        ("goal: Sell\ntheme: x\n", "theme: is no field of a brief; is it misspelled?"),
        ("goal: Sell\nfields: [first name]\n", "fields.0: must be the name of a field"),
        ("goal: Sell\naudience: ann@shop.example\n", "audience: holds an email address"),
        ("goal: Sell\n", "themes: name at least one, or give --theme"),
        ("goal: Sell\ngoal: Sell more\n", "'goal' stands twice"),
        ("a" * 200_001, "is longer than 200,000 characters"),
    ],
)
def test_a_brief_that_is_none_is_told_by_field_and_no_model_is_asked(
    shop: Cli, model: FakeModel, text: str, told: str
) -> None:
    message = with_model(shop, model).error(*COMMAND, "-", given=text)

    assert told in message
    assert model.requests == []


def test_an_unknown_or_archived_template_is_told_before_a_model_is_asked(
    shop: Cli, model: FakeModel, brief: str
) -> None:
    cli = with_model(shop, model)
    unknown = cli.line("variant", "draft", "acme", "winback", "--brief", brief)
    shop.rows("UPDATE templates SET state = 'archived'")

    assert unknown.startswith("No template 'winback'")
    assert "is archived" in cli.line(*COMMAND, brief)
    assert "--theme: is empty" in cli.line(*COMMAND, brief, "--theme", " ")
    assert model.requests == []


def test_a_real_server_is_drafted_with_from_brief_to_history(shop: Cli, brief: str, tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny.gguf")
    with llama_server(tmp_path / "tiny.gguf") as url:
        cli = shop.with_settings(llm_provider="openai", llm_url=url, llm_model="tiny", llm_max_tokens="2000")
        tried = 0
        while not drafted(shop) and tried < 10:  # noise is a draft, or has a fault that is told
            tried += 1
            said = cli.run(*COMMAND, brief, "--number", "1", "--theme", f"theme {tried}").stdout
            assert said.startswith(("no draft     1: ", "not stored   ", "draft        "))

    assert shop.rows("SELECT name FROM variants WHERE state = 'approved'") == [{"name": "Warm"}]
    comments = shop.rows("SELECT comment FROM variant_events WHERE comment LIKE 'drafted by tiny at 127.0.0.1%'")
    assert len(comments) == len(drafted(shop)) == 1


def test_another_model_is_asked_by_its_own_api(shop: Cli, brief: str) -> None:
    def answer(request: Request) -> Reply:
        call = {"type": "tool_use", "id": "t", "name": "draft", "input": draft(0)}
        usage = {"input_tokens": 10, "output_tokens": 20}
        return Reply(
            body={"type": "message", "model": "claude-x", "content": [call], "stop_reason": "tool_use", "usage": usage}
        )

    with fake_model(answer) as server:
        said = with_model(shop, server, provider="anthropic").ok(*COMMAND, brief, "--number", "1")

    assert server.requests[0].headers["x-api-key"] == KEY
    assert "10 tokens read, 20 written" in said
    assert [row[0] for row in drafted(shop)] == ["Two cups"]


def test_runs_are_listed_shown_and_what_is_missing_is_drafted_again(shop: Cli, brief: str) -> None:
    with fake_model(completion(draft(0)), completion("{"), completion(draft(1))) as server:
        cli = with_model(shop, server)
        cli.run(*COMMAND, brief, "--number", "2", "--as", "Ann")
        [run] = shop.rows("SELECT run_id::text, state, epoch FROM draft_runs")
        listed = shop.ok("variant", "drafts", "acme", "welcome")
        shown = cli.ok("variant", "drafts", "acme", "welcome", run["run_id"])
        again = cli.ok("variant", "drafts", "acme", "welcome", run["run_id"], "--retry")
        twice = cli.line("variant", "drafts", "acme", "welcome", run["run_id"], "--retry")
        over = shop.line("variant", "drafts", "acme", "welcome", run["run_id"], "--cancel")
        unknown = shop.line("variant", "drafts", "acme", "welcome", "00000000-0000-0000-0000-000000000000")

    assert (run["state"], run["epoch"]) == ("done", 1)
    assert "Bring new customers" in listed
    assert "no draft     2: the answer is no JSON" in shown
    assert "done. 1 of 2 drafts stored, 1 in review." in shown
    assert "1 of 1 drafts stored, 1 in review" in again
    assert (twice, over) == ("The run was tried again already.", "The run is over already.")
    assert "see `justai variant drafts acme welcome`" in unknown
    assert [row[0] for row in drafted(shop)] == ["Two cups", "Map"]


def test_an_orgs_limits_hold_for_the_command_too(shop: Cli, model: FakeModel, brief: str) -> None:
    """ASVS 5.0 V2.4.1: what costs money has a limit."""
    message = with_model(shop, model, drafts_a_day="2").line(*COMMAND, brief, "--number", "3")

    assert message.startswith("--number: is more than the 2 drafts that are left")
    assert model.requests == []
