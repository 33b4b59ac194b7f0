"""The template file's model: what it takes, what it refuses, and that snippets can be made of what it takes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.schemas.template_file import TemplateFile
from shared.snippet import IDENTIFIER, Control, marker, snippet

LEAST: dict[str, Any] = {
    "template_id": "welcome",
    "name": "Welcome",
    "control": {"subject": "Hello", "body": "<p>Hello</p>"},
}
VARIANT = {"name": "Warm", "subject": "Hi", "body": "<p>Hi</p>"}
text = st.text(max_size=30)
ids = st.from_regex(IDENTIFIER, fullmatch=True)
ids_or_text = st.one_of(ids, ids, text)


def refused(**given: Any) -> list[str]:
    """The places of the faults."""
    with pytest.raises(ValidationError) as caught:
        TemplateFile.model_validate(LEAST | given)
    return [".".join(map(str, fault["loc"])) for fault in caught.value.errors()]


def test_what_is_not_said_is_careful() -> None:
    file = TemplateFile.model_validate(LEAST | {"variants": [VARIANT]})

    assert (file.state, file.property_prefix, file.delay_s, file.send_window_s) == ("draft", "jai", None, 900)
    assert (file.flow, file.required_fields, file.variants[0].approved) == (None, [], False)


def test_blanks_around_a_line_are_dropped_and_those_in_a_body_kept() -> None:
    control = {"subject": " Hello\n", "preheader": " ", "body": " <p>\n"}

    file = TemplateFile.model_validate(LEAST | {"control": control})

    assert file.control.model_dump() == {"subject": "Hello", "preheader": "", "body": " <p>\n"}


@pytest.mark.parametrize("id_", ["", "a.b", "a b", "a/b", "-a", "a'", "é", "x" * 65, "a\n"])
def test_an_id_that_no_marker_takes_is_refused(id_: str) -> None:
    flow = {"flow_id": id_, "treatment_action_id": id_, "control_action_id": id_}

    assert refused(template_id=id_, flow=flow) == [
        "template_id", "flow.flow_id", "flow.treatment_action_id", "flow.control_action_id",
    ]  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "JAI", "1a", "a-b", "a'b", "x" * 33, "a\n"])
def test_a_prefix_that_is_no_property_name_is_refused(prefix: str) -> None:
    assert refused(property_prefix=prefix) == ["property_prefix"]


@pytest.mark.parametrize("odd", ["\x00", "a\x00b", "a\x1bb", "a\x85b", "a\u2028b"])
def test_what_no_database_or_mail_takes_is_refused(odd: str) -> None:
    assert refused(name=odd) == ["name"]


def test_texts_of_control_and_variants_hold_words() -> None:
    blank = {"subject": " ", "body": " \n\u00a0"}

    assert refused(control=blank, variants=[{"name": " ", **blank}]) == [
        "control.subject", "control.body", "variants.0.name", "variants.0.subject", "variants.0.body",
    ]  # fmt: skip


@pytest.mark.parametrize("seconds", [0, -1, 2_592_001])
def test_a_delay_or_window_beyond_reason_is_refused(seconds: int) -> None:
    assert refused(delay_s=seconds, send_window_s=seconds) == ["delay_s", "send_window_s"]


@given(subject=text, preheader=text, body=text, prefix=st.just("jai") | text, ids=st.tuples(ids_or_text, *[ids] * 2))
def test_a_snippet_can_be_made_of_every_file_that_is_taken(
    subject: str, preheader: str, body: str, prefix: str, ids: tuple[str, str, str]
) -> None:
    given_file = {
        "template_id": ids[0], "name": "x", "property_prefix": prefix,
        "flow": {"flow_id": ids[1], "treatment_action_id": ids[2]},
        "control": {"subject": subject, "preheader": preheader, "body": body},
    }  # fmt: skip
    try:
        file = TemplateFile.model_validate(given_file)
    except ValidationError:
        return

    control = Control(file.control.subject, file.control.preheader, file.control.body)

    assert snippet(file.property_prefix, marker(*ids), control).body.endswith(f"{body}{{% endif %}}")


def test_a_policy_is_part_of_the_file_and_names_the_files_variants() -> None:
    file = TemplateFile.model_validate(
        LEAST | {"variants": [VARIANT], "policy": {"model": "fixed", "shares": {"Warm": 1}}}
    )

    assert file.policy.shares == {"Warm": 1}
    assert TemplateFile.model_validate(LEAST).policy.model == "logistic"
    assert refused(policy={"floor": 0.9, "windw_h": 3}) == ["policy.floor", "policy.windw_h"]
    with pytest.raises(ValidationError, match=r"policy\.shares: there is no variant 'Wram'"):
        TemplateFile.model_validate(
            LEAST | {"variants": [VARIANT], "policy": {"model": "fixed", "shares": {"Wram": 1}}}
        )
