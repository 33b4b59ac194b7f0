"""Sources in files of configuration."""

from tests.component.admin.config_files import applied, refused, shown
from tests.component.admin.rig import Rig

KINDS = """
org: {slug: acme}
sources:
  - {name: drop, kind: folder, path: in}
  - {name: lake, kind: s3, bucket: acme-events, path: klaviyo, access_key: AKIA1, endpoint_url: https://s3.example.com}
"""


async def test_sources_of_each_kind_are_applied_written_out_and_done_once(acme: Rig) -> None:
    first = await applied(acme, KINDS)
    rows = {row["name"]: row for row in await acme.rows("SELECT * FROM sources")}
    written = await shown(acme)
    again = await applied(acme, KINDS)
    changed = await applied(
        acme, KINDS.replace("path: in", "path: new").replace(", endpoint_url: https://s3.example.com", "")
    )
    later = {row["name"]: row for row in await acme.rows("SELECT * FROM sources")}

    assert first.to_do == ["set the secret of its access key of the source lake"]
    assert (rows["drop"]["kind"], rows["drop"]["path"], rows["drop"]["refused_at"]) == ("folder", "in", None)
    assert (rows["lake"]["bucket"], rows["lake"]["region"], rows["lake"]["last_error"]) == (
        "acme-events", "us-east-1", "The secret of the access key is not set yet.",
    )  # fmt: skip
    assert "kind: folder" in written
    assert "endpoint_url: https://s3.example.com" in written
    assert again.changes == []
    assert [(one.name, one.what) for one in changed.changes] == [("drop", "change"), ("lake", "change")]
    assert (later["drop"]["path"], later["lake"]["endpoint_url"]) == ("new", "")


async def test_a_source_of_a_file_is_whole_and_of_one_kind(acme: Rig) -> None:
    faults = await refused(acme, "sources:\n  - {name: x, kind: s3, host: h}\n  - {name: y}\n")
    await applied(acme, KINDS)
    moved = await refused(acme, KINDS.replace("kind: folder, path: in", "kind: s3, bucket: abc"))

    assert "host: belongs to sources of kind sftp; this one is of kind s3; bucket: is missing" in faults[0]
    assert "host: is missing; a source of kind sftp needs it" in faults[1]
    assert "a source stays of the kind that it is; give this one another name" in moved[0]
