# SPDX-License-Identifier: Apache-2.0
"""The certificates of one cluster: an authority, serving and client certificates, a signing key.

Elliptic-curve keys, because making RSA ones would take longer than starting the API server.
"""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = datetime.timedelta(days=30)


def _write(path, data):
    path.touch(mode=0o600)
    path.write_bytes(data)


def _private_pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


class Authority:
    """A certificate authority with its files in a directory."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test-ca")])
        self._identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        builder = self._builder(self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        builder = builder.add_extension(
            x509.KeyUsage(True, False, False, False, False, True, True, False, False), True)
        builder = builder.add_extension(self._identifier, False)
        self.ca_file = self.directory / "ca.crt"
        self._sign(builder, self.ca_file)

    def _builder(self, subject, public_key):
        now = datetime.datetime.now(datetime.timezone.utc)
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(self._name)
                .public_key(public_key).serial_number(x509.random_serial_number())
                # An hour back: the clocks of this machine may step.
                .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + VALID))

    def _sign(self, builder, path):
        certificate = builder.sign(self._key, hashes.SHA256())
        _write(path, certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, file_name, common_name, organization=None, names=()):
        """A certificate for client use, and for serving too if names (DNS or IP) are given.

        Returns (certificate file, key file).
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
        if organization:
            subject.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = self._builder(x509.Name(subject), key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identifier), False)
        if names:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in names]), False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), False)
        certificate_file = self.directory / f"{file_name}.crt"
        key_file = self.directory / f"{file_name}.key"
        self._sign(builder, certificate_file)
        _write(key_file, _private_pem(key))
        return certificate_file, key_file

    def signing_key(self, file_name):
        """A key pair for signing tokens: (private key file, public key file)."""
        key = ec.generate_private_key(ec.SECP256R1())
        private_file = self.directory / f"{file_name}.key"
        public_file = self.directory / f"{file_name}.pub"
        _write(private_file, _private_pem(key))
        _write(public_file, key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
        return private_file, public_file


def _general_name(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
