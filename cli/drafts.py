"""`justai variant draft`: a model drafts variants from a brief; people review them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO
from uuid import UUID

import click
import orjson
from pydantic import TypeAdapter, ValidationError

from cli import draft_store
from cli.actor import acting
from cli.display import printable
from cli.draft_store import Kept, Known
from cli.session import Session, command, session
from cli.template_file import BadFile, bad_file, lines, read_yaml
from shared.admin.template_reading import faults_of
from shared.admin.wording import what_is_wrong
from shared.drafting.answer import Unreadable, read_draft
from shared.drafting.brief import MOST_DRAFTS, Brief, Theme
from shared.drafting.drafter import CutOff, Declined, Drafter
from shared.drafting.opening import open_drafter
from shared.drafting.prompt import Prompt, asked_of, make_prompt
from shared.drafting.settings import NOT_SET_UP, DraftingSettings
from shared.drafting.usage import Usage
from shared.errors import Failure
from shared.settings import SettingsError

_BRIEF_CHARS = 200_000
_CUT_OFF_ENDS = 2
_THEME: TypeAdapter[str] = TypeAdapter(Theme)


@dataclass(slots=True)
class _Run:
    """One run of the command: what is drafted for whom, and what came of it so far."""

    session: Session
    org_id: UUID
    template_id: str
    brief: Brief
    themes: list[str]
    known: Known
    actor: str
    subjects: list[str]
    usage: Usage = field(default_factory=Usage)
    stored: int = 0
    in_review: int = 0

    def prompt(self, number: int) -> Prompt:
        """That of the draft of this number, from 1; themes take turns."""
        theme = self.themes[(number - 1) % len(self.themes)]
        today = self.session.clock.now().date()
        asked = asked_of(
            self.brief, self.known.rules, self.template_id, today, theme=theme, taken=self.subjects,
            learnings=self.known.learnings,
        )  # fmt: skip
        return make_prompt(asked)


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
    settings = None if dry_run else _settings()
    async with session() as s:
        org_id = await s.org_id(org_slug)
        async with s.db.transaction(org_id) as connection:
            known = await draft_store.read_known(connection, org_id, template_id)
        if known is None:
            raise click.ClickException(f"No template {template_id!r}; see `justai template list {org_slug}`.")
        if known.state == "archived":
            raise click.ClickException(f"Template {template_id!r} is archived: nobody would see its drafts.")
        run = _Run(s, org_id, template_id, brief, themes, known, actor, subjects=[*known.subjects])
        if settings is None:
            _show_prompt(run.prompt(1))
            return
        began = time.monotonic()
        async with open_drafter(settings) as drafter:
            stopped = await _all(run, drafter, number)
        click.echo(f"{run.usage.shown(settings.prices)}, {time.monotonic() - began:.1f} s.")
    _say_end(run, org_slug, number, stopped)


def _settings() -> DraftingSettings:
    try:
        settings = DraftingSettings.read()
    except SettingsError as error:
        raise click.ClickException(f"The configuration is not usable:\n{error}") from None
    if settings.llm_provider is None:
        raise click.ClickException(NOT_SET_UP)
    return settings


def _show_prompt(prompt: Prompt) -> None:
    click.echo(f"# prompt {prompt.digest}, not sent\n\n# system\n{printable(prompt.system)}")
    click.echo(f"\n# user\n{printable(prompt.user)}")
    click.echo(f"\n# schema of the answer\n{orjson.dumps(prompt.schema, option=orjson.OPT_INDENT_2).decode()}")


async def _all(run: _Run, drafter: Drafter, number: int) -> Failure | None:
    """Draft one after the other, each told what the others say. What would meet them all ends it: a failure of the
    server, or two drafts in a row that are cut off, each of which was paid for."""
    cut_off = 0
    for at in range(1, number + 1):
        try:
            await _one(run, drafter, at)
            cut_off = 0
        except (Declined, CutOff) as error:
            run.usage += error.usage
            cut_off = cut_off + 1 if isinstance(error, CutOff) else 0
            if cut_off == _CUT_OFF_ENDS:
                return error
            click.echo(f"no draft     {at}: {error}")
        except Unreadable as error:
            cut_off = 0
            click.echo(f"no draft     {at}: {printable(str(error))}")
        except Failure as error:
            return error
    return None


async def _one(run: _Run, drafter: Drafter, number: int) -> None:
    """One draft, stored as soon as it is there: what was paid for is not lost with what comes after."""
    prompt = run.prompt(number)
    answer = await drafter.draft(prompt)
    run.usage += answer.usage
    theme = run.themes[(number - 1) % len(run.themes)]
    made = read_draft(answer.text, theme=theme)
    answered_by = f", answered by {answer.model}" if answer.model and answer.model not in drafter.label else ""
    made_by = f"drafted by {drafter.label}{answered_by}, prompt {prompt.digest}"
    s = run.session
    async with s.db.transaction(run.org_id) as connection:
        kept = await draft_store.keep_draft(
            connection, run.org_id, run.template_id, made, run.brief, run.known,
            actor=run.actor, made_by=made_by, at=s.clock.now(),
        )  # fmt: skip
    run.subjects.append(made.subject)
    run.stored += kept.copy_id is not None
    run.in_review += kept.shown == "in review"
    for line in _told(kept, theme):
        click.echo(printable(line))


def _told(kept: Kept, theme: str) -> Iterator[str]:
    yield f"{kept.shown:12} {kept.name} ({theme})  {kept.copy_id or ''}".rstrip()
    for finding in kept.findings:
        yield f"  {'Warning' if finding.warning else 'Blocking'} ({finding.check}): {finding}"


def _say_end(run: _Run, org_slug: str, number: int, stopped: Failure | None) -> None:
    click.echo(f"{run.stored} of {number} drafts stored, {run.in_review} in review. None is served unapproved.")
    if run.stored:
        click.echo(
            f"See them: justai variant list {org_slug} {run.template_id}. The template's file does not know them: "
            "importing it archives what it does not name."
        )
    if stopped is not None:
        raise stopped
    if missing := number - run.stored:
        raise click.ClickException(f"{missing} of {number} drafts could not be stored; the lines above say why.")
