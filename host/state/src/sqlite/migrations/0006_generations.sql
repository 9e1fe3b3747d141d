-- The components that a plugin had: one row each, with the plugin's table in the operator's file
-- and what was agreed to. The one that is installed has no end. Times are milliseconds since
-- 1970, UTC.

CREATE TABLE generations (
    project TEXT NOT NULL,
    alias TEXT NOT NULL,
    tenant TEXT NOT NULL,
    generation BIGINT NOT NULL,
    digest TEXT NOT NULL,
    since_ms BIGINT NOT NULL,
    until_ms BIGINT,
    entry TEXT NOT NULL,
    locked TEXT NOT NULL,
    PRIMARY KEY (project, alias, tenant, generation)
);
CREATE UNIQUE INDEX generations_component ON generations (project, alias, tenant, digest);
