"""Places that Spark reads and writes by address (`s3://…`, `hdfs://…`, `file://…`), through Hadoop's own file systems:
what the cluster may reach is its configuration's matter, and no second client with other rights is needed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from services.ingest.records import Unreadable


@dataclass(frozen=True, slots=True)
class Remote:
    """A file or folder by its address. `mtime_us`: of files that a listing showed."""

    session: Any
    address: str
    size: int = 0
    mtime_us: int = 0

    @property
    def name(self) -> str:
        """The last part of its address."""
        return self.address.rstrip("/").rpartition("/")[2]

    def __truediv__(self, part: str) -> "Remote":
        return Remote(self.session, f"{self.address.rstrip('/')}/{part}")

    def __str__(self) -> str:
        return self.address

    def is_within(self, folder: "Remote") -> bool:
        """Whether it lies in that folder, or is it."""
        return f"{self.address.rstrip('/')}/".startswith(f"{folder.address.rstrip('/')}/")

    def files(self) -> Iterator["Remote"]:
        """Directly in it, by name. Raises Unreadable where there is no such folder."""
        path, system = self._opened()
        if not system.exists(path):
            raise Unreadable(f"there is no {self.address}", reason="bad_place")
        shown = sorted((status.getPath().toString(), status) for status in system.listStatus(path) if status.isFile())
        for address, status in shown:
            yield Remote(self.session, _as_spark_says(address), status.getLen(), status.getModificationTime() * 1000)

    def head(self, most: int) -> bytes:
        """Its first bytes."""
        path, system = self._opened()
        stream = system.open(path)
        try:  # one call, in which the bytes come as they are
            return bytes(self.session._jvm.org.apache.commons.io.IOUtils.toByteArray(stream, min(most, self.size)))
        finally:
            stream.close()

    def _opened(self) -> tuple[Any, Any]:
        path = self.session._jvm.org.apache.hadoop.fs.Path(self.address)
        return path, path.getFileSystem(self.session._jsc.hadoopConfiguration())


def _as_spark_says(address: str) -> str:
    """Hadoop says file:/tmp where Spark's rows say file:///tmp."""
    scheme, _, rest = address.partition(":")
    return f"{scheme}://{rest}" if rest.startswith("/") and not rest.startswith("//") else address
