"""The closed list of metrics, on prometheus_client. A misspelled name does not type-check; a wrong label raises.

Two things are not as the library does them, for Prometheus' sake:

- A counter that appears with a value has risen from nowhere: `increase` sees nothing, so the first held file or the
  first refused key of a process would raise no alert. Each one is therefore shown as 0 once, before it counts.
- A gauge is shown by the processes that set it. The others' zeros would be the least of all.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, TypeVar, cast, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CounterName = Literal[
    "http_requests_total",  # answers of gateway and console, by route and status code
    "publish_failures_total",  # publishes without a confirm, by reason
    "webhook_repairs_total",  # defects mended or dropped in webhook bodies, by repair
    "webhook_refused_total",  # webhooks of a flow that were refused for good, by code
    "waits_total",  # webhooks that waited for their copy, by result: answered, late, no_way
    "replies_total",  # answers to whoever waits, by result: sent, dropped
    "jobs_settled_total",  # verdicts on jobs, by queue and verdict
    "consumer_revived_total",  # queues consumed anew because nothing came of what lay in them, by queue
    "generations_total",  # generations stored, by decision and reason
    "profile_writes_total",  # ends of profile writes, by outcome
    "write_missed_total",  # writes that did not come in time or at all, by reason
    "bulk_jobs_total",  # bulk imports that are over, by ending
    "klaviyo_requests_total",  # calls to Klaviyo, by operation and status
    "klaviyo_breaker_opened_total",  # accounts left alone because calls failed, by the last failure's reason
    "ingest_files_total",  # files settled, by state
    "ingest_rows_total",  # rows read from event files, by outcome
    "ingest_unmatched_total",  # emails that waited for their generation, by outcome: matched, given_up after a week
    "results_counted_total",  # what was counted ahead for pages, by what: day, report, quarter
    "export_hours_total",  # hours exported, by outcome
    "export_bytes_total",  # Parquet bytes uploaded
    "policy_fits_total",  # fits of a template's policy, by outcome
    "drafts_total",  # drafts by a model, by outcome
    "draft_runs_total",  # runs of drafting that are over, by outcome: done, or the code of why not
    "guardrail_pauses_total",  # variants paused because they drove people away
]
HistogramName = Literal[
    "http_request_duration_seconds",  # gateway and console, by route
    "consumer_process_seconds",  # one batch in its handler, by queue
    "job_end_to_end_seconds",  # webhook accepted → profile written; the promise of the product
    "klaviyo_request_seconds",  # one call, by operation
    "bulk_job_seconds",  # one bulk import, from made to complete
    "policy_fit_seconds",  # one fit of a template's policy
    "publish_confirm_seconds",  # one publish until its confirm
]
GaugeName = Literal[
    "write_backlog",  # pending profile writes, by lane (shared/writes.py)
    "write_oldest_overdue_seconds",  # how far the most overdue pending write is past its deadline; 0 when none
    "write_budget_used_ratio",  # of its minute's quota, by the account that has used most of it
    "write_drain_seconds",  # until the backlog is written one by one, of the account that takes longest
    "write_runnable_accounts",  # accounts that could be served now and wait for a writer: what more replicas would help
    "write_paused_orgs",  # orgs that write nothing, because Klaviyo refuses their key
    "klaviyo_breaker_accounts",  # Klaviyo accounts by the state of their breaker: closed, open, probing
    "second_road_accounts",  # accounts by what is known of profile-import's quota, by verdict
    "clock_offset_seconds",  # by how much this machine's clock is ahead of the database's; below 0: behind
    "not_ready",  # 1: the service cannot do its work, by check; what /readyz says, asked every few seconds
    "event_loop_lag_seconds",  # how late the loop wakes a one-second timer
    "event_loop_tasks",  # asyncio tasks that have not ended: under even load their number stays
    "reply_queue",  # 1 while answers can reach this process, else 0; without, callers who would wait get 202 at once
    "ingest_source_lag_seconds",  # how far sources are behind, by org and source; of the worst, so that they stay few
    "ingest_refused_sources",  # sources given up until somebody looks: another host key, a key of ours that is none
    "ingest_silent_sources",  # sources without a new file for more than twice their usual gap
    "ingest_waiting",  # emails that wait to be matched, or opens and clicks for their email, by reason
    "policy_templates",  # templates held in memory
    "shown_stale_emails",  # emails of the last day's webhooks that showed older copy, by org; of orgs that have such
    "shown_behind_seconds",  # for how long something of the last day waits to be counted for shown_stale_emails
    "export_late_seconds",  # for how long the hour that waits longest could have been exported; 0 when none waits
    "retention_held_days",  # days of generations that are old enough to go and held by something, like a blocked export
]

REGISTRY = CollectorRegistry()
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

_LABELS: dict[str, tuple[str, ...]] = {
    "http_requests_total": ("route", "code"),
    "publish_failures_total": ("reason",),
    "webhook_repairs_total": ("repair",),
    "webhook_refused_total": ("code",),
    "waits_total": ("result",),
    "replies_total": ("result",),
    "jobs_settled_total": ("queue", "verdict"),
    "consumer_revived_total": ("queue",),
    "generations_total": ("decision", "reason"),
    "profile_writes_total": ("outcome",),
    "write_missed_total": ("reason",),
    "bulk_jobs_total": ("ending",),
    "klaviyo_requests_total": ("operation", "status"),
    "klaviyo_breaker_opened_total": ("reason",),
    "klaviyo_breaker_accounts": ("state",),
    "not_ready": ("check",),
    "shown_stale_emails": ("org",),
    "ingest_files_total": ("state",),
    "results_counted_total": ("what",),
    "ingest_rows_total": ("outcome",),
    "ingest_source_lag_seconds": ("org", "source"),
    "ingest_waiting": ("reason",),
    "ingest_unmatched_total": ("outcome",),
    "export_hours_total": ("outcome",),
    "policy_fits_total": ("outcome",),
    "drafts_total": ("outcome",),
    "draft_runs_total": ("outcome",),
    "http_request_duration_seconds": ("route",),
    "consumer_process_seconds": ("queue",),
    "klaviyo_request_seconds": ("operation",),
    "write_backlog": ("lane",),
    "second_road_accounts": ("verdict",),
}


def _words(name: str) -> tuple[str, str, tuple[str, ...]]:
    return f"jai_{name}", name.replace("_", " "), _LABELS.get(name, ())


_counters = {name: Counter(*_words(name), registry=REGISTRY) for name in get_args(CounterName)}
_histograms = {name: Histogram(*_words(name), registry=REGISTRY, buckets=_BUCKETS) for name in get_args(HistogramName)}
_gauges = {name: Gauge(*_words(name), registry=None) for name in get_args(GaugeName)}
_shown: set[GaugeName] = set()

_unseen: dict[Counter, float] = {one: 0.0 for name, one in _counters.items() if name not in _LABELS}
"""Counters that nobody has scraped yet, and what they will have counted then."""
_unseen_lock = threading.Lock()

_M = TypeVar("_M", Counter, Gauge, Histogram)
_labelled_before: dict[tuple[object, ...], Counter | Gauge | Histogram] = {}


def _labelled(metric: _M, name: str, labels: dict[str, str]) -> _M:
    """`metric.labels(**labels)`, found again in a fifth of the time: it runs twice for each webhook."""
    key = (name, *labels.items())
    found = _labelled_before.get(key)
    if found is None:
        found = _labelled_before[key] = metric.labels(**labels)
        if isinstance(found, Counter):
            _unseen[found] = 0.0
    return cast(_M, found)


def count(name: CounterName, n: float = 1, **labels: str) -> None:
    """Add n to a counter."""
    metric = _labelled(_counters[name], name, labels) if labels else _counters[name]
    if metric in _unseen:
        with _unseen_lock:
            if metric in _unseen:
                _unseen[metric] += n
                return
    metric.inc(n)


def observe(name: HistogramName, value: float, **labels: str) -> None:
    """Add one observation, in the unit of the name."""
    (_labelled(_histograms[name], name, labels) if labels else _histograms[name]).observe(value)


def gauge(name: GaugeName, value: float, **labels: str) -> None:
    """Set a gauge."""
    _show(name)
    (_labelled(_gauges[name], name, labels) if labels else _gauges[name]).set(value)


def gauge_each(name: GaugeName, values: Mapping[tuple[str, ...], float]) -> None:
    """Set a gauge for these values of its labels, and forget it for all others."""
    _show(name)
    metric = _gauges[name]
    metric.clear()
    for key in [key for key in _labelled_before if key[0] == name]:
        del _labelled_before[key]
    for labels, value in values.items():
        metric.labels(*labels).set(value)


def _show(name: GaugeName) -> None:
    if name not in _shown:
        _shown.add(name)
        REGISTRY.register(_gauges[name])


@contextmanager
def timed(name: HistogramName, **labels: str) -> Iterator[None]:
    """Observe the real seconds that the block took."""
    started = time.perf_counter()
    try:
        yield
    finally:
        observe(name, time.perf_counter() - started, **labels)


def names() -> frozenset[str]:
    """All of the closed list, as they are called here: without the prefix `jai_`."""
    return frozenset((*_counters, *_histograms, *_gauges))


def labels_of(name: str) -> tuple[str, ...] | None:
    """The labels of a metric of the list; None: there is none of that name."""
    return _LABELS.get(name, ()) if name in names() else None


def exposition() -> bytes:
    """The text format that Prometheus scrapes. What was counted of a new counter until now is told the next time."""
    text = generate_latest(REGISTRY)
    with _unseen_lock:
        while _unseen:
            metric, n = _unseen.popitem()
            metric.inc(n)
    return text
