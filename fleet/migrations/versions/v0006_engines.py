"""Engines that canaries built."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "engines",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("device_id", sa.String(length=63), nullable=False),
        sa.Column("release", sa.String(length=160), nullable=False),
        sa.Column("path", sa.String(length=400), nullable=False),
        sa.Column("engine_sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("record", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("offered_at", sa.Double(), nullable=False),
        sa.Column("whole_at", sa.Double(), nullable=True),
        sa.Column("decided_at", sa.Double(), nullable=True),
        sa.Column("decided_by", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_engines_device_id_devices")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_engines")),
    )
    op.create_index(op.f("ix_engines_device_id"), "engines", ["device_id"])
    op.create_index(op.f("ix_engines_path"), "engines", ["path"])
    op.create_index(op.f("ix_engines_state"), "engines", ["state"])


def downgrade() -> None:
    """Take back."""
    op.drop_index(op.f("ix_engines_state"), table_name="engines")
    op.drop_index(op.f("ix_engines_path"), table_name="engines")
    op.drop_index(op.f("ix_engines_device_id"), table_name="engines")
    op.drop_table("engines")
