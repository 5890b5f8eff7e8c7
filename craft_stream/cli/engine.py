"""What commands make of settings: the encoder, the parameters, a Model that was kept in a file."""

from __future__ import annotations

from pathlib import Path

from craft_stream.api.model import read_model
from craft_stream.cli.kernels import announce_compiling
from craft_stream.cli.lists import list_digests
from craft_stream.cli.tell import tell
from craft_stream.encoders import load_encoder
from craft_stream.errors import ConfigurationError
from craft_stream.parameters import LearningParameters, Parameters, lists_digest
from craft_stream.scoring.embedding import Embedder
from craft_stream.scoring.model import Model
from craft_stream.selection.selector import Selector
from craft_stream.settings import Settings
from craft_stream.topics.models import ModelStore
from craft_stream.worker.named_encoders import NamedEncoders


def load_engine(settings: Settings) -> tuple[Parameters, Embedder]:
    """The parameters in force, and the encoder that they name.

    Raises:
        ConfigurationError: the encoder cannot be loaded, or a list cannot be read.
    """
    announce_compiling()
    encoder = load_encoder(settings.encoder.kind, **settings.encoder.options)
    return settings.parameters(encoder.digest, lists_digest(list_digests(settings))), encoder


def load_selector(settings: Settings, store: ModelStore) -> Selector:
    """A selector that decides with every version of the Model that a group has decided with.

    Raises:
        ConfigurationError: as for `load_engine`.
    """
    parameters, encoder = load_engine(settings)
    encoders = NamedEncoders(store, settings.kafka.group_id, encoder, load_encoder)
    return Selector(parameters, encoder, encoders.load)


def give_model(store: ModelStore, model: Model) -> None:
    """Take the version of a file for that of `run --model`; where the topic has another of its number, say so."""
    if store.taken(model):
        tell(
            f"{store.topic} holds another model {model.version} than the file: all that was decided by either is recomputed by "
            "the file's"
        )
    store.give(model)


def load_model(path: Path, learning: LearningParameters = LearningParameters()) -> Model:  # frozen
    """A version that was kept in a file.

    Nothing is learned beside it, so what is left at its default among `learning` does not matter; what is set, and would
    have given another Model, does.

    Raises:
        DataError: the file cannot be read.
        IntegrityError: it holds no Model, a damaged one, or one of another format.
        ConfigurationError: a learning parameter is set to other than the Model was learned under.
    """
    model = read_model(path)
    if others := learning.contradicts(model.learning):
        raise ConfigurationError(
            f"{path} was learned under other parameters than the settings ask for: {', '.join(others)}. Take them out of "
            "the settings, or learn a new model"
        )
    return model
