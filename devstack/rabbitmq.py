"""A private RabbitMQ node from Debian's package, with its plugins for management and Prometheus, all on 127.0.0.1.

The package's wrappers in /usr/sbin are no use here: they change to the user rabbitmq and to the system's own node.
"""

from __future__ import annotations

import base64
import http.client
import signal
import subprocess
from functools import partial
from pathlib import Path

from devstack.guarded import GuardedProcess
from devstack.local import Folder, Running, ServerFailed, clean_env, launch
from devstack.ports import LOOPBACK, free_ports

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_CONTROL = SERVER.with_name("rabbitmqctl")
_CONTROL_S = 180.0  # two seconds on an idle machine, a minute on a crowded one
USER = "devstack"
READY_S = 90.0  # 6 s on an idle machine; much more when all cores are busy
_STOP_S = 20.0  # a clean stop takes 6 s, always

_CONFIG = """\
listeners.tcp.1 = {host}:{amqp}
default_user = {user}
default_pass = {password}
loopback_users = none
management.tcp.ip = {host}
management.tcp.port = {management}
prometheus.tcp.ip = {host}
prometheus.tcp.port = {metrics}
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 50MB
log.console = true
log.console.level = warning
log.file = false
"""
# Tests look at queue lengths over HTTP; by default the node refreshes them only every 5 s.
_FRESH_FIGURES = "collect_statistics_interval = 250\n"
_FRESH_QUORUM_FIGURES = "-rabbit quorum_tick_interval 250"


def start(folder: Folder, *, ports: tuple[int, ...] | None = None) -> Running:
    """Start the node; its data folder belongs to one node name, so a later start finds the same queues. `ports`: AMQP,
    management, distribution, epmd, metrics; default: any free ones."""
    if not SERVER.exists():
        raise ServerFailed("RabbitMQ is not installed; run devstack/bootstrap.sh servers")
    password = folder.secret("rabbitmq")
    amqp, management, distribution, epmd, metrics = ports or free_ports(5)
    config = _CONFIG.format(
        host=LOOPBACK, amqp=amqp, management=management, metrics=metrics, user=USER, password=password
    )
    file = folder.path / "rabbitmq.conf"
    file.touch(mode=0o600)
    file.write_text(config if folder.durable else config + _FRESH_FIGURES)
    (folder.path / "enabled_plugins").write_text("[rabbitmq_management,rabbitmq_prometheus].\n")
    (folder.path / "home").mkdir(exist_ok=True)
    process = launch(
        "rabbitmq",
        [SERVER],
        lambda: listens(management, amqp, password),
        folder=folder,
        env=_environment(folder, distribution, epmd),
        within_s=READY_S,
    )
    fields = {
        "amqp_url": f"amqp://{USER}:{password}@{LOOPBACK}:{amqp}/",
        "amqp_management_url": f"http://{USER}:{password}@{LOOPBACK}:{management}",
        "amqp_metrics_url": f"http://{LOOPBACK}:{metrics}",
    }
    stop = partial(_stop, process, durable=folder.durable)
    return Running(fields, stop, f"private process, port {amqp}", process)


def control(folder: Folder, ports: tuple[int, ...], *arguments: str) -> str:
    """Run `rabbitmqctl` on the node of this folder and these ports; what it printed. Raises `ServerFailed`."""
    _, _, distribution, epmd, _ = ports
    done = subprocess.run(
        [_CONTROL, *arguments], env=_environment(folder, distribution, epmd), capture_output=True, text=True,
        timeout=_CONTROL_S, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ServerFailed(
            f"rabbitmqctl {' '.join(arguments)} ended with {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def _environment(folder: Folder, distribution: int, epmd: int) -> dict[str, str]:
    path = folder.path
    erl_args = [
        "-kernel inet_dist_use_interface {127,0,0,1}",
        "+sbwt none +sbwtdcpu none +sbwtdio none",  # idle schedulers sleep instead of spinning on few cores
        *([] if folder.durable else [_FRESH_QUORUM_FIGURES]),
    ]
    return clean_env(
        HOME=str(path / "home"),  # the cookie is made there
        RABBITMQ_NODENAME="devstack@localhost",
        RABBITMQ_DIST_PORT=str(distribution),
        RABBITMQ_MNESIA_BASE=str(path / "mnesia"),
        RABBITMQ_LOG_BASE=str(path / "log"),
        RABBITMQ_CONFIG_FILE=str(path / "rabbitmq"),  # without its suffix
        RABBITMQ_ENABLED_PLUGINS_FILE=str(path / "enabled_plugins"),
        RABBITMQ_CONF_ENV_FILE="/dev/null",
        RABBITMQ_PID_FILE=str(path / "pid"),
        RABBITMQ_GENERATED_CONFIG_DIR=str(path / "generated"),
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=" ".join(erl_args),
        ERL_EPMD_PORT=str(epmd),
        ERL_EPMD_ADDRESS=LOOPBACK,
        ERL_CRASH_DUMP_SECONDS="0",
    )


def listens(management: int, amqp: int, password: str) -> bool:
    """Whether the node behind the management port takes AMQP connections on (its own) port `amqp`."""
    token = base64.b64encode(f"{USER}:{password}".encode()).decode()
    connection = http.client.HTTPConnection(LOOPBACK, management, timeout=5)
    try:
        connection.request(
            "GET", f"/api/health/checks/port-listener/{amqp}", headers={"Authorization": f"Basic {token}"}
        )
        return connection.getresponse().status == http.HTTPStatus.OK
    except http.client.HTTPException:
        return False
    finally:
        connection.close()


def _stop(process: GuardedProcess, *, durable: bool) -> None:
    # Killing loses nothing that was confirmed (quorum queues sync before they confirm), but a clean stop also keeps
    # what was not, and starts again without recovery. For data nobody wants it would only be 6 s of waiting.
    if durable:
        process.stop(signal.SIGTERM, within_s=_STOP_S)
    else:
        process.kill()
