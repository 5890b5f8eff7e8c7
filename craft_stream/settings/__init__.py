"""Settings: flags > environment > TOML > defaults, frozen, and strict about names.

`Settings.load("craft.toml", ["budget.rate=0.01"])` reads them. In the environment a setting is `CRAFT_`, its
section, two underscores and its name: `CRAFT_KAFKA__BOOTSTRAP_SERVERS`. A name that does not exist is an
error that gives the nearest one that does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from craft_stream.errors import ConfigurationError
from craft_stream.parameters import LearningParameters, Parameters, SelectionParameters, SelectionRules
from craft_stream.settings import names
from craft_stream.settings.names import Description, explain
from craft_stream.settings.renamed import refuse_renamed
from craft_stream.settings.sections import (
    LEAST_VERSIONS,
    BudgetSettings,
    DecisionsSettings,
    EncoderSettings,
    ErrorsSettings,
    KafkaSettings,
    LearnerSettings,
    LedgerSettings,
    ModelsSettings,
    ObserveSettings,
    Policy,
    PolicySettings,
    RecordSettings,
    SecuritySettings,
    SelectionSettings,
)
from craft_stream.settings.sources import (
    ENVIRONMENT_PREFIX,
    NESTING,
    merge,
    read_environment,
    read_flags,
    read_toml,
)

__all__ = [
    "LEAST_VERSIONS",
    "BudgetSettings",
    "DecisionsSettings",
    "Description",
    "EncoderSettings",
    "ErrorsSettings",
    "KafkaSettings",
    "LearnerSettings",
    "LedgerSettings",
    "ModelsSettings",
    "ObserveSettings",
    "Policy",
    "PolicySettings",
    "RecordSettings",
    "SecuritySettings",
    "SelectionSettings",
    "Settings",
    "describe",
    "known_names",
]


class Settings(BaseSettings):
    """All settings of a process.

    `Settings(...)` takes only what it is given; `Settings.load` reads environment and file as well.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter=NESTING,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # an input may be a secret
    )

    kafka: KafkaSettings = KafkaSettings()
    record: RecordSettings = RecordSettings()
    budget: BudgetSettings = BudgetSettings()
    ledger: LedgerSettings = LedgerSettings()
    models: ModelsSettings = ModelsSettings()
    decisions: DecisionsSettings = DecisionsSettings()
    learner: LearnerSettings = LearnerSettings()
    selection: SelectionSettings = SelectionSettings()
    encoder: EncoderSettings = EncoderSettings()
    observe: ObserveSettings = ObserveSettings()
    errors: ErrorsSettings = ErrorsSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only the arguments: `load` merges the rest, so that one place holds the order of precedence."""
        return (init_settings,)

    @classmethod
    def load(cls, path: str | Path | None = None, overrides: Sequence[str] = ()) -> Self:
        """Read settings: `overrides` ("section.key=value") over environment over TOML file over defaults.

        Raises:
            ConfigurationError: the file cannot be read, a name is unknown, or a value is not allowed.
        """
        merged: dict[str, Any] = {}
        for layer in (
            read_toml(path) if path is not None else {},
            read_environment(cls),
            read_flags(overrides),
        ):
            merge(merged, layer)
        refuse_renamed(merged)
        try:
            return cls(**merged)
        except ValidationError as error:
            raise ConfigurationError(explain(error, cls())) from None

    def parameters(self, encoder: str = Parameters().encoder, listed: str = "") -> Parameters:
        """What the engine decides by.

        Args:
            encoder: digest of the encoder that `[encoder]` asks for.
            listed: digest of the lists that `selection.decontaminate` and `.takedown` name.
        """
        learning = {field.name: getattr(self.learner, field.name) for field in fields(LearningParameters)}
        rules = {field.name: getattr(self.selection, field.name) for field in fields(SelectionRules)}
        selection = SelectionParameters(**rules, rate=self.budget.rate)
        return Parameters(LearningParameters(**learning), selection, encoder, listed)


def describe() -> list[Description]:
    """Every setting, in order."""
    return list(names.describe(Settings()))


def known_names() -> list[str]:
    """The name of every setting."""
    return [setting.name for setting in describe()]
