"""Rendering emails and webhook bodies with Django's engine, cut down to Klaviyo's template language.

There is no clock in it: `{% now %}` and the date filters do not exist, nor do includes, loads or settings.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.template import Context, Engine, Template, TemplateSyntaxError

from simulator.flow.definitions import EmailText
from simulator.flow.template_library import Person
from simulator.profile import ProfileState

COMPILED_KEPT = 512


class BrokenTemplate(ValueError):
    """The template does not compile or does not render: Klaviyo would not send it as written."""


class KlaviyoEngine(Engine):  # type: ignore[misc]  # django ships no types
    default_builtins = ["simulator.flow.template_library"]  # noqa: RUF012 - Django's own class attribute


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a mail client gets."""

    subject: str
    preview_text: str
    html: str


@functools.cache
def _engine(autoescape: bool) -> KlaviyoEngine:
    return KlaviyoEngine(loaders=[], autoescape=autoescape)


@functools.lru_cache(maxsize=COMPILED_KEPT)
def _compiled(source: str, engine: KlaviyoEngine) -> Any:
    return Template(source, engine=engine)


def render(source: str, variables: Mapping[str, Any], *, autoescape: bool) -> str:
    """One template text. Raises `BrokenTemplate` for a tag or filter that is not Klaviyo's, and for a failing one."""
    engine = _engine(autoescape)
    # Without localisation numbers and booleans print as Python prints them, which is what was measured.
    context = Context(dict(variables), autoescape=autoescape, use_l10n=False, use_tz=False)
    try:
        return str(_compiled(source, engine).render(context))
    except TemplateSyntaxError as error:
        raise BrokenTemplate(str(error)) from error
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise BrokenTemplate(f"{type(error).__name__}: {error}") from error


def person_variables(profile_id: str, state: ProfileState, missing: str | None) -> Person:
    """`person` as templates see it: `KlaviyoID` is the profile's id, `id` is the customer's own external id."""
    values = dict(state.properties)
    values |= {name: value for name, value in state.fields.items() if value is not None}
    values |= {"KlaviyoID": profile_id, "id": state.fields.get("external_id") or ""}
    if missing is not None:
        values = {name: missing if value is None else value for name, value in values.items()}
    return Person(values, missing)


def render_email(text: EmailText, profile_id: str, state: ProfileState) -> Rendered:
    """Bodies escape values unless told `|safe`; subject and preview are plain text and escape nothing."""
    variables = {"person": person_variables(profile_id, state, missing="")}
    return Rendered(
        subject=render(text.subject, variables, autoescape=False),
        preview_text=render(text.preview_text, variables, autoescape=False),
        html=render(text.html, variables, autoescape=True),
    )


def render_webhook(
    body: str, profile_id: str, state: ProfileState, event: Mapping[str, Any] | None, *, autoescape: bool
) -> str:
    """A webhook's body. Values are pasted as text into the JSON: a quote in a name breaks it without `|escapejs`.

    `event` is the triggering event's properties in metric flows, None elsewhere.
    """
    variables: dict[str, Any] = {"person": person_variables(profile_id, state, missing=None)}
    if event is not None:
        variables["event"] = dict(event)
    return render(body, variables, autoescape=autoescape)
