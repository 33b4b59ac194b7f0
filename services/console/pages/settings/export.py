"""Export bucket: where the records go, and a test that the exporter does from where it will write."""

from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, Field, SecretStr

from services.console.web.forms import Form, read_form
from services.console.web.page import Pages
from services.console.web.visit import Visit
from shared.admin.errors import AdminError, NotFound
from shared.admin.exports import exports
from shared.admin.operation import Nothing
from shared.errors import Failure
from shared.export_access import Encryption
from shared.exports import Layout, Record
from shared.sentences import ended

pages = Pages()

_Text = Annotated[str, Field(max_length=500)]


class TypedTarget(BaseModel):
    """The form. What is left empty has its default."""

    bucket: _Text
    prefix: _Text = ""
    cadence: exports.Cadence = "daily"
    region: _Text = "us-east-1"
    endpoint_url: _Text | None = None
    role_arn: _Text | None = None
    bucket_owner: _Text | None = None
    encryption: Encryption = "bucket"
    kms_key_id: _Text | None = None
    access_key: _Text | None = None
    secret_key: SecretStr | None = None
    record: Record = "page"
    layout: Layout = "plain"
    tables: list[exports.MoreTable] = Field([], max_length=2)
    success_file: bool = False
    replaces: bool = False


@pages.page("GET", "/{org}/integration/export", role="viewer")
async def show(visit: Visit) -> web.StreamResponse:
    """The target, without its secret."""
    return await _show(visit)


@pages.page("POST", "/{org}/integration/export", role="owner")
async def save(visit: Visit) -> web.StreamResponse:
    """What was said before is replaced."""
    given, form = await read_form(visit.request, TypedTarget)
    if given is None:
        return await _show(visit, form)
    if not given.replaces and await _moves(visit, given):
        form.refuse("replaces", "must be ticked: later exports go to another place")
        return await _show(visit, form)
    try:
        done = await visit.run(exports.set_target, exports.SetTarget(**given.model_dump(exclude={"replaces"})))
    except AdminError as error:
        form.refuse_all(error)
        return await _show(visit, form)
    anew = f" Earlier exports are made there too: {done.anew:,}." if done.anew else ""
    await visit.notice(f"Exports go to {done.place}. Test it now.{anew}")
    return visit.see_other(visit.path("integration", "export"))


async def _moves(visit: Visit, given: TypedTarget) -> bool:
    """Whether exports go elsewhere than they do now. The secret cannot be sent twice, so it is asked on the form."""
    try:
        now = await visit.run(exports.show, Nothing())
    except NotFound:
        return False
    wanted = (given.bucket, given.prefix.strip("/"), given.endpoint_url)
    return wanted != (now.bucket, now.prefix, now.endpoint_url)


@pages.page("POST", "/{org}/integration/export/test", role="editor")
async def test(visit: Visit) -> web.StreamResponse:
    """Whoever asked waits; the answer is shown, not kept."""
    tested, failed = None, ""
    try:
        tested = await visit.run(exports.try_target, Nothing())
    except Failure as error:
        failed = f"The message broker could not be reached: {ended(str(error))}"
    if visit.is_htmx:
        return visit.render("settings/_export_tested.html", tested=tested, failed=failed, wait_s=exports.PROBE_WAIT_S)
    return await _show(visit, tested=tested, failed=failed)


async def _show(
    visit: Visit, form: Form | None = None, *, tested: exports.TargetTested | None = None, failed: str = ""
) -> web.Response:
    try:
        target: exports.Target | None = await visit.run(exports.show, Nothing())
    except NotFound:
        target = None
    if form is None:
        typed = target.model_dump(mode="json") if target is not None else {}
        shown = {name: value for name, value in typed.items() if value not in (None, False)}
        form = Form({name: value if isinstance(value, list) else str(value) for name, value in shown.items()})
    return visit.render(
        "settings/export.html", 422 if form.faulty else 200, form=form, target=target, tested=tested, failed=failed,
        wait_s=exports.PROBE_WAIT_S,
    )  # fmt: skip
