"""The bulk road: import jobs for what single requests cannot carry in time (ADR 0011)."""
