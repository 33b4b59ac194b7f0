from services.profile_writer.app import build
from services.profile_writer.settings import Settings
from shared.runtime import run

raise SystemExit(run(build, Settings))
