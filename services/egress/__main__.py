"""`python -m services.egress`."""

from services.egress.app import build
from services.egress.settings import Settings
from shared.runtime import run

raise SystemExit(run(build, Settings))
