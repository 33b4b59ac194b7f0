"""`justai variant draft`: a model drafts variants from a brief; people review them."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TextIO
from uuid import UUID

import click
import orjson
from pydantic import TypeAdapter, ValidationError

from cli.actor import acting
from cli.display import moment, printable, show_table
from cli.session import Session, command, session
from cli.template_file import BadFile, bad_file, lines, read_yaml
from shared.admin.context import Drafting
from shared.admin.drafts import drafts
from shared.admin.drafts.models import AskedDrafts, AskedRuns, OneRun, PromptShown, Result, Run
from shared.admin.drafts.store import RunStore
from shared.admin.drafts.work import DraftWorker
from shared.admin.templates.reading import faults_of
from shared.admin.wording import what_is_wrong
from shared.drafting.brief import MOST_DRAFTS, Brief, Theme
from shared.drafting.opening import open_drafter
from shared.drafting.settings import NOT_SET_UP, DraftingSettings
from shared.settings import SettingsError

_BRIEF_CHARS = 200_000
_THEME: TypeAdapter[str] = TypeAdapter(Theme)


@click.command()
@click.argument("org_slug")
@click.argument("template_id")
@click.option("--brief", "file", required=True, type=click.File("r", encoding="utf-8"), help="YAML; - is stdin.")
@click.option("--number", type=click.IntRange(1, MOST_DRAFTS), default=3, show_default=True, help="How many drafts.")
@click.option("--theme", "themes", multiple=True, help="In the place of the brief's themes; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Show the first prompt and send nothing; no model is needed.")
@acting
def draft(
    org_slug: str, template_id: str, file: TextIO, number: int, themes: tuple[str, ...], dry_run: bool, actor: str
) -> None:
    """Let a language model draft variants of a template.

    \b
    goal: Bring new customers to their first order
    audience: People who joined the list in the last hour
    tone: Warm, plain, no jokes
    must_say: [free shipping]          # these words, as they stand
    must_not_say: [cheap]
    themes: [welcome, offer, guide]    # each draft has one; they take turns
    fields: [first_name]               # names of fields that copy may print
    links: [https://shop.example/first]
    examples:                          # at most 5
      - {subject: Hello, preheader: So good to see you here, body: <p>…</p>}

    The rules of the org go with it (`justai org rules`). A model is told names of fields and never a value, and nothing
    of any person.

    Each draft is cleaned and checked as an imported variant is. One that passes goes into review, another stays a draft
    with its findings, and what could not be served at all is not stored. None is approved by itself. Exit code 1 when
    fewer than NUMBER were stored. The model is set up by JUSTAI_LLM_* (docs/drafting.md).
    """
    brief = _read_brief(file)
    asked_themes = _themes(themes) or brief.themes
    if not asked_themes:
        raise click.ClickException(f"{file.name}: themes: name at least one, or give --theme.")
    _draft(org_slug, template_id, brief, asked_themes, number, actor, dry_run)


def _read_brief(file: TextIO) -> Brief:
    try:
        raw = read_yaml(_read(file), file.name)
        return Brief.model_validate(raw)
    except BadFile as error:
        raise click.ClickException(str(error)) from None
    except ValidationError as error:
        message = str(bad_file(file.name, lines(faults_of(raw, error, "a brief"))))
        raise click.ClickException(message.replace("cannot be imported", "is no brief")) from None


def _read(file: TextIO) -> str:
    try:
        text = file.read(_BRIEF_CHARS + 1)
    except UnicodeDecodeError:
        raise BadFile(f"{file.name} is no UTF-8 text") from None
    if len(text) > _BRIEF_CHARS:
        raise BadFile(f"{file.name} is longer than {_BRIEF_CHARS:,} characters")
    return text


def _themes(given: tuple[str, ...]) -> list[str]:
    try:
        return [_THEME.validate_python(theme) for theme in given]
    except ValidationError as error:
        raise click.ClickException(f"--theme: {what_is_wrong(error.errors(include_url=False)[0])}") from None


@command
async def _draft(
    org_slug: str, template_id: str, brief: Brief, themes: list[str], number: int, actor: str, dry_run: bool
) -> None:
    brief = brief.model_copy(update={"themes": themes})
    asked = AskedDrafts(template_id=template_id, brief=brief, number=number)
    settings = None if dry_run else _settings()
    async with session() as s:
        if settings is None:
            _show_prompt(await s.run(drafts.show_prompt, asked, org_slug, actor))
            return
        await _through(s, settings, org_slug, actor, partial(s.run, drafts.start, asked))


@click.command("drafts")
@click.argument("org_slug")
@click.argument("template_id")
@click.argument("run_id", required=False, type=click.UUID)
@click.option("--cancel", is_flag=True, help="End the run; what was stored stays.")
@click.option("--retry", is_flag=True, help="Draft what the run still owes, with its brief; done here.")
@acting
def show_drafts(
    org_slug: str, template_id: str, run_id: UUID | None, cancel: bool, retry: bool, actor: str
) -> None:  # fmt: skip
    """List a template's runs of drafting, or show, cancel or retry one of them.

    Runs that people start in the console are worked off by the console; those of `justai variant draft` and of --retry
    by the command itself. One that was killed is gone on with by a console that has a model.
    """
    if cancel and retry:
        raise click.UsageError("--cancel and --retry exclude each other.")
    if run_id is None and (cancel or retry):
        raise click.UsageError("Name the run: RUN_ID.")
    if run_id is None:
        _list(org_slug, template_id)
    elif retry:
        _retry(org_slug, OneRun(template_id=template_id, run_id=run_id), actor)
    else:
        _show(org_slug, OneRun(template_id=template_id, run_id=run_id), actor, cancel)


@command
async def _list(org_slug: str, template_id: str) -> None:
    async with session() as s:
        found = await s.run(drafts.list_runs, AskedRuns(template_id=template_id, limit=200), org_slug)
    show_table(
        ("run", "state", "asked for", "stored", "in review", "by", "begun", "goal"),
        ((one.run_id, one.state, one.number, one.stored, one.in_review, one.asked_by, moment(one.created_at),
          one.goal[:60]) for one in found.runs),
        empty=f"No runs; see `justai variant draft {org_slug} {template_id} --help`.",
    )  # fmt: skip


@command
async def _show(org_slug: str, asked: OneRun, actor: str, cancel: bool) -> None:
    async with session() as s:
        if cancel:
            await s.run(drafts.cancel, asked, org_slug, actor)
        run = await s.run(drafts.show, asked, org_slug)
    for result in run.results:
        _tell(result)
    why = f": {printable(run.reason)}" if run.reason else ""
    click.echo(f"{run.state}{why}. {run.stored} of {run.number} drafts stored, {run.in_review} in review. {run.spent}.")


@command
async def _retry(org_slug: str, asked: OneRun, actor: str) -> None:
    settings = _settings()
    async with session() as s:
        await _through(s, settings, org_slug, actor, partial(s.run, drafts.retry, asked))


def _settings() -> DraftingSettings:
    try:
        settings = DraftingSettings.read()
    except SettingsError as error:
        raise click.ClickException(f"The configuration is not usable:\n{error}") from None
    if settings.llm_provider is None:
        raise click.ClickException(NOT_SET_UP)
    return settings


def _show_prompt(prompt: PromptShown) -> None:
    click.echo(f"# prompt {prompt.digest}, not sent\n\n# system\n{printable(prompt.system)}")
    click.echo(f"\n# user\n{printable(prompt.user)}")
    click.echo(f"\n# schema of the answer\n{orjson.dumps(prompt.answer_schema, option=orjson.OPT_INDENT_2).decode()}")


async def _through(
    s: Session, settings: DraftingSettings, org_slug: str, actor: str, begin: Callable[..., Awaitable[Run]]
) -> None:
    """Begin a run and work it off here, telling of each draft as it comes."""
    drafting = Drafting.of(settings, here=True)
    run = await begin(org_slug, actor, drafting=drafting)
    asked = OneRun(template_id=run.template_id, run_id=run.run_id)
    store, began = RunStore(s.db), time.monotonic()
    claim = await store.claim_of(await s.org_id(org_slug), run.run_id)
    async with open_drafter(settings) as drafter:
        worker = DraftWorker(store, drafter, clock=s.clock, wall=s.means.wall, new_id=s.means.new_id)
        try:
            if claim is not None:
                await worker.work(claim, _tell)
        except asyncio.CancelledError:  # Ctrl-C: what is not wanted here is not wanted of a console either
            await s.ask(drafts.cancel, asked, org_slug, actor)
            raise
    run = await s.run(drafts.show, asked, org_slug, drafting=drafting)
    click.echo(f"{run.spent}, {time.monotonic() - began:.1f} s.")
    _say_end(run, org_slug)


def _tell(result: Result) -> None:
    for line in _told(result):
        click.echo(printable(line))


def _told(result: Result) -> Iterator[str]:
    if result.name is None:
        yield f"no draft     {result.number}: {result.fault}"
        return
    yield f"{result.outcome.replace('_', ' '):12} {result.name} ({result.theme})  {result.copy_id or ''}".rstrip()
    for finding in result.findings:
        yield f"  {'Warning' if finding.warning else 'Blocking'} ({finding.check}): {finding.where}: {finding.what}"


def _say_end(run: Run, org_slug: str) -> None:
    click.echo(f"{run.stored} of {run.number} drafts stored, {run.in_review} in review. None is served unapproved.")
    if run.stored:
        click.echo(
            f"See them: justai variant list {org_slug} {run.template_id}. The template's file does not know them: "
            "importing it archives what it does not name."
        )
    if run.state != "done":
        code = f" ({run.code})" if run.code else ""
        raise click.ClickException(f"{run.reason or 'Somebody else goes on with the run'}{code}")
    if run.missing:
        raise click.ClickException(
            f"{run.missing} of {run.number} drafts could not be stored; the lines above say why."
        )
