"""Templates in a console's org, made as the operations make them."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from shared.admin.context import Actor, Asking, Means
from shared.admin.operation import A, Operation, R
from shared.admin.run import run
from shared.admin.templates import templates
from shared.admin.variants import saving as variant_saving
from shared.admin.variants import variants
from shared.api_keys import Peppers
from shared.crypto import KeyRing
from tests.support.console import KEY, Stage

INSERT_STEP = """
    INSERT INTO flow_messages (org_id, flow_id, flow_name, flow_status, action_id, message_id, message_name, delay_s,
                               synced_at)
    VALUES ($1, $2, $3, $4, $5, 'M' || $5, $6, 180, $7)
"""
WELCOME = """<h1>Hello {{ first_name | default: 'there' }}</h1>
<p>Thanks for joining. Here is what to expect from a small roastery.</p>
<p><a href="https://shop.example/first">See the beans</a></p>
"""


async def do(stage: Stage, slug: str, operation: Operation[A, R], asked: object, name: str = "Grace") -> R:
    """What the operation answers to an owner of this name."""
    means = Means(
        stage.db, stage.wall, KeyRing(f"k1:{KEY}"), Peppers(f"1:{KEY}"), new_id=_unused, random_bytes=bytes
    )  # fmt: skip
    actor = Actor(name, "person", "owner", stage.orgs[slug], slug)
    return await run(Asking(replace(means), actor, "request-1"), operation, asked)  # type: ignore[arg-type]  # a mapping


def _unused() -> UUID:
    raise AssertionError("nothing here makes ids")


async def make_template(
    stage: Stage,
    slug: str,
    template_id: str = "welcome",
    *,
    name: str = "Welcome series",
    variant: bool = True,
    review: bool = False,
) -> UUID:
    """A draft, with a variant unless none is wanted; with `review`, a second version of it waits. Its copy_id."""
    control = {"subject": "Welcome", "preheader": "Good to see you", "body": "<p>Welcome.</p>"}
    file: dict[str, Any] = {"template_id": template_id, "name": name, "control": control, "variants": []}
    if variant:
        file["variants"] = [
            {
                "name": "Warm", "theme": "welcome", "approved": review, "body": WELCOME,
                "subject": "Hi {{ first_name | default: 'you' }}, coffee is on",
                "preheader": "Three things that every new subscriber should know",
            }
        ]  # fmt: skip
    done = await do(stage, slug, templates.import_template, {"template": file})
    if review:
        new = {"subject": "Coffee is on", "preheader": "Three things every subscriber should know", "body": WELCOME}
        one = {"template_id": template_id, "variant": "Warm"}
        await do(stage, slug, variant_saving.save, {**one, **new, "theme": "welcome"})
        await do(stage, slug, variants.submit, one)
    return done.changes[0].copy_id if done.changes else UUID(int=0)


async def read_flows(stage: Stage, slug: str) -> None:
    """Two flows as if they had been read from Klaviyo."""
    steps = (
        ("FLOW01", "Welcome series", "live", "70000012", "Email 1"),
        ("FLOW01", "Welcome series", "live", "70000015", "Email 1, control"),
        ("FLOW02", "Win-back", "draft", "70000031", "We miss you"),
    )
    async with stage.db.connection() as connection:
        for step in steps:
            await connection.execute(INSERT_STEP, stage.orgs[slug], *step, stage.now)
