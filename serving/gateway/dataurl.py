"""What may stand in `image_url.url`: `data:<type>;base64,<bytes>` or `medvlm-file:<id>`; nothing that is fetched."""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass

import pybase64

from serving.gateway.errors import GatewayError, bad_request

# Declared type -> the name used here. The bytes decide in the end (vlm.imaging looks at them); a declaration that
# cannot be an image is refused before they are decoded.
MEDIA_TYPES = {
    "application/dicom": "dicom",
    "image/dicom": "dicom",
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/tiff": "tiff",
    "application/x-nifti": "nifti",
    "application/nifti": "nifti",
    "application/octet-stream": "any",
}
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*):")
_FILE_ID = re.compile(r"^[A-Za-z0-9_-]{16,64}$")
_PARAMETER = re.compile(r"^[A-Za-z0-9!#$&^_.+-]+=[A-Za-z0-9!#$&^_.+\-\"]*$")


@dataclass(frozen=True, slots=True)
class InlineImage:
    """Bytes that came inside the request, and the type that the caller says they have."""

    data: bytes
    declared: str


@dataclass(frozen=True, slots=True)
class UploadedImage:
    """An id that POST /v1/images gave."""

    file_id: str


def parse_image_url(url: str, param: str) -> InlineImage | UploadedImage:
    """Read one `image_url.url`.

    Args:
        url: what the caller sent.
        param: where in the request it stood, for the error.

    Raises:
        GatewayError: 400 for anything but a base64 data URL of a known type or an upload id. The message never
            repeats the URL: it may name a patient.
    """
    scheme = _SCHEME.match(url)
    name = scheme.group(1).lower() if scheme else ""
    if name == "medvlm-file":
        file_id = url[len("medvlm-file:") :]
        if not _FILE_ID.match(file_id):
            raise bad_request("bad_image_id", "This is no upload id: use the one that POST /v1/images gave.", param)
        return UploadedImage(file_id)
    if name != "data":
        what = f"A {name}: address" if name in _FETCHED else "This address"
        raise bad_request(
            "remote_url_refused",
            f"{what} is not fetched here, whatever it points to: send the image itself as a data URL "
            "(data:application/dicom;base64,...), or upload it to /v1/images and use medvlm-file:<id>.",
            param,
        )
    return _parse_data(url, param)


_FETCHED = (
    "http",
    "https",
    "ftp",
    "ftps",
    "file",
    "s3",
    "gs",
    "gopher",
    "dict",
    "blob",
    "ws",
    "wss",
    "sftp",
    "smb",
)


def _parse_data(url: str, param: str) -> InlineImage:
    """RFC 2397: `data:[type][;parameter]*;base64,DATA`. Only base64, only known types."""
    comma = url.find(",", 0, 256)
    if comma < 0:
        raise bad_request(
            "bad_data_url",
            "This data URL has no comma in its first 256 characters: data:<type>;base64,<bytes>.",
            param,
        )
    declared, *parameters = (part.strip() for part in url[5:comma].split(";"))
    if not parameters or parameters[-1].lower() != "base64":
        raise bad_request("bad_data_url", "A data URL of an image must be base64: data:<type>;base64,<bytes>.", param)
    if not all(_PARAMETER.match(parameter) for parameter in parameters[:-1]):
        raise bad_request("bad_data_url", "A parameter of this data URL is not of the form name=value.", param)
    kind = MEDIA_TYPES.get(declared.lower())
    if kind is None:
        raise GatewayError(415, "unsupported_media_type", _not_an_image(declared.lower()), param=param)
    return InlineImage(_decode(url[comma + 1 :], param), kind)


def _not_an_image(declared: str) -> str:
    known = "application/dicom, image/png, image/jpeg, image/tiff, application/x-nifti"
    if declared == "application/pdf":
        return f"A PDF is a document, not an image: send its pages as images ({known})."
    return f"The type of this data URL is not one that is read here: use {known}."


def _decode(text: str, param: str) -> bytes:
    # The length is known before anything is allocated; the body cap has bounded it already.
    try:
        data = pybase64.b64decode(text, validate=True)  # a hundred times binascii's speed: 0.3 ms for a 7 MB film
    except (binascii.Error, ValueError):
        raise bad_request(
            "bad_base64", "The base64 of this data URL is broken or cut short: encode the file again.", param
        ) from None
    if not data:
        raise bad_request("empty_image", "This data URL holds no bytes: the file was empty.", param)
    return data
