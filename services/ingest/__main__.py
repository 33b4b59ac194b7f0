"""Klaviyo's event files → events, sends and rollups."""

from services.ingest.app import build
from services.ingest.settings import Settings
from shared.runtime import run

raise SystemExit(run(build, Settings))
