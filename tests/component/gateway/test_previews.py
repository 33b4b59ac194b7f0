"""Requests of people who look at copy, through gateway and generator: answered, marked, and written only on demand."""

from tests.component.gateway.rig import USER, webhook
from tests.component.gateway.test_waiting import PATIENT, QUERY, Pipeline, alone, both

__all__ = ["alone", "both"]  # fixtures


async def preview_key(pipeline: Pipeline) -> str:
    return await pipeline.gateway.new_key(pipeline.org_id, scopes=["generate", "preview"])


async def test_a_forced_variant_is_shown_stored_with_its_mark_and_not_written(both: Pipeline) -> None:
    key = await preview_key(both)
    for copy_id, body in zip(both.copy_ids, ("<p>A</p>", "<p>B</p>"), strict=True):
        status, answer, _ = await both.get([*QUERY, ("copy_id", str(copy_id)), ("field.first_name", "Ann")], key=key)
        assert status == 200
        assert answer["copy"] == {
            "id": str(copy_id),
            "vars": {"subject": "Hello Ann", "preheader": "News", "body": body},
        }
    await both.post({})  # somebody real, whose write is the only one

    rows = await both.generator.generations(3)
    [write] = await both.generator.writes(1)
    marks = sorted((row["decision"], row["reason"], row["propensity"]) for row in rows)
    assert marks == [("preview", "preview", None), ("preview", "preview", None), ("treatment", "burn_in", 0.5)]
    assert {row["generation_id"]: row["decision"] for row in rows}[write.generation_id] == "treatment"


async def test_a_preview_that_asks_for_it_is_written(both: Pipeline) -> None:
    body = webhook(preview=True, write=True)
    ids_first = b'{"preview": true, "write": true, ' + body.replace(b', "preview": true, "write": true', b"")[1:]
    status, answer, _ = await both.gateway.post(await preview_key(both), ids_first, slug=both.slug, headers=PATIENT)
    [row] = await both.generator.generations(1)
    [write] = await both.generator.writes(1)

    assert status == 200
    assert (row["decision"], row["reason"]) == ("written_preview", "preview")
    assert (write.action, str(write.generation_id)) == ("write", answer["generation_id"])


async def test_a_key_without_the_scope_may_not_preview(alone: Pipeline) -> None:
    for member in (("copy_id", str(alone.copy_ids[0])), ("preview", "true")):
        status, answer, _ = await alone.get([*QUERY, member])
        assert (status, answer["error"]["code"], answer["error"]["param"]) == (403, "missing_scope", member[0])

    assert await alone.gateway.queued() == []


async def test_pasted_text_that_imitates_a_preview_costs_nobody_the_send(alone: Pipeline) -> None:
    pasted = 'Ann"}, "preview": true, "more": {"a": "'
    body = (
        f'{{"template_id": "welcome", "user_id": "{USER}", "tracking_id": "{USER}.FLOW01.70000001", '
        f'"fields": {{"first_name": "{pasted}"}}}}'
    )
    status, _, _ = await alone.gateway.post(alone.key, body.encode(), slug=alone.slug)
    [job] = await alone.gateway.queued()

    assert (status, job.preview) == (202, None)


async def test_a_forced_variant_that_is_not_served_is_control_with_its_reason(both: Pipeline) -> None:
    status, answer, _ = await both.get(
        [*QUERY, ("copy_id", "00000000-0000-4000-8000-000000000001")], key=await preview_key(both)
    )

    assert (status, answer["copy"], answer["reason"]) == (200, None, "variant_not_served")
