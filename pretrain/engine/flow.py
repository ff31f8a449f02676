"""Work on many parts through Daft: in processes of this machine, or on a Ray cluster when there is an address.

Daft schedules one task a part and streams the results back. Parts are files, and a part is a function of its input
alone, so the result is the same whatever the number of workers and whoever runs them. A cluster must see the files
under the same paths.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from pretrain.engine.errors import EngineError
from vlm.errors import MedVLMError

LOCAL_CLUSTER = "local"  # a Ray cluster of this machine, started for the run
log = logging.getLogger(__name__)


class PartTask(Protocol):
    """What is done with a part. It is sent to the workers, so it holds settings and paths, and loads the rest there."""

    def start(self) -> None:
        """Load what is heavy; once a worker."""
        ...

    def work(self, part: str) -> dict[str, Any]:
        """Do one part; what comes back is JSON."""
        ...


class _Work:
    """What lives in each worker process."""

    def __init__(self, task: PartTask):
        self.task, self.started = task, False

    def __call__(self, part: str) -> str:
        try:
            if not self.started:
                self.task.start()
                self.started = True
            return json.dumps({"part": part, "result": self.task.work(part)})
        except MedVLMError as error:  # a sentence for a person must not arrive as a stack of another process
            return json.dumps({"part": part, "error": str(error)})


def run_parts(
    task: PartTask, parts: Sequence[str], *, workers: int = 1, ray: str | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Do all parts; yields ``(part, result)`` as they are finished.

    Args:
        task: what is done with each.
        parts: names.
        workers: processes at a time.
        ray: address of a Ray cluster, ``local`` for one of this machine, None for none.

    Raises:
        EngineError: a part failed with a sentence for the person who runs the engine.
    """
    if not parts:
        return
    import daft

    _use_runner(ray, workers)
    done = _schedule(daft, task, list(parts), min(workers, len(parts)), clustered=ray is not None)
    for row in done.iter_rows():
        outcome = json.loads(row["done"])
        if "error" in outcome:
            raise EngineError(f"part {outcome['part']}: {outcome['error']}")
        yield outcome["part"], outcome["result"]


def _schedule(daft: Any, task: PartTask, parts: list[str], workers: int, clustered: bool) -> Any:
    """The lazy table whose rows are finished parts."""

    @daft.cls(max_concurrency=workers, use_process=None if clustered else True)
    class Worker:
        def __init__(self, task: PartTask):
            self.work = _Work(task)

        @daft.method.batch(return_dtype=daft.DataType.string(), batch_size=1)
        def run(self, parts: Any) -> list[str]:
            return [self.work(part) for part in parts.to_pylist()]

    frame = daft.from_pydict({"part": parts})
    frame = frame.into_partitions(len(parts)) if clustered else frame.into_batches(1)
    return frame.select(Worker(task).run(daft.col("part")).alias("done"))


def _use_runner(ray: str | None, workers: int) -> None:
    """Daft 0.7 takes its runner once a process, and tells which it would take without being told."""
    import daft

    if ray is None:
        if daft.get_or_infer_runner_type() != "native":
            daft.set_runner_native()
        return
    try:
        import ray as cluster
    except ImportError:
        raise EngineError("Ray is not installed: pip install 'medvlm[ray]', or leave out --ray") from None
    if not cluster.is_initialized():
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            if ray == LOCAL_CLUSTER:
                cluster.init(num_cpus=workers, include_dashboard=False, **quiet)
            else:
                cluster.init(address=ray, **quiet)
        except (ConnectionError, ValueError) as error:
            raise EngineError(f"no Ray cluster answers at {ray}: {str(error).splitlines()[0]}") from error
    daft.set_runner_ray(noop_if_initialized=True)
