-- Every row is keyed by project, alias and tenant. Times are milliseconds since 1970, UTC.

CREATE TABLE projects (
    project TEXT NOT NULL PRIMARY KEY,
    created_ms BIGINT NOT NULL
);

-- Storage of plugins, and what each has of it: keys, bytes, and the last version that was given
-- to a value, which never goes back. Values come last: what is before them is read without them.
CREATE TABLE kv (
    project TEXT NOT NULL,
    alias TEXT NOT NULL,
    tenant TEXT NOT NULL,
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    version BIGINT NOT NULL,
    expires_ms BIGINT,
    value BLOB NOT NULL,
    PRIMARY KEY (project, alias, tenant, bucket, key)
);
CREATE INDEX kv_expiring ON kv (project, expires_ms, alias, tenant) WHERE expires_ms IS NOT NULL;
CREATE TABLE kv_used (
    project TEXT NOT NULL,
    alias TEXT NOT NULL,
    tenant TEXT NOT NULL,
    keys BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (project, alias, tenant)
);

-- The audit log: the records from first to last, which were committed together, are the
-- host's row; whom each is about it says itself. What of it was pruned, and the bytes that it has.
CREATE TABLE audit (
    project TEXT NOT NULL,
    alias TEXT NOT NULL,
    tenant TEXT NOT NULL,
    first BIGINT NOT NULL,
    last BIGINT NOT NULL,
    records BLOB NOT NULL,
    macs BLOB NOT NULL,
    PRIMARY KEY (project, alias, tenant, last)
);
CREATE TABLE audit_used (
    project TEXT NOT NULL PRIMARY KEY,
    bytes BIGINT NOT NULL
);
CREATE TABLE audit_checkpoint (
    project TEXT NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    mac TEXT NOT NULL,
    seal TEXT NOT NULL
);

CREATE TABLE secrets (
    project TEXT NOT NULL,
    alias TEXT NOT NULL,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    version BIGINT NOT NULL,
    key_id TEXT NOT NULL,
    sealed BLOB NOT NULL,
    created_ms BIGINT NOT NULL,
    rotated_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    used_ms BIGINT,
    PRIMARY KEY (project, alias, tenant, name)
);

CREATE TABLE history (
    project TEXT NOT NULL,
    alias TEXT NOT NULL,
    tenant TEXT NOT NULL,
    seq BIGINT NOT NULL,
    time_ms BIGINT NOT NULL,
    kind TEXT NOT NULL,
    who TEXT NOT NULL,
    digest TEXT NOT NULL,
    grants TEXT NOT NULL,
    PRIMARY KEY (project, alias, tenant, seq)
);

CREATE TABLE usage (
    project TEXT NOT NULL,
    alias TEXT NOT NULL,
    tenant TEXT NOT NULL,
    tool TEXT NOT NULL,
    span_ms BIGINT NOT NULL,
    start_ms BIGINT NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (project, span_ms, start_ms, alias, tenant, tool)
);
