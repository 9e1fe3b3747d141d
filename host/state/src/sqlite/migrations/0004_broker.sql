-- Messages between plugins. Topics and what is in them belong to all who may reach them, so that
-- their alias is empty; subscriptions and dead letters are their plugin's.

-- A topic: the last position that was given, and what lies in it, delayed messages included.
CREATE TABLE bus_topics (
    project TEXT NOT NULL,
    alias TEXT NOT NULL,
    tenant TEXT NOT NULL,
    topic TEXT NOT NULL,
    head BIGINT NOT NULL,
    messages BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY (project, alias, tenant, topic)
);

-- The log of each topic. The envelope is what is said of the message, as JSON.
CREATE TABLE bus_log (
    project TEXT NOT NULL,
    alias TEXT NOT NULL,
    tenant TEXT NOT NULL,
    topic TEXT NOT NULL,
    position BIGINT NOT NULL,
    id TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    key TEXT,
    size BIGINT NOT NULL,
    envelope TEXT NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (project, alias, tenant, topic, position)
);

-- Messages that enter their topic later.
CREATE TABLE bus_delayed (
    project TEXT NOT NULL,
    alias TEXT NOT NULL,
    tenant TEXT NOT NULL,
    topic TEXT NOT NULL,
    due_ms BIGINT NOT NULL,
    id TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    key TEXT,
    size BIGINT NOT NULL,
    envelope TEXT NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (project, due_ms, id)
);

-- What may not enter a topic a second time.
CREATE TABLE bus_dedup (
    project TEXT NOT NULL,
    alias TEXT NOT NULL,
    tenant TEXT NOT NULL,
    topic TEXT NOT NULL,
    dedup TEXT NOT NULL,
    id TEXT NOT NULL,
    expires_ms BIGINT NOT NULL,
    PRIMARY KEY (project, alias, tenant, topic, dedup)
);
CREATE INDEX bus_dedup_ending ON bus_dedup (project, topic, expires_ms);

-- A subscription is a cursor for each topic, up to which all is settled, and the exceptions.
CREATE TABLE bus_subscriptions (
    project TEXT NOT NULL,
    alias TEXT NOT NULL,
    tenant TEXT NOT NULL,
    subscription TEXT NOT NULL,
    patterns TEXT NOT NULL,
    PRIMARY KEY (project, alias, tenant, subscription)
);
CREATE TABLE bus_cursors (
    project TEXT NOT NULL,
    alias TEXT NOT NULL,
    tenant TEXT NOT NULL,
    subscription TEXT NOT NULL,
    topic TEXT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (project, alias, tenant, subscription, topic)
);
CREATE TABLE bus_exceptions (
    project TEXT NOT NULL,
    alias TEXT NOT NULL,
    tenant TEXT NOT NULL,
    subscription TEXT NOT NULL,
    topic TEXT NOT NULL,
    position BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    due_ms BIGINT NOT NULL,
    PRIMARY KEY (project, alias, tenant, subscription, topic, position)
);
CREATE INDEX bus_exceptions_log ON bus_exceptions (project, topic, position);

-- Messages that a subscription has given up. Those that entered no topic have position 0.
CREATE TABLE bus_dead (
    project TEXT NOT NULL,
    alias TEXT NOT NULL,
    tenant TEXT NOT NULL,
    subscription TEXT NOT NULL,
    dead_ms BIGINT NOT NULL,
    id TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    topic TEXT NOT NULL,
    position BIGINT NOT NULL,
    message TEXT NOT NULL,
    time_ms BIGINT NOT NULL,
    key TEXT,
    size BIGINT NOT NULL,
    envelope TEXT NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (project, id)
);
CREATE INDEX bus_dead_oldest ON bus_dead (project, alias, tenant, subscription, dead_ms, id);

-- What came to an end without being handled, counted in the transaction that ends it.
CREATE TABLE bus_counts (
    project TEXT NOT NULL,
    alias TEXT NOT NULL,
    tenant TEXT NOT NULL,
    subscription TEXT NOT NULL,
    topic TEXT NOT NULL,
    what TEXT NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (project, alias, tenant, subscription, topic, what)
);
