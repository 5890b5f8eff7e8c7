"""Options that take all values that follow them."""

from __future__ import annotations

from typing import Any

import typer.core

from connectors.files.open import STANDARD


class ManyValues(typer.core.TyperCommand):
    """A command whose list options take all values that follow, as shells expand `--input *.jsonl`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option's name before each of its values; the last are the command's arguments if it has no other."""
        many = {name for option in self.params if getattr(option, "multiple", False) for name in option.opts}
        single = {
            name for option in self.params if not getattr(option, "is_flag", True) for name in option.opts
        } - many
        spelt: list[str] = []
        repeated: list[int] = []
        missing = sum(param.param_type_name == "argument" for param in self.params)
        current = ""
        for index, arg in enumerate(args):
            if arg.startswith("-") and arg != STANDARD:
                current = arg if arg in many else ""
            elif not current:
                missing -= args[index - 1] not in single if index else 1
            elif args[index - 1] != current:
                repeated.append(len(spelt))
                spelt.append(current)
            spelt.append(arg)
        for place in repeated[: -missing - 1 : -1] if missing > 0 else ():
            del spelt[place]
        return super().parse_args(ctx, spelt)
