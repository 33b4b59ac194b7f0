"""From event files and generations to events, sends and rollups as Parquet: one transform in SQL, run by DuckDB on one
machine or by Spark on many. See docs/lake.md and ADR 0023."""
