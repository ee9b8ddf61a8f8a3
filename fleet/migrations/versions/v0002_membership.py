"""Membership: devices that wait or are listed, the key of each, every certificate issued, tokens for review."""

import hashlib

import sqlalchemy as sa
from alembic import op
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("tokens", sa.Column("review", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("devices", sa.Column("serial_number", sa.String(length=64), nullable=True))
    op.add_column("devices", sa.Column("key_sha256", sa.String(length=64), nullable=True))
    op.add_column("devices", sa.Column("request_pem", sa.Text(), nullable=True))
    op.create_index(op.f("ix_devices_key_sha256"), "devices", ["key_sha256"], unique=True)
    op.create_index(op.f("ix_devices_serial_number"), "devices", ["serial_number"], unique=False)
    op.create_table(
        "certificates",
        sa.Column("device_id", sa.String(length=63), nullable=False),
        sa.Column("serial", sa.String(length=64), nullable=False),
        sa.Column("issued_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_certificates_device_id_devices")),
        sa.PrimaryKeyConstraint("device_id", "serial", name=op.f("pk_certificates")),
    )
    _fill()


def downgrade() -> None:
    """Take back."""
    op.drop_table("certificates")
    op.drop_index(op.f("ix_devices_serial_number"), table_name="devices")
    op.drop_index(op.f("ix_devices_key_sha256"), table_name="devices")
    for column in ("request_pem", "key_sha256", "serial_number"):
        op.drop_column("devices", column)
    op.drop_column("tokens", "review")


def _fill() -> None:
    """Note the keys and certificates of the devices that are there. A key that two share stays with the first."""
    bind = op.get_bind()
    rows = bind.execute(
        sa.text(
            "SELECT id, certificate_pem, certificate_serial, certificate_expires_at, enrolled_at FROM devices "
            "ORDER BY enrolled_at, id"
        )
    ).all()
    add = sa.text(
        "INSERT INTO certificates (serial, device_id, issued_at, expires_at) VALUES (:serial, :id, :issued, :expires)"
    )
    seen: set[str] = set()
    for device_id, pem, serial, expires, enrolled in rows:
        bind.execute(add, {"serial": serial, "id": device_id, "issued": enrolled, "expires": expires})
        key = _key_digest(pem)
        if key is not None and key not in seen:
            seen.add(key)
            bind.execute(sa.text("UPDATE devices SET key_sha256 = :key WHERE id = :id"), {"key": key, "id": device_id})


def _key_digest(pem: str) -> str | None:
    try:
        key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    except ValueError:
        return None
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
