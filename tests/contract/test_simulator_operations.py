"""The simulator's table of operations is Klaviyo's document, figure by figure."""

from typing import Any

import pytest

from simulator.api import report_calls, resources
from simulator.api.operations import BY_ID, KNOWN_REVISIONS, OPERATIONS, Operation
from simulator.api.routes import HANDLERS
from simulator.windows import Quota
from tests.contract import klaviyo_spec
from tests.contract.klaviyo_spec import Spec


@pytest.fixture(scope="module")
def spec() -> Spec:
    loaded = klaviyo_spec.load_spec()
    if loaded is None:
        pytest.skip(klaviyo_spec.MISSING_REASON)
    return loaded


EACH = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)


def documented(spec: Spec, operation: Operation) -> Any:
    return spec.document["paths"][operation.path][operation.method.lower()]


@EACH
def test_quota_scopes_and_success_are_the_documented_ones(spec: Spec, operation: Operation) -> None:
    raw = documented(spec, operation)

    limits = raw["x-klaviyo-ratelimit"]
    daily = int(limits["daily"].removesuffix("/d")) if "daily" in limits else None
    expected = Quota(int(limits["burst"].removesuffix("/s")), int(limits["steady"].removesuffix("/m")), daily)
    assert raw["operationId"] == operation.id
    assert operation.quota == expected
    assert operation.scopes == frozenset(raw["x-klaviyo-scopes"])
    assert {str(status) for status in operation.success} == {code for code in raw["responses"] if code[0] == "2"}


@EACH
def test_filters_sorts_pages_and_includes_are_the_documented_ones(spec: Spec, operation: Operation) -> None:
    raw = documented(spec, operation)
    parameters = {parameter["name"]: parameter["schema"] for parameter in raw.get("parameters", ())}

    filters = {
        name: {allowed for kind in described["operators"].values() for allowed in kind}
        for name, described in raw.get("x-klaviyo-filters", {}).items()
    }
    values = {
        name: set(described["value"]["enum"])
        for name, described in raw.get("x-klaviyo-filters", {}).items()
        if "enum" in described.get("value", {})
    }
    sorts = {name.removeprefix("-") for name in parameters.get("sort", {}).get("enum", ())}
    includes = set(parameters.get("include", {}).get("items", {}).get("enum", ()))

    assert {name: set(allowed) for name, allowed in operation.filters.items()} == filters
    assert {name: set(allowed) for name, allowed in operation.filter_values.items()} == values
    assert set(operation.sorts) == sorts
    assert set(operation.includes) == includes
    if operation.page is not None and operation.page.settable:
        size = parameters["page[size]"]
        assert (operation.page.default, operation.page.maximum) == (size["default"], size["maximum"])
    else:
        assert "page[size]" not in parameters


@pytest.mark.parametrize(
    ("operation_id", "kind", "known"),
    [
        ("update_profile", "profile", resources.PROFILE_FIELDS),
        ("get_accounts", "account", resources.ACCOUNT_FIELDS),
        ("get_flow", "flow", resources.FLOW_FIELDS),
        ("get_flow_action", "flow-action", resources.ACTION_FIELDS),
        ("get_flow_message", "flow-message", resources.MESSAGE_FIELDS),
        ("get_template_for_flow_message", "template", resources.TEMPLATE_FIELDS),
        ("get_metrics", "metric", resources.METRIC_FIELDS),
        ("get_events", "event", resources.EVENT_FIELDS),
        ("query_flow_values", "flow-values-report", report_calls.REPORT_FIELDS),
        ("query_metric_aggregates", "metric-aggregate", report_calls.AGGREGATE_FIELDS),
        ("get_campaigns", "campaign", resources.CAMPAIGN_FIELDS),
        ("get_campaigns", "campaign-message", resources.CAMPAIGN_MESSAGE_FIELDS),
        ("get_bulk_import_profiles_jobs", "profile-bulk-import-job", resources.JOB_FIELDS),
        ("get_bulk_import_profiles_job", "profile-bulk-import-job", resources.JOB_FIELDS),
        ("get_errors_for_bulk_import_profiles_job", "import-error", resources.IMPORT_ERROR_FIELDS),
    ],
)
def test_sparse_fieldsets_know_the_documented_fields(
    spec: Spec, operation_id: str, kind: str, known: tuple[str, ...]
) -> None:
    raw = documented(spec, BY_ID[operation_id])
    parameters = {parameter["name"]: parameter["schema"] for parameter in raw["parameters"]}

    names = {name.split(".")[0] for name in parameters[f"fields[{kind}]"]["items"]["enum"]}

    # `id` is a member of every resource; `created` of actions and messages is answered but not selectable.
    assert names - {"id"} <= set(known)
    assert set(known) - names <= {"created"}


def test_every_operation_has_an_answer_and_the_pinned_revision_is_known(spec: Spec) -> None:
    assert set(HANDLERS) == set(BY_ID)
    assert spec.document["info"]["version"] in KNOWN_REVISIONS
