"""The decoding child may crash, hang, run out of memory or panic: the file is refused, the next one is read."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from vlm.imaging import DamagedError, DecoderDiedError, LimitError, Limits, MedicalImage, read_image, read_images
from vlm.imaging import worker as worker_module
from vlm.imaging.batch import Batch
from vlm.imaging.pool import Child, Pool, default_pool, request_for


@pytest.fixture(scope="module")
def pool():
    one = Pool(1)
    yield one
    one.close()


def strike(child: Child, sign: signal.Signals, after_s: float = 0.1) -> None:
    """Hit the child with a real signal while it decodes."""

    def hit() -> None:
        time.sleep(after_s)
        os.kill(child.process.pid, sign)

    threading.Thread(target=hit, daemon=True).start()


@pytest.mark.parametrize(
    ("sign", "code", "timeout_s"),
    [
        (signal.SIGSEGV, "decoder_crashed", 30.0),
        (signal.SIGABRT, "decoder_crashed", 30.0),
        (signal.SIGKILL, "decoder_crashed", 30.0),  # what the kernel does when memory runs out
        (signal.SIGSTOP, "decoder_timeout", 1.0),  # a hang
    ],
)
def test_a_dying_child_costs_one_file(pool, corpus, make_dicom, sign, code, timeout_s):
    small = make_dicom(np.zeros((8, 8), np.uint8))
    limits = Limits(timeout_s=timeout_s)
    assert isinstance(pool.run(request_for("image", None, Limits(), 0, "suv"), small, Limits()), list)
    child = pool._idle[0]
    strike(child, sign)
    result = pool.run(request_for("image", str(corpus["RG1_J2KR.dcm"]), limits, 0, "suv"), None, limits)
    assert isinstance(result, DecoderDiedError) and result.code == code
    if sign != signal.SIGSTOP:
        assert sign.name in str(result)
    assert child.process.returncode is not None  # reaped: no zombie
    again = pool.run(request_for("image", None, Limits(), 0, "suv"), small, Limits())
    assert isinstance(again, list) and isinstance(again[0], MedicalImage)


def test_memory_limit_of_the_child(pool, corpus):
    limits = Limits(memory_bytes=1 << 20)
    pool.close()  # a child that has worked keeps memory, and may use that again
    result = pool.run(request_for("image", str(corpus["RG1_J2KR.dcm"]), limits, 0, "suv"), None, limits)
    assert isinstance(result, (LimitError, DecoderDiedError, DamagedError))
    assert result.code in ("out_of_memory", "decoder_crashed", "damaged")
    sound = pool.run(request_for("image", str(corpus["RG1_UNCR.dcm"]), Limits(), 0, "suv"), None, Limits())
    assert isinstance(sound, list)


def test_a_panic_that_is_no_exception_is_answered_and_ends_the_child(monkeypatch):
    class PanicException(BaseException):
        """What Rust decoders raise."""

    def panic(*_):
        raise PanicException("PATIENT^NAME")

    monkeypatch.setattr(worker_module, "decode_image", panic)
    answer, arrays, fatal = worker_module._serve({"op": "image", "frame": 0, "pet_units": "suv"}, b"x", Limits())
    assert fatal and not arrays
    assert answer["error"] == "DecoderDiedError" and answer["code"] == "decoder_panic"
    assert "PATIENT" not in str(answer)


def test_a_child_that_ended_while_idle_is_replaced(pool, make_dicom):
    small = make_dicom(np.zeros((8, 8), np.uint8))
    request = request_for("image", None, Limits(), 0, "suv")
    pool.run(request, small, Limits())
    pool._idle[0].process.kill()
    pool._idle[0].process.wait()
    assert isinstance(pool.run(request_for("image", None, Limits(), 0, "suv"), small, Limits()), list)


def test_batch_keeps_order_and_blames_the_right_file(corpus, tmp_path):
    (tmp_path / "text.dcm").write_bytes(b"nothing of this is DICOM, and it is long enough to be read")
    slow, good = corpus["RG1_J2KR.dcm"], corpus["CT_small.dcm"]
    paths = [good, slow, good, tmp_path / "text.dcm", good, tmp_path / "missing.dcm", good]
    batch = Batch(1, Limits(), 0, "suv")
    results = batch.run(paths)
    assert isinstance(next(results)[1], MedicalImage)
    strike(batch.lanes[0].child, signal.SIGSEGV, 0.05)
    rest = list(results)
    assert [path for path, _ in rest] == paths[1:]
    codes = [getattr(result, "code", "ok") for _, result in rest]
    assert codes == ["decoder_crashed", "ok", "unknown_format", "ok", "cannot_open", "ok"]
    assert str(slow) in str(rest[0][1])


def test_batch_stops_a_hanging_file(corpus):
    paths = [corpus["CT_small.dcm"]] * 6
    batch = Batch(1, Limits(timeout_s=1.0), 0, "suv")
    results = batch.run(paths)
    next(results)
    os.kill(batch.lanes[0].child.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    codes = [getattr(result, "code", "ok") for _, result in results]
    assert codes.count("decoder_timeout") == 1 and codes.count("ok") == 4
    assert time.monotonic() - began < 20


def test_batch_with_workers_gives_the_same_as_one_by_one(corpus):
    names = [
        "CT_small.dcm",
        "MR_small.dcm",
        "693_J2KR.dcm",
        "US1_UNCR.dcm",
        "rtplan.dcm",
        "RG1_UNCR.dcm",
        "JPEG-lossy.dcm",
    ] * 2
    results = list(read_images((corpus[name] for name in names), workers=2))
    for name, (path, result) in zip(names, results, strict=True):
        assert path == corpus[name]
        if isinstance(result, MedicalImage):
            assert np.array_equal(result.pixels, read_image(path, sandbox=False).pixels)
        else:
            assert name == "rtplan.dcm"


def test_a_batch_that_is_left_early_leaves_no_child(corpus):
    batch = Batch(1, Limits(), 0, "suv")
    results = batch.run([corpus["CT_small.dcm"]] * 10)
    next(results)
    process = batch.lanes[0].child.process
    results.close()
    assert process.poll() is not None


def test_threads_share_the_pool(corpus):
    expected = read_image(corpus["CT_small.dcm"]).pixels
    failures = []

    def work() -> None:
        for _ in range(5):
            if not np.array_equal(read_image(corpus["CT_small.dcm"]).pixels, expected):
                failures.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert len(default_pool()._idle) <= (os.cpu_count() or 1)


def test_a_forked_process_gets_children_of_its_own(corpus):
    read_image(corpus["CT_small.dcm"])
    pid = os.fork()
    if pid == 0:  # as a data loader's worker does
        try:
            os._exit(0 if read_image(corpus["CT_small.dcm"]).pixels.shape == (128, 128) else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert read_image(corpus["CT_small.dcm"]).pixels.shape == (128, 128)


def test_large_pictures_go_through_the_socket(make_dicom):
    pixels = np.arange(5000 * 4000, dtype=np.uint16).reshape(5000, 4000)  # 40 MB, more than a shared slot
    assert np.array_equal(read_image(make_dicom(pixels)).pixels, pixels)


def test_the_child_has_no_secrets_and_little_to_import(pool, make_dicom, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    pool.close()
    pool.run(request_for("image", None, Limits(), 0, "suv"), make_dicom(np.zeros((8, 8), np.uint8)), Limits())
    pid = pool._idle[0].process.pid
    assert b"hunter2" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()
