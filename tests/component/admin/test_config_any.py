"""Any configuration comes back as it was."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.admin.yaml_text import joined
from tests.component.admin.config_files import HOST_KEY, applied, shown
from tests.component.admin.rig import Rig

NAMES = st.text("abcdé :#-'\"", min_size=1, max_size=12).filter(lambda text: text.strip() != "")
PROSE = st.lists(st.text("ab <>&:'\"#-", max_size=12), min_size=1, max_size=4).map(
    lambda lines: "x\n" + "\n".join(lines)
)
VARIANT: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"name": NAMES.map(str.strip), "subject": st.text("abc !?:#", max_size=10).map(lambda text: f"a{text}b"),
     "body": st.integers(0, 10**12).map(lambda number: f"<p>Cup {number} for\n  you</p>\n")},
    optional={"approved": st.just(value=True), "theme": st.sampled_from(["", "warmth"])},
)  # fmt: skip
TEMPLATE: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"template_id": st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True), "name": NAMES,
     "control": st.fixed_dictionaries({"subject": st.just("Hello"), "body": PROSE}),
     "variants": st.lists(VARIANT, max_size=3, unique_by=lambda one: one["name"])},
    optional={
        "state": st.sampled_from(["draft", "active", "archived"]), "delay_s": st.integers(1, 10**5),
        "split": st.fixed_dictionaries({"method": st.just("random"), "control_ratio": st.floats(0.01, 0.9)}),
        "flow": st.just({"flow_id": "FLOW01", "treatment_action_id": "7"}),
        "policy": st.sampled_from([{}, {"model": "uniform"}, {"reward": "conversion"}, {"floor": 0.01, "temper": 1}]),
        "required_fields": st.lists(st.sampled_from(["city", "plan"]), unique=True),
        "attributes": st.just({"plan": {"kind": "string", "options": {"b": ["x"], "a": []}}}),
    },
)  # fmt: skip
PART: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "org": st.fixed_dictionaries({"name": NAMES, "time_zone": st.sampled_from(["Europe/Berlin", "UTC"])}),
        "rules": st.fixed_dictionaries({"banned_words": st.lists(st.from_regex(r"zz[a-z]{1,5}", fullmatch=True))}),
        "attributes": st.just({"since": {"kind": "date", "edges": [7, 30]}, "plan": {"kind": "list"}}),
        "sources": st.lists(
            st.fixed_dictionaries({"name": NAMES, "host": st.just("h"), "user": NAMES, "host_key": st.just(HOST_KEY)}),
            max_size=2, unique_by=lambda one: one["name"].strip(),
        ),
    },
)  # fmt: skip


async def test_any_configuration_comes_back_as_it_was_and_is_done_once(acme: Rig) -> None:
    @settings(max_examples=15, deadline=None, derandomize=True)
    @given(PART, st.lists(TEMPLATE, max_size=3, unique_by=lambda one: one["template_id"]))
    def examples(part: dict[str, Any], templates: list[dict[str, Any]]) -> None:
        wanted.append(joined([part, *templates]))

    wanted: list[str] = []
    await asyncio.to_thread(examples)
    for number, text in enumerate(text for text in wanted if one_or_more(text)):
        first, second = await acme.other(f"a{number}"), await acme.other(f"b{number}")
        await applied(first, text)
        written = (await shown(first)).replace(f"slug: a{number}", f"slug: b{number}")

        await applied(second, written)

        assert await shown(second) == written
        assert (await applied(first, text)).changes == []
        assert (await applied(second, written)).changes == []


def one_or_more(text: str) -> bool:
    return text.replace("---\n", "").strip() != "{}"
