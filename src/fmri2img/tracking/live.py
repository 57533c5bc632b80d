"""Learning curves in MLflow while a training runs. Training never waits for the store.

Epochs are written to the JSONL file first; a separate thread sends them to the store, a few at a
time. What the store missed is sent when training is over, or by ``fmri2img track``.
"""

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from fmri2img.project.files import write_text
from fmri2img.project.layout import live_run_path
from fmri2img.tracking.run_notes import ENDED, read_note, run_name

_SECONDS_BETWEEN, _SECONDS_AFTER_FAILURE, _LAST_WAIT = 2.0, 15.0, 5.0


class LiveCurve:
    """One MLflow run, updated while its training runs.

    Parameters
    ----------
    name : str
        Name of the run.
    tags : dict of str to str
    note : Path
        File with the run's id, beside the checkpoint: a training resumed after a kill continues
        the same run.
    """

    def __init__(self, name: str, tags: dict[str, str], note: Path) -> None:
        self.name, self.tags, self.note = name, tags, note
        self.run_id = read_note(note)[0]
        # An encoder in closed form has its only epoch at the end: the run began with the training.
        self.began = int(time.time() * 1000)
        self.waiting: list[dict[str, float]] = []
        self.lock, self.is_over = threading.Lock(), threading.Event()
        self.client: Any = None
        self.thread = threading.Thread(target=self._send_all, name="mlflow", daemon=True)
        self.thread.start()

    def add(self, record: dict[str, float]) -> None:
        """Take one epoch, with ``epoch`` and scores; returns at once."""
        # As in the curve's file, from which other stores get it.
        rounded = {name: round(value, 6) for name, value in record.items()}
        with self.lock:
            self.waiting.append(rounded)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Mark the run as failed if the training failed; a resumed training continues it, as after
        a kill.
        """
        if kind is not None:
            self._stop()
            with suppress(Exception):  # the training's own error is what counts
                self.client.set_terminated(self.run_id, "FAILED")

    def close(self) -> str:
        """Send what is left, for a few seconds at most; returns the run's id, empty if the store
        was never reached.
        """
        self._stop()
        if self.run_id:  # kept until the run is complete: the store may get the rest later
            write_text(self.note, f"{self.run_id}\n{ENDED}")
        return self.run_id

    def _stop(self) -> None:
        self.is_over.set()
        self.thread.join(_LAST_WAIT)

    def _send_all(self) -> None:
        while not self.is_over.is_set():
            sent = self._send() if self.waiting else True
            self.is_over.wait(_SECONDS_BETWEEN if sent else _SECONDS_AFTER_FAILURE)
        self._send()

    def _send(self) -> bool:
        # Imported here, in the thread: MLflow takes seconds to load.
        from fmri2img.tracking.curves import log_curve
        from fmri2img.tracking.store import STORE_ERRORS, open_store

        with self.lock:
            records = list(self.waiting)
        try:
            if self.client is None:
                client, experiment = open_store()
                self.run_id = self._run(client, experiment, records)
                self.client = client
            log_curve(self.client, self.run_id, records)
        except STORE_ERRORS:
            return False
        with self.lock:
            del self.waiting[: len(records)]
        return True

    def _run(self, client: Any, experiment: str, records: list[dict[str, float]]) -> str:
        """Return the run of an earlier start of the same training, or a new one."""
        from fmri2img.tracking.curves import holds_curve

        # A resumed training reports its earlier epochs again, with the same scores; a training with
        # other settings has other scores.
        if self.run_id and holds_curve(client, self.run_id, records):
            client.update_run(self.run_id, status="RUNNING")
            return self.run_id
        run = client.create_run(
            experiment, start_time=self.began, run_name=self.name, tags=self.tags
        )
        run_id: str = run.info.run_id
        if not self.is_over.is_set():
            write_text(self.note, run_id)
        return run_id


def live_curve(subject: str, model: str, about: dict[str, Any]) -> LiveCurve:
    """Open the run of a training; ``about`` as in the encoder's config."""
    tags = {key: str(value) for key, value in about.items()} | {"model": model}
    return LiveCurve(run_name(subject, model), tags, live_run_path(subject, model))
