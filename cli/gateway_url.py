"""Where the gateway is reached from outside, for what is handed out to be entered in Klaviyo."""

from typing import Final

import click

gateway_url: Final = click.option(
    "--base-url", envvar="JUSTAI_CONSOLE_GATEWAY_URL", show_envvar=True, default="https://<your host>",
    help="Where the gateway is reached from outside.",
)  # fmt: skip
"""The option, as the parameter `base_url`."""
