"""What an operation refused stands at the field that it is about."""

import pytest

from services.console.web.forms import Form
from shared.admin.errors import AdminError, Conflict, Fault, Refused


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Refused("is missing", field="name"), {"name": "is missing"}),
        (Refused("must be a day", field="rules.promo_codes.1.ends"), {"promo_codes": "entry 2 must be a day"}),
        (Refused("is no share", field="rules.shares.warm"), {"shares": "warm: is no share"}),
        (Refused("is missing", field="rules"), {"": "rules: is missing"}),
        (Conflict("There is a source 'a' already", field="name"), {"name": "there is a source 'a' already"}),
        (Conflict("Somebody else changed it"), {"": "Somebody else changed it."}),
        (Refused.of_faults([Fault("name", "is missing"), Fault("other", "is odd")]),
         {"name": "is missing", "": "other: is odd"}),
    ],
)  # fmt: skip
def test_each_fault_stands_at_its_field_and_what_the_form_has_not_above_it(
    error: AdminError, said: dict[str, str]
) -> None:
    form = Form()

    form.refuse_all(error, "rules", fields={"name", "promo_codes", "shares"})

    assert form.errors == said
