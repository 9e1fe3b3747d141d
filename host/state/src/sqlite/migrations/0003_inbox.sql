-- What waits for people: questions of calls, and notices. Answers are never here: they go to the
-- call that asked. Times are milliseconds since 1970, UTC.

CREATE TABLE inbox (
    project TEXT NOT NULL,
    alias TEXT NOT NULL,
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    call TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (project, alias, tenant, id)
);
