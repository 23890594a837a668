"""Approval policies: immutable versions per company."""

from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from contracts.payment import Role
from contracts.policy import Policy, Tier
from store.db import Pending, Pool, Row, Tx, reading

_SELECT: LiteralString = """
SELECT company_id, version, tiers, separate_releaser, created_by, created_at, as_of FROM approval_policies
"""
_NEWEST = _SELECT + "WHERE company_id = %(company_id)s ORDER BY version DESC LIMIT 1"
_ALL = _SELECT + "WHERE company_id = %(company_id)s ORDER BY version"
_INSERT = """
INSERT INTO approval_policies (
    company_id, version, tiers, separate_releaser, created_by, created_at, as_of, message_key
) VALUES (
    %(company_id)s, %(version)s, %(tiers)s, %(separate_releaser)s, %(created_by)s, %(created_at)s, %(as_of)s,
    %(message_key)s
)
"""


def newest(tx: Tx, company_id: UUID | None) -> Pending[Policy | None]:
    """Return a company's policy as it stands, or None."""
    return tx.ask(_NEWEST, {"company_id": company_id}).map(lambda rows: _policy(rows[0]) if rows else None)


def versions(pool: Pool, company_id: UUID) -> list[Policy]:
    """Return every version of a company's policy, the newest last."""
    with reading(pool) as connection:
        rows = connection.execute(_ALL, {"company_id": company_id}).fetchall()
    return [_policy(row) for row in rows]


def insert(tx: Tx, policy: Policy, message_key: str) -> None:
    """Write a new version; a lost race for its number surfaces as Transient."""
    tx.send(
        _INSERT,
        {
            "company_id": policy.company_id,
            "version": policy.version,
            "tiers": Jsonb([_tier_json(tier) for tier in policy.tiers]),
            "separate_releaser": policy.separate_releaser,
            "created_by": policy.created_by,
            "created_at": policy.created_at,
            "as_of": policy.as_of,
            "message_key": message_key,
        },
    )


def _tier_json(tier: Tier) -> dict[str, Any]:
    return {
        "currency": tier.currency,
        "upToCents": tier.up_to_cents,
        "approvers": tier.approvers,
        "roles": list(tier.roles),
    }


def _policy(row: Row) -> Policy:
    tiers = tuple(
        Tier(tier["currency"], tier["upToCents"], tier["approvers"], tuple(Role(word) for word in tier["roles"]))
        for tier in row["tiers"]
    )
    typed: Row = {"tiers": tiers}
    return Policy(**(row | typed))
