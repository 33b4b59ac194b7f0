"""`justai org recount`: asked for once, and watched until ingest has ended it."""

from tests.component.cli.rig import Cli

# What ingest does in its steps, at once.
ENDS = """
    CREATE FUNCTION ends() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.days := '{}';
        NEW.total := 2;
        NEW.ended_at := NEW.asked_at;
        RETURN NEW;
    END
    $$
"""


def test_an_org_is_computed_anew_where_it_is_asked_for(acme: Cli) -> None:
    asked = acme.ok("org", "recount", "acme", "--no-wait")
    waiting = acme.value("SELECT count(*) FROM recounts WHERE ended_at IS NULL")
    acme.rows(ENDS)
    acme.rows("CREATE TRIGGER ends BEFORE UPDATE ON recounts FOR EACH ROW EXECUTE FUNCTION ends()")
    acme.rows("UPDATE recounts SET days = '{}'")

    said = acme.ok("org", "recount", "acme")

    assert (waiting, asked) == (1, "Asked for. The same command shows how far it is.\n")
    assert said == "2 days of emails, and all orders, are computed anew. Results follow within minutes.\n"
