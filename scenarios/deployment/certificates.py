"""Certificates for a trial: an authority of one's own, and the server certificate that it signs.

For a study over the internet the certificate that hospitals see should come from an authority
that they know already; then only the coordinator's inner connection uses these.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.errors import SettingsError, TrustError
from shared.files import write_whole

AUTHORITY_DAYS = 3 * 365
SERVER_DAYS = 397
"""As long as browsers accept, so that whoever copies the file elsewhere is not surprised."""

CLOCKS_DIFFER = timedelta(hours=1)
LOOPBACK = ("localhost", "127.0.0.1")
"""Flower's own processes speak to the SuperLink at 127.0.0.1; nginx checks names alone, and takes localhost."""


@dataclass(frozen=True)
class Files:
    """Where a certificate, its key and the authority that signed it lie."""

    authority: Path
    certificate: Path
    key: Path


def make_trial(files: Files, authority_key: Path, hosts: Sequence[str], now: datetime | None = None) -> None:
    """Write an authority, and a server certificate by it for `hosts` and the loopback address.

    An authority that is there is kept, as hospitals may hold its certificate already.
    """
    now = now or datetime.now(UTC)
    if files.authority.is_file():
        issuer, signer = _read_certificate(files.authority), _read_key(authority_key)
    else:
        issuer, signer = _make_authority(now)
        write_whole(authority_key, _key_pem(signer), private=True)
        files.authority.write_bytes(issuer.public_bytes(Encoding.PEM))
    key = ec.generate_private_key(ec.SECP256R1())
    names = list(dict.fromkeys([*LOOPBACK, *hosts]))
    certificate = (
        _builder("Wardround coordinator", issuer.subject, key, now, timedelta(days=SERVER_DAYS))
        .add_extension(x509.SubjectAlternativeName([general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    write_whole(files.key, _key_pem(key), private=True)


def check_server(files: Files, hosts: Sequence[str] = (), now: datetime | None = None) -> x509.Certificate:
    """The server certificate, when it can serve `hosts`. Raises `TrustError` with what is wrong."""
    now = now or datetime.now(UTC)
    certificate, key = _read_certificate(files.certificate), _read_key(files.key)
    if _public(certificate.public_key()) != _public(key.public_key()):
        raise TrustError(f"{files.key} is not the key of {files.certificate}: give the two that belong together")
    check_time(certificate, files.certificate, now)
    issuer = _read_certificate(files.authority)
    check_time(issuer, files.authority, now)
    held = names_of(certificate)
    if missing := [host for host in hosts if host.lower() not in held]:
        raise TrustError(
            f"{files.certificate} is for {', '.join(sorted(held)) or 'nobody'}, not for {', '.join(missing)}: "
            "have it made with these as subject alternative names"
        )
    return certificate


def check_authority(path: Path, now: datetime | None = None) -> x509.Certificate:
    """A root certificate that a hospital was given. Raises `TrustError` where it is missing, damaged or expired."""
    certificate = _read_certificate(path)
    check_time(certificate, path, now or datetime.now(UTC))
    return certificate


def check_time(certificate: x509.Certificate, path: Path, now: datetime) -> None:
    """Raise `TrustError` where a certificate is not valid at `now`."""
    if now > certificate.not_valid_after_utc:
        raise TrustError(
            f"certificate {path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}: have the coordinator renew it"
        )
    if now < certificate.not_valid_before_utc:
        raise TrustError(
            f"certificate {path} begins only on {certificate.not_valid_before_utc:%Y-%m-%d}: see whether this "
            "machine's clock is right"
        )


def names_of(certificate: x509.Certificate) -> set[str]:
    """The host names and addresses that a certificate is for, in small letters."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    addresses = names.get_values_for_type(x509.IPAddress)
    return {name.lower() for name in names.get_values_for_type(x509.DNSName)} | {str(one) for one in addresses}


def general_name(host: str) -> x509.GeneralName:
    """A host as a subject alternative name. Raises `SettingsError` where it is none."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not host or not host.isascii() or not all(part for part in host.split(".")) or set(host) & set(" /:@"):
        raise SettingsError(f"host {host!r} is neither a name nor an address: give one such as coordinator.example")
    return x509.DNSName(host)


def _make_authority(now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP384R1())
    name = "Wardround trial authority"
    usage = dict.fromkeys(
        [
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ],
        False,
    )
    certificate = (
        _builder(name, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, now, timedelta(AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _builder(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, lasts: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER)
        .not_valid_after(now + lasts)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise TrustError(f"certificate {path} cannot be read ({error.strerror}): give its PEM file") from None
    except ValueError:
        raise TrustError(f"{path} is no certificate in PEM format: give the file that the authority sent") from None


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    # The other kinds of private keys offer the one method used of it, public_key.
    try:
        return load_pem_private_key(path.read_bytes(), password=None)  # type: ignore[return-value]
    except OSError as error:
        raise TrustError(f"private key {path} cannot be read ({error.strerror}): give its PEM file") from None
    except (ValueError, TypeError):
        raise TrustError(
            f"{path} is no private key in PEM format without a passphrase: convert it by openssl"
        ) from None


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]
