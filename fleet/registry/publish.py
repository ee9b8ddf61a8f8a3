"""What may be published: a whole bundle whose gate passed, under a version that rises, once.

Reads the bundle and the registry, signs, and leaves telling the service to the caller.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from fleet.registry.content import target_place
from fleet.registry.keys import ENGINES
from fleet.registry.repository import Repository
from fleet.store.releases import Release
from mien.bundle import verify_bundle
from mien.errors import BundleError, ConfigError, GateError
from mien.files import sha256_of
from mien.release import MANIFEST, Manifest, ReleaseRef, parse_manifest, version_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What publishing did."""

    release: ReleaseRef
    manifest_sha256: str
    files: int
    size_bytes: int
    already: bool
    """Whether the very same bundle had been published before."""


def publish(bundle: Path, repository: Repository, now: dt.datetime) -> Published:
    """Check a bundle and sign its files.

    Raises:
        BundleError: the bundle is damaged, its name is reserved, or its version is taken or does not rise.
        GateError: its accuracy gate did not pass.
        ConfigError: there is no registry.
        TrustError: not enough signing keys are here; the release waits for the signatures that it lacks.
    """
    if not repository.exists():
        raise ConfigError(
            "there is no registry to publish to",
            found=f"none in {repository.targets_folder.parent}",
            remedy="name the service's data folder with --data, or make one: mien fleet keys init",
        )
    manifest = verify_bundle(bundle)
    _check_name(manifest)
    _check_gate(manifest)
    digest = sha256_of(bundle / MANIFEST)
    prefix = f"{manifest.name}/{manifest.version}/"
    sources = {prefix + path: bundle / path for path in (MANIFEST, *(entry.path for entry in manifest.entries()))}
    with repository.locked():
        already = _check_version(manifest, digest, repository)
        if not already:
            repository.add(sources, {prefix + MANIFEST: {"release": str(manifest.ref)}}, now)
    return Published(
        release=manifest.ref,
        manifest_sha256=digest,
        files=len(sources),
        size_bytes=sum(path.stat().st_size for path in sources.values()),
        already=already,
    )


def signed_releases(repository: Repository) -> list[tuple[ReleaseRef, str]]:
    """Every release in the registry, with the SHA-256 of its manifest."""
    found = []
    for path, target in repository.targets().items():
        name, _, rest = path.partition("/")
        version, _, inner = rest.partition("/")
        if inner == MANIFEST:
            found.append((ReleaseRef(name=name, version=version), target.hashes["sha256"]))
    return found


def read_release(repository: Repository, ref: ReleaseRef, *, at: float) -> Release:
    """Read a signed release's manifest from the registry.

    Raises:
        BundleError: it is not signed here, or its file is not what was signed.
    """
    target = repository.targets().get(f"{ref.name}/{ref.version}/{MANIFEST}")
    if target is None:
        raise BundleError(f"{ref} is not in the registry", remedy="publish it first: mien fleet publish BUNDLE")
    place = target_place(repository.targets_folder, target)
    if not place.is_file() or sha256_of(place) != target.hashes["sha256"]:
        raise BundleError(f"the registry's copy of {ref} is not what was signed", found=str(place))
    manifest = parse_manifest(place.read_bytes(), source=str(place))
    return Release(ref=str(ref), manifest_sha256=target.hashes["sha256"], manifest=manifest, published_at=at)


def _check_name(manifest: Manifest) -> None:
    if manifest.name == ENGINES:
        raise BundleError(
            f"a release may not be called {ENGINES}",
            found=str(manifest.ref),
            wanted=f"another name: paths below {ENGINES}/ belong to engines that canaries built",
            remedy="pack the bundle again under another name",
        )


def _check_gate(manifest: Manifest) -> None:
    if manifest.gate.passed:
        return
    failed = [f"{check.variant} {check.name} {check.value:.4g}" for check in manifest.gate.checks if not check.passed]
    raise GateError(
        f"{manifest.ref} did not pass its accuracy gate and is not published",
        found="; ".join(failed) or "gate.passed is false",
        remedy="train further, or look at what the gate measured in the bundle's report.html",
    )


def _check_version(manifest: Manifest, digest: str, repository: Repository) -> bool:
    """Whether this very release is there already; refuses another under its version, and versions that do not rise."""
    versions = {ref.version: known for ref, known in signed_releases(repository) if ref.name == manifest.name}
    if manifest.version in versions:
        if versions[manifest.version] == digest:
            return True
        raise BundleError(
            f"{manifest.ref} has been published with other content",
            found=f"manifest {digest[:12]}…",
            wanted=f"manifest {versions[manifest.version][:12]}…",
            remedy="pack the bundle again under a higher version",
        )
    highest = max(versions, key=version_key, default=None)
    if highest is not None and version_key(manifest.version) < version_key(highest):
        raise BundleError(
            f"{manifest.ref} is older than what is published",
            found=manifest.version,
            wanted=f"a version above {highest}",
            remedy="pack the bundle again under a higher version",
        )
    return False
