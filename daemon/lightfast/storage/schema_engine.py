"""Tables of the meta-computer, added by format 4: one text per room."""

from __future__ import annotations

EVENTS = """
CREATE TABLE engine_events(
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, kind TEXT NOT NULL, entity_kind TEXT NOT NULL,
  entity_id TEXT NOT NULL, payload TEXT NOT NULL);
CREATE INDEX engine_events_entity ON engine_events(entity_id, sequence);
"""
"""One row per event; numbered by the writer, so in the order of the commits."""
RUNS = """
CREATE TABLE runs(
  number INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL UNIQUE, state TEXT NOT NULL,
  create_time INTEGER NOT NULL, end_time INTEGER NOT NULL, digest TEXT NOT NULL, instructions INTEGER NOT NULL,
  intent TEXT NOT NULL, project TEXT NOT NULL, reason TEXT NOT NULL, program TEXT NOT NULL, result TEXT NOT NULL,
  body TEXT NOT NULL) STRICT;
CREATE INDEX runs_state ON runs(state, number);
CREATE TABLE run_steps(
  row INTEGER PRIMARY KEY, run_id TEXT NOT NULL, step_id TEXT NOT NULL, operation TEXT NOT NULL, state TEXT NOT NULL,
  place INTEGER NOT NULL, revision INTEGER NOT NULL, cost_usd REAL NOT NULL, body TEXT NOT NULL,
  UNIQUE(run_id, step_id)) STRICT;
CREATE INDEX run_steps_place ON run_steps(run_id, place);
CREATE TABLE run_events(
  row INTEGER PRIMARY KEY, run_id TEXT NOT NULL, sequence INTEGER NOT NULL, time INTEGER NOT NULL,
  step_id TEXT NOT NULL, operation TEXT NOT NULL, state TEXT NOT NULL, body TEXT NOT NULL,
  UNIQUE(run_id, sequence)) STRICT;
"""
"""Runs; their steps, *place* the order in which they were committed, 0 before; and what happened to them, numbered by
the writer within each run."""
JOBS = """
CREATE TABLE jobs(
  number INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL UNIQUE, type TEXT NOT NULL, state TEXT NOT NULL,
  priority INTEGER NOT NULL, payload TEXT NOT NULL, requester TEXT NOT NULL, asker TEXT NOT NULL, after TEXT NOT NULL,
  schedule TEXT NOT NULL, timeout REAL NOT NULL, max_attempts INTEGER NOT NULL, create_time INTEGER NOT NULL,
  run_time INTEGER NOT NULL, start_time INTEGER NOT NULL, end_time INTEGER NOT NULL, attempts INTEGER NOT NULL,
  fraction REAL NOT NULL, message TEXT NOT NULL, result TEXT NOT NULL, error TEXT NOT NULL, note TEXT NOT NULL,
  run_id TEXT NOT NULL, request_id TEXT NOT NULL, request_hash TEXT NOT NULL) STRICT;
CREATE INDEX jobs_live ON jobs(number) WHERE state IN ('PENDING', 'RUNNING', 'RETRYING');
CREATE INDEX jobs_ended ON jobs(end_time) WHERE end_time <> 0;
CREATE INDEX jobs_dead ON jobs(number) WHERE state = 'DEAD';
CREATE UNIQUE INDEX jobs_request ON jobs(requester, request_id) WHERE request_id <> '';
CREATE TABLE job_logs(
  row INTEGER PRIMARY KEY, job_id TEXT NOT NULL, time INTEGER NOT NULL, text TEXT NOT NULL) STRICT;
CREATE INDEX job_logs_job ON job_logs(job_id, row);
CREATE TABLE job_schedules(
  name TEXT PRIMARY KEY, body TEXT NOT NULL, next_time INTEGER NOT NULL, last_time INTEGER NOT NULL)
  STRICT, WITHOUT ROWID;
"""
"""The queue: `number` is the order in which jobs came; times in ns since 1970, 0 for none; values as JSON."""
WORKSPACES = """
CREATE TABLE workspaces(
  workspace_id TEXT PRIMARY KEY, name TEXT NOT NULL, description TEXT NOT NULL, metadata TEXT NOT NULL,
  create_time INTEGER NOT NULL, update_time INTEGER NOT NULL, version INTEGER NOT NULL, archived INTEGER NOT NULL)
  STRICT, WITHOUT ROWID;
CREATE TABLE projects(
  project_id TEXT PRIMARY KEY, workspace_id TEXT NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL,
  metadata TEXT NOT NULL, create_time INTEGER NOT NULL, update_time INTEGER NOT NULL, version INTEGER NOT NULL,
  archived INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX projects_workspace ON projects(workspace_id);
CREATE TABLE task_versions(
  row INTEGER PRIMARY KEY, task_id TEXT NOT NULL, version INTEGER NOT NULL, number INTEGER NOT NULL,
  state TEXT NOT NULL, workspace_id TEXT NOT NULL, project_id TEXT NOT NULL, parent_task_id TEXT NOT NULL,
  title TEXT NOT NULL, description TEXT NOT NULL, intent_type TEXT NOT NULL, business_goal TEXT NOT NULL,
  body TEXT NOT NULL, create_time INTEGER NOT NULL, record_time INTEGER NOT NULL, superseded_time INTEGER NOT NULL,
  valid_from INTEGER NOT NULL, valid_to INTEGER NOT NULL, UNIQUE(task_id, version)) STRICT;
CREATE INDEX task_versions_now ON task_versions(number) WHERE superseded_time = 0;
CREATE INDEX task_versions_state ON task_versions(state) WHERE superseded_time = 0;
CREATE INDEX task_versions_parent ON task_versions(parent_task_id) WHERE parent_task_id <> '' AND superseded_time = 0;
CREATE INDEX task_versions_open ON task_versions(number)
  WHERE superseded_time = 0 AND state IN ('PENDING', 'BLOCKED', 'SPLIT');
CREATE TABLE task_after(task_id TEXT NOT NULL, after_id TEXT NOT NULL, place INTEGER NOT NULL,
  PRIMARY KEY(task_id, after_id)) STRICT, WITHOUT ROWID;
CREATE INDEX task_after_other ON task_after(after_id);
CREATE VIRTUAL TABLE task_words USING fts5(
  title, description, intent_type, business_goal, content='task_versions', content_rowid='row',
  tokenize='porter unicode61 remove_diacritics 2');
INSERT INTO task_words(task_words, rank) VALUES('secure-delete', 1);
CREATE TRIGGER task_words_added AFTER INSERT ON task_versions WHEN NEW.superseded_time = 0 BEGIN
  INSERT INTO task_words(rowid, title, description, intent_type, business_goal)
    VALUES(NEW.row, NEW.title, NEW.description, NEW.intent_type, NEW.business_goal);
END;
CREATE TRIGGER task_words_over AFTER UPDATE ON task_versions WHEN OLD.superseded_time = 0 BEGIN
  INSERT INTO task_words(task_words, rowid, title, description, intent_type, business_goal)
    VALUES('delete', OLD.row, OLD.title, OLD.description, OLD.intent_type, OLD.business_goal);
  INSERT INTO task_words(rowid, title, description, intent_type, business_goal)
    SELECT NEW.row, NEW.title, NEW.description, NEW.intent_type, NEW.business_goal WHERE NEW.superseded_time = 0;
END;
CREATE TRIGGER task_words_gone AFTER DELETE ON task_versions WHEN OLD.superseded_time = 0 BEGIN
  INSERT INTO task_words(task_words, rowid, title, description, intent_type, business_goal)
    VALUES('delete', OLD.row, OLD.title, OLD.description, OLD.intent_type, OLD.business_goal);
END;
"""
"""Workspaces, projects, and every version of every task; the words are those of the present versions.

Of a task `number` is the order in which it was created; `superseded_time` and `valid_to` are 0 while there is none.
"""
WORKFLOWS = """
CREATE TABLE workflow_files(
  file TEXT PRIMARY KEY, name TEXT NOT NULL, version TEXT NOT NULL, text TEXT NOT NULL) STRICT;
CREATE TABLE trigger_states(name TEXT PRIMARY KEY, fired INTEGER NOT NULL, held_back INTEGER NOT NULL,
  last_time INTEGER NOT NULL, due_time INTEGER NOT NULL) STRICT;
CREATE TABLE trigger_firings(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, workflow TEXT NOT NULL,
  time INTEGER NOT NULL, fired INTEGER NOT NULL, code TEXT NOT NULL, reason TEXT NOT NULL, times INTEGER NOT NULL,
  run_id TEXT NOT NULL, cause INTEGER NOT NULL) STRICT;
CREATE INDEX trigger_firings_name ON trigger_firings(name, id);
"""
"""The last good text of each workflow file; how often triggers fired, and why they did or did not, bounded."""
DESK = """
CREATE TABLE desk_lines(
  number INTEGER PRIMARY KEY AUTOINCREMENT, line_id TEXT NOT NULL UNIQUE, client TEXT NOT NULL,
  request_id TEXT, said TEXT NOT NULL, command TEXT NOT NULL, letters TEXT NOT NULL, signature TEXT NOT NULL,
  ack TEXT NOT NULL, asker TEXT NOT NULL, project TEXT NOT NULL, conversation TEXT NOT NULL, state TEXT NOT NULL,
  task_id TEXT NOT NULL, job_id TEXT NOT NULL, run_id TEXT NOT NULL, parent TEXT NOT NULL, place INTEGER NOT NULL,
  confidence REAL NOT NULL, complexity REAL NOT NULL, routing TEXT NOT NULL, outcome TEXT NOT NULL,
  create_time INTEGER NOT NULL, update_time INTEGER NOT NULL, UNIQUE(client, request_id)) STRICT;
CREATE INDEX desk_lines_state ON desk_lines(state, number);
CREATE INDEX desk_lines_client ON desk_lines(client, number);
CREATE INDEX desk_lines_run ON desk_lines(run_id) WHERE run_id <> '';
CREATE INDEX desk_lines_parent ON desk_lines(parent, place) WHERE parent <> '';
"""
"""Lines that were acknowledged, and what became of them; *ack* and *asker* are JSON, *parent* the line whose task this
one is a part of, in *place*; a NULL *request_id* was not given."""
IMPORTS = ""

FORMAT_4 = EVENTS + RUNS + JOBS + WORKSPACES + WORKFLOWS + DESK + IMPORTS
