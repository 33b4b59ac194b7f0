"""Which command an operation is, and how its errors read on a command line."""

from collections.abc import Mapping
from typing import Final

import click

from shared.admin.errors import AdminError, Next, Refused

COMMANDS: Final[Mapping[str, str]] = {
    "attributes.set": "org attributes import",
    "attributes.show": "org attributes show",
    "audit.list": "audit",
    "checks.run": "check",
    "config.apply": "apply",
    "config.show": "export-config",
    "dead.list": "dead list",
    "dead.replay": "dead replay",
    "dead.show": "dead show",
    "drafts.cancel": "variant drafts",
    "drafts.list": "variant drafts",
    "drafts.prompt": "variant draft",
    "drafts.retry": "variant drafts",
    "drafts.show": "variant drafts",
    "drafts.start": "variant draft",
    "events.show": "event",
    "exports.backfill": "export backfill",
    "exports.given_up": "export rm",
    "exports.hours": "export hours",
    "exports.lifecycle": "export lifecycle",
    "exports.loader": "export loader",
    "exports.off": "export off",
    "exports.on": "export on",
    "exports.policy": "export policy",
    "exports.preview": "export backfill",
    "exports.progress": "export backfill",
    "exports.remove": "export rm",
    "exports.role": "export role",
    "exports.show": "export hours",
    "exports.state": "export hours",
    "exports.target": "export target",
    "exports.test": "export test",
    "flows.list": "flows list",
    "flows.sync": "flows sync",
    "generations.why": "why",
    "hooks.create": "source hook create",
    "hooks.rotate": "source hook rotate",
    "hooks.show": "source hook show",
    "keys.create": "key create",
    "keys.list": "key list",
    "keys.revoke": "key revoke",
    "keys.rotate": "key rotate",
    "klaviyo.connect": "klaviyo connect",
    "klaviyo.rotate": "klaviyo rotate",
    "klaviyo.show": "klaviyo show",
    "klaviyo.verify": "klaviyo verify",
    "orgs.create": "org create",
    "orgs.rename": "org rename",
    "orgs.resume": "org resume",
    "orgs.recount": "org recount",
    "orgs.recounting": "org recount",
    "orgs.set_up": "org set-up",
    "orgs.show": "org show",
    "orgs.stop": "org stop",
    "orgs.zone": "org zone",
    "outcomes.examples": "number",
    "outcomes.list": "outcomes",
    "outcomes.number": "number",
    "outcomes.person": "outcomes",
    "people.invite": "console invite",
    "people.list": "console list",
    "people.remove": "console remove",
    "people.reset": "console reset",
    "people.role": "console role",
    "people.withdraw": "console remove",
    "person.delete": "person delete",
    "person.show": "person show",
    "policy.shares": "policy shares",
    "policy.show": "policy show",
    "quota.show": "quota",
    "results.overview": "results",
    "results.power": "power",
    "results.segments": "results",
    "results.sends": "sends",
    "results.show": "results",
    "results.themes": "results",
    "results.what_if": "what-if",
    "rules.set": "org rules import",
    "rules.show": "org rules show",
    "sends.show": "email",
    "sources.accept": "source accept",
    "sources.add": "source add",
    "sources.backfill": "source backfill",
    "sources.backfilling": "source backfill",
    "sources.compare": "source reconcile",
    "sources.files": "source files",
    "sources.list": "source list",
    "sources.preview": "source preview",
    "sources.rejects": "source rejects",
    "sources.remove": "source rm",
    "sources.rescan": "source rescan",
    "sources.retry": "source retry",
    "sources.set": "source set",
    "sources.test": "source test",
    "sources.totals": "source reconcile",
    "sources.try": "source test",
    "sources.unmatched": "source unmatched",
    "stops.list": "org show",
    "templates.import": "template import",
    "templates.list": "template list",
    "templates.resume": "template resume",
    "templates.set": "template set",
    "templates.show": "template show",
    "templates.snippet": "snippet",
    "templates.state": "template state",
    "templates.stop": "template stop",
    "templates.webhook": "webhook",
    "variants.approve": "variant approve",
    "variants.resume": "variant resume",
    "variants.archive": "variant archive",
    "variants.check": "variant check",
    "variants.diff": "variant diff",
    "variants.export_csv": "variant export",
    "variants.history": "variant history",
    "variants.import_csv": "variant import",
    "variants.list": "variant list",
    "variants.reject": "variant reject",
    "variants.rollback": "variant rollback",
    "variants.save": "variant save",
    "variants.show": "variant show",
    "variants.submit": "variant submit",
    "templates.control": "template control",
    "templates.create": "template create",
    "templates.free_prefix": "template create",
    "templates.export": "template export",
    "templates.lint": "template lint",
    "templates.preview": "preview",
    "templates.search": "template list",
    "variants.queue": "variant queue",
    "variants.try": "variant try",
}
"""By operation, the command that is made of it."""

_ORG_IS_AN_OPTION: Final = {"dead.list"}
_ENDINGS: Final = {"exports.target": " --bucket …"}  # what a command needs at least, beside its org


def told(error: AdminError, org_slug: str) -> click.ClickException:
    """The error as this command line says it: fields by the names of its options, help as commands."""
    faults = error.faults if isinstance(error, Refused) else ()
    text = "\n".join(f"{_parameter(fault.field)}: {fault.message}" for fault in faults) or error.message
    if error.next is not None:
        return click.ClickException(_with_next(text, error.next, org_slug))
    return click.ClickException(text if text.endswith((".", "!", "?")) else f"{text}.")


def _with_next(text: str, next: Next, org_slug: str) -> str:
    org = f"--org {org_slug}" if next.operation in _ORG_IS_AN_OPTION else org_slug
    words = " ".join(("justai", COMMANDS[next.operation], org, *next.values))
    if next.instead:
        return f"{text}: {words}{_ENDINGS.get(next.operation, '')}"
    return f"{text}; see `{words}`."


def _parameter(field: str) -> str:
    """`--base-url` where the running command has such an option, else the field as it is."""
    context = click.get_current_context(silent=True)
    head, dot, rest = field.partition(".")
    for parameter in context.command.params if context is not None else ():
        if parameter.name == head and isinstance(parameter, click.Option):
            return f"{parameter.opts[0]}{dot}{rest}"
    return field
