"""`justai check`: what the Troubleshooting page says."""

import click

from cli.display import moment, printable
from cli.operations import COMMANDS
from cli.session import command, session
from shared.admin.checks import checks
from shared.admin.checks.finding import CheckFinding
from shared.admin.operation import Nothing

_MARKS = {"good": "ok", "info": "--", "warn": "!", "bad": "!!"}


@click.command("check")
@click.argument("org_slug")
@command
async def check(org_slug: str) -> None:
    """Check why no webhook fires, properties stay empty, ids are wrong, or flows do not show.

    Ends with status 1 when something is broken (!!), so that a script can watch it.
    """
    async with session() as s:
        found = await s.run(checks.run_checks, Nothing(), org_slug)
    for item in found.items:
        click.echo(item.title)
        for finding in item.findings:
            click.echo(f"  {_MARKS[finding.tone]:>2} {_said(finding, org_slug)}")
            for example in finding.examples:
                click.echo(f"       {printable(example)}")
    if any(item.tone == "bad" for item in found.items):
        raise SystemExit(1)


def _said(finding: CheckFinding, org_slug: str) -> str:
    at = f" {moment(finding.at)}." if finding.at is not None else ""
    see = f" (justai {COMMANDS[finding.see]} {org_slug})" if finding.do and finding.see else ""
    return printable(f"{finding.says}{at}{' ' + finding.do if finding.do else ''}{see}")
