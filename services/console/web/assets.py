"""Scripts and styles, read once, named after their content, so that browsers keep them for ever."""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.errors import Permanent

STATIC: Final = Path(__file__).parent.parent / "static"
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# What `make assets` brings from npm; everything else in the folder is ours.
_VENDORED: Final = ("vendor/htmx.min.js", "vendor/uPlot.iife.min.js", "vendor/uPlot.min.css")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file."""

    content_type: str
    body: bytes
    gzipped: bytes


class Assets:
    """By name (`console.css`) where it is, by path what it is. Raises Permanent when the vendored ones are missing."""

    def __init__(self, folder: Path = STATIC) -> None:
        missing = [name for name in _VENDORED if not (folder / name).is_file()]
        if missing:
            raise Permanent(f"the console's assets are not built ({missing[0]} is missing); run `make assets`")
        self._paths: dict[str, str] = {}
        self._by_path: dict[str, Asset] = {}
        for file in sorted(folder.rglob("*")):
            if file.suffix in _TYPES:
                self._add(file.relative_to(folder).as_posix(), file)

    def _add(self, name: str, file: Path) -> None:
        body = file.read_bytes()
        digest = hashlib.sha256(body).hexdigest()[:16]
        path = f"/_static/{digest}/{name.rpartition('/')[2]}"
        self._paths[name] = path
        self._by_path[path] = Asset(_TYPES[file.suffix], body, gzip.compress(body, mtime=0))

    def path(self, name: str) -> str:
        """For a link or a script tag; KeyError for what there is not."""
        return self._paths[name]

    def find(self, path: str) -> Asset | None:
        """What this path serves."""
        return self._by_path.get(path)
