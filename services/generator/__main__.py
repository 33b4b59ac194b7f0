from services.generator.app import build
from services.generator.settings import Settings
from shared.runtime import run

raise SystemExit(run(build, Settings))
