"""A private S3 server: SeaweedFS from the locked Python package, one administrator identity."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

from devstack.guarded import GuardedProcess
from devstack.local import Folder, Running, ServerFailed, clean_env, launch
from devstack.ports import LOOPBACK, S3_GRPC_OFFSET, free_ports

_READY_S = 30.0
_STOP_S = 10.0  # a clean stop was seen to take 2.2 s
ACCESS_KEY = "devstack"


def start(folder: Folder, *, ports: tuple[int, ...] | None = None) -> Running:
    """Start `weed mini`; buckets are made by whoever needs them. `ports`: of S3, master, volume, filer and admin, each
    with one that is S3_GRPC_OFFSET higher; default: any free ones."""
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if weed is None:
        raise ServerFailed("the S3 server `weed` is not installed; run `make setup`")
    secret = folder.secret("s3")
    config = folder.path / "s3.json"
    config.touch(mode=0o600)
    config.write_text(identities(secret))
    data = folder.path / "data"
    data.mkdir(exist_ok=True)
    ports = ports or free_ports(5, also=S3_GRPC_OFFSET)
    process = launch(
        "s3",
        [weed, "-logtostderr", "mini", f"-dir={data}", f"-s3.config={config}", *_flags(ports)],
        lambda: is_healthy(ports[0]),
        folder=folder,
        env=clean_env(HOME=str(folder.path)),
        within_s=_READY_S,
    )
    fields = {
        "s3_endpoint": f"http://{LOOPBACK}:{ports[0]}",
        "s3_access_key": ACCESS_KEY,
        "s3_secret_key": secret,
    }
    stop = partial(_stop, process, ports, durable=folder.durable)
    return Running(fields, stop, f"private process, port {ports[0]}", process)


def identities(secret: str) -> str:
    """The server's file of identities: one administrator."""
    key = {"accessKey": ACCESS_KEY, "secretKey": secret}
    rights = ["Admin", "Read", "Write", "List"]
    return json.dumps({"identities": [{"name": "devstack", "credentials": [key], "actions": rights}]})


def _flags(ports: tuple[int, ...]) -> list[str]:
    s3, master, volume, filer, admin = ports
    return [
        # Without both, it announces and binds the machine's public address.
        f"-ip={LOOPBACK}",
        f"-ip.bind={LOOPBACK}",
        f"-s3.port={s3}",
        f"-master.port={master}",
        f"-volume.port={volume}",
        f"-filer.port={filer}",
        f"-admin.port={admin}",
        "-webdav=false",
        "-admin.ui=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]


def is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except http.client.HTTPException:
        return False
    finally:
        connection.close()


def _stop(process: GuardedProcess, ports: tuple[int, ...], *, durable: bool) -> None:
    if durable:
        process.stop(signal.SIGTERM, within_s=_STOP_S)
    else:
        process.kill()
    for port in ports:  # it leaves its Unix sockets behind
        for socket_file in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108 - fixed by the server
            socket_file.unlink(missing_ok=True)
