-- What a release of schema version 7 has left behind. It is never changed: such files are out there.
CREATE TABLE fires (
    period TEXT NOT NULL,
    starts_at INTEGER NOT NULL,
    tag TEXT NOT NULL,
    fires INTEGER NOT NULL,
    PRIMARY KEY (period, starts_at, tag)
) STRICT, WITHOUT ROWID;
INSERT INTO "fires" VALUES('minute',1000000680000,'report',4);
CREATE TABLE records (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    found_by TEXT,
    doc TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE remembered (
    key TEXT NOT NULL PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    ids TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "remembered" VALUES('request','f','["a"]',1000000000000);
CREATE TABLE runs (
    id TEXT NOT NULL UNIQUE,
    task_id TEXT NOT NULL,
    shard INTEGER NOT NULL,
    tag TEXT NOT NULL,
    queue TEXT,
    state TEXT NOT NULL,
    scheduled_at INTEGER NOT NULL,
    attention_at INTEGER,
    ended_at INTEGER,
    version INTEGER NOT NULL,
    doc TEXT NOT NULL
, lease_slot TEXT) STRICT;
INSERT INTO "runs" VALUES('0199a4c8000070008000000000000001-2-1000000700000','0199a4c8000070008000000000000001',38,'report','q','ready',1000000700000,253402207200000,NULL,5,'{"id":"0199a4c8000070008000000000000001-2-1000000700000","task_id":"0199a4c8000070008000000000000001","rev":2,"scheduled_at":1000000700000,"triggered":false,"tag":"report","data":"{\"id\":42} ''quoted''","queue":"q","retry":{"max_attempts":3,"backoff_ms":1,"max_backoff_ms":2},"outcome_within_ms":null,"state":"ready","reason":null,"attempt":2,"token":"token","holder":"node","claim":3,"attention_at":253402207200000,"fired_at":1000000700001,"ended_at":null,"result":null,"stretch":null,"version":5}',NULL);
INSERT INTO "runs" VALUES('0199a4c8000070008000000000000002-1-1000000000000','0199a4c8000070008000000000000002',16,'order.close',NULL,'skipped',1000000000000,NULL,1000000000009,1,'{"id":"0199a4c8000070008000000000000002-1-1000000000000","task_id":"0199a4c8000070008000000000000002","rev":1,"scheduled_at":1000000000000,"triggered":false,"tag":"order.close","data":"","queue":null,"retry":null,"outcome_within_ms":null,"state":"skipped","reason":"misfire","attempt":1,"token":"t","holder":"node","claim":1,"attention_at":null,"fired_at":null,"ended_at":1000000000009,"result":"{\"a\":1}","stretch":{"to":1000000060000,"count":2},"version":1}',NULL);
CREATE TABLE tasks (
    id TEXT NOT NULL UNIQUE,
    shard INTEGER NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    next_due_at INTEGER,
    dedup_key TEXT,
    hidden INTEGER NOT NULL,
    ended_at INTEGER,
    doc TEXT NOT NULL
) STRICT;
INSERT INTO "tasks" VALUES('0199a4c8000070008000000000000001',38,'report','active',1000000800000,'key',0,NULL,'{"id":"0199a4c8000070008000000000000001","name":"report","data":"{\"id\":42} ''quoted''","schedule":{"kind":"cron","expression":"0 9 * * *","zone":"Asia/Shanghai"},"start_at":1000000000000,"end_at":4000000000000,"max_fires":7,"ack":true,"max_runtime_sec":30,"queue":"q","retry":{"max_attempts":3,"backoff_ms":1,"max_backoff_ms":2},"created_at":1000000000000,"anchored_at":1000000000003,"rev":2,"state":"active","next_due_at":1000000800000,"last_due_at":1000000700000,"fired_count":1,"dedup_key":"key","past":[{"rev":1,"last_due_at":1000000600000}],"hidden":false}');
INSERT INTO "tasks" VALUES('0199a4c8000070008000000000000002',16,'order.close','finished',NULL,NULL,0,1000000000009,'{"id":"0199a4c8000070008000000000000002","name":"order.close","data":"","schedule":{"kind":"once"},"start_at":null,"end_at":null,"max_fires":null,"ack":false,"max_runtime_sec":null,"queue":null,"retry":null,"created_at":1000000000000,"anchored_at":1000000000000,"rev":1,"state":"finished","next_due_at":null,"last_due_at":1000000000000,"fired_count":1,"dedup_key":null,"past":[],"hidden":false}');
CREATE UNIQUE INDEX tasks_key ON tasks (dedup_key) WHERE dedup_key IS NOT NULL;
CREATE INDEX tasks_by_state ON tasks (state, id) WHERE hidden = 0;
CREATE INDEX tasks_by_name ON tasks (name, state, id) WHERE hidden = 0;
CREATE INDEX tasks_ended ON tasks (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX runs_ready_in_queue ON runs (queue, scheduled_at, id) WHERE state = 'ready';
CREATE INDEX runs_ready_by_tag ON runs (scheduled_at, id) WHERE state = 'ready' AND queue = tag;
CREATE INDEX runs_by_state ON runs (state, scheduled_at, id);
CREATE INDEX runs_latest ON runs (scheduled_at, id);
CREATE INDEX runs_ended ON runs (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX remembered_at ON remembered (at);
CREATE INDEX records_found_by ON records (kind, found_by, key) WHERE found_by IS NOT NULL;
CREATE INDEX runs_by_task ON runs (task_id, state, scheduled_at, id);
CREATE UNIQUE INDEX runs_lease_slot ON runs (lease_slot) WHERE lease_slot IS NOT NULL;
CREATE INDEX tasks_due ON tasks (next_due_at, id, shard, name) WHERE state = 'active';
CREATE INDEX runs_attention ON runs (attention_at, shard) WHERE attention_at <> 253402207200000;
CREATE INDEX runs_open_by_task ON runs (task_id, id) WHERE ended_at IS NULL;
CREATE INDEX runs_open ON runs (state, tag, scheduled_at, id, queue, attention_at, ended_at) WHERE ended_at IS NULL;
CREATE INDEX runs_ended_by_tag ON runs (tag, state, scheduled_at, id) WHERE ended_at IS NOT NULL;
CREATE TABLE run_logs (
    run_id TEXT NOT NULL,
    first_line INTEGER NOT NULL,
    end_line INTEGER NOT NULL,
    first_byte INTEGER NOT NULL,
    end_byte INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    batch_id TEXT NOT NULL,
    lines TEXT NOT NULL,
    PRIMARY KEY (run_id, first_line)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX run_logs_batch ON run_logs (run_id, batch_id);
PRAGMA user_version = 7;
