"""Every operation the box answers, as data: quota, scopes, pages, filters.

Source of each figure: Klaviyo's OpenAPI document of revision 2026-07-15 (`x-klaviyo-ratelimit`, `x-klaviyo-scopes`,
`x-klaviyo-filters`, parameter `page[size]`). A test compares this table with that document.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from simulator.windows import Quota

REVISION = "2026-07-15"
# 2026-10-15 changed nothing in the operations below except campaigns; its document is not public yet.
KNOWN_REVISIONS = frozenset({REVISION, "2026-10-15"})
# A revision is served for about two years; an older one answers 410.
OLDEST_SERVED_REVISION = "2024-10-15"

PROFILE_WRITES = Quota(75, 750)
FLOW_READS = Quota(3, 60)
BULK = Quota(10, 150)

ORDER = ("greater-or-equal", "greater-than", "less-or-equal", "less-than")
TIME = ("equals", *ORDER)
TRIGGER_TYPES = ("Added to List", "Date Based", "Low Inventory", "Metric", "Price Drop", "Unconfigured")
CAMPAIGN_STATUSES = (
    "Adding Recipients", "Cancelled", "Cancelled: Account Disabled", "Cancelled: Billing Limit",
    "Cancelled: Internal Error", "Cancelled: Misconfigured", "Cancelled: No Recipients", "Cancelled: Smart Sending",
    "Draft", "Preparing to schedule", "Preparing to send", "Queued without Recipients", "Scheduled", "Sending",
    "Sending Segments", "Sent", "Unknown", "Variations Sent",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Page:
    """`settable` is false where the operation has no `page[size]`."""

    default: int
    maximum: int
    settable: bool = True


@dataclass(frozen=True, slots=True)
class Operation:
    id: str
    method: str
    path: str
    scopes: frozenset[str]
    quota: Quota
    success: tuple[int, ...] = (200,)
    page: Page | None = None
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # Values of a filter that the document enumerates; any other is refused.
    filter_values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sorts: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()
    # An `include` or `additional-fields` value that spends a stricter bucket as well (operation text of the document).
    extra_quotas: Mapping[str, Quota] = field(default_factory=dict)
    # The document has no size limits as data, only in prose: 100 KB for one profile, 5 MB for everything else.
    body_max_kb: int = 5_000
    revisions: frozenset[str] = KNOWN_REVISIONS


def _scopes(*names: str) -> frozenset[str]:
    return frozenset(names)


PREDICTIVE = {"predictive_analytics": Quota(10, 150)}
MEMBERSHIPS = {"lists": Quota(1, 15), "segments": Quota(1, 15)}

OPERATIONS: tuple[Operation, ...] = (
    Operation("get_accounts", "GET", "/api/accounts", _scopes("accounts:read"), Quota(1, 15)),
    Operation(
        "get_profile", "GET", "/api/profiles/{id}", _scopes("profiles:read"), PROFILE_WRITES,
        includes=("conversations", "lists", "push-tokens", "segments"), extra_quotas=PREDICTIVE | MEMBERSHIPS,
    ),
    Operation(
        "update_profile", "PATCH", "/api/profiles/{id}", _scopes("profiles:write"), PROFILE_WRITES,
        body_max_kb=100,
    ),
    Operation(
        "create_or_update_profile", "POST", "/api/profile-import", _scopes("profiles:write"), PROFILE_WRITES,
        success=(200, 201), body_max_kb=100,
    ),
    Operation(
        "bulk_import_profiles", "POST", "/api/profile-bulk-import-jobs", _scopes("lists:write", "profiles:write"), BULK,
        success=(202,),
    ),
    Operation(
        "get_bulk_import_profiles_jobs", "GET", "/api/profile-bulk-import-jobs", _scopes("lists:read", "profiles:read"),
        BULK, page=Page(20, 100), filters={"status": ("any", "equals")},
        filter_values={"status": ("queued", "processing", "complete")}, sorts=("created_at",),
    ),
    Operation(
        "get_bulk_import_profiles_job", "GET", "/api/profile-bulk-import-jobs/{job_id}",
        _scopes("lists:read", "profiles:read"), BULK, includes=("lists",),
    ),
    Operation(
        "get_errors_for_bulk_import_profiles_job", "GET", "/api/profile-bulk-import-jobs/{id}/import-errors",
        _scopes("profiles:read"), BULK, page=Page(20, 100),
    ),
    Operation(
        "get_flows", "GET", "/api/flows", _scopes("flows:read"), FLOW_READS, page=Page(50, 50),
        filters={
            "id": ("any",), "name": ("contains", "ends-with", "equals", "starts-with"), "status": ("equals",),
            "archived": ("equals",), "created": TIME, "updated": TIME, "trigger_type": ("equals",),
        },
        filter_values={"trigger_type": TRIGGER_TYPES},
        sorts=("created", "id", "name", "status", "trigger_type", "updated"), includes=("flow-actions", "tags"),
    ),
    Operation(
        "get_flow", "GET", "/api/flows/{id}", _scopes("flows:read"), FLOW_READS, includes=("flow-actions", "tags"),
    ),
    Operation(
        "get_actions_for_flow", "GET", "/api/flows/{id}/flow-actions", _scopes("flows:read"), FLOW_READS,
        page=Page(50, 50),
        filters={
            "id": ("any",), "action_type": ("any", "equals"), "status": ("equals",), "created": TIME, "updated": TIME,
        },
        sorts=("action_type", "created", "id", "status", "updated"),
    ),
    Operation(
        "get_flow_action", "GET", "/api/flow-actions/{id}", _scopes("flows:read"), FLOW_READS,
        includes=("flow", "flow-messages"),
    ),
    Operation(
        "get_flow_action_messages", "GET", "/api/flow-actions/{id}/flow-messages", _scopes("flows:read"), FLOW_READS,
        page=Page(50, 50),
        filters={
            "id": ("any",), "name": ("contains", "ends-with", "equals", "starts-with"),
            "created": TIME, "updated": TIME,
        },
        sorts=("created", "id", "name", "updated"),
    ),
    Operation(
        "get_flow_message", "GET", "/api/flow-messages/{id}", _scopes("flows:read"), FLOW_READS,
        includes=("flow-action", "template"),
    ),
    Operation(
        "get_template_for_flow_message", "GET", "/api/flow-messages/{id}/template", _scopes("templates:read"),
        FLOW_READS,
    ),
    Operation(
        "get_campaigns", "GET", "/api/campaigns", _scopes("campaigns:read"), BULK, page=Page(100, 100),
        filters={
            "id": ("any",), "messages.channel": ("equals",), "name": ("contains",), "status": ("any", "equals"),
            "archived": ("equals",), "created_at": ORDER, "scheduled_at": ORDER, "updated_at": ORDER,
        },
        filter_values={"messages.channel": ("email", "sms", "mobile_push"), "status": CAMPAIGN_STATUSES},
        sorts=("created_at", "id", "name", "scheduled_at", "updated_at"), includes=("campaign-messages", "tags"),
        revisions=frozenset({REVISION}),
    ),
    Operation(
        "get_metrics", "GET", "/api/metrics", _scopes("metrics:read"), BULK, page=Page(200, 200, settable=False),
        filters={"integration.name": ("equals",), "integration.category": ("equals",)}, includes=("flow-triggers",),
    ),
    Operation(
        "query_flow_values", "POST", "/api/flow-values-reports", _scopes("flows:read"), Quota(1, 2, 225),
    ),
    Operation(
        "query_metric_aggregates", "POST", "/api/metric-aggregates", _scopes("metrics:read"), FLOW_READS,
    ),
    Operation(
        "get_events", "GET", "/api/events", _scopes("events:read"), Quota(350, 3500), page=Page(200, 1000),
        filters={
            "metric_id": ("equals",), "profile_id": ("equals",), "profile": ("has",), "metric": ("has",),
            "datetime": ORDER, "timestamp": ORDER,
        },
        sorts=("datetime", "timestamp"), includes=("attributions", "metric", "profile"),
    ),
)  # fmt: skip

BY_ID: Mapping[str, Operation] = {operation.id: operation for operation in OPERATIONS}

# The scopes that the integration page asks for, and all that this box knows.
PAGE_SCOPES = frozenset({"flows:read", "campaigns:read", "metrics:read", "profiles:write"})
ALL_SCOPES = frozenset().union(*(operation.scopes for operation in OPERATIONS))
