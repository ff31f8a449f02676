"""Files sent to /v1/images: held in memory only, for a time, each seen by the key that sent it and by no other.

In memory, so that nothing of a patient lies on a disk after a crash.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from serving.gateway.errors import GatewayError, retry_later


@dataclass(frozen=True, slots=True)
class Upload:
    """One file. `about` is what GET /v1/images/<id> answers: sizes and kind, no attribute of the patient's."""

    file_id: str
    owner: str
    data: bytes
    sha256: str
    expires: float  # clock of the store
    about: dict[str, Any]


class UploadStore:
    """All uploads of one gateway."""

    def __init__(
        self, seconds: float, key_bytes: int, total_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._key_bytes = key_bytes
        self._total_bytes = total_bytes
        self._clock = clock
        self._uploads: dict[str, Upload] = {}  # oldest first, since all live equally long

    def room(self, owner: str, size: int) -> None:
        """Raises GatewayError when `size` more bytes of `owner` do not fit: 413 its own quota, 503 everybody's."""
        self.sweep()
        own = sum(len(upload.data) for upload in self._uploads.values() if upload.owner == owner)
        if own + size > self._key_bytes:
            raise GatewayError(
                413,
                "upload_quota",
                f"This key holds {own / 1e6:.0f} MB of uploads and may hold {self._key_bytes / 1e6:.0f} MB: delete "
                f"some (DELETE /v1/images/<id>), or wait; uploads go after {self._seconds:.0f} s.",
            )
        if self.bytes + size > self._total_bytes:
            raise retry_later(503, "upload_space", "The memory for uploads is full: try again later.", 30)

    def put(self, owner: str, data: bytes, sha256: str, about: dict[str, Any]) -> Upload:
        """Keep `data`. Raises as `room` does."""
        self.room(owner, len(data))
        file_id = secrets.token_urlsafe(24)
        now = int(time.time())
        about = {
            "id": file_id,
            "object": "image",
            "url": f"medvlm-file:{file_id}",
            "created": now,
            "expires_at": now + int(self._seconds),
            "bytes": len(data),
            "sha256": sha256,
            **about,
        }
        upload = Upload(file_id, owner, data, sha256, self._clock() + self._seconds, about)
        self._uploads[file_id] = upload
        return upload

    def get(self, owner: str, file_id: str, param: str | None = None) -> Upload:
        """Raises GatewayError 404, in the same words for an id that never was, is over, or is another key's."""
        self.sweep()
        upload = self._uploads.get(file_id)
        if upload is None or upload.owner != owner:
            raise GatewayError(
                404,
                "image_not_found",
                "No upload of this id for this key: it may have expired. Send the file to POST /v1/images again.",
                param=param,
            )
        return upload

    def delete(self, owner: str, file_id: str) -> None:
        del self._uploads[self.get(owner, file_id).file_id]

    def sweep(self) -> None:
        now = self._clock()
        for file_id, upload in list(self._uploads.items()):
            if upload.expires > now:
                break
            del self._uploads[file_id]

    @property
    def bytes(self) -> int:
        return sum(len(upload.data) for upload in self._uploads.values())
