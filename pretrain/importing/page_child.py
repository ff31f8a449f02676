"""Reading files of strangers in a child process that may hang, grow or crash: it is killed, and the file is dropped.

One child reads file after file; a fresh one takes over from one that was killed. Question and answer are lines of JSON
on pipes, never pickles. The child holds no environment but what Python needs, and its memory is limited.
"""

import contextlib
import json
import os
import selectors
import subprocess
import sys
from pathlib import Path
from typing import Any

_MEMORY = 3 << 30
_STARTUP_S = 60.0
_PASSED_ON = ("PATH", "PYTHONPATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "TMPDIR")


class PageChild:
    """Reads pages in another process; ``with`` ends it.

    Args:
        timeout_s: wall time for one file.
        memory: bytes of address space that the child may take.
    """

    def __init__(self, timeout_s: float = 60.0, memory: int = _MEMORY):
        self.timeout_s, self.memory = timeout_s, memory
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""

    def __enter__(self) -> "PageChild":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def read(self, path: Path) -> dict[str, Any]:
        """What ``page_reader.read_page`` says of a file, or ``{"unreadable": reason}`` where it did not come back."""
        process = self._started()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(str(path.absolute())).encode() + b"\n")
            process.stdin.flush()
            line = self._line(self.timeout_s)
        except BrokenPipeError:
            line = b""
        if line is None:
            self._end()
            return {"unreadable": f"takes longer than {self.timeout_s:g} s"}
        if not line:
            self._end()
            return {"unreadable": "reader crashed"}
        return json.loads(line)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment |= {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pretrain.importing.page_child", str(self.memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=Path(__file__).parents[2],
        )
        self._buffer = b""
        if self._line(_STARTUP_S) != b"ready\n":
            self._end()
            raise RuntimeError("the reader of pages does not start: run `python -m pretrain.importing.page_child 0`")
        return self._process

    def _line(self, timeout_s: float) -> bytes | None:
        """The next line of the child; b"" at its end, None when the time is over."""
        import time

        assert self._process is not None and self._process.stdout is not None
        stream = self._process.stdout.fileno()
        end = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, end - time.monotonic())):
                    return None
                chunk = os.read(stream, 1 << 20)
                if not chunk:
                    return b""
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line + b"\n"

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def main(memory: int) -> None:
    """The child: a path a line in, a page a line out."""
    import resource

    from pretrain.importing.page_reader import read_page

    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library writes to stdout must not look like an answer
    answers.write(b"ready\n")
    answers.flush()
    for line in sys.stdin.buffer:
        answers.write(json.dumps(read_page(Path(json.loads(line)))).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
