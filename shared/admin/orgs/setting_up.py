"""What an org needs until its first email shows our copy, and what tells how it went: what of it is done, and what is
next."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from shared.admin.context import Context
from shared.admin.operation import Nothing, ResultModel, operation
from shared.people.roles import Role

StepName = Literal[
    "klaviyo", "key", "template", "flow", "variants", "approval", "paste", "live", "right", "source", "export",
]  # fmt: skip

# A webhook of ours that comes before the email was read with the flow; one that came has used its key. Counts are some
# minutes behind: of the last day, the facts are asked.
SELECT_SET_UP = """
    SELECT
        (SELECT account_name FROM integrations) AS account_name,
        EXISTS (SELECT FROM integrations) AS connected,
        (SELECT count(*) FROM api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1)
            AND scopes @> '{generate}') AS keys,
        EXISTS (SELECT FROM api_keys WHERE scopes @> '{generate}' AND last_used_at IS NOT NULL) AS called,
        (SELECT count(*) FROM templates WHERE state <> 'archived') AS templates,
        (SELECT count(*) FROM templates WHERE state IN ('active', 'shipped')) AS live,
        (SELECT count(*) FROM templates WHERE state <> 'archived' AND treatment_action_id IS NOT NULL) AS placed,
        (SELECT count(DISTINCT t.template_id) FROM templates t JOIN flow_messages f
            ON f.org_id = t.org_id AND f.flow_id = t.flow_id AND f.action_id = t.treatment_action_id
            WHERE t.state <> 'archived' AND f.delay_s IS NOT NULL) AS pasted,
        (SELECT count(*) FROM variants WHERE state <> 'archived') AS variants,
        (SELECT count(*) FROM variants WHERE state = 'approved') AS approved,
        (SELECT count(*) FROM variants WHERE proposed_state = 'in_review') AS in_review,
        (SELECT template_id FROM templates WHERE state <> 'archived'
            ORDER BY state = 'draft' DESC, created_at DESC, template_id LIMIT 1) AS newest,
        EXISTS (SELECT FROM shown_counts WHERE org_id = $2 AND shown = 'right')
            OR EXISTS (SELECT FROM generations g JOIN write_outcomes w USING (day, generation_id)
                WHERE g.org_id = $2 AND g.day >= $1::date - 1 AND g.accepted_at >= $1 - interval '1 day'
                  AND w.outcome = 'written') AS shown,
        (SELECT count(*) FROM sources WHERE enabled) AS sources,
        EXISTS (SELECT FROM export_targets WHERE enabled) AS exports
"""


class SetUpStep(ResultModel):
    """One thing on the way. `says`: what there is of it, or what to do. `see`: the operation that does it, for which
    `role` is the least. `needed`: without it no email shows our copy. `waits`: not before what stands above it."""

    name: StepName
    title: str
    done: bool
    says: str
    see: str
    role: Role
    needed: bool
    waits: bool


class SetUp(ResultModel):
    """In the order in which they are done. `next`: the first that is not; null: all is done. `ready`: all that is
    needed is done. `template_id`: the template that is worked on, a draft if there is one."""

    steps: list[SetUpStep]
    next: StepName | None
    ready: bool
    template_id: str | None
    in_review: int


@operation("orgs.set_up", "GET", "/set-up", "viewer", "Show what is set up of an org, and what is next.")
async def show(context: Context, _: Nothing) -> SetUp:
    row = await context.connection.fetchrow(SELECT_SET_UP, context.now, context.org_id)
    return set_up_of(dict(row or {}))


def set_up_of(there: Mapping[str, Any]) -> SetUp:
    """What follows from what is there. Pure."""
    steps = [*_first(there), *_of_a_template(there), *_after(there)]
    left = [one for one in steps if not one.done]
    return SetUp(
        steps=steps, next=left[0].name if left else None, ready=not any(one.needed for one in left),
        template_id=there["newest"], in_review=there["in_review"],
    )  # fmt: skip


def _first(there: Mapping[str, Any]) -> list[SetUpStep]:
    return [
        _step("klaviyo", "Connect Klaviyo", there["connected"],
              f"Connected to {there['account_name'] or 'Klaviyo'}.",
              "Paste a private key; it is verified and sealed."),
        _step("key", "Create a JustAI API key", there["keys"], f"{there['keys']} in use.",
              "The webhook sends it as X-Api-Key. Keep it: it is shown once."),
    ]  # fmt: skip


def _of_a_template(there: Mapping[str, Any]) -> list[SetUpStep]:
    template, waiting = there["newest"] is not None, there["in_review"]
    return [
        _step("template", "Create a template", there["templates"], f"{_counted(there['templates'], 'template')}.",
              "A template belongs to one email of a flow."),
        _step("flow", "Select Flow and Treatment Message", there["placed"],
              f"{_counted(there['placed'], 'template')} with an email in Klaviyo.",
              "Refresh Klaviyo Data in the template's Integration Settings, then select both there.",
              waits=not (template and there["connected"])),
        _step("variants", "Write variants", there["variants"], f"{_counted(there['variants'], 'variant')}.",
              "The copy that people get. Two or more can be compared.", waits=not template),
        _step("approval", "Have variants approved", there["approved"], f"{there['approved']} approved.",
              f"{_counted(waiting, 'version')} waiting for a review." if waiting
              else "Nothing is served before somebody approved it: send a variant into review.",
              waits=not there["variants"]),
        _step("paste", "Paste webhook and email snippet into Klaviyo",
              there["pasted"] or there["called"] or there["shown"],
              "The flow has our webhook before the email." if there["pasted"] else "Webhooks come in.",
              "Both stand in Integration Settings; the set-up check there says whether they are right.",
              waits=not there["placed"]),
        _step("live", "Set it live", there["live"],
              f"{there['live']} of {_counted(there['templates'], 'template')} live.",
              "Run the set-up check, then activate the template.",
              waits=not (there["placed"] and there["approved"])),
    ]  # fmt: skip


def _after(there: Mapping[str, Any]) -> list[SetUpStep]:
    return [
        _step("right", "See the first right email", there["shown"], "The first copy was on its profile in time.",
              "The first person who comes to the webhook. Add yourself to the flow in Klaviyo to see it at once.",
              waits=not there["live"], needed=False),
        _step("source", "Read what people do", there["sources"], f"{_counted(there['sources'], 'source')} of events.",
              "Sends, opens and clicks: results and learning live on them.", needed=False),
        _step("export", "Export the records", there["exports"], "A bucket gets every record.",
              "Who received which content, as Parquet in your bucket.", needed=False),
    ]  # fmt: skip


_SEE: Final[Mapping[StepName, tuple[str, Role]]] = {
    "klaviyo": ("klaviyo.connect", "owner"),
    "key": ("keys.create", "owner"),
    "template": ("templates.create", "editor"),
    "flow": ("templates.set", "editor"),
    "variants": ("variants.save", "editor"),
    "approval": ("variants.approve", "reviewer"),
    "paste": ("templates.webhook", "editor"),
    "live": ("templates.state", "editor"),
    "right": ("outcomes.number", "viewer"),
    "source": ("sources.add", "owner"),
    "export": ("exports.target", "owner"),
}
"""By a step, the operation that does it and its role."""


def _step(
    name: StepName, title: str, done: object, there: str, to_do: str, *, waits: bool = False, needed: bool = True
) -> SetUpStep:
    see, role = _SEE[name]
    return SetUpStep(
        name=name, title=title, done=bool(done), says=there if done else to_do, see=see, role=role, needed=needed,
        waits=waits and not done,
    )  # fmt: skip


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
