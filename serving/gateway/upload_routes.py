"""POST, GET and DELETE of /v1/images: files that a chat request names by id instead of carrying them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from serving.gateway.auth import Caller
from serving.gateway.body import pieces, read_body
from serving.gateway.dataurl import MEDIA_TYPES
from serving.gateway.errors import GatewayError, bad_request
from serving.gateway.exchange import exchange_of
from serving.gateway.images import Drawing
from serving.gateway.limits import Slot
from serving.gateway.multipart import OneFile

if TYPE_CHECKING:
    from serving.gateway.app import Gateway


class UploadRoutes:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def create(self, request: Request) -> Response:
        """Take one file, look whether it is an image that can be drawn, keep it for a while."""
        exchange = exchange_of(request)
        exchange.route = "/v1/images"
        gateway = self._gateway
        caller = gateway.admit(request, "images")
        with gateway.limiter.slot(caller) as slot:
            data = await self._read(request, caller, slot)
            if not data:
                raise bad_request("empty_image", "The upload holds no bytes: the file was empty.")
            gateway.uploads.room(caller.name, len(data))
            async with exchange.watched(request):
                drawing = Drawing(side=gateway.settings.limits.image_side)
                picture = await gateway.images.picture(caller.name, data, drawing)
            gateway.limiter.take_pixels(caller, picture.pixels)
            exchange.image_sha256 = [picture.sha256]
            upload = gateway.uploads.put(caller.name, data, picture.sha256, picture.about)
        return _json(upload.about, 201)

    async def _read(self, request: Request, caller: Caller, slot: Slot) -> bytes:
        limits = self._gateway.settings.limits
        caps = (limits.upload_bytes, limits.body_seconds, limits.body_idle_seconds, "The file")
        declared = request.headers.get("content-type", "")
        kind = declared.split(";")[0].strip().lower()
        if kind == "multipart/form-data":
            form = OneFile(declared)
            async for piece in pieces(request, *caps):
                slot.hold(len(piece))
                form.feed(piece)
            return form.take()
        if kind not in MEDIA_TYPES:
            what = "A PDF is a document, not an image. " if kind == "application/pdf" else ""
            raise GatewayError(
                415,
                "unsupported_media_type",
                f"{what}Send the file as multipart/form-data, or as it is with Content-Type application/dicom, "
                "image/png, image/jpeg, image/tiff or application/x-nifti.",
            )
        return await read_body(request, *caps, slot.hold)

    async def show(self, request: Request) -> Response:
        exchange_of(request).route = "/v1/images/{id}"
        caller = self._gateway.admit(request, "images")
        return _json(self._gateway.uploads.get(caller.name, request.path_params["file_id"]).about)

    async def delete(self, request: Request) -> Response:
        exchange_of(request).route = "/v1/images/{id}"
        caller = self._gateway.admit(request, "images")
        file_id = request.path_params["file_id"]
        self._gateway.uploads.delete(caller.name, file_id)
        return _json({"id": file_id, "object": "image", "deleted": True})


def _json(body: object, status: int = 200) -> Response:
    return Response(to_json(body), status_code=status, media_type="application/json")
