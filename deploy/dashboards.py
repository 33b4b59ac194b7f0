"""`python -m deploy.dashboards`: the Grafana dashboards as JSON, made from the short tables here.

A panel is a title, a unit, and queries with the legend of each. What Grafana wants beside that is the same for all.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent / "observability" / "grafana" / "dashboards"

_WIDTH, _HEIGHT, _COLUMNS = 8, 8, 24
_SOURCE: Final = {"type": "prometheus", "uid": "prometheus"}


@dataclass(frozen=True, slots=True)
class Panel:
    """`queries`: PromQL and its legend. `most`: where the axis ends. `limit`: a line that should not be passed."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    means: str = ""
    most: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One page, its panels in reading order, three a row."""

    uid: str
    title: str
    panels: Sequence[Panel]


def _p99(name: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile(0.99, sum by ({labels}) (rate(jai_{name}_bucket[5m])))"


def _rate(name: str, *by: str, where: str = "") -> str:
    grouped = f"sum by ({', '.join(by)})" if by else "sum"
    return f"{grouped} (rate(jai_{name}{where}[5m]))"


_GENERATE: Final = '{route="generate"}'


def _share(part: str, whole: str) -> str:
    """Of what there is of `whole`; 0, not nothing, where there is nothing of `part`."""
    return f"({part} or vector(0)) / ({whole} > 0)"


def _lately(name: str, *by: str) -> str:
    """How often in the last hour; what is rare has no rate that can be read."""
    return f"sum by ({', '.join(by)}) (increase(jai_{name}[1h]))"


_READY: Final = "max by (queue) (rabbitmq_detailed_queue_messages_ready{{queue{}}})"  # of a cluster's nodes, one tells
_ALL_OF_A_KIND: Final = 'sum by (kind) (label_replace({}, "kind", "$1", "queue", "(.*?)([.][0-9]+)?"))'
_WAITING: Final = _ALL_OF_A_KIND.format(_READY.format('!~".*[.]dead|reply[.].*|probe_.*"'))
_DEAD: Final = _ALL_OF_A_KIND.format(_READY.format('=~".*[.]dead"'))

DASHBOARDS: Final = (
    Dashboard("justai-emails", "JustAI · Emails", (
        Panel("Writes that missed their email", "percentunit", [
            (_share(_rate("write_missed_total"), _rate("profile_writes_total")), "missed"),
        ],
              "Of profile writes that ended. The objective is at most 0.5 % (docs/slos.md).", limit=0.005),
        Panel("Emails that showed older copy, last day", "short", [
            # Only orgs that have such emails are told: 0 where the others are counted.
            ("sum(max by (org) (jai_shown_stale_emails)) or 0 * max(jai_shown_behind_seconds)", "emails"),
        ], "The objective is 0. `justai number ORG` says whose."),
        Panel("Emails wait to be counted", "s", [("max(jai_shown_behind_seconds)", "the oldest change")],
              "What they showed, of the last day. The panel before this one does not have them yet.", limit=1800),
        Panel("Why writes missed", "ops", [(_rate("write_missed_total", "reason"), "{{reason}}")]),
        Panel("Webhook accepted → profile written", "s", [
            ("histogram_quantile(0.5, sum by (le) (rate(jai_job_end_to_end_seconds_bucket[5m])))", "median"),
            (_p99("job_end_to_end_seconds"), "99 %"),
        ], "The delay in the flow must be longer than this."),
        Panel("Decisions", "ops", [(_rate("generations_total", "decision", "reason"), "{{decision}}: {{reason}}")]),
        Panel("How writes ended", "ops", [(_rate("profile_writes_total", "outcome"), "{{outcome}}")]),
        Panel("Paused by the guardrail, last hour", "short", [
            ("sum(increase(jai_guardrail_pauses_total[1h]))", "variants"),
        ]),
        Panel("Policies fitted, last hour", "short", [(_lately("policy_fits_total", "outcome"), "{{outcome}}")]),
        Panel("One fit", "s", [(_p99("policy_fit_seconds"), "99 %")]),
        Panel("Templates held in memory", "short", [("max(jai_policy_templates)", "fullest generator")]),
    )),
    Dashboard("justai-webhooks", "JustAI · Webhooks and queues", (
        Panel("Webhooks", "reqps", [(_rate("http_requests_total", "code", where=_GENERATE), "{{code}}")]),
        Panel("Answer to a webhook", "s", [
            (_p99("http_request_duration_seconds", "route"), "{{route}}, 99 %"),
        ]),
        Panel("Answered with an error of ours", "percentunit", [
            (_share(_rate("http_requests_total", where='{route="generate",code=~"5.."}'),
                    _rate("http_requests_total", where=_GENERATE)), "5xx"),
        ], limit=0.001),
        Panel("Refused webhooks", "ops", [(_rate("webhook_refused_total", "code"), "{{code}}")]),
        Panel("Mended webhooks", "ops", [(_rate("webhook_repairs_total", "repair"), "{{repair}}")]),
        Panel("Until the broker confirms", "s", [(_p99("publish_confirm_seconds"), "99 %")]),
        Panel("Publishes without a confirm", "ops", [(_rate("publish_failures_total", "reason"), "{{reason}}")]),
        Panel("Messages that wait", "short", [(_WAITING, "{{kind}}")],
              "From RabbitMQ itself; queues of a kind together. wait.30s and its like hold what is tried again then."),
        Panel("Dead letters", "short", [(_DEAD, "{{kind}}")],
              "What nobody could work off; a person replays or purges it."),
        Panel("Jobs settled", "ops", [(_rate("jobs_settled_total", "queue", "verdict"), "{{queue}} {{verdict}}")]),
        Panel("Queues consumed anew", "ops", [(_rate("consumer_revived_total", "queue"), "{{queue}}")],
              "Their messages lay there and none was given to us: the watchdog opened another channel."),
        Panel("One batch in its handler", "s", [(_p99("consumer_process_seconds", "queue"), "{{queue}}, 99 %")]),
        Panel("Who waits for copy", "ops", [
            (_rate("waits_total", "result"), "{{result}}"), (_rate("replies_total", "result"), "reply {{result}}"),
        ]),
        Panel("Reply queues attached", "short", [("min by (service) (jai_reply_queue)", "{{service}}")], most=1),
    )),
    Dashboard("justai-klaviyo", "JustAI · Klaviyo's quota", (
        Panel("Pending writes", "short", [("max by (lane) (jai_write_backlog)", "{{lane}}")]),
        Panel("Used of the minute's quota", "percentunit", [("max(jai_write_budget_used_ratio)", "busiest account")],
              most=1),
        Panel("Until the backlog is written", "s", [("max(jai_write_drain_seconds)", "slowest account")], limit=300),
        Panel("Past its deadline", "s", [("max(jai_write_oldest_overdue_seconds)", "the most overdue")], limit=60),
        Panel("Accounts that wait for a writer", "short", [("max(jai_write_runnable_accounts)", "accounts")],
              "They have quota and something due: more replicas would help. What waits for quota is not among them."),
        Panel("Orgs whose key is refused", "short", [("max(jai_write_paused_orgs)", "orgs")],
              "They write nothing until there is another key; `justai doctor` names them."),
        Panel("Calls", "reqps", [(_rate("klaviyo_requests_total", "operation", "status"), "{{operation}} {{status}}")]),
        Panel("One call", "s", [(_p99("klaviyo_request_seconds", "operation"), "{{operation}}, 99 %")]),
        Panel("Accounts by breaker", "short", [("max by (state) (jai_klaviyo_breaker_accounts)", "{{state}}")]),
        Panel("Breakers opened, last hour", "short", [
            (_lately("klaviyo_breaker_opened_total", "reason"), "{{reason}}"),
        ]),
        Panel("Bulk imports, last hour", "short", [(_lately("bulk_jobs_total", "ending"), "{{ending}}")]),
        Panel("One bulk import", "s", [(_p99("bulk_job_seconds"), "99 %")]),
        Panel("The second road", "short", [("max by (verdict) (jai_second_road_accounts)", "{{verdict}}")],
              "What is known of profile-import's own quota, by account."),
    )),
    Dashboard("justai-data", "JustAI · Files, exports and processes", (
        Panel("Event rows", "ops", [(_rate("ingest_rows_total", "outcome"), "{{outcome}}")]),
        Panel("Event files settled, last hour", "short", [(_lately("ingest_files_total", "state"), "{{state}}")]),
        Panel("Sources behind", "s", [
            ("topk(10, max by (org, source) (jai_ingest_source_lag_seconds))", "{{org}} {{source}}"),
        ], limit=3600),
        Panel("Silent sources, and refused ones", "short", [
            ("max(jai_ingest_silent_sources)", "silent"), ("max(jai_ingest_refused_sources)", "refused"),
        ], "Refused: another host key than the pinned one, or a key of ours that is none.", limit=1),
        Panel("Emails that wait for their generation", "short", [
            ("max by (reason) (jai_ingest_waiting)", "{{reason}}"),
        ], "They are tried again for a week; no_delivery: opens and clicks whose email no file has told of."),
        Panel("Emails matched later, last hour", "short", [
            (_lately("ingest_unmatched_total", "outcome"), "{{outcome}}"),
        ]),
        Panel("Hours exported, last hour", "short", [(_lately("export_hours_total", "outcome"), "{{outcome}}")]),
        Panel("Exports late by", "s", [("max(jai_export_late_seconds)", "the hour that waits longest")], limit=7200),
        Panel("Parquet uploaded", "Bps", [(_rate("export_bytes_total"), "bytes")]),
        Panel("Days kept for the export", "short", [("max(jai_retention_held_days)", "days")],
              "Old enough to be dropped, and not exported yet.", limit=1),
        Panel("Counted ahead for pages", "ops", [(_rate("results_counted_total", "what"), "{{what}}")]),
        Panel("Drafts, last hour", "short", [
            (_lately("drafts_total", "outcome"), "{{outcome}}"),
            (_lately("draft_runs_total", "outcome"), "run {{outcome}}"),
        ]),
        Panel("Clocks ahead of the database's", "s", [
            ("max by (service) (jai_clock_offset_seconds)", "{{service}}, most"),
            ("min by (service) (jai_clock_offset_seconds)", "{{service}}, least"),
        ], "Of the services on the way of an email. Below 0: behind."),
        Panel("Event loops late by", "s", [("max by (service) (jai_event_loop_lag_seconds)", "{{service}}")], limit=1),
        Panel("Not ready", "short", [("max by (service, check) (jai_not_ready)", "{{service}}: {{check}}")],
              "1: a process of the service cannot do its work, because of this check of its /readyz.", most=1),
        Panel("Up", "short", [('min by (service) (up{job="justai"})', "{{service}}")], most=1),
        Panel("Tasks of event loops", "short", [("max by (service) (jai_event_loop_tasks)", "{{service}}")],
              "They follow the load; what rises under even load is not ended."),
    )),
)  # fmt: skip


def rendered() -> dict[Path, str]:
    """Each file and what it must hold."""
    return {FOLDER / f"{one.uid}.json": json.dumps(_json(one), indent=1) + "\n" for one in DASHBOARDS}


def _json(dashboard: Dashboard) -> dict[str, Any]:
    return {
        "uid": dashboard.uid, "title": dashboard.title, "tags": ["justai"], "timezone": "browser", "editable": False,
        "refresh": "30s", "schemaVersion": 39, "time": {"from": "now-3h", "to": "now"},
        "graphTooltip": 1,  # the pointer's moment shows in all panels
        "links": [{"type": "dashboards", "title": "JustAI", "tags": ["justai"], "asDropdown": False, "keepTime": True}],
        "panels": [_panel(one, number) for number, one in enumerate(dashboard.panels)],
    }  # fmt: skip


def _panel(panel: Panel, number: int) -> dict[str, Any]:
    per_row = _COLUMNS // _WIDTH
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    defaults: dict[str, Any] = {
        "unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps},
        "custom": {"fillOpacity": 8 if _is_one_line(panel) else 0, "showPoints": "never",
                   "thresholdsStyle": {"mode": "off" if panel.limit is None else "line"}},
    }  # fmt: skip
    if panel.most is not None:
        defaults["max"] = panel.most
    return {
        "id": number + 1, "type": "timeseries", "title": panel.title, "description": panel.means,
        "datasource": _SOURCE,
        "gridPos": {"x": number % per_row * _WIDTH, "y": number // per_row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "targets": [
            {"refId": chr(ord("A") + at), "expr": query, "legendFormat": legend, "datasource": _SOURCE}
            for at, (query, legend) in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    }  # fmt: skip


def _is_one_line(panel: Panel) -> bool:
    """The areas below several lines would only cover each other."""
    return len(panel.queries) == 1 and "{{" not in panel.queries[0][1]


def main() -> None:
    """Write what is not as it must be."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in rendered().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
