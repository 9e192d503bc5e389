"""
The tables. Texts that hold JSON are written in one form (`canonical`), so that both databases keep the same bytes.

A change here is a new file in `migrations/versions`, which a test compares with this.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData()

_ID = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only what it calls INTEGER

REQUESTS = Table(
    "agent_requests",
    METADATA,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("agent", String(255), nullable=False),
    Column("issuer", String(2048), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("names", Text, nullable=False),
    Column("action", String(255), nullable=False),
    Column("target", String(2048), nullable=False),
    Column("reason", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("dedup_key", String(512)),
    # of active requests alone: two of them never have one key
    Column("active_key", String(64), unique=True),
    Column("phase", String(16), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("needed", Integer, nullable=False),
    Column("reviewer_groups", Text, nullable=False),
    Column("conditions", Text, nullable=False),
    Column("results", Text, nullable=False),
    Column("denial", Text),
    Column("outcome", Text),
    Column("version", Integer, nullable=False),
    Index("ix_agent_requests_phase", "phase", "id"),
    Index("ix_agent_requests_agent", "agent", "created_at"),
    Index("ix_agent_requests_created", "created_at"),
    Index("ix_agent_requests_subject", "issuer", "subject", "id"),
)

VOTES = Table(
    "votes",
    METADATA,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("request", _ID, nullable=False),
    Column("issuer", String(2048), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("identity", String(255), nullable=False),
    Column("decision", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Float, nullable=False),
    UniqueConstraint("request", "issuer", "subject", name="uq_votes_request"),
)

IDEMPOTENCY = Table(
    "idempotency",
    METADATA,
    Column("key", String(64), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("request", String(80), nullable=False),
    Column("at", Float, nullable=False),
)

AUDIT = Table(
    "audit",
    METADATA,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("request", String(80), nullable=False),
    Column("event", String(32), nullable=False),
    Column("body", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index("ix_audit_request", "request", "seq"),
)

AUDIT_HEAD = Table(
    "audit_head",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
)
"""One row: the end of the chain. Who writes has it locked, so that the chain has one order."""

GRANT_KEYS = Table(
    "grant_keys",
    METADATA,
    Column("kid", String(64), primary_key=True),
    Column("jwk", Text, nullable=False),
    Column("made_at", Float, nullable=False),
)
"""Public keys. A replica keeps its private one to itself, and verifies by all of these."""

DELIVERIES = Table(
    "deliveries",
    METADATA,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("request", String(80), nullable=False),
    Column("made_at", Float, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Index("ix_deliveries_next", "next_at"),
)
"""What the webhook has still to be told; who tells it moves `next_at` on first, so that no other replica does, too."""


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=dict)
