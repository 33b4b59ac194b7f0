"""Where a target's objects go: into its bucket, or into the folder of the installation."""

from pathlib import Path

from services.egress.folder import Folder
from services.egress.model import Target
from services.egress.s3 import S3, Bucket
from shared.errors import Permanent


class Places:
    """`folder`: of orgs without a bucket, each below its slug; None: they have none."""

    def __init__(self, s3: S3, folder: Path | None) -> None:
        self._s3, self._folder = s3, folder

    async def bucket(self, target: Target) -> Bucket | Folder:
        """The place of a target. Raises Permanent when there is none, and what S3.bucket raises."""
        if target.bucket:
            return await self._s3.bucket(target)
        if self._folder is None:
            raise Permanent(
                "this installation has no folder for exports any more; name a bucket", reason="no_export_folder"
            )
        if not self._folder.is_dir():  # a disk that is not mounted must not be made anew beside it
            raise Permanent(f"{self._folder} is not there", reason="no_export_folder")
        return Folder(self._folder / target.org_slug)
