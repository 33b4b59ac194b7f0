from services.console.app import build
from services.console.settings import Settings
from shared.runtime import run

raise SystemExit(run(build, Settings))
