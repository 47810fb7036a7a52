"""A certificate authority of a test's own, and the certificate that the stand-in serves with."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAMES = (
    "management.azure.com",
    "login.microsoftonline.com",
    "ml.azure.com",
    "*.api.azureml.ms",
    "*.blob.core.windows.net",
)


def make(folder: Path) -> tuple[Path, Path]:
    """Write `ca.pem`, which a client has to trust, and `server.pem` (key and chain) below `folder`; returns both."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ngcrun tests, not a real authority")])
    ca = _certificate(ca_name, ca_key.public_key(), ca_name, ca_key, authority=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAMES[0])])
    leaf = _certificate(name, key.public_key(), ca_name, ca_key, authority=False)
    trusted, served = folder / "ca.pem", folder / "server.pem"
    trusted.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    served.write_bytes(private + leaf.public_bytes(serialization.Encoding.PEM) + trusted.read_bytes())
    return trusted, served


def _certificate(
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    signer: ec.EllipticCurvePrivateKey,
    *,
    authority: bool,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if not authority:
        names = [x509.DNSName(name) for name in NAMES]
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = builder.add_extension(x509.SubjectAlternativeName([*names, address]), critical=False)
    return builder.sign(signer, hashes.SHA256())
