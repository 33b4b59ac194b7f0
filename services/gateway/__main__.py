from services.gateway.app import build
from services.gateway.settings import Settings
from shared.runtime import run

raise SystemExit(run(build, Settings))
