"""Care of the archive, loaded when it is asked for the first time."""

from __future__ import annotations

from lightfast.storage.archive.migrate import migrate
from lightfast.storage.archive.repair import repair
from lightfast.storage.archive.transfer import Importer, adopt, export
from lightfast.storage.archive.verify import verify

__all__ = ["Importer", "adopt", "export", "migrate", "repair", "verify"]
