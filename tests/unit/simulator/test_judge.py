"""The one number above all: every outcome, and that exactly one comes out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.flow.judge import (
    Decision,
    Due,
    Kind,
    Outcome,
    Sight,
    judge,
    look,
    missing_reason,
)
from simulator.flow.templating import Rendered
from simulator.profile import Copy

AT = datetime(2026, 11, 23, 10, tzinfo=UTC)
CONTROL = Rendered("Your weekly update", "", "<html><p>Our best sellers</p><footer>Shop Ltd</footer></html>")


def copy(
    generation_id: str, subject: str = "Hi Ann", body: str = "<p>Boots for Ann</p>", written_for: str = "M"
) -> Copy:
    return Copy("P", generation_id, written_for, AT, "jai", subject, "pre", body)


def email(subject: str = "Hi Ann", preview_text: str = "pre", body: str = "<p>Boots for Ann</p>") -> Rendered:
    return Rendered(subject, preview_text, f"<html>{body}<footer>Shop Ltd</footer></html>")


def due(
    newest: str | None = "new", older: frozenset[str] = frozenset({"old"}), decision: Decision = "treatment"
) -> Due:
    return Due(newest, older, decision, missing="write_missing")


def outcome(shown: Rendered, copies: list[Copy], expected: Due | None = None, values: tuple[str, ...] = ()) -> Outcome:
    return judge(look(shown, CONTROL, copies, values), expected or due())


OLD = copy("old", "Hello Ann", "<p>Hats for Ann</p>")
OTHER = copy("other", "Sale", "<p>Sale</p>", written_for="N")
NEW = copy("new")
OLD_EMAIL = email("Hello Ann", "pre", "<p>Hats for Ann</p>")
OTHER_EMAIL = email("Sale", "pre", "<p>Sale</p>")


@pytest.mark.parametrize(
    ("shown", "copies", "expected_due", "expected"),
    [
        (email(), [OLD, NEW], due(), Outcome(Kind.RIGHT)),
        (CONTROL, [], due(decision="control"), Outcome(Kind.CONTROL_PLANNED)),
        (CONTROL, [], due(), Outcome(Kind.CONTROL_MISSED, "write_missing")),
        # Control cannot have been planned by a service that never answered.
        (CONTROL, [], due(None, decision="control"), Outcome(Kind.CONTROL_MISSED, "write_missing")),
        (email(subject="  "), [NEW], due(), Outcome(Kind.BLANK, "subject")),
        (email(body=""), [NEW], due(), Outcome(Kind.BLANK, "body")),
        (email(body="<p>&nbsp;</p><style>p{}</style>\u200b"), [NEW], due(), Outcome(Kind.BLANK, "body")),
        (OLD_EMAIL, [OLD], due(), Outcome(Kind.STALE)),
        (OLD_EMAIL, [OLD, NEW], due(), Outcome(Kind.STALE)),
        (OLD_EMAIL, [OLD], due(None), Outcome(Kind.STALE)),
        (OLD_EMAIL, [OLD], due(decision="control"), Outcome(Kind.STALE)),
        (OTHER_EMAIL, [OTHER, NEW], due(), Outcome(Kind.FOREIGN)),
        (email(subject="Hi {{ person.first_name }}"), [NEW], due(), Outcome(Kind.BROKEN, "unfilled tag in subject")),
        (email(preview_text="{% if %}"), [NEW], due(), Outcome(Kind.BROKEN, "unfilled tag in preheader")),
        (email(body="<p>{{ x }}</p>"), [NEW], due(), Outcome(Kind.BROKEN, "unfilled tag in body")),
        (email(subject="Hello Ann"), [OLD, NEW], due(), Outcome(Kind.BROKEN, "mixed texts")),
        (email("Who", "", "<p>knows</p>"), [OLD, NEW], due(), Outcome(Kind.BROKEN, "unknown text")),
    ],
)
def test_every_outcome(shown: Rendered, copies: list[Copy], expected_due: Due, expected: Outcome) -> None:
    assert outcome(shown, copies, expected_due) == expected


def test_a_render_that_failed_is_broken() -> None:
    assert judge(Sight(broken="render failed: x"), due()) == Outcome(Kind.BROKEN, "render failed: x")


def test_a_picture_without_text_is_not_blank() -> None:
    picture = '<p><img src="https://x/y.png"></p>'

    assert outcome(email(body=picture), [copy("new", body=picture)]).kind is Kind.RIGHT


def test_the_frame_of_the_mail_does_not_hide_a_blank_body() -> None:
    frame = '<a href="https://manage.kmail.example/unsubscribe/01X">Unsubscribe</a><footer>Shop Ltd, Main St 1</footer>'

    assert outcome(Rendered("s", "", f"<html><title>t</title>{frame}</html>"), []) == Outcome(Kind.BLANK, "body")


def test_a_frame_with_a_text_of_its_own_does_not_hide_a_blank_body() -> None:
    def framed(content: str) -> Rendered:
        return Rendered("s", "", f"<html><p>Corner Coffee</p>\n{content}\n<footer>Street 1</footer></html>")

    control = framed("<p>Our best sellers</p>")

    assert judge(look(framed(""), control, [NEW], []), due()) == Outcome(Kind.BLANK, "body")
    assert judge(look(framed("<p>Someone else's</p>"), control, [NEW], []), due()).kind is Kind.BROKEN


def test_of_two_generations_with_equal_text_the_newest_is_believed() -> None:
    assert outcome(email(), [copy("old"), copy("new")]).kind is Kind.RIGHT


def test_equal_text_does_not_make_an_old_copy_right_before_the_new_one_is_written() -> None:
    # The new generation has the same text, but its write had not come: what was shown is the old one's.
    assert outcome(email(), [copy("old")]).kind is Kind.STALE


def test_a_copy_equal_to_control_is_right_once_written_and_control_before() -> None:
    twin = Copy("P", "new", "M", AT, "jai", CONTROL.subject, "", "<p>Our best sellers</p>")

    assert outcome(CONTROL, [twin]).kind is Kind.RIGHT
    assert outcome(CONTROL, []).kind is Kind.CONTROL_MISSED


def test_an_old_copy_equal_to_control_counts_as_control() -> None:
    twin = Copy("P", "old", "M", AT, "jai", CONTROL.subject, "", "<p>Our best sellers</p>")

    assert outcome(CONTROL, [twin]).kind is Kind.CONTROL_MISSED


def test_text_shared_by_two_messages_is_the_same_messages_stale_copy() -> None:
    assert outcome(OLD_EMAIL, [OLD, replace(OLD, generation_id="other", written_for="N")]).kind is Kind.STALE


PROBE = '<b>Zoë</b> "O\'Hara" & Co'


@pytest.mark.parametrize(
    ("subject", "body", "expected"),
    [
        ("Hi", f"<p>{PROBE}</p>", "unescaped value in body"),
        ("Hi", "<p>&lt;b&gt;Zoë&lt;/b&gt; &quot;O&#x27;Hara&quot; &amp; Co</p>", ""),
        ("Hi", "<p>&lt;b&gt;Zoë&lt;/b&gt; &#34;O&#39;Hara&#34; &amp; Co</p>", ""),
        (
            "Hi",
            "<p>&amp;lt;b&amp;gt;Zoë&amp;lt;/b&amp;gt; &amp;quot;O&amp;#x27;Hara&amp;quot; &amp;amp; Co</p>",
            "value escaped twice in body",
        ),
        (f"Hi {PROBE}", "<p>x</p>", ""),
        ("Hi &lt;b&gt;Zoë&lt;/b&gt; &quot;O&#x27;Hara&quot; &amp; Co", "<p>x</p>", "escaped value in subject"),
    ],
)
def test_values_are_escaped_once_in_bodies_and_never_in_subjects(subject: str, body: str, expected: str) -> None:
    shown = email(subject, "pre", body)

    assert look(shown, CONTROL, [], [PROBE]).broken == expected


def test_a_short_value_cannot_be_told_from_markup_and_is_not_used() -> None:
    assert look(email(body="<b>x</b>"), CONTROL, [], ["<b>"]).broken == ""


@pytest.mark.parametrize(
    ("newest", "webhook", "written_after_s", "marker", "reason"),
    [
        (None, "no_webhook", None, None, "no_webhook"),
        (None, "no_generation", None, None, "no_generation"),
        ("new", "", None, None, "write_missing"),
        ("new", "", 1.0, None, "write_late"),
        ("new", "", -1.0, None, "cleared"),
        ("new", "", -1.0, "old", "superseded"),
        ("new", "", -1.0, "new", "not_shown"),
    ],
)
def test_a_missed_copy_has_a_reason(
    newest: str | None, webhook: str, written_after_s: float | None, marker: str | None, reason: str
) -> None:
    written_at = None if written_after_s is None else AT + timedelta(seconds=written_after_s)

    assert missing_reason(newest, webhook, written_at, AT, marker) == reason


IDS = st.sampled_from(["new", "old", "other"])
SIGHTS = st.builds(
    Sight,
    broken=st.sampled_from(["", "x"]),
    blank=st.sampled_from(["", "body"]),
    shown=st.frozensets(IDS),
    control=st.booleans(),
    partly=st.frozensets(IDS),
)
DUES = st.builds(
    Due,
    newest=st.sampled_from([None, "new"]),
    older=st.frozensets(st.just("old")),
    decision=st.sampled_from(["treatment", "control"]),
    missing=st.just("write_late"),
)


@given(sight=SIGHTS, expected=DUES)
def test_the_verdict_never_flatters(sight: Sight, expected: Due) -> None:
    reached = judge(sight, expected)

    if reached.kind is Kind.RIGHT:
        assert expected.newest in sight.shown
        assert not sight.broken
        assert not sight.blank
    if reached.kind is Kind.CONTROL_PLANNED:
        assert sight.control
        assert expected.decision == "control"
        assert expected.newest is not None
    if reached.kind is Kind.CONTROL_MISSED:
        assert reached.reason
    if sight.broken:
        assert reached.kind is Kind.BROKEN


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(subject=TEXTS, preview_text=TEXTS, html=TEXTS, values=st.lists(TEXTS, max_size=3))
def test_looking_survives_any_text(subject: str, preview_text: str, html: str, values: list[str]) -> None:
    shown = Rendered(subject, preview_text, html)

    sight = look(shown, CONTROL, [OLD, NEW, OTHER], values)

    assert judge(sight, due()).kind in Kind
