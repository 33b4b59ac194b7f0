"""The page that has loaders to take along, and the same over HTTP."""

from html import unescape

from tests.component.console.browser import Browser
from tests.support.console import Stage


async def test_a_loader_is_shown_to_take_along_to_whoever_may_look(stage: Stage, visitor: Browser) -> None:
    await visitor.sign_in(await stage.person("Ann", acme="owner"))
    early = await visitor.get("/acme/operations/exports/loaders/duckdb")
    await visitor.post("/acme/integration/export", bucket="records", prefix="jai", tables="outcomes")
    await stage.person("Cleo", acme="viewer")
    await visitor.sign_in("cleo@example.com")

    exports = await visitor.get("/acme/operations/exports")
    page = await visitor.get("/acme/operations/exports/loaders/duckdb")
    stated = await visitor.get("/acme/operations/exports/loaders/snowflake")
    unknown = await visitor.get("/acme/operations/exports/loaders/oracle")

    assert (early.status, early.location) == (303, "/acme/operations/exports")
    assert 'href="/acme/operations/exports/loaders/duckdb"' in exports.html
    assert "load_duckdb.py" in page.words
    assert "Run by our tests" in page.words
    assert "EXPORT = fs.SubTreeFileSystem('records/jai'" in unescape(page.html)
    assert "data-copy-button" in page.html
    assert "Stated, not run by us" in stated.words
    assert unknown.status == 404
