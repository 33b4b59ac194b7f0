"""`justai`: set up orgs, keys, templates and connections; look after queues and exports."""

import click

from cli import (
    audit,
    checks,
    config,
    console,
    dead,
    doctor,
    drafts,
    drop_keys,
    event,
    exports,
    flows,
    kek,
    lake,
    number,
    orgs,
    outcomes,
    person,
    policies,
    power,
    preview,
    quota,
    restored,
    results,
    rules,
    schema,
    sends,
    source_backfill,
    source_files,
    source_hook,
    source_rescan,
    source_totals,
    source_unmatched,
    sources,
    templates,
    variants,
    what_if,
    why,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """Set up and look after JustAI for Klaviyo.

    \b
    A new org, from nothing to a live webhook:
      justai migrate                               bring the database up to date
      justai org create acme "Acme Coffee"         the tenant; its slug is part of the webhook URL
      justai key create acme webhook               the X-Api-Key value, shown once
      justai klaviyo connect acme                  asks for the private key, verifies and seals it
      justai flows sync acme                       reads flows and messages from Klaviyo
      justai template import acme welcome.yaml     a template with its variants
      justai webhook acme welcome                  URL, headers and JSON body to paste into the flow
      justai snippet acme welcome                  what to paste into the email

    Connections come from the same JUSTAI_* settings as the services (docs/configuration.md). FILE may be -, standard
    input, for where the command runs in a container (docs/install.md).
    """


for command in (
    schema.migrate, schema.keyring, kek.kek, orgs.org, orgs.key, flows.klaviyo, flows.flows,
    templates.template, variants.variant, preview.preview, templates.snippet, templates.webhook, policies.policy,
    outcomes.outcomes, why.why, quota.quota, results.results, what_if.what_if, power.plan,
    sources.source, exports.export, dead.dead, console.console, audit.audit, number.number, person.person,
    checks.check, config.export_config, config.apply, doctor.doctor, lake.lake, event.event,
    sends.sends, sends.email, restored.restored,
):  # fmt: skip
    main.add_command(command)

orgs.org.add_command(rules.rules)
for command in (
    source_files.list_files, source_files.show_rejects, source_files.retry, source_files.accept, source_rescan.rescan,
    source_backfill.backfill, source_totals.reconcile, source_unmatched.source_unmatched, source_hook.hook,
    drop_keys.drop_key,
):  # fmt: skip
    sources.source.add_command(command)
variants.variant.add_command(drafts.draft)
variants.variant.add_command(drafts.show_drafts)

if __name__ == "__main__":
    main()
