"""A step of datatrove's pipelines that keeps sentence pairs by a model of craft_stream, and says why it drops the others.

`python craft_datatrove.py STREAM MODEL OUTPUT` runs it: a pair is a document with its source as `text` and its target in
`metadata["tgt"]`, as JsonlReader makes it of `{"src": ..., "tgt": ...}`.
"""

from __future__ import annotations

import sys

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.pipeline.writers.disk_base import DiskWriter

import craft_stream


class CraftFilter(BaseFilter):  # type: ignore[misc]
    """Keeps what reaches a score.

    Args:
        model: a file of `craft-stream select --save-model`.
        threshold: the least score that is kept.
        exclusion_writer: where dropped documents go, with `filter_reason`.
    """

    name = "craft_stream"

    def __init__(
        self, model: str, threshold: float = 0.0, exclusion_writer: DiskWriter | None = None
    ) -> None:
        super().__init__(exclusion_writer, batch_size=10_000)
        self.model, self.threshold = model, threshold

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """The answer for one document."""
        return self.filter_batch([doc])[0]

    def filter_batch(self, batch: list[Document]) -> list[bool | tuple[bool, str]]:
        """The answer for each document."""
        scores = craft_stream.load_model(self.model).score([(doc.text, doc.metadata["tgt"]) for doc in batch])
        answers: list[bool | tuple[bool, str]] = []
        for score, reason in zip(scores["score"].to_pylist(), scores["reason"].to_pylist(), strict=True):
            answers.append((False, reason) if reason else score >= self.threshold or (False, "low_score"))
        return answers


if __name__ == "__main__":
    stream, model, output = sys.argv[1:]
    LocalPipelineExecutor(
        pipeline=[
            JsonlReader(stream, text_key="src"),
            CraftFilter(
                model, threshold=1.5, exclusion_writer=JsonlWriter(f"{output}/dropped", compression=None)
            ),
            JsonlWriter(f"{output}/kept", compression=None),
        ],
    ).run()
