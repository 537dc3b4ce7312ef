"""A group whose commands' modules are imported when they are called."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import ClassVar

import click


class LazyGroup(click.Group):
    """`modules`: command → module of `planeshift.cli`, in the order in which help lists them.

    The command `rotate-key` is the module's `rotate_key`, or `rotate_key_` where a name would hide something.
    """

    modules: ClassVar[Mapping[str, str]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.modules:
            return None
        module, name = import_module(f"planeshift.cli.{self.modules[cmd_name]}"), cmd_name.replace("-", "_")
        found = getattr(module, f"{name}_", None) or getattr(module, name)
        return found if isinstance(found, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], self.modules, n=1)
            if near:
                raise click.UsageError(f"No such command '{args[0]}'. Did you mean '{near[0]}'?", ctx) from error
            raise
