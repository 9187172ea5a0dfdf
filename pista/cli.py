"""The `pista` command. Each command lives in a module of ``pista.commands`` and is imported when it is called."""

import importlib
import sys

import click

# command: (module of pista.commands, one-line help); the attribute of the module has the command's name
COMMANDS = {
    "up": ("stack", "Start the local stack, replay a month of real flights, and serve it."),
    "down": ("stack", "Stop the local stack."),
    "status": ("stack", "Show what runs and what is served."),
    "replay": ("stack", "Publish real flights into the running stack."),
    "migrate": ("warehouse", "Bring the database to this version's schema and contracts."),
    "apply": ("datasets", "Take the contracts to a served state."),
    "produce": ("datasets", "Publish the records of a file to a dataset's topic."),
    "dataset": ("datasets", "Make a contract from a topic; load, replay, pause, rebuild or drop a dataset."),
    "erase": ("lifecycle", "Remove a key from a dataset, and from all that was kept of it."),
    "offsets": ("offsets", "Show where datasets stand on their topics; move them, or accept a loss."),
    "quarantine": ("quarantine", "List, show, export, retry and give up records that could not be loaded."),
}


class LazyGroup(click.Group):
    """A group whose commands cost nothing until they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"pista.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pista")
def main() -> None:
    """One contract file in, a served dataset out."""


if __name__ == "__main__":
    sys.exit(main())
