-- Calls that their callers come back for. A row is there before a caller hears of its task, so
-- that one whose host ended is told of it. Times are milliseconds since 1970, UTC.

CREATE TABLE tasks (
    project TEXT NOT NULL,
    alias TEXT NOT NULL,
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    tool TEXT NOT NULL,
    state TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (project, id)
);

CREATE INDEX tasks_by_age ON tasks (project, state, created_ms);
