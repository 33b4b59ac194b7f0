"""Tags of Klaviyo's in copy: what to write instead, and an email of Klaviyo's as the beginning of a variant."""

import pytest

from shared.content.klaviyo_tags import klaviyo_tags, with_fields


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Hi {{ person.first_name }}", "write {{ first_name | default: 'words' }} and paste the JSON body again"),
        ("{{person.first_name|default:'you'}}", "write {{ first_name | default: 'words' }}"),
        ("{{ person|lookup:'Favourite' }}", "write {{ Favourite | default: 'words' }}"),
        ('{{ person | lookup: "city"|title }}', "write {{ city | default: 'words' }}"),
        ("{{ person|lookup:'My colour' }}", "send the value as a field"),
        ("{{ event.Items.0 }}", "send the value as a field"),
        ("<a href='{% unsubscribe_link %}'>x</a>", "keep it in the email template"),
    ],
)
def test_what_to_write_instead_of_a_tag_of_klaviyos_is_said(text: str, says: str) -> None:
    [(at, what)] = klaviyo_tags(text)

    assert text[at] == "{"
    assert says in what


def test_a_field_is_no_tag_of_klaviyos() -> None:
    assert list(klaviyo_tags("Hi {{ first_name | default: 'you' }} {% if city %}in {{ city }}{% endif %}")) == []


@pytest.mark.parametrize(
    ("given", "copy"),
    [
        ("Hi {{ person.first_name|default:'you' }}!", "Hi {{ first_name | default: 'you' }}!"),
        ("{{ person|lookup:'city'|default:\"town\" }}", '{{ city | default: "town" }}'),
        ("{{person.first_name}}", "{{ first_name }}"),
        ("{{ person.first_name|title }}", "{{ person.first_name|title }}"),
        ("{{ person.address.city }}", "{{ person.address.city }}"),
        ("{{ event.Name }} {% unsubscribe %}", "{{ event.Name }} {% unsubscribe %}"),
        ("<p>No tag, {% if x %}y{% endif %}</p>", "<p>No tag, {% if x %}y{% endif %}</p>"),
    ],
)
def test_a_persons_property_with_nothing_but_a_default_becomes_a_field(given: str, copy: str) -> None:
    assert with_fields(given) == copy
