"""Former names; to be deleted when every branch uses `trainables.schema`."""

from trainables.schema import FREE_FIELDS as FREE_FIELDS
from trainables.schema import pack_key as shared_fields

__all__ = ["FREE_FIELDS", "shared_fields"]
