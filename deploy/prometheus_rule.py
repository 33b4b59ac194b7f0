"""`python -m deploy.prometheus_rule`: compose's alerts, as Prometheus' operator reads them on kubernetes.

Their text goes over as it is, and so do the comments in it.
"""

import textwrap
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent
SOURCE: Final = ROOT / "observability" / "alerts.yaml"
TARGET: Final = ROOT / "k8s" / "components" / "prometheus-operator" / "alerts.yaml"

_GROUPS: Final = "\ngroups:\n"
_HEAD: Final = """\
# Made by `python -m deploy.prometheus_rule` from deploy/observability/alerts.yaml: change it there.
#
"""
_OBJECT: Final = """
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: justai
  labels: {app.kubernetes.io/part-of: justai}
spec:
"""


def rendered() -> str:
    """What the manifest has to be."""
    why, groups, rules = SOURCE.read_text().partition(_GROUPS)
    return _HEAD + why + _OBJECT + textwrap.indent(groups.lstrip() + rules, "  ")


if __name__ == "__main__":
    TARGET.write_text(rendered())
