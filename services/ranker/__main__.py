"""`python -m services.ranker`."""

from services.ranker.app import build
from services.ranker.settings import Settings
from shared.runtime import run

raise SystemExit(run(build, Settings))
