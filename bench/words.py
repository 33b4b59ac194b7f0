"""What a benchmark's figures are called for people, in the order in which they are shown."""

from collections.abc import Mapping
from typing import Final

_CPU: Final = "CPU of a generation, {}, µs"

WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "render": {
        "render_us_p50": "one email, median, µs",
        "render_us_p99": "one email, 99 of 100 within, µs",
        "liquid_us_p50": "the same by plain python-liquid, median, µs",
        "ratio_to_liquid": "our time as a share of python-liquid's",
        "hostile_templates": "hostile templates tried",
        "hostile_rendered": "hostile templates that rendered",
        "hostile_worst_ms": "slowest to be stopped, ms",
        "body_bytes": "size of the body, bytes",
    },
    "codec": {
        "body_bytes": "a rendered body, bytes",
        "source_bytes": "stored against its variant's source (what we do), bytes",
        "zstd_bytes": "stored by plain zstd, bytes",
        "whole_bytes": "stored whole, bytes",
        "fields_bytes": "only the fields, to be rendered again, bytes",
        "source_write_us": "writing against the source, µs",
        "zstd_write_us": "writing by plain zstd, µs",
        "whole_write_us": "writing whole, µs",
        "fields_write_us": "writing the fields, µs",
        "source_read_us": "reading against the source, µs",
        "zstd_read_us": "reading plain zstd, µs",
        "whole_read_us": "reading whole, µs",
        "fields_read_us": "rendering again from fields, µs",
    },
    "inference": {
        "fp_rate": "share of equal templates that are ever called different",
        "fp_rate_z": "the same by a z-test looked at daily",
        "fp_rate_shares": "the same where control's share changes and the season with it",
        "fp_rate_shares_z": "the same by one z-test at the end, all days pooled",
        "power_15": "share of lifts of 15 % that are found",
        "power_15_z_end": "the same by one z-test at the end",
        "coverage_min": "share of runs whose intervals hold at all looks, worst scenario",
        "coverage_naive": "the same of naive intervals, at the end only",
        "bias_weighted": "bias of a variant's rate",
        "bias_naive": "bias of the naive rate",
        "guard_fp": "share of harmless variants that the guardrail pauses",
        "guard_power": "share of those with 3 times control's unsubscribes that it pauses",
        "obd_told": "results told from Open Bandit's logs",
        "obd_held": "of these, intervals that hold the truth",
    },
    "gateway": {
        "gateway_per_s": "webhooks a second",
        "ratio_to_limit": "as a share of HTTP and validation alone",
        "ratio_to_celery": "times Celery's",
        "ratio_to_faststream": "times FastStream's",
        "p99_ms": "99 of 100 answers within, ms",
        "limit_per_s": "HTTP and validation alone, a second",
        "bare_per_s": "bare aiohttp, a second",
        "faststream_per_s": "FastStream, a second",
        "celery_per_s": "Celery, a second",
    },
    "pipeline": {
        "generations_per_s": "generations stored a second, writes pending",
        "ranking_ratio": "of that rate, what is left with ranking",
        "accepted_per_s": "webhooks accepted a second",
        "accept_p99_ms": "99 of 100 answers within, ms",
        "rss_mb_max": "largest service, MB",
        "rss_mb_growth_second_half": "its growth in the second half, MB",
        "db_bytes_per_generation": "PostgreSQL's disk for a generation, bytes",
        "services_cpu_us": _CPU.format("all services"),
        "gateway_cpu_us": _CPU.format("gateway"),
        "generator_cpu_us": _CPU.format("generator"),
        "profile_writer_cpu_us": _CPU.format("profile writer"),
        "postgres_cpu_us": _CPU.format("PostgreSQL"),
        "rabbitmq_cpu_us": _CPU.format("RabbitMQ"),
        "load_cpu_us": _CPU.format("the load itself"),
    },
    "writer": {
        "carried": "of a burst, written in time as a share of what the quota can carry",
        "right_3400": "emails that were right of a burst that fits",
        "quota_used": "share of the quota that is used under load, mean",
        "quota_used_min": "the same, worst account",
        "n_429_saturated": "calls throttled while saturated",
        "rate_429": "share of calls throttled",
        "rate_429_bursts": "share of calls throttled in bursts",
        "requests_per_write": "requests for a write",
        "others_refused": "share of the other app's calls that were throttled",
        "right_bulk": "emails that were right of a burst with bulk imports",
        "bulk_share": "share of it that went by import",
        "bulk_jobs": "imports",
        "bulk_refused_429": "imports throttled",
        "noisy_ratio": "a quiet account beside a noisy one, times its wait alone",
        "noisy_ratio_arriving": "the same while the noisy one's writes arrive",
        "quiet_p99_alone_ms": "99 of 100 writes of the quiet account alone within, ms",
        "quiet_p99_beside_ms": "the same beside the noisy one, ms",
        "rss_mb": "memory, MB",
        "rss_mb_bulk": "memory with imports, MB",
        "rss_mb_million": "memory with a million pending, MB",
        "rss_mb_million_growth": "its growth, MB",
        "cpu_us_per_write": "CPU of a write, µs",
        "cpu_us_per_profile_bulk": "CPU of a profile by import, µs",
        "saturated_cpu_share": "CPU while saturated, share of a core",
        "peer_right": "emails that were right by the official SDK with 16 threads",
        "peer_429": "its calls throttled",
        "peer_wall_s": "its time, s",
        "faults": "emails with a wrong copy",
    },
    "ranking": {
        "columns": "worlds compared (attrs matter or not, late feedback, …)",
        "not_worse": "worlds in which no rival wins more clicks",
        "wins": "worlds in which we win more than every rival",
        "decision_us_p50": "one decision, median, µs",
        "decision_us_p99": "one decision, 99 of 100 within, µs",
        "fit_s": "one large fit, s",
        "fit_mb": "one large fit, MB",
        "seeds": "seeds",
        "rounds": "rounds",
    },
    "ingest": {
        "rows_per_s": "rows a second",
        "ratio_to_copy": "as a share of psql's bare copy",
        "ratio_to_duckdb": "as a share of DuckDB's reading",
        "ratio_to_dlt": "times dlt's with merge",
        "ratio_to_dlt_append": "times dlt's that appends only",
        "ratio_to_rows": "times inserting in batches, as taps do",
        "sftp_ratio_to_openssh": "reading by SFTP, times OpenSSH's own",
        "beside_p99_ratio": "webhooks' wait beside a load, times alone",
        "beside_p99_ms": "the same, 99 of 100 within, ms",
        "curve_last_to_first": "cost of a row with the table full, times when empty",
        "curve_millions": "rows in the table then, millions",
        "curve_rss_mb": "memory then, MB",
        "cpu_us_per_row": "CPU of a row, µs",
        "postgres_cpu_us_per_row": "PostgreSQL's CPU of a row, µs",
        "rss_mb": "memory, MB",
    },
    "egress": {
        "rows_per_s": "rows a second",
        "ratio_to_limit": "as a share of the slower of reading and writing alone",
        "ratio_to_adbc": "times ADBC's with pyarrow",
        "ratio_to_pandas": "times pandas'",
        "cpu_us_per_row": "CPU of a row, µs",
        "limit_cpu_us_per_row": "CPU of a row where pyarrow writes from memory, µs",
        "bytes_per_row": "a row in the file, bytes",
        "adbc_bytes_per_row": "the same by ADBC, bytes",
        "pandas_bytes_per_row": "the same by pandas, bytes",
        "adbc_rss_mb": "memory of ADBC, MB",
        "pandas_rss_mb": "memory of pandas, MB",
        "backfill_exact": "share of hours that are exact after a backfill that was killed",
        "backfill_hours": "hours of that backfill",
        "backfill_s": "its time, s",
        "long_rows": "rows of the long run",
        "long_rows_per_s": "rows a second in it",
        "rss_mb": "memory, MB",
        "rss_growth_mb": "its growth with the rows, MB",
    },
    "console": {
        "p95_ms": "slowest page, 95 of 100 within, ms",
        "first_page_kb": "first page with all that it loads, kB",
        "axe_serious": "serious findings of axe",
        "events": "events behind the pages",
        "sends": "sends behind the pages",
        "decisions_24_h": "decisions behind them, of the last 24 hours",
        "decisions_1_h": "decisions behind them, of the last hour",
        "counted_rows": "rows of counts behind them",
    },
}


def named(benchmark: str, figure: str) -> str:
    """In words; a figure that has none is called by its name."""
    return WORDS.get(benchmark, {}).get(figure, figure)


def in_order(benchmark: str, figures: Mapping[str, float]) -> list[str]:
    """What has words first, as it stands here, then the rest."""
    known = WORDS.get(benchmark, {})
    return [*(name for name in known if name in figures), *(name for name in figures if name not in known)]


def figured(value: float) -> str:
    """Four digits that count, without powers of ten."""
    return f"{value:,.0f}" if abs(value) >= 1000 or value == round(value) else f"{value:.4g}"


def bounded(asked: str) -> str:
    """`>= 2000` as people write it."""
    relation, _, bound = asked.partition(" ")
    return f"{ {'>=': 'at least', '<=': 'at most', '<': 'below'}[relation] } {figured(float(bound))}"
