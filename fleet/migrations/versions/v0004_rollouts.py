"""What waves, attempts and approvals need."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_EXECUTIONS = ("waiting", "not_before", "attempts", "rank")
_ROLLOUTS = ("forgiven_at", "approved_wave", "created_by", "remarks")


_INDEXES = (("rollout_id", "state", "waiting", "wave"), ("rollout_id", "revert_state"))


def upgrade() -> None:
    """Apply."""
    op.add_column("executions", sa.Column("waiting", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("executions", sa.Column("not_before", sa.Double(), nullable=True))
    op.add_column("executions", sa.Column("attempts", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("executions", sa.Column("rank", sa.String(length=64), nullable=True))
    for columns in _INDEXES:
        op.create_index(op.f(f"ix_executions_{'_'.join(columns)}"), "executions", list(columns))
    op.add_column("rollouts", sa.Column("forgiven_at", sa.Double(), nullable=True))
    op.add_column("rollouts", sa.Column("approved_wave", sa.Integer(), nullable=False, server_default="-1"))
    op.add_column("rollouts", sa.Column("created_by", sa.String(length=64), nullable=True))
    op.add_column("rollouts", sa.Column("remarks", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Take back."""
    for columns in _INDEXES:
        op.drop_index(op.f(f"ix_executions_{'_'.join(columns)}"), "executions")
    with op.batch_alter_table("executions") as table:
        for name in _EXECUTIONS:
            table.drop_column(name)
    with op.batch_alter_table("rollouts") as table:
        for name in _ROLLOUTS:
            table.drop_column(name)
