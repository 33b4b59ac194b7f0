"""The handed-out snippet, rendered by the engine that sends the simulator's emails, for whatever a profile may hold."""

from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from shared.snippet import (
    IDENTIFIER,
    Control,
    Snippet,
    control_fault,
    earlier_snippet,
    marker,
    page_snippet,
    snippet,
    written_for,
)
from simulator.flow.templating import person_variables, render
from simulator.profile import ProfileState

FITS = marker("welcome", "WELC01", "70000012")
CONTROL = Control("Control subject", "Control preheader", "<p>Control body</p>")
WHO = "01PROFILE"
OURS = {
    "jai_for": FITS, "jai_person": WHO, "jai_subject": "Ours", "jai_preheader": "Ours too", "jai_body": "<p>Ours</p>"
}  # fmt: skip

ids = st.from_regex(IDENTIFIER, fullmatch=True)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
odd_text = st.sampled_from(
    ["", " ", "None", "{{ person.email }}", "{% else %}", "'", '"', "&amp;", "<b>", "a\nb", FITS]
)
anything = st.one_of(
    text, odd_text, st.none(), st.booleans(), st.integers(), st.lists(text, max_size=2),
    st.dictionaries(text, text, max_size=2),
)  # fmt: skip
markers = st.one_of(st.just(FITS), st.just(FITS), st.just([FITS]), st.just(FITS.lower()), st.just(f"{FITS} "), anything)
persons = st.one_of(st.just(WHO), st.just(WHO), st.sampled_from(["01OTHER", WHO.lower(), f"{WHO} ", WHO[1:]]), anything)
profiles = st.fixed_dictionaries(
    {},
    optional={
        "jai_for": markers, "jai_person": persons, "jai_subject": anything, "jai_preheader": anything,
        "jai_body": anything, "jai_generation": anything, "other_body": anything,
    },
)  # fmt: skip
control_tags = st.sampled_from(
    ["{{ person.first_name|default:'you' }}", "{% if person.vip %}VIP{% else %}Hi{% endif %}"]
)
control_texts = st.lists(st.one_of(text, control_tags), min_size=1, max_size=4).map(" ".join)
sound_texts = control_texts.filter(lambda one: control_fault(one) is None)
controls = st.builds(Control, sound_texts, sound_texts, sound_texts)


def rendered(
    made: Snippet, properties: dict[str, Any], missing: str | None = "", escapes: bool = False, who: str | None = WHO
) -> Snippet:
    """What a mail client gets. `missing` is what a lookup of nothing gives, `escapes` whether headers escape values:
    of neither is it known what Klaviyo does. `who` is what `person.KlaviyoID` gives, None where nothing does."""
    person = person_variables(who or "", ProfileState({"first_name": "D'Arcy & Söhne"}, properties), missing)
    if who is None:
        del person["KlaviyoID"]
    return Snippet(
        render(made.subject, {"person": person}, autoescape=escapes),
        render(made.preheader, {"person": person}, autoescape=False),
        render(made.body, {"person": person}, autoescape=True),
    )


def control_alone(control: Control, properties: dict[str, Any]) -> Snippet:
    """What the email would show if it had only ever been the customer's own."""
    return rendered(Snippet(control.subject, control.preheader, control.body), properties)


@given(
    properties=profiles, control=controls, missing=st.sampled_from(["", None]),
    who=st.sampled_from([WHO, WHO, "", None]),
)  # fmt: skip
@settings(max_examples=300)
@example(properties=OURS, control=CONTROL, missing="", who=WHO)
@example(properties=OURS | {"jai_body": ""}, control=CONTROL, missing="", who=WHO)
@example(properties=OURS | {"jai_subject": None}, control=CONTROL, missing="", who=WHO)
@example(properties=OURS | {"jai_preheader": None}, control=CONTROL, missing=None, who=WHO)
@example(properties=OURS | {"jai_person": "01OTHER"}, control=CONTROL, missing="", who=WHO)
@example(properties=OURS | {"jai_person": "01OTHER"}, control=CONTROL, missing="", who="")
@example(properties=OURS | {"jai_person": "01OTHER"}, control=CONTROL, missing="", who=None)
@example(properties=OURS | {"jai_person": None}, control=CONTROL, missing=None, who=WHO)
def test_all_three_places_show_ours_when_message_and_person_fit_and_else_exactly_the_control_content(
    properties: dict[str, Any], control: Control, missing: str | None, who: str | None
) -> None:
    shown = rendered(snippet("jai", FITS, control), properties, missing, who=who)

    written_to = properties.get("jai_person")
    anothers = written_to and who and written_to != who
    there = properties.get("jai_for") == FITS and properties.get("jai_subject") and properties.get("jai_body")
    if there and not anothers:
        preheader = properties.get("jai_preheader") or ""
        assert shown == Snippet(str(properties["jai_subject"]), str(preheader), str(properties["jai_body"]))
    else:
        assert shown == control_alone(control, properties)


@given(properties=profiles, gone=st.sets(st.sampled_from(sorted(OURS)), min_size=1))
def test_an_email_is_never_blank_and_never_mixed_whatever_is_gone_from_the_profile(
    properties: dict[str, Any], gone: set[str]
) -> None:
    held = {name: value for name, value in (properties | OURS).items() if name not in gone}

    shown = rendered(snippet("jai", FITS, CONTROL), held)

    ours = Snippet(OURS["jai_subject"], held.get("jai_preheader", ""), OURS["jai_body"])
    assert shown == (ours if gone <= {"jai_preheader", "jai_person"} else control_alone(CONTROL, {}))
    assert shown.subject
    assert shown.body


@given(properties=profiles, who=st.sampled_from([WHO, "", None]))
@example(properties=OURS, who=WHO)
@example(properties=OURS | {"jai_person": "01OTHER"}, who=WHO)
def test_it_shows_ours_only_where_the_snippet_of_the_release_before_did(
    properties: dict[str, Any], who: str | None
) -> None:
    shown, before = (rendered(made("jai", FITS, CONTROL), properties, who=who) for made in (snippet, earlier_snippet))

    assert shown in (before, control_alone(CONTROL, properties))
    if not properties.get("jai_person") or not who or properties["jai_person"] == who:
        assert shown == before


def test_only_the_newer_snippet_keeps_another_persons_copy_from_showing() -> None:
    carried = OURS | {"jai_person": "01OTHER"}

    assert rendered(snippet("jai", FITS, CONTROL), carried) == control_alone(CONTROL, {})
    assert rendered(earlier_snippet("jai", FITS, CONTROL), carried).subject == "Ours"


@given(
    who=st.one_of(
        st.from_regex(r"[A-Za-z0-9]{6}", fullmatch=True), st.from_regex(r"01[0-9A-HJKMNP-TV-Z]{24}", fullmatch=True)
    )
)
@example(who="aBc123")
@example(who="700012")
def test_a_profile_id_of_either_length_is_compared_letter_by_letter(who: str) -> None:
    made = snippet("jai", FITS, CONTROL)

    assert rendered(made, OURS | {"jai_person": who}, who=who).subject == "Ours"
    if who.swapcase() != who:
        assert rendered(made, OURS | {"jai_person": who.swapcase()}, who=who) == control_alone(CONTROL, {})


@given(own=st.tuples(ids, ids, ids), other=st.tuples(ids, ids, ids))
@example(own=("a", "b", "c"), other=("a", "b", "C"))
def test_the_marker_of_another_template_flow_or_action_never_fits(
    own: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    assume(own != other)

    shown = rendered(snippet("jai", marker(*own), CONTROL), OURS | {"jai_for": marker(*other)})

    assert shown == control_alone(CONTROL, {})


@given(template=ids, flow=ids, action=ids, person=ids)
def test_what_the_generator_writes_for_a_webhook_is_what_its_own_snippet_asks_for(
    template: str, flow: str, action: str, person: str
) -> None:
    assert written_for(template, person, f"{person}.{flow}.{action}") == marker(template, flow, action)


@pytest.mark.parametrize(
    "tracking_id",
    ["", "P", "P.", "P.F", "P.F.", "P..A", ".F.A", "Q.F.A", "P.F.A.B", "P.F.A.", "P.<flow_id>.A", "P.F.A'", "PP.F.A"],
)
def test_a_tracking_id_of_another_shape_is_for_no_message(tracking_id: str) -> None:
    assert written_for("welcome", "P", tracking_id) == "welcome"


@pytest.mark.parametrize(
    "odd", ["", "a.b", "a'b", 'a"b', "a b", "a}b", "{{ x }}", "-a", "_a", "é", "a\n", "x" * 65, "a' or '1' == '1"]
)
def test_ids_that_could_end_the_comparison_or_part_the_marker_are_refused(odd: str) -> None:
    for place in ((odd, "F", "A"), ("t", odd, "A"), ("t", "F", odd)):
        with pytest.raises(ValueError, match="is no id"):
            marker(*place)
        with pytest.raises(ValueError, match="is no marker"):
            snippet("jai", ".".join(place), CONTROL)


@pytest.mark.parametrize("prefix", ["", "Jai", "1jai", "ja'i", "ja i", "jai.x", "jai\n", "j" * 33])
def test_a_prefix_that_is_no_property_name_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="no property prefix"):
        snippet(prefix, FITS, CONTROL)


def test_a_template_with_its_own_prefix_neither_shows_nor_needs_what_another_prefix_holds() -> None:
    own = {name.replace("jai_", "jai_welcome_"): value for name, value in OURS.items()}
    foreign = dict.fromkeys(OURS, "foreign") | {"jai_for": FITS, "jai_person": WHO}

    made = snippet("jai_welcome", FITS, CONTROL)

    assert rendered(made, foreign) == control_alone(CONTROL, {})
    assert rendered(made, foreign | own) == Snippet(OURS["jai_subject"], OURS["jai_preheader"], OURS["jai_body"])


@pytest.mark.parametrize("escapes", [False, True])
def test_a_subject_keeps_its_ampersands_and_quotes_whether_or_not_headers_escape(escapes: bool) -> None:
    subject = 'Fish & Chips for D\'Arcy "Bob" <3'

    shown = rendered(snippet("jai", FITS, CONTROL), OURS | {"jai_subject": subject}, escapes=escapes)

    assert shown.subject == subject


def test_a_preheader_of_ours_stays_plain_text_and_a_body_of_ours_stays_markup() -> None:
    properties = OURS | {"jai_preheader": "Fish & Chips", "jai_body": "<p>Fish &amp; Chips</p>"}

    shown = rendered(snippet("jai", FITS, CONTROL), properties)

    assert (shown.preheader, shown.body) == ("Fish & Chips", "<p>Fish &amp; Chips</p>")


@pytest.mark.parametrize(
    "control",
    [
        "{% else %}", "{% endif %}", "{% if person.vip %}", "{% endif %}{% if person.vip %}", "{% elif person.vip %}",
        "{% for x in y %}", "{% for x in y %}{% else %}{% endfor %}", "{% empty %}", "{% comment %}",
        "{% if a %}{% for x in y %}{% endif %}{% endfor %}", "{% catalog 1 %}{% if x %}{% endcatalog %}{% endif %}",
        "{% endcomment %}", "{{ person.first_name", "{% if", "{#", "{", "half a tag {", "{{ person.{{ x }} }}",
        "{% if {% endif %}", "{{ person\n.first_name }}", "{% %}", "{{ }}",
    ],
)  # fmt: skip
def test_control_content_that_would_join_with_the_snippets_own_tags_is_refused(control: str) -> None:
    assert control_fault(control)
    for place in ("subject", "preheader", "body"):
        texts = {"subject": "s", "preheader": "p", "body": "b"} | {place: control}
        with pytest.raises(ValueError, match=f"jai_{place}"):
            snippet("jai", FITS, Control(**texts))


@pytest.mark.parametrize(
    "control",
    [
        "Plain", "100 % { } }} %}", "{{ person.first_name|default:'you' }}", "{# note #}x",
        "{% if a %}1{% elif b %}2{% else %}3{% endif %}", "{% if a %}{% if b %}x{% endif %}{% endif %}",
        "{% for x in y %}{{ x }}{% empty %}none{% endfor %}", "{% comment %}{% else %}{% endif %}{% endcomment %}",
        "{% unsubscribe 'Bye' %}{% web_view %}", "{% catalog 1 %}{% if x %}y{% endif %}{% endcatalog %}",
    ],
)  # fmt: skip
def test_klaviyo_tags_may_stand_in_control_content(control: str) -> None:
    assert control_fault(control) is None


def test_the_pages_own_snippet_is_word_for_word_the_pages_and_can_be_blank() -> None:
    made = page_snippet()

    assert made.subject == "{{ person|lookup:'jai_subject'|default:\"Your weekly update\" }}"
    assert made.preheader == "{{ person|lookup:'jai_preheader'|default:\"\" }}"
    assert made.body == "{{ person|lookup:'jai_body'|safe }}"
    assert rendered(made, {}).body == ""
