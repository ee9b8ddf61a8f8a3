"""People, their sessions and tokens, and the chain of the audit record, which nobody changes from here on.

The digest is spelled out here as it was when this was written; :mod:`fleet.people.chain` spells it for new entries.
"""

import hashlib
import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_START = "0" * 64
_SQLITE = {
    "audit_no_update": "BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit entries stay'); END",
    "audit_no_delete": "BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit entries stay'); END",
    "audit_no_replace": (
        "BEFORE INSERT ON audit "
        "WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id OR prev_sha256 = NEW.prev_sha256) "
        "BEGIN SELECT RAISE(ABORT, 'audit entries stay'); END"
    ),
}
_POSTGRESQL = {
    "audit_no_change": "BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
    "audit_no_truncate": "BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()",
}


def upgrade() -> None:
    """Apply."""
    _people()
    _keys()
    op.add_column("audit", sa.Column("prev_sha256", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("audit", sa.Column("sha256", sa.String(length=64), nullable=False, server_default=""))
    _fill()
    op.create_index(op.f("ix_audit_prev_sha256"), "audit", ["prev_sha256"], unique=True)
    _guard()


def downgrade() -> None:
    """Take back."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    for name in _POSTGRESQL if postgresql else _SQLITE:
        op.execute(f"DROP TRIGGER {name} ON audit" if postgresql else f"DROP TRIGGER {name}")
    if postgresql:
        op.execute("DROP FUNCTION audit_refuse()")
    op.drop_index(op.f("ix_audit_prev_sha256"), table_name="audit")
    op.drop_column("audit", "sha256")
    op.drop_column("audit", "prev_sha256")
    for table in ("login_attempts", "login_links", "api_tokens", "sessions", "users"):
        op.drop_table(table)


def _people() -> None:
    op.create_table(
        "users",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("password_hash", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_users")),
    )
    op.create_table(
        "login_attempts",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_attempts")),
    )
    for column in ("account", "address", "at"):
        op.create_index(op.f(f"ix_login_attempts_{column}"), "login_attempts", [column], unique=False)


def _keys() -> None:
    """What lets a person in: sessions, tokens, links."""
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("user_name", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["user_name"], ["users.name"], name=op.f("fk_sessions_user_name_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("user_name", sa.String(length=32), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("used_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["user_name"], ["users.name"], name=op.f("fk_api_tokens_user_name_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
    )
    op.create_table(
        "login_links",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("user_name", sa.String(length=32), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["user_name"], ["users.name"], name=op.f("fk_login_links_user_name_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_links")),
    )
    for table in ("sessions", "api_tokens", "login_links"):
        op.create_index(op.f(f"ix_{table}_user_name"), table, ["user_name"], unique=False)


def _fill() -> None:
    """Make the entries that are there the beginning of the chain."""
    bind = op.get_bind()
    audit = sa.table(
        "audit",
        *(sa.column(name) for name in ("id", "at", "actor", "action", "subject", "prev_sha256", "sha256")),
        sa.column("details", sa.JSON()),
    )
    prev = _START
    for row in bind.execute(sa.select(audit).order_by(audit.c.id)).all():
        parts = [prev, row.at, row.actor, row.action, row.subject, row.details]
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        bind.execute(sa.update(audit).where(audit.c.id == row.id).values(prev_sha256=prev, sha256=sha256))
        prev = sha256


def _guard() -> None:
    """Have the database itself refuse changes."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'audit entries stay'; END $$"
        )
        for name, rule in _POSTGRESQL.items():
            op.execute(f"CREATE TRIGGER {name} {rule}")
    else:
        for name, rule in _SQLITE.items():
            op.execute(f"CREATE TRIGGER {name} {rule}")
