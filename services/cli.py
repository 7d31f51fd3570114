"""The one command, `secondlook`."""

import sys

import typer

from services.commands import demo, doctor, letters, registry, roles, route
from services.commands.shared import in_words
from services.kit.errors import SecondlookError

app = typer.Typer(
    help="Secondlook: the feedback loop and exception handling for deployed AI tools.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(roles.run)
app.command()(demo.demo)
app.command()(roles.migrate)
app.command()(roles.serve)
app.command()(roles.consume)
app.command()(roles.tick)
app.command()(roles.export)
app.command()(letters.replay)
app.command()(letters.account)
app.command()(doctor.doctor)
app.add_typer(letters.dead_letters, name="dead-letters")
app.add_typer(letters.audit, name="audit")
app.add_typer(registry.tools, name="tools")
app.add_typer(registry.teams, name="teams")
app.add_typer(registry.people, name="people")
app.add_typer(registry.keys, name="keys")
app.add_typer(route.route, name="route")


def main() -> None:
    """Run a command. Exit 0: done; 1: not done, the reason on stderr; 2: wrong usage."""
    try:
        with in_words():
            app()
    except SecondlookError as error:
        sys.stderr.write(f"{error.detail}\n")
        for problem in error.problems:
            if problem.problem in error.detail and problem.mend in error.detail:
                continue  # It has been said.
            sys.stderr.write(f"  {problem.pointer}: {problem.problem}. {problem.mend}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
