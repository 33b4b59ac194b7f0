"""The reader's promises: the kept corpus has its answers, no text moves an id, no bytes raise anything unforeseen.

`tests/corpus/webhook` holds bodies as Klaviyo may send them and the documented answer to each, among them every
kind of body that the acceptance table of bad input names; the large ones are made here.
"""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from services.gateway.reader import DEFAULT_LIMITS, Limits, Repair, Unusable, UnusableCode, Webhook, read_webhook
from shared.schemas.jobs import Attrs
from shared.webhook_values import MISSING_FIELDS

CORPUS = Path(__file__).parents[2] / "corpus" / "webhook"
ANSWERS: dict[str, dict[str, Any]] = json.loads((CORPUS / "answers.json").read_bytes())

USER_ID = "01GDDKASAP8TKDDA2GRZDSVP4H"
IDS = {"template_id": "welcome", "user_id": USER_ID, "tracking_id": f"{USER_ID}.WFzxH9.92841733"}

# The page's body, as it is written there.
PAGE = (
    '{{ "template_id": "{template_id}", "user_id": "{user_id}", "tracking_id": "{tracking_id}", '
    '"attrs": {{ "persona": "%s", "plan": "pro" }}, "fields": {{ "first_name": "%s" }}}}'
).format(**IDS)

FRAGMENTS = (
    *('"', "\\", "{", "}", "[", "]", ",", ":", " ", "'", "\n", "x", '\\"', '"}', '"},', '"}}', '"}}}', '": "', '","'),
    *('"template_id"', '"template_id":"evil"', '"user_id":"EVIL01"', '"tracking_id":"EVIL01.a.b"', '"user_id":'),
    *('"z":{"y":"', '"z":"', '"attrs":{"persona":"evil"}', '"fields":{"first_name":"evil"}', '"plan":"evil"'),
    *('"template\\u005fid":"evil"', "template_id", "\\u0022", "{{ x }}", "\x00", "&quot;"),
    *('x"},"template_id":"evil","user_id":"EVIL01","tracking_id":"EVIL01.a.b","z":{"y":"', '"},"z":{"q":{"a":"'),
)
hostile_text = st.one_of(st.text(), st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join))
ESCAPE_AND_OVERRIDE = FRAGMENTS[-2]


def ids_of(webhook: Webhook) -> dict[str, str]:
    return {"template_id": webhook.template_id, "user_id": webhook.user_id, "tracking_id": webhook.tracking_id}


def read(document: object) -> Webhook:
    return read_webhook(json.dumps(document, ensure_ascii=False).encode())


def answer_to(body: bytes, limits: Limits = DEFAULT_LIMITS) -> Webhook | Unusable:
    try:
        return read_webhook(body, limits)
    except Unusable as refused:
        return refused


def code_of(answer: Webhook | Unusable) -> UnusableCode | None:
    return answer.code if isinstance(answer, Unusable) else None


def assert_harmless(webhook: Webhook | Unusable) -> None:
    """What every answer promises, whatever the body was."""
    if isinstance(webhook, Unusable):
        assert webhook.code in get_args(UnusableCode)
        assert webhook.message
        return
    texts = [*webhook.fields.values()]
    for value in webhook.attrs.values():
        texts += value if isinstance(value, list) else [value]
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", webhook.template_id)
    assert re.fullmatch(r"[A-Za-z0-9]{6}|[0-9A-Z]{26}", webhook.user_id)
    assert re.fullmatch(r"[!-~]{1,256}", webhook.tracking_id)
    for text in (*texts, *webhook.attrs, *webhook.fields):
        assert text
        assert "\x00" not in text
        text.encode()  # raises on half a surrogate pair
    assert MISSING_FIELDS.isdisjoint(webhook.fields.values())
    for text in texts:
        assert text not in ("None", "null")
        assert "{{" not in text
        assert len(text) <= 16_384
    assert len(webhook.attrs) <= 64
    assert len(webhook.fields) <= 128
    assert set(webhook.repairs) <= set(get_args(Repair))
    assert len(set(webhook.repairs)) == len(webhook.repairs)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_kept_body_gets_its_documented_answer(name: str) -> None:
    answer, body = ANSWERS[name], (CORPUS / f"{name}.body").read_bytes()

    if "unusable" in answer:
        with pytest.raises(Unusable) as refused:
            read_webhook(body)
        assert (refused.value.code, refused.value.param) == (answer["unusable"], answer["param"])
    else:
        webhook = read_webhook(body)
        assert ids_of(webhook) == IDS | answer.get("ids", {})
        assert (webhook.attrs, webhook.fields) == (answer["attrs"], answer["fields"])
        assert list(webhook.repairs) == answer["repairs"]
        assert_harmless(webhook)


def test_the_corpus_shows_every_repair_and_every_refusal() -> None:
    assert {path.stem for path in CORPUS.glob("*.body")} == ANSWERS.keys()
    assert {repair for answer in ANSWERS.values() for repair in answer.get("repairs", ())} == set(get_args(Repair))
    refusals = {answer["unusable"] for answer in ANSWERS.values() if "unusable" in answer}
    assert refusals | {"body_too_large"} == set(get_args(UnusableCode))


def test_a_body_of_256_kib_is_read_and_one_byte_more_is_not() -> None:
    body = (PAGE % ("runner", "Ann")).encode()
    largest = body + b" " * (262_144 - len(body))

    assert read_webhook(largest).fields == {"first_name": "Ann"}
    assert code_of(answer_to(largest + b" ")) == "body_too_large"
    assert code_of(answer_to(body, Limits(body_bytes=100))) == "body_too_large"


@pytest.mark.parametrize("depth", [1_000, 1_020, 50_000])
def test_deep_nesting_costs_its_value_and_not_the_send(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    body = (PAGE % ("runner", "Ann"))[:-1] + f', "deep": {deep}, "more": {{ "deep": {deep} }} }}'

    webhook = read_webhook(body.encode())

    assert ids_of(webhook) == IDS
    assert webhook.attrs == {"persona": "runner", "plan": "pro"}
    assert webhook.fields == {"first_name": "Ann"}


def test_a_deep_value_inside_attrs_is_dropped() -> None:
    deep: list[Any] = []
    for _ in range(500):
        deep = [deep]

    webhook = read({**IDS, "attrs": {"deep": deep, "plan": "pro"}})

    assert webhook.attrs == {"plan": "pro"}
    assert "attr_dropped" in webhook.repairs


@pytest.mark.parametrize(
    "attrs",
    [
        {f"k{number}": [[0]] for number in range(10_000)},
        {"huge": "x" * 200_000, "plan": "pro"},
        {"lists": [["a"], ["b"]] * 1_000, "many": ["x"] * 20_000},
        {"\x00\u202e&=,%": "\x00\r\n<script>{{ person }}"},
    ],
)
def test_garbage_attrs_never_cost_the_send_and_what_is_left_is_what_a_job_may_carry(attrs: dict[str, Any]) -> None:
    webhook = read({**IDS, "attrs": attrs, "fields": {"first_name": "Ann"}})

    kept = TypeAdapter(Attrs).validate_python(webhook.attrs, strict=True)
    assert ids_of(webhook) == IDS
    assert webhook.fields == {"first_name": "Ann"}
    assert len(kept) <= 64
    assert sum(len(str(value)) for value in kept.values()) <= 64 * 64 * 1_000


def test_of_ten_thousand_keys_the_first_ones_stay() -> None:
    many = {f"k{i}": "v" for i in range(10_000)}

    webhook = read({**IDS, "attrs": many})
    assert list(webhook.attrs) == [f"k{i}" for i in range(64)]
    assert webhook.repairs == ("attr_dropped",)

    webhook = read({**IDS, "fields": many})
    assert list(webhook.fields) == [f"k{i}" for i in range(128)]
    assert webhook.repairs == ("field_dropped",)

    webhook = read({**IDS, **many, "fields": {"first_name": "Ann"}})
    assert webhook.fields == {"first_name": "Ann"}
    assert webhook.repairs == ("unknown_key",)


def test_ten_thousand_keys_in_a_broken_body_do_not_cost_the_send() -> None:
    many = ",".join(f'"k{i}":"a "b" c"' for i in range(10_000))

    webhook = read_webhook((PAGE % ("runner", "Ann")).replace('"first_name"', many + ',"first_name"').encode())

    assert ids_of(webhook) == IDS
    assert webhook.attrs == {"persona": "runner", "plan": "pro"}
    assert len(webhook.fields) == 128
    assert {"unescaped_quote", "unreadable_rest", "field_dropped"} == set(webhook.repairs)


def test_a_list_keeps_its_first_64_items() -> None:
    webhook = read({**IDS, "attrs": {"tags": [str(i) for i in range(100)]}})

    assert webhook.attrs == {"tags": [str(i) for i in range(64)]}
    assert webhook.repairs == ("attr_dropped",)


def test_a_joined_list_obeys_the_limit_of_a_field() -> None:
    webhook = read({**IDS, "fields": {"sizes": ["x" * 9_000, "y" * 9_000], "first_name": "Ann"}})

    assert webhook.fields == {"first_name": "Ann"}
    assert webhook.repairs == ("list_joined", "field_dropped")


def test_a_number_keeps_the_digits_it_was_written_with() -> None:
    body = (PAGE % ("runner", "Ann")).replace('"Ann"', '19.90, "count": 18446744073709551616, "big": 12')

    assert read_webhook(body.encode()).fields == {"first_name": "19.90", "count": "18446744073709551616", "big": "12"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("template_id", "canary/4711"), ("user_id", "canary@example.com"), ("tracking_id", "canary 4711")],
)
def test_a_refusal_names_the_member_and_never_repeats_what_was_pasted(name: str, value: str) -> None:
    with pytest.raises(Unusable) as refused:
        read({**IDS, name: value})

    assert refused.value.param == name
    assert refused.value.code == f"invalid_{name}"
    assert refused.value.message.startswith(name)
    assert "canary" not in refused.value.message
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("person", ["aBc123", "ABC123", "abc123", "700012", "01HZY6Q3V9C5W0K7M2N4P8R1ST"])
def test_a_profile_id_is_taken_as_it_is_so_that_copy_names_whom_the_email_names(person: str) -> None:
    ids = {**IDS, "user_id": f" {person} ", "tracking_id": f"{person}.WFzxH9.92841733"}

    assert read(ids).user_id == person
    assert read({**ids, "user_id": person}).user_id == person


@pytest.mark.parametrize("value", ["", "customer-4711", "{{ person.id }}", "01hzy6q3v9c5w0k7m2n4p8r1st"])
def test_a_wrong_user_id_is_told_which_tag_is_right(value: str) -> None:
    with pytest.raises(Unusable, match=re.escape("{{ person.KlaviyoID }}")):
        read({**IDS, "user_id": value})


@settings(max_examples=500)
@given(first_name=hostile_text)
@example(first_name=ESCAPE_AND_OVERRIDE)
@example(first_name=ESCAPE_AND_OVERRIDE + '"')
def test_no_first_name_in_the_pages_body_changes_an_id_or_costs_the_send(first_name: str) -> None:
    webhook = read_webhook((PAGE % ("runner", first_name)).encode("utf-8", "surrogatepass"))

    assert ids_of(webhook) == IDS
    # A second "attrs" makes both doubtful; it can take attrs away, never put another value there.
    assert webhook.attrs in ({"persona": "runner", "plan": "pro"}, {})
    assert_harmless(webhook)


@settings(max_examples=300)
@given(persona=hostile_text, first_name=hostile_text)
def test_no_two_pasted_values_together_change_an_id(persona: str, first_name: str) -> None:
    webhook = read_webhook((PAGE % (persona, first_name)).encode("utf-8", "surrogatepass"))

    assert ids_of(webhook) == IDS
    assert_harmless(webhook)


@settings(max_examples=300)
@given(first_name=st.binary())
def test_no_bytes_in_place_of_a_first_name_change_an_id(first_name: bytes) -> None:
    webhook = read_webhook((PAGE % ("runner", "@")).encode().replace(b"@", first_name))

    assert ids_of(webhook) == IDS
    assert_harmless(webhook)


@settings(max_examples=500)
@given(before=hostile_text, between=hostile_text, after=hostile_text)
@example(before=ESCAPE_AND_OVERRIDE, between="", after="")
@example(before=ESCAPE_AND_OVERRIDE + '"},"z":{"q":{"a":"', between="", after='"}},"k":{"l":"')
@example(before='x"},"template\\u005fid":"evil","z":{"q":{"a":"', between="", after='"}},"k":{"l":"')
def test_ids_amid_pasted_values_stay_what_they_are_or_are_refused(before: str, between: str, after: str) -> None:
    body = (
        f'{{"attrs":{{"persona":"{before}"}},"template_id":"{IDS["template_id"]}","user_id":"{USER_ID}",'
        f'"note":"{between}","tracking_id":"{IDS["tracking_id"]}","fields":{{"first_name":"{after}"}}}}'
    )
    answer = answer_to(body.encode("utf-8", "surrogatepass"))

    if isinstance(answer, Unusable):
        assert answer.code in ("ambiguous_identity", "not_json") or answer.code.startswith("missing_")
    else:
        assert ids_of(answer) == IDS
        assert_harmless(answer)


@settings(max_examples=500)
@given(
    body=st.one_of(
        st.binary(),
        st.text().map(str.encode),
        st.lists(st.sampled_from(FRAGMENTS)).map(lambda parts: "".join(parts).encode()),
    )
)
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    assert_harmless(answer_to(body))


@settings(max_examples=500)
@given(
    name=st.sampled_from(sorted(ANSWERS)),
    edits=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 8), st.binary(max_size=6)), min_size=1, max_size=4),
)
def test_a_damaged_body_is_read_or_refused(name: str, edits: list[tuple[int, int, bytes]]) -> None:
    body = (CORPUS / f"{name}.body").read_bytes()
    for at, cut, insert in edits:
        body = body[:at] + insert + body[at + cut :]
    assert_harmless(answer_to(body))


ordinary_text = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="&{[")).filter(
    lambda text: text not in MISSING_FIELDS
)
keys = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=20)


@settings(max_examples=200)
@given(attrs=st.dictionaries(keys, ordinary_text, max_size=8), fields=st.dictionaries(keys, ordinary_text, max_size=8))
def test_the_three_ways_of_reading_agree(attrs: dict[str, str], fields: dict[str, str]) -> None:
    document = {**IDS, "attrs": attrs, "fields": fields}
    as_given = Webhook(**IDS, attrs={**attrs}, fields=fields, repairs=(), asked=None)
    strict = json.dumps(document, ensure_ascii=False)
    with_blanks = json.dumps(document, ensure_ascii=False, separators=(", ", " : "))
    with_trailing_comma = strict[:-1] + ",}"

    assert read_webhook(strict.encode()) == as_given
    assert read_webhook(with_blanks.encode()) == as_given
    assert read_webhook(with_trailing_comma.encode()) == as_given._replace(repairs=("trailing_comma",))


@settings(max_examples=300)
@given(text=st.text(st.characters(exclude_categories=("Cs", "Cc", "Z"), exclude_characters="&{[}:"), min_size=1))
def test_a_quoted_text_pasted_as_it_is_comes_out_as_it_was(text: str) -> None:
    webhook = read_webhook((PAGE % ("runner", f'{text} "{text}"\n.')).encode())

    assert webhook.fields == {"first_name": f'{text} "{text}"\n.'}
    assert webhook.attrs == {"persona": "runner", "plan": "pro"}
