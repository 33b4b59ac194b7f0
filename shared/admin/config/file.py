"""What people set up of an org, as one form of file: `justai export-config` writes it, `justai apply` reads it.

A file holds one or several documents. One with `template_id` is a template, as `justai template import` reads it; any
other has the sections of `ConfigPart`. Secrets stand in none: they are kept where they are, or are to be set by hand.
"""

from typing import Annotated, Any, Final

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, field_validator, model_validator
from pydantic.json_schema import models_json_schema

from shared.admin.errors import Refused
from shared.admin.exports.exports import ENCRYPTION_SAYS, OWNER_SAYS, RECORD_SAYS, Cadence, MoreTable
from shared.admin.exports.faults import wrong_in_access, wrong_in_prefix
from shared.admin.operation import AskedModel
from shared.admin.sources import ssh_keys
from shared.admin.sources.kinds import DEFAULT_REGION, NEEDED, SECRET_OF, Bucket, Endpoint, Kind, Region, demand_whole
from shared.admin.sources.sources import PollS, Port
from shared.content.rules import OrgRules
from shared.export_access import Encryption
from shared.exports import Layout, Record
from shared.schemas.attributes import Attributes, ZoneName
from shared.schemas.template_file import Line, TemplateFile

Word = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]
_OF_A_KIND: Final = ("host", "port", "user", "host_key", "bucket", "region", "endpoint_url", "access_key")
_SECRETS: Final = ("private_key", "secret_key", "sealed_key", "password")


class _Part(AskedModel):
    """What is left out has its default."""

    @model_validator(mode="before")
    @classmethod
    def _holds_no_secret(cls, given: Any) -> Any:
        if isinstance(given, dict) and (found := [name for name in _SECRETS if name in given]):
            raise ValueError(f"{found[0]}: is a secret, which must not stand in a file; set it by hand, once")
        return given


class OrgConfig(_Part):
    """The org itself. `slug`: the only org that the file is for; without it, it is for any."""

    slug: Word | None = None
    name: Annotated[Line, StringConstraints(min_length=1, max_length=200)] | None = None
    time_zone: ZoneName | None = Field(None, description="Like Europe/Berlin. Without it the zone stays.")


class SourceConfig(_Part):
    """A folder that event files are read from. Its private or secret key is set by hand."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {
                    "if": {"properties": {"kind": {"const": kind}}, "required": [] if kind == "sftp" else ["kind"]},
                    "then": {"required": [name for name in needed if name not in SECRET_OF.values()]},
                }
                for kind, needed in NEEDED.items()
                if needed
            ]
        }
    )

    name: Word
    kind: Kind = "sftp"
    host: Word | None = None
    port: Port | None = Field(None, description="Of kind sftp: 22 where it is left out.")
    user: Word | None = None
    path: Word = "."
    pattern: Word = "*"
    host_key: Annotated[str, AfterValidator(ssh_keys.host_key)] | None = Field(
        None, description="The server's public key, pinned."
    )
    bucket: Bucket | None = None
    region: Region | None = Field(None, description=f"Of kind s3: {DEFAULT_REGION} where it is left out.")
    endpoint_url: Endpoint | None = Field(None, description="Any S3 server; without it, Amazon's own.")
    access_key: Word | None = None
    poll_s: PollS = 60
    enabled: bool = True
    mapping: dict[Word, Word] = Field({}, description="Which column a field is, where its name does not say so.")

    @model_validator(mode="after")
    def _is_whole(self) -> "SourceConfig":
        own = {name: getattr(self, name) for name in _OF_A_KIND}
        try:
            demand_whole(self.kind, own, but=tuple(SECRET_OF.values()))
        except Refused as refused:
            raise ValueError("; ".join(f"{one.field}: {one.message}" for one in refused.faults)) from None
        return self

    def told(self) -> dict[str, Any]:
        """All of it but the name, with the defaults of its kind; null: nothing."""
        defaults: dict[str, Any] = {"port": 22} if self.kind == "sftp" else {}
        if self.kind == "s3":
            defaults = {"region": DEFAULT_REGION}
        said = self.model_dump(exclude={"name"})
        return said | {name: value for name, value in defaults.items() if said[name] is None}


class ExportConfig(_Part):
    """Where the records go. The secret of `access_key` is set by hand."""

    bucket: Word
    prefix: str = ""
    endpoint_url: Annotated[str, StringConstraints(pattern=r"^https?://")] | None = Field(
        None, description="Any S3 server; without it, AWS."
    )
    region: Word = "us-east-1"
    access_key: Word | None = None
    role_arn: Word | None = None
    bucket_owner: Word | None = Field(None, description=OWNER_SAYS)
    encryption: Encryption = Field("bucket", description=ENCRYPTION_SAYS)
    kms_key_id: Word | None = Field(None, description="ARN of that key; only with the encryption kms.")
    cadence: Cadence = "daily"
    record: Record = Field("page", description=RECORD_SAYS)
    tables: list[MoreTable] = Field([], description="Exported beside the record.")
    layout: Layout = "plain"
    success_file: bool = False

    @field_validator("prefix")
    @classmethod
    def _without_slashes(cls, prefix: str) -> str:
        prefix = prefix.strip("/")
        if wrong := wrong_in_prefix(prefix):
            raise ValueError(wrong)
        return prefix

    @field_validator("tables")
    @classmethod
    def _in_order(cls, tables: list[MoreTable]) -> list[MoreTable]:
        return sorted(set(tables))

    @model_validator(mode="before")
    @classmethod
    def _the_id_is_ours(cls, given: Any) -> Any:
        if isinstance(given, dict) and "external_id" in given:
            raise ValueError("external_id: is ours, one per org; take it out (`justai export role` shows it)")
        return given

    @model_validator(mode="after")
    def _access_can_be(self) -> "ExportConfig":
        if wrong := wrong_in_access(self):
            raise ValueError(f"{wrong[0]}: {wrong[1]}")
        return self


class ConfigPart(AskedModel):
    """Sections of an org's configuration. A section that stands in no file stays as it is; so does a template, variant,
    attribute or source that no file names."""

    org: OrgConfig | None = None
    rules: OrgRules | None = Field(None, description="As in `justai org rules import`.")
    attributes: Attributes = Field({}, description="As in `justai org attributes import`.")
    sources: list[SourceConfig] = Field([], description="SFTP folders.")
    export: ExportConfig | None = None
    templates: list[TemplateFile] = Field([], description="Each as in `justai template import`.")


def schema() -> dict[str, Any]:
    """The JSON Schema of one document: sections, or a template. Names of fields are what editors help with; what
    applying checks beyond it, like the language of copy, it says itself."""
    _, definitions = models_json_schema(
        [(ConfigPart, "validation"), (TemplateFile, "validation")], ref_template="#/$defs/{model}"
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A configuration file of JustAI for Klaviyo",
        "if": {"type": "object", "required": ["template_id"]},
        "then": {"$ref": "#/$defs/TemplateFile"},
        "else": {"$ref": "#/$defs/ConfigPart"},
        "$defs": definitions["$defs"],
    }
