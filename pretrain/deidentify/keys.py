"""Keyed maps from what identifies to what does not, and the file that holds the key.

Every map is HMAC-SHA-256 under a key of its own, derived from the one in the key file (RFC 2104; RFC 5869 in its
expand step). With the same key the same input always gives the same output, whatever machine or order; without the
key nothing can be looked up, not even by trying all hospital numbers.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import stat
from pathlib import Path

from pretrain.deidentify.errors import KeyFileError

SHIFT_DAYS = (365, 3650)  # dates move into the past by a whole number of days in this range, both ends included
_KIND = "medvlm de-identification key"
_MAPPING_HEAD = b"medvlm-mapping-1\n"


class Keys:
    """The maps of one key.

    Args:
        master: 32 secret bytes.
    """

    def __init__(self, master: bytes):
        if len(master) != 32:
            raise KeyFileError("a key has 32 bytes")
        self._master = master
        self._sub: dict[str, bytes] = {}

    def derive(self, purpose: str) -> bytes:
        """A 32-byte key for one purpose."""
        if purpose not in self._sub:
            self._sub[purpose] = hmac.digest(self._master, f"medvlm/deidentify/{purpose}\x01".encode(), "sha256")
        return self._sub[purpose]

    def digest(self, purpose: str, value: str) -> bytes:
        """32 bytes that stand for the value."""
        return hmac.digest(self.derive(purpose), value.encode("utf-8", "surrogatepass"), hashlib.sha256)

    def code(self, purpose: str, value: str, prefix: str = "", length: int = 16) -> str:
        """A short code of decimal digits, ``length`` characters with the prefix.

        Digits alone: hexadecimal letters now and then spell a name, which the proof would then take for one.
        """
        number = int.from_bytes(self.digest(purpose, value), "big")
        return prefix + f"{number % 10 ** (length - len(prefix)):0{length - len(prefix)}d}"

    def patient_id(self, value: str) -> str:
        """For Patient ID (LO). Case and outer blanks of the value do not matter."""
        return self.code("patient", fold_id(value), "P", 16)

    def accession(self, value: str) -> str:
        """For Accession Number (SH, 16 characters)."""
        return self.code("accession", fold_id(value), "A", 16)

    def uid(self, value: str) -> str:
        """A UID under 2.25 (PS3.5 B.2): a version 8 UUID of 122 keyed bits as one decimal number."""
        raw = bytearray(self.digest("uid", value.strip("\0 "))[:16])
        raw[6] = raw[6] & 0x0F | 0x80  # RFC 9562: version 8, variant 10
        raw[8] = raw[8] & 0x3F | 0x80
        return f"2.25.{int.from_bytes(raw, 'big')}"

    def shift_days(self, patient: str) -> int:
        """Days to add to every date of the patient: negative, within :data:`SHIFT_DAYS`."""
        low, high = SHIFT_DAYS
        return -(low + int.from_bytes(self.digest("shift", fold_id(patient))[:8], "big") % (high - low + 1))

    @property
    def fingerprint(self) -> str:
        """Tells keys apart without giving them away."""
        return self.code("fingerprint", "")


def fold_id(value: str) -> str:
    """Ids that differ only in case and outer blanks are one id."""
    return value.strip("\0 \t\r\n").casefold()


def open_key(path: Path, *, output: Path, source: Path) -> Keys:
    """The key in the file, which is made (0600) where there is none.

    Raises:
        KeyFileError: the file is inside the output or the source, others may read it, or it is no key.
    """
    keep_apart(path, output=output, source=source)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {"kind": _KIND, "version": 1, "key": secrets.token_hex(32)}
        whole = path.with_name(f"{path.name}.{os.getpid()}.new")  # a key file that is cut off would lock everybody out
        try:
            with os.fdopen(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(record, file)
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # another run made it in this moment
                os.link(whole, path)
        finally:
            whole.unlink(missing_ok=True)
    check_private(path)
    return load_key(path)


def load_key(path: Path) -> Keys:
    """Raises KeyFileError where the file is not a key file."""
    failed = False
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["kind"] == _KIND and record["version"] == 1:
            return Keys(bytes.fromhex(record["key"]))
    except (OSError, ValueError, KeyError, TypeError):
        failed = True
    what = "cannot be read as a key file" if failed else "is not a key file of this version"
    raise KeyFileError(f"{path} {what}: give the file that an earlier run made, or a new name to make one")


def keep_apart(path: Path, *, output: Path, source: Path) -> None:
    """Raises KeyFileError where a secret file would lie with the data it protects."""
    place = path.resolve()
    for folder, what in ((output, "output"), (source, "source")):
        root = folder.resolve()
        if place == root or root in place.parents:
            raise KeyFileError(
                f"{path} is inside the {what} folder: whoever gets the folder would get the key with it. "
                "Name a place outside"
            )


def check_private(path: Path) -> None:
    """Raises KeyFileError where anybody but the owner may read or write the file."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise KeyFileError(f"{path} is not a regular file")
    if mode & 0o077:
        raise KeyFileError(f"{path} can be read by others (mode {mode & 0o777:04o}): chmod 600 it")


def open_private(path: Path):
    """The file for appending bytes, 0600."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "ab")


class MappingFile:
    """Pseudonyms with what they stand for, encrypted, for those who hold the key and must re-identify.

    One line a pair: AES-256-GCM under a key derived from the key file's, a fresh 96-bit nonce each (NIST SP 800-38D),
    base64. Lines are only ever added, so a killed run loses at most its last one.

    Args:
        path: made 0600 where missing; never inside the output.
        keys: of the run.
    """

    def __init__(self, path: Path, keys: Keys):
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self.path = path
        self._cipher = AESGCM(keys.derive("mapping"))
        self._known: set[tuple[str, str]] = set()
        if path.exists() and path.stat().st_size:
            check_private(path)
            content = path.read_bytes()
            os.truncate(path, content.rfind(b"\n") + 1)  # a line that was cut off by a crash
            self._known = {(kind, new) for kind, new, _ in self.read()}
        else:
            with open_private(path) as file:
                file.write(_MAPPING_HEAD)

    def add(self, kind: str, new: str, old: str) -> None:
        """Remember a pair; a second time does nothing."""
        if (kind, new) in self._known:
            return
        nonce = secrets.token_bytes(12)
        secret = self._cipher.encrypt(nonce, json.dumps([kind, new, old]).encode(), _MAPPING_HEAD)
        with open_private(self.path) as file:
            file.write(base64.b64encode(nonce + secret) + b"\n")
        self._known.add((kind, new))

    def read(self) -> list[tuple[str, str, str]]:
        """All (kind, pseudonym, original).

        Raises:
            KeyFileError: it was written with another key, or is damaged before its last line.
        """
        from cryptography.exceptions import InvalidTag

        content = self.path.read_bytes()
        if not content.startswith(_MAPPING_HEAD):
            raise KeyFileError(f"{self.path} is not a mapping file")
        pairs = []
        for line in content[len(_MAPPING_HEAD) : content.rfind(b"\n") + 1].splitlines():
            try:
                raw = base64.b64decode(line, validate=True)
                kind, new, old = json.loads(self._cipher.decrypt(raw[:12], raw[12:], _MAPPING_HEAD))
                pairs.append((kind, new, old))
            except (ValueError, InvalidTag):
                pairs = None
                break
        if pairs is None:
            raise KeyFileError(f"{self.path} was written with another key, or is damaged")
        return pairs
