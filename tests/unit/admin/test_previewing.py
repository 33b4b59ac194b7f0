"""The people of a preview have the fields that the gateway would find in their webhook."""

import json

from services.gateway.reader import read_webhook
from shared.admin.variants.preview_grid import LONG_VALUE
from shared.admin.variants.previewing import AskedPreview, people_of, person_of

IDS = {"template_id": "welcome", "user_id": "VIP001", "tracking_id": "VIP001.FLOW01.1"}
ATTRS = {"vip": False, "n": 0, "said": "False"}
FIELDS = {
    "no": False, "pasted": "False", "said": " false ", "none": "None", "null": None, "empty": "",
    "list": "[]", "object": " {} ", "blank": " ", "city": " London\n",
    "yes": True, "n": 0, "price": 19.5, "name": "Ada",
}  # fmt: skip


def test_a_person_is_previewed_with_the_values_that_the_gateway_takes() -> None:
    asked = AskedPreview.model_validate({"template_id": "welcome", "people": [{"attrs": ATTRS, "fields": FIELDS}]})
    taken = read_webhook(json.dumps({**IDS, "attrs": ATTRS, "fields": FIELDS}).encode())

    [person] = people_of(asked.people)

    assert (person.attrs, person.fields) == (taken.attrs, taken.fields)
    assert person.fields == {"yes": "true", "n": "0", "price": "19.5", "name": "Ada", "city": "London"}


def test_somebody_made_up_has_an_address_where_a_link_begins() -> None:
    people = [person_of(kind, ["cta", "name"], {"cta"}) for kind in ("example", "long", "nobody")]

    assert [one.fields.get("cta", "")[:21] for one in people] == ["https://shop.example/", "https://shop.example/", ""]
    assert [one.fields.get("name") for one in people] == ["Ada Lovelace", LONG_VALUE, None]
