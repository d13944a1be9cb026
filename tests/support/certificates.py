"""A certificate authority of the tests, by the openssl command line: real keys, lists and dates."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_CONFIG = """
[ca]
default_ca = this
[this]
database = {folder}/index.txt
new_certs_dir = {folder}
serial = {folder}/serial
crlnumber = {folder}/crlnumber
certificate = {folder}/ca.pem
private_key = {folder}/ca.key
default_md = sha256
default_days = 365
default_crl_days = 30
policy = anything
copy_extensions = copy
unique_subject = no
[anything]
commonName = supplied
[req]
distinguished_name = name
[name]
"""


def openssl(*arguments: str | Path) -> str:
    """The output of an openssl command."""
    done = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path

    @property
    def sha256(self) -> str:
        """The fingerprint, as `[[senders]] certificate` has it."""
        said = openssl("x509", "-in", self.certificate, "-noout", "-fingerprint", "-sha256")
        return "sha256:" + said.strip().partition("=")[2].replace(":", "")

    @property
    def dcmtk(self) -> tuple[str, ...]:
        """As an option of DCMTK."""
        return ("+tls", str(self.key), str(self.certificate))


class Authority:
    """Issues certificates and revokes them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._config = folder / "openssl.cnf"
        self._config.write_text(_CONFIG.format(folder=folder))
        (folder / "index.txt").touch()
        (folder / "serial").write_text("1000\n")
        (folder / "crlnumber").write_text("01\n")
        self.ca = folder / "ca.pem"
        openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test ca"),
            *("-days", "3650", "-keyout", folder / "ca.key", "-out", self.ca),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )

    def issue(
        self,
        name: str,
        *,
        alternative: str = "DNS:localhost,IP:127.0.0.1",
        key: str = "rsa:2048",
        start: str = "20250101000000Z",
        end: str = "20460101000000Z",
        password: str = "",
    ) -> Identity:
        """A certificate and key for a name; DCMTK takes RSA keys only."""
        made = Identity(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        request = self._folder / f"{name}.csr"
        kind = ("-newkey", "ec", "-pkeyopt", f"ec_paramgen_curve:{key}")
        openssl(
            *("req", "-new", "-subj", f"/CN={name}", "-addext", f"subjectAltName={alternative}"),
            *(("-newkey", key) if key.startswith("rsa:") else kind),
            *(("-passout", f"pass:{password}") if password else ("-nodes",)),
            *("-keyout", made.key, "-out", request),
        )
        openssl(
            *("ca", "-batch", "-config", self._config, "-notext", "-in", request),
            *("-startdate", start, "-enddate", end, "-out", made.certificate),
        )
        return made

    def revoke(self, identity: Identity) -> None:
        """Put a certificate on the list of the next `crl`."""
        openssl("ca", "-config", self._config, "-revoke", identity.certificate)

    def crl(self, name: str = "crl", *, seconds: int = 30 * 86400) -> Path:
        """A revocation list that ends in so many seconds."""
        path = self._folder / f"{name}.pem"
        openssl("ca", "-config", self._config, "-gencrl", "-crlsec", str(seconds), "-out", path)
        return path
