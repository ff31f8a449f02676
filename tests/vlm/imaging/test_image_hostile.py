"""Bombs and damaged files: typed errors, a living parent, no allocation above the cap, no hang."""

import io
import time
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest

from vlm.imaging import DamagedError, ImagingError, LimitError, Limits, MedicalImage, read_header, read_image
from vlm.imaging.pool import Pool, request_for

CODECS = (
    "uncompressed",
    "RLE",
    "JPEG baseline",
    "JPEG lossless",
    "JPEG-LS",
    "J2K",
    "HTJ2K",
    "JPEG 12 bit",
    "deflated",
)
MIB = 1 << 20


class Watched:
    """A pool of one child whose peak memory can be asked for."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.pool = Pool(1)

    def read(self, data: bytes) -> MedicalImage | ImagingError:
        result = self.pool.run(request_for("image", None, self.limits, 0, "suv"), data, self.limits)
        assert not isinstance(result, ImagingError) or result.code
        return result[0] if isinstance(result, list) else result  # type: ignore[return-value]

    def peak_mib(self) -> float:
        """Peak resident memory of the child, with what it has touched of the buffer it shares with the parent."""
        pid = self.pool._idle[0].process.pid
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def settle(self, small: bytes) -> float:
        """Warm the child up, forget its peak so far, and return what it holds now."""
        assert isinstance(self.read(small), MedicalImage)
        Path(f"/proc/{self.pool._idle[0].process.pid}/clear_refs").write_text("5")
        return self.peak_mib()


@pytest.fixture(scope="module")
def watched():
    one = Watched(Limits(timeout_s=20.0))
    yield one
    one.pool.close()


def deflated(data: bytes) -> bytes:
    """A file as Deflated Explicit VR Little Endian."""
    ds, buffer = pydicom.dcmread(io.BytesIO(data)), io.BytesIO()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def j2k_bomb(make_dicom) -> bytes:
    """A sound codestream of 2.8 KB or less for 16000 x 16000 pixels of 16 bits: 488 MiB."""
    data = imagecodecs.jpeg2k_encode(np.zeros((16, 16), np.uint16), codecformat="j2k", reversible=True)
    at = data.index(b"\xff\x51") + 6
    big = (16_000).to_bytes(4, "big")
    data = data[:at] + big + big + data[at + 8 : at + 16] + big + big + data[at + 24 :]
    return make_dicom(np.zeros((1, 1), np.uint16), "1.2.840.10008.1.2.4.90", [data], Rows=16_000, Columns=16_000)


def deflate_bomb(make_dicom) -> bytes:
    """488 MiB of zeros in half a megabyte, with an honest header."""
    small = make_dicom(np.zeros((1, 2), np.uint8), Rows=16_000, Columns=32_000)
    small = deflated(small)
    start = small.index(b"1.2.840.10008.1.2.1.99") + 22
    meta_end = 132 + 12 + int.from_bytes(small[140:144], "little")
    assert meta_end >= start
    plain = zlib.decompress(small[meta_end:], -15)
    head = plain[: plain.rindex(b"\xe0\x7f\x10\x00") + 8] + (488 * MIB).to_bytes(4, "little")
    return (
        small[:meta_end] + flushed(head) + flushed(bytes(MIB)) * 488 + zlib.compressobj(9, zlib.DEFLATED, -15).flush()
    )


def flushed(data: bytes) -> bytes:
    """Raw deflate that can be repeated: it refers to nothing before itself."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)


def rle_bomb(make_dicom) -> bytes:
    """60000 x 60000 x 10 frames of RLE in a few kilobytes: 67 GiB."""
    frame = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56) + b"\x81\x00" * 2000
    return make_dicom(
        np.zeros((1, 1), np.uint16), "1.2.840.10008.1.2.5", [frame] * 10, Rows=60_000, Columns=60_000, NumberOfFrames=10
    )


@pytest.mark.parametrize(
    ("bomb", "code", "cap_mib"),
    [(j2k_bomb, "frame_too_large", 100), (rle_bomb, "frame_too_large", 100), (deflate_bomb, "inflated_too_large", 300)],
)
def test_bombs_are_refused_before_they_go_off(make_dicom, watched, bomb, code, cap_mib):
    data = bomb(make_dicom)
    assert len(data) < 600_000
    base = watched.settle(make_dicom(np.zeros((8, 8), np.uint8)))
    result = watched.read(data)
    assert isinstance(result, LimitError) and result.code == code
    assert watched.peak_mib() - base < cap_mib
    assert isinstance(watched.read(make_dicom(np.zeros((8, 8), np.uint8))), MedicalImage)


def test_codestream_larger_than_its_header_is_not_decoded(make_dicom, watched):
    bomb = j2k_bomb(make_dicom)
    ds = pydicom.dcmread(io.BytesIO(bomb))
    ds.Rows = ds.Columns = 16
    buffer = io.BytesIO()
    ds.save_as(buffer)
    base = watched.settle(make_dicom(np.zeros((8, 8), np.uint8)))
    result = watched.read(buffer.getvalue())
    assert isinstance(result, DamagedError) and result.code == "codestream_size"
    assert watched.peak_mib() - base < 100


def test_gzip_bomb_in_nifti(watched):
    import gzip

    header = bytearray(352)
    header[:4], header[344:348] = (348).to_bytes(4, "little"), b"n+1\0"
    result = watched.read(gzip.compress(bytes(header) + bytes(300 * MIB), 1))
    assert isinstance(result, LimitError) and result.code == "inflated_too_large"


def test_every_limit_is_kept(make_dicom):
    data = make_dicom(np.zeros((4, 64, 64), np.uint16), NumberOfFrames=4)
    for limits, code in (
        (Limits(max_file_bytes=1000), "file_too_large"),
        (Limits(max_side=63), "side_too_long"),
        (Limits(max_frames=3), "too_many_frames"),
        (Limits(max_frame_bytes=8191), "frame_too_large"),
        (Limits(max_total_bytes=4 * 8192 - 1), "frames_too_large"),
        (Limits(max_inflated_bytes=1000), None),
    ):
        for read in (read_image, read_header):
            if code is None:
                assert read(data, limits=limits)
                continue
            with pytest.raises(LimitError) as caught:
                read(data, limits=limits)
            assert caught.value.code == code
    with pytest.raises(LimitError):
        read_image(deflated(data), limits=Limits(max_inflated_bytes=1000))


def mutations(data: bytes, count: int, seed: int):
    """Bit flips, overwritten runs and truncations, half of them in the pixel data only."""
    rng = np.random.default_rng(seed)
    pixels = max(132, data.rfind(b"\xe0\x7f\x10\x00"))  # of a deflated file: anywhere behind the preamble
    for i in range(count):
        broken = bytearray(data)
        low = pixels if i % 2 else 132
        for _ in range(int(rng.integers(1, 8))):
            at = int(rng.integers(low, len(broken)))
            kind = rng.integers(3)
            if kind == 0:
                broken[at] ^= 1 << int(rng.integers(8))
            elif kind == 1:
                broken[at : at + 4] = rng.bytes(len(broken[at : at + 4]))
            else:
                broken[at] = int(rng.choice([0, 255, 127, 128]))
        if rng.random() < 0.15:
            del broken[int(rng.integers(low, len(broken))) :]
        yield bytes(broken)


def fuzz(watched: Watched, seed: bytes, count: int, number: int) -> dict[str, int]:
    """Outcomes by code. Fails on a hang, on memory above the cap, and on anything but an image or a typed error."""
    sound = watched.read(seed)
    assert isinstance(sound, MedicalImage)
    outcomes: dict[str, int] = {}
    for broken in mutations(seed, count, number):
        began = time.monotonic()
        result = watched.read(broken)
        assert time.monotonic() - began < watched.limits.timeout_s + 5
        code = "ok" if isinstance(result, MedicalImage) else result.code
        outcomes[code] = outcomes.get(code, 0) + 1
        if watched.pool._idle:
            assert watched.peak_mib() < 150 + watched.limits.memory_bytes / MIB
    assert isinstance(watched.read(seed), MedicalImage)
    return outcomes


@pytest.mark.parametrize("codec", CODECS)
def test_mutated_files(codec_seeds, watched, codec):
    outcomes = fuzz(watched, codec_seeds[codec], 40, CODECS.index(codec))
    assert sum(outcomes.values()) == 40 and len(outcomes) > 1


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS)
def test_a_thousand_mutated_files(codec_seeds, watched, codec, record_property):
    outcomes = fuzz(watched, codec_seeds[codec], 1000, 100 + CODECS.index(codec))
    record_property("outcomes", outcomes)
    assert sum(outcomes.values()) == 1000
    assert outcomes.get("decoder_timeout", 0) == 0
