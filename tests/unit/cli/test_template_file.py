"""Reading a template's file: every fault at once, in the author's words, by place."""

from pathlib import Path

import pytest

from cli.template_file import BadFile, read_template
from shared.schemas.attributes import stored

SHOP = Path(__file__).parents[3] / "demo" / "shop"
GOOD = """
template_id: welcome
name: Welcome
control: {subject: Hello, body: <p>Hello</p>}
variants:
  - {name: Warm, approved: true, subject: Hi, body: <p>Hi</p>}
"""


def read(text: str | bytes, folder: Path) -> list[str]:
    """The faults, without the head line."""
    file = folder / "welcome.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(BadFile) as caught:
        read_template(file)
    head, *faults = str(caught.value).splitlines()
    assert head.startswith(f"{file}")
    return [fault.strip() for fault in faults] or [head.removeprefix(f"{file}")]


@pytest.mark.parametrize("file", sorted(SHOP.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_shops_own_templates_are_without_fault_or_warning(file: Path) -> None:
    template, warnings = read_template(file)

    assert template.template_id == file.stem
    assert warnings == []


def test_all_faults_of_a_file_are_told_at_once_in_its_own_words(tmp_path: Path) -> None:
    text = """
template_id: welcome mail
name: No
state: live
delay_s: two minutes
property_prefix: JAI
flow: {flow_id: WELC01, treatment_action_id: 70000012}
typo: 1
required_fields: [first name]
control:
  subject: "  "
  preheader: "{% else %}"
  body: |

variants:
  - {name: Warm, approved: maybe, subject: Hi, body: <p>Hi</p>}
  - {subject: 2026-01-01, body: [a]}
  - {name: Cold, subject: "{{ first_name }}", body: "<p>{% unsubscribe %}</p>"}
  - just words
"""

    faults = read(text, tmp_path)

    assert [fault.split(": ", 1) for fault in faults[:-2]] == [
        ["template_id", "must be an id: letters, digits, - and _, at most 64"],
        ["name", "must be a text, but False is none to YAML; put it in quotes"],
        ["state", "must be 'draft', 'active', 'shipped' or 'archived'"],
        ["property_prefix", "must begin with a lower-case letter, then lower-case letters, digits and _, at most 32"],
        ["delay_s", "must be a whole number"],
        ["flow.treatment_action_id", "must be a text, but 70000012 is none to YAML; put it in quotes"],
        ["required_fields.0", "must be the name of a field: letters, digits, - and _"],
        ["control.subject", "is empty"],
        [
            "control.preheader",
            "cannot stand in the snippet's control branch: {% else %} belongs to nothing that this text has opened",
        ],
        ["control.body", "is blank"],
        ['variant "Warm", approved', "must be true or false"],
        ["variant number 2, name", "is missing"],
        [
            "variant number 2, subject",
            "must be a text, but datetime.date(2026, 1, 1) is none to YAML; put it in quotes",
        ],
        ["variant number 2, body", "must be a text"],
        ["variant number 4", "must have fields of its own, one a line, indented"],
        ["typo", "is no field of a template file; is it misspelled?"],
    ]
    assert faults[-2].startswith('variant "Cold", subject, line 1: {{ first_name }} has no fallback')
    assert faults[-1].startswith('variant "Cold", body, line 1: {% unsubscribe')


def test_a_good_file_with_large_copy_is_read_with_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "welcome.yaml"
    file.write_text(GOOD.replace("<p>Hi</p>", "x" * 70_000))

    template, warnings = read_template(file)

    assert template.variants[0].name == "Warm"
    assert [warning.check for warning in warnings] == ["body_size", "preheader_length"]
    assert "Gmail" in str(warnings[0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\nb: 2", ", line 2 is no YAML"),
        ("a: 'x", ", line 1 is no YAML"),
        ("\tx: 1", ", line 1 is no YAML"),
        (GOOD + "variants: []\n", ", line 7 is no YAML: 'variants' stands twice"),
        (b"\xff\xfe", " is no UTF-8 text"),
        ("!!python/object/apply:os.system ['true']", ", line 1 is no YAML"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_line(text: str | bytes, said: str, tmp_path: Path) -> None:
    [fault] = read(text, tmp_path)

    assert fault.startswith(said)


@pytest.mark.parametrize("text", ["", "just words", "[1, 2]", "null"])
def test_what_is_no_template_at_all_is_told(text: str, tmp_path: Path) -> None:
    assert read(text, tmp_path) == ["the file: must have fields of its own, one a line, indented"]


def test_names_used_twice_are_told(tmp_path: Path) -> None:
    twice = GOOD + "  - {name: Warm, subject: Hi, body: <p>Hi</p>}\n"

    assert read(twice, tmp_path) == ["the file: variants: the name 'Warm' is used twice"]


@pytest.mark.parametrize(
    ("bodies", "said"),
    [
        ("mjml: <p>Hi</p>", 'variant "Warm", mjml: must begin with <mjml>'),
        ("body: <p>Hi</p>, mjml: <mjml></mjml>", 'variant "Warm": body: has a second one in `mjml`; keep one of them'),
        ("theme: x", 'variant "Warm": body: is missing; write HTML as `body`, or MJML as `mjml`'),
    ],
)
def test_a_variant_has_one_body_in_html_or_mjml(bodies: str, said: str, tmp_path: Path) -> None:
    assert read(GOOD.replace("body: <p>Hi</p>}", bodies + "}"), tmp_path) == [said]


def test_every_fault_of_attributes_and_splits_names_its_attribute_and_field(tmp_path: Path) -> None:
    text = """
template_id: welcome
name: Welcome
control: {subject: Hello, body: <p>Hello</p>}
attributes:
  plan: {kind: string, options: {pro: [premium, "/(a+)+/"], team: [Premium]}, default: gold}
  size: {kind: string, options: {yes: []}}
  taste: {kind: list, options: [other], most: 99}
  orders: {kind: number, edges: [5, 1]}
  spent: {kind: number}
  since: {kind: date, edges: [7], default: soon}
  colour: {kind: color}
  shape: {edges: [1]}
  plain: pro
other_attrs: keep
split: {method: random}
control_share: 1
repeat: never
"""

    assert read(text, tmp_path) == [
        "attributes.plan.options.pro.1: may not repeat a group: )+",
        "attributes.size.options.1: must be a text, but True is none to YAML; put it in quotes",
        "attributes.taste.options.other: 'other' has a meaning of its own; call this option something else",
        "attributes.taste.most: input should be less than or equal to 16",
        "attributes.orders.edges: must increase, each edge above the one before",
        "attributes.spent.edges: is missing",
        "attributes.since.default: must be a day, like 2026-12-24",
        "attributes.colour: kind: must be one of string, list, number, date",
        "attributes.shape: kind: is missing; it is one of string, list, number, date",
        "attributes.plain: must have fields of its own, one a line, indented",
        "other_attrs: must be 'pass' or 'ignore'",
        "split: control_ratio: a random split needs one, like 0.1",
        "control_share: input should be less than or equal to 0.9",
        "repeat: must be 'avoid' or 'allow'",
    ]


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (
            "attributes: {plan: {kind: string, options: {pro: [], team: [Pro]}}}",
            "attributes.plan.options: 'pro' stands for 'pro' and for 'team'",
        ),
        (
            "attributes: {plan: {kind: string, options: [pro], default: gold}}",
            "attributes.plan.default: 'gold' is none of the options",
        ),
        (
            "attributes: {Plan: {kind: string}, plan: {kind: string}}",
            "attributes: two names differ by case or spacing only",
        ),
        ("attributes: [plan]", "attributes: must have a line for each of its entries, like `plan: …`, indented"),
        (
            "split: {method: external, control_ratio: 0.1}",
            "split: control_ratio: an external split is set in Klaviyo; use method random or persistent",
        ),
    ],
)
def test_a_fault_of_attributes_or_split_is_told_in_words(tmp_path: Path, lines: str, fault: str) -> None:
    assert read(GOOD + lines + "\n", tmp_path) == [fault]


def test_options_may_be_a_list_or_have_aliases_and_are_compared_as_attrs_are(tmp_path: Path) -> None:
    file = tmp_path / "welcome.yaml"
    file.write_text(
        GOOD + "attributes: {Plan Type: {kind: string, options: {PRO: [Premium], Free: }, default: free}}\n"
    )

    parsed, _ = read_template(file)

    assert stored(parsed.attributes) == {
        "plan type": {"kind": "string", "options": {"pro": ["premium"], "free": []}, "default": "free"}
    }
