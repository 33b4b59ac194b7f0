"""A template's variants as a CSV: it comes back as it was, rows are drafts, and one bad row leaves the others alone."""

import pytest

from shared.admin.csv_text import csv_lines
from shared.admin.errors import NotFound, Refused
from shared.admin.templates import templates
from shared.admin.variants import as_csv as variant_csv
from shared.admin.variants import variants
from shared.admin.variants.as_csv import ImportedVariants
from tests.component.admin.rig import Rig

WARM = "<p>Hello {{ first_name | default: 'there' }},\n\"come in\"; =1+1 is on us.</p>\n"


async def shop(acme: Rig) -> Rig:
    """A template with an approved variant."""
    file = {
        "template_id": "welcome", "name": "Welcome",
        "control": {"subject": "Welcome", "preheader": "", "body": "<p>Welcome.</p>"},
        "variants": [{"name": "Warm", "theme": "warmth", "approved": True, "subject": "=Come in", "body": WARM}],
    }  # fmt: skip
    await acme.run(templates.import_template, {"template": file})
    return acme


async def taken_in(acme: Rig, text: str) -> ImportedVariants:
    return await acme.run(variant_csv.take_in, {"template_id": "welcome", "csv": text})


async def states(acme: Rig) -> dict[str, str]:
    found = await acme.run(variants.list_variants, {"template_id": "welcome"})
    return {one.name: one.state for one in found.variants}


async def test_what_was_taken_along_changes_nothing_when_it_comes_back(acme: Rig) -> None:
    await shop(acme)
    found = await acme.run(variant_csv.export, {"template_id": "welcome"})

    done = await taken_in(acme, "\ufeff" + found.csv)

    assert "'=Come in" in found.csv  # a spreadsheet would run it
    assert ([one.what for one in done.saved], done.refused, done.changed) == (["unchanged"], [], False)


async def test_rows_become_drafts_and_a_column_that_is_left_out_leaves_what_is(acme: Rig) -> None:
    await shop(acme)
    before = await states(acme)

    done = await taken_in(acme, 'Name;Subject;Body\nWarm;Come in, now;"<p>Come in.</p>"\nCool;Hello;<p>Hello.</p>\n')

    assert [(one.name, one.what) for one in done.saved] == [("Warm", "new version"), ("Cool", "created")]
    after = await states(acme)
    assert after["Warm"].startswith(before["Warm"])  # what is served goes on
    assert after["Cool"] in ("draft", "checked")
    [theme] = await acme.rows("SELECT theme FROM variants WHERE name = 'Warm'")
    assert theme == {"theme": "warmth"}


async def test_a_row_that_brings_a_body_takes_the_place_of_mjml(acme: Rig) -> None:
    await shop(acme)
    mjml = "<mjml><mj-body><mj-section><mj-column><mj-text>Hi</mj-text></mj-column></mj-section></mj-body></mjml>"

    for column, text in (("mjml", mjml), ("body", "<p>Hi again.</p>")):
        done = await taken_in(acme, csv_lines([("name", column), ("Warm", text)]))
        assert (done.refused, done.changed) == ([], True)
        [row] = (await acme.run(variant_csv.export, {"template_id": "welcome"})).csv.splitlines()[1:]
        assert row.startswith("Warm,warmth,'=Come in,")
        assert text in row


async def test_a_row_that_cannot_be_taken_in_is_named_and_the_others_are_saved(acme: Rig) -> None:
    await shop(acme)
    rows = [("name", "subject", "body"), ("Bad", "Hi {{ a | nonsense }}", "<p>x</p>"), ("Good", "Hi", "<p>Good.</p>")]

    done = await taken_in(acme, csv_lines(rows))

    assert [one.name for one in done.saved] == ["Good"]
    [refused] = done.refused
    assert (refused.line, refused.name, refused.faults[0].field) == (2, "Bad", "subject")
    assert "Bad" not in await states(acme)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs the column 'name'"),
        ("subject\nHi\n", "needs the column 'name'"),
        ("name,subjet\nA,B\n", "has the column 'subjet'"),
        ("name,subject\nA\n", "line 2 has 1 cells, not 2"),
        ("name,subject\n ,Hi\n", "line 2 has no name"),
        ("name,subject\nA,B\nA,C\n", "names A twice"),
        ("name,subject\n\n", "has no rows"),
        ("name,subject\n" + "".join(f"v{n},x\n" for n in range(501)), "has more than 500 rows"),
        ('name,body\nA,"x\ny"\nB,"x\ny\n\n', "the row that begins in line 4 is no CSV"),
    ],
)
async def test_a_file_that_is_none_is_refused_as_a_whole(acme: Rig, text: str, message: str) -> None:
    await shop(acme)

    with pytest.raises(Refused, match=message) as refused:
        await taken_in(acme, text)

    assert refused.value.field == "csv"
    assert list(await states(acme)) == ["Warm"]


async def test_a_template_that_is_not_there_is_not_found(acme: Rig) -> None:
    with pytest.raises(NotFound):
        await taken_in(acme, "name,subject\nA,B\n")
