"""The tables of all floors, as a list of migrations; `PRAGMA user_version` counts the ones applied.

The store's own rows go through the view `sink`: one statement writes a whole group of transactions,
because every statement of the writer thread gives the interpreter lock away and may wait for it.
"""

from __future__ import annotations

from lightfast.storage.schema_engine import FORMAT_4
from lightfast.storage.schema_gateway import FORMAT_3
from lightfast.storage.schema_memory import FORMAT_2

APPLICATION_ID = 0x4C467374
"""`LFst`, in the header of the file: what tells our database from any other."""

_STORE = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;

CREATE TABLE transactions(
  revision INTEGER PRIMARY KEY, record_time INTEGER NOT NULL, origin TEXT NOT NULL,
  cause INTEGER NOT NULL, grp TEXT NOT NULL, label TEXT NOT NULL,
  undone TEXT, first INTEGER NOT NULL, rows INTEGER NOT NULL);
CREATE INDEX transactions_group ON transactions(grp) WHERE grp <> '';
CREATE INDEX transactions_cause ON transactions(cause) WHERE cause <> 0;
CREATE INDEX transactions_undone ON transactions(revision) WHERE undone IS NOT NULL;

CREATE TABLE history(
  row INTEGER PRIMARY KEY, revision INTEGER NOT NULL, path TEXT NOT NULL, kind INTEGER NOT NULL,
  source TEXT, event_time INTEGER NOT NULL, entry TEXT NOT NULL);
CREATE INDEX history_path ON history(path);

CREATE TABLE live(path TEXT PRIMARY KEY, row INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE requests(
  id INTEGER PRIMARY KEY, client TEXT NOT NULL, method TEXT NOT NULL, request_id TEXT NOT NULL,
  payload_hash TEXT NOT NULL, response NOT NULL, create_time INTEGER NOT NULL,
  UNIQUE(client, method, request_id));

CREATE TABLE declarations(pattern TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE leases(lease_id TEXT PRIMARY KEY, origin TEXT NOT NULL, ttl_ms INTEGER NOT NULL,
  create_time INTEGER NOT NULL) WITHOUT ROWID;

CREATE VIEW sink AS SELECT 0 AS t, 0 AS revision, 0 AS row, '' AS path, 0 AS kind, '' AS source,
  0 AS event_time, '' AS entry, 0 AS live, 0 AS record_time, '' AS origin, 0 AS cause, '' AS grp,
  '' AS label, '' AS undone, 0 AS rows;
CREATE TRIGGER sink_transaction INSTEAD OF INSERT ON sink WHEN NEW.t IN (1, 2) BEGIN
  INSERT INTO transactions VALUES(NEW.revision, NEW.record_time, NEW.origin, NEW.cause, NEW.grp,
    NEW.label, NEW.undone, NEW.row, NEW.rows);
END;
CREATE TRIGGER sink_event INSTEAD OF INSERT ON sink WHEN NEW.t <= 1 BEGIN
  INSERT INTO history VALUES(NEW.row, NEW.revision, NEW.path, NEW.kind, NEW.source, NEW.event_time,
    NEW.entry);
  INSERT INTO live SELECT NEW.path, NEW.row WHERE NEW.live = 1
    ON CONFLICT(path) DO UPDATE SET row = excluded.row;
  DELETE FROM live WHERE NEW.live = 2 AND path = NEW.path;
END;
CREATE TRIGGER sink_request INSTEAD OF INSERT ON sink WHEN NEW.t = 3 BEGIN
  INSERT OR REPLACE INTO requests(client, method, request_id, payload_hash, response, create_time)
    VALUES(NEW.origin, NEW.grp, NEW.label, NEW.undone, NEW.entry, NEW.record_time);
END;
"""

_OTHER_FLOORS = """
CREATE TABLE tokens(token_id TEXT PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL UNIQUE,
  scopes TEXT NOT NULL, create_time INTEGER NOT NULL, expire_time INTEGER) WITHOUT ROWID;
CREATE TABLE mounts(mount TEXT PRIMARY KEY, kind TEXT NOT NULL, instance_id TEXT NOT NULL,
  document_id TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL, updated INTEGER NOT NULL)
  WITHOUT ROWID;
CREATE TABLE links(link_id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE operations(operation_id TEXT PRIMARY KEY, body TEXT NOT NULL, create_time INTEGER NOT NULL)
  WITHOUT ROWID;
CREATE TABLE settings(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE assets(seq INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, media_type TEXT NOT NULL,
  size INTEGER NOT NULL, name TEXT NOT NULL, create_time INTEGER NOT NULL, provenance TEXT NOT NULL);
"""

MIGRATIONS: tuple[str, ...] = (_STORE + _OTHER_FLOORS, FORMAT_2, FORMAT_3, FORMAT_4)
"""What brings a database from version n to n + 1; never changed once released, only appended to."""

_VALUES = ", ".join(f"value ->> {column}" for column in range(16))
SINK = f"INSERT INTO sink SELECT {_VALUES} FROM jsonb_each(?)"  # noqa: S608  (constants)
"""Writes rows of `sink`, given as one JSONB array of arrays; see `lightfast.storage.unit.Unit.log`."""
