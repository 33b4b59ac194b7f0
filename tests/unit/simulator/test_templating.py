"""The template language: what was measured of Klaviyo's, and that nothing else exists."""

import json

import pytest
from django.conf import settings as django_settings
from hypothesis import given
from hypothesis import strategies as st

from simulator.flow.definitions import EmailText, literal_snippet
from simulator.flow.templating import BrokenTemplate, render, render_email, render_webhook
from simulator.profile import ProfileState

HARD_NAME = 'D\'Arcy "Bob" <x> \\ O\nN'
PERSON = ProfileState(
    {"first_name": HARD_NAME, "external_id": "ext-1", "email": "d@x.example"},
    {"plan type": "pro", "n": 3, "yes": True, "list": [1, "a"], "price": 2.5, "gone": None, "$city": "Oslo"},
)


def webhook(text: str, *, autoescape: bool = False) -> str:
    return render_webhook(text, "01PROFILE", PERSON, None, autoescape=autoescape)


@pytest.mark.parametrize(
    ("text", "autoescape", "expected"),
    [
        ("{{ person.first_name }}", True, "D&#x27;Arcy &quot;Bob&quot; &lt;x&gt; \\ O\nN"),
        ("{{ person.first_name }}", False, HARD_NAME),
        (
            "{{ person.first_name|escapejs }}",
            False,
            "D\\u0027Arcy \\u0022Bob\\u0022 \\u003Cx\\u003E \\u005C O\\u000AN",
        ),
        ("[{{ person.nothing }}]", False, "[]"),
        ("[{{ person|lookup:'nothing' }}]", False, "[None]"),
        ("[{{ person|lookup:'gone' }}]", False, "[None]"),
        ("{{ person|lookup:'list' }} {{ person.yes }}", False, "[1, 'a'] True"),
        ("{{ person|lookup:'nothing'|default:\"x\" }}", False, "x"),
        ("{{ person.KlaviyoID }} {{ person.id }}", False, "01PROFILE ext-1"),
        ("{{ person|lookup:'$city' }} {{ person|lookup:'plan type' }}", False, "Oslo pro"),
    ],
)
def test_webhook_bodies_render_as_measured(text: str, autoescape: bool, expected: str) -> None:
    assert webhook(text, autoescape=autoescape) == expected


@given(name=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_escapejs_keeps_every_name_valid_json(name: str) -> None:
    person = ProfileState({"first_name": name}, {})

    text = render_webhook('{"n": "{{ person.first_name|escapejs }}"}', "id", person, None, autoescape=False)

    assert json.loads(text) == {"n": name}


def test_an_event_is_there_only_in_metric_flows() -> None:
    body = "{{ event.Total }}"

    assert render_webhook(body, "id", PERSON, {"Total": 7}, autoescape=False) == "7"
    assert render_webhook(body, "id", PERSON, None, autoescape=False) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ person|lookup:'price'|multiply:.8|floatformat:2 }}", "2.00"),
        ("{{ 'hello world'|title }} {{ 'a'|upper }} {{ 'A'|lower }}", "Hello World A a"),
        ("{{ 'abcdef'|slice:':3' }} {{ 'abcdef'|truncatechars:4 }} {{ 'http://x/'|trim_slash }}", "abc abc… http://x"),
        ("{% if person.n == 3 %}a{% elif person.n %}b{% else %}c{% endif %}", "a"),
        ("{% for item in person.list %}{{ item }},{% endfor %}{% comment %}no{% endcomment %}", "1,a,"),
    ],
)
def test_the_documented_tags_and_filters_work(text: str, expected: str) -> None:
    assert webhook(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "{% now 'Y' %}", "{{ x|date:'Y' }}", "{{ x|timesince }}", "{% include 'x' %}", "{% extends 'x' %}",
        "{% load x %}", "{% url 'x' %}", "{% debug %}", "{% csrf_token %}", "{% with a=1 %}{% endwith %}",
        "{{ x|escape }}", "{{ x|join:',' }}", "{{ person|lookup : 'x' }}", "{% if %}", "{% if x %}", "{% unknown %}",
        "{{ 'ab'|truncatechars:'q' }}",
    ],
)  # fmt: skip
def test_everything_else_fails_the_render(text: str) -> None:
    with pytest.raises(BrokenTemplate):
        webhook(text)


def test_bodies_escape_values_and_subjects_do_not() -> None:
    text = EmailText("{{ person.first_name }}", "{{ person.first_name }}", "<p>{{ person.first_name }}</p>")

    shown = render_email(text, "id", ProfileState({"first_name": "<b>Zoë"}, {}))

    assert (shown.subject, shown.preview_text, shown.html) == ("<b>Zoë", "<b>Zoë", "<p>&lt;b&gt;Zoë</p>")


def test_a_missing_lookup_prints_nothing_in_an_email() -> None:
    shown = render_email(literal_snippet("jai"), "id", ProfileState({}, {"jai_preheader": None}))

    assert (shown.subject, shown.preview_text, shown.html) == ("Your weekly update", "", "")


def test_property_text_is_not_rendered_a_second_time() -> None:
    state = ProfileState({}, {"jai_body": "<p>{{ person.email }} {% unsubscribe %}</p>"})

    assert render_email(literal_snippet("jai"), "id", state).html == "<p>{{ person.email }} {% unsubscribe %}</p>"


def test_the_unsubscribe_tag_makes_a_link_of_the_person() -> None:
    html = render_email(EmailText("s", "", "{% unsubscribe 'Bye' %}{% web_view %}"), "01ABC", PERSON).html

    assert html.startswith('<a href="https://manage.kmail.example/unsubscribe/01ABC">Bye</a>')


def test_rendering_needs_and_makes_no_django_settings() -> None:
    assert render("{{ n }}", {"n": 1234.5}, autoescape=True) == "1234.5"
    assert not django_settings.configured
