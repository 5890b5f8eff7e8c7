"""Encoders of the sentence-transformers package: any model name or local folder, one for both sides or one for each."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from craft_stream.encoders.dense import DenseEncoder
from craft_stream.errors import ConfigurationError, MissingExtraError

# Token counts that batches of more than one text are padded to.
_LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
_PRECISIONS = ("float32", "float16", "bfloat16")


class FixedShapes:
    """A SentenceTransformer whose rows depend on their own text alone, to the bit.

    One text at a time, which on a CPU is about as fast as batches of sentences, since nothing is padded. Or, for a GPU, so
    many texts at a time, all padded to one of a few lengths that follows from the text, the batch filled up with copies: the
    shape, from which the last bits follow, is then the text's own.

    Args:
        model: a `SentenceTransformer`.
        prompt: is put before every text.
        batch_size: texts at a time.
    """

    expensive = True
    concurrent = True

    def __init__(self, model: Any, prompt: str, batch_size: int) -> None:
        self.batched = batch_size > 1
        self._model, self._prompt, self._batch_size = model, prompt, batch_size
        self._lock = threading.Lock()  # a tokenizer serves one thread only

    def encode(
        self, inputs: Sequence[str], batch_size: int = 1, normalize_embeddings: bool = True
    ) -> NDArray[np.float32]:
        """Embeddings, float32 [texts, D]; how many at a time is the object's own business."""
        vectors = (
            self._in_shapes(inputs) if self.batched else np.stack([self._alone(text) for text in inputs])
        )
        if not normalize_embeddings:
            return vectors
        # Here and not in torch, which at half precision gives lengths of 1.004.
        lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
        return np.asarray(vectors / lengths, np.float32)

    def _alone(self, text: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self._forward(self._features([text]))[0]
        return vector

    def _in_shapes(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Batches of `batch_size` texts of one padded length each."""
        by_length: dict[int, list[int]] = {}
        for place, text in enumerate(texts):
            by_length.setdefault(_padded(self._count(text)), []).append(place)
        out: NDArray[np.float32] | None = None
        for length, places in by_length.items():
            for start in range(0, len(places), self._batch_size):
                part = places[start : start + self._batch_size]
                filled = [texts[place] for place in part] + [texts[part[0]]] * (self._batch_size - len(part))
                vectors = self._forward(self._stretched(filled, length))
                if out is None:
                    out = np.zeros((len(texts), vectors.shape[1]), np.float32)
                out[part] = vectors[: len(part)]
        return np.zeros((0, 0), np.float32) if out is None else out

    def _features(self, texts: list[str]) -> dict[str, Any]:
        with self._lock:
            return dict(self._model.preprocess(texts, prompt=self._prompt or None))

    def _stretched(self, texts: list[str], length: int) -> dict[str, Any]:
        """Features of texts padded to so many tokens."""
        import torch

        features = self._features(texts)
        for name, value in features.items():
            # Padding is masked, so the id that it has does not matter.
            if isinstance(value, torch.Tensor) and value.ndim == 2 and value.shape[1] < length:
                features[name] = torch.nn.functional.pad(value, (0, length - value.shape[1]))
        return features

    def _count(self, text: str) -> int:
        features = self._features([text])
        if "attention_mask" not in features or "input_ids" not in features:
            raise ConfigurationError(
                "this model has no attention mask, so its texts cannot be padded to one length: set "
                "encoder.options.batch_size = 1"
            )
        return int(features["input_ids"].shape[1])

    def _forward(self, features: dict[str, Any]) -> NDArray[np.float32]:
        import torch

        device = self._model.device
        for name, value in features.items():
            if isinstance(value, torch.Tensor):
                features[name] = value.to(device)
        with torch.inference_mode():
            vectors = self._model.forward(features)["sentence_embedding"]
            if self._model.truncate_dim is not None:
                vectors = vectors[:, : self._model.truncate_dim]
        return np.asarray(vectors.float().cpu().numpy(), np.float32)


def _padded(tokens: int) -> int:
    return next((length for length in _LENGTHS if tokens <= length), tokens)


def load(
    model: str = "",
    target_model: str = "",
    prompt: str = "",
    target_prompt: str | None = None,
    precision: str = "float32",
    max_tokens: int = 0,
    batch_size: int = 1,
    threads: int = 1,
    **options: Any,
) -> DenseEncoder:
    """The encoder of a sentence-transformers model, or of two.

    Args:
        model: a name, or a local folder, for which no network is needed.
        target_model: of the target sides; empty: the same.
        prompt: put before every text, as in "query: ".
        target_prompt: the same for target sides; None: as `prompt`.
        precision: "float32", "float16" or "bfloat16".
        max_tokens: of a text; the rest is cut off; 0: what the model says.
        batch_size: texts at a time; more than 1 is for GPUs, see `FixedShapes`.
        threads: of torch on the CPU. The last bits change with it, and two threads that wait for one another on a busy machine
            took ten times as long as one.
        options: passed to `SentenceTransformer` (device, truncate_dim, revision, backend, local_files_only, ...).

    Raises:
        ConfigurationError: the extra is not installed, or a model cannot be loaded.
    """
    if not model:
        raise ConfigurationError(
            'encoder.options.model is missing: a model name or folder, as in {model = "PATH"}'
        )
    if precision not in _PRECISIONS:
        raise ConfigurationError(f"encoder.options.precision must be one of {', '.join(_PRECISIONS)}")
    if batch_size < 1 or threads < 1 or max_tokens < 0:
        raise ConfigurationError("encoder.options.batch_size and .threads must be at least 1, .max_tokens 0")
    try:
        import torch
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError("this encoder", "sentence-transformers") from error
    torch.set_num_threads(threads)
    sha = hashlib.sha256(f"{precision} {max_tokens} {batch_size} {threads}".encode())
    sides = []
    for name, text in ((model, prompt), (target_model, prompt if target_prompt is None else target_prompt)):
        if not name and text == prompt:
            continue
        try:
            transformer = SentenceTransformer(name or model, **options)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigurationError(
                f"the sentence-transformers model {name or model!r} cannot be loaded: {error}"
            ) from error
        transformer.to(getattr(torch, precision)).eval()
        if max_tokens:
            transformer.max_seq_length = max_tokens
        _update(sha, transformer, text)
        sides.append(FixedShapes(transformer, text, batch_size))
    digest = f"sentence-transformers-{sha.hexdigest()[:16]}"
    return DenseEncoder(sides[0], digest, sides[1] if len(sides) > 1 else None)


def _update(sha: Any, transformer: Any, prompt: str) -> None:
    """Digest what the embeddings depend on: the modules and their settings, and names, shapes and values of all weights."""
    settings = (repr(transformer), transformer.truncate_dim, transformer.device.type, prompt)
    sha.update(repr(settings).encode())
    for name, tensor in sorted(transformer.state_dict().items()):
        sha.update(f"{name} {tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
