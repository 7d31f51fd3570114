"""The one command, `secondlook`."""

import sys

import typer

from services.commands import (
    audit,
    clock,
    dead_letters,
    demo,
    doctor,
    measurement,
    notifications,
    people,
    reconciliation,
    roles,
    route,
    schedules,
    tools,
)
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
app.command()(reconciliation.replay)
app.command()(reconciliation.account)
app.command()(doctor.doctor)
app.command()(measurement.agreement)
app.add_typer(dead_letters.commands, name="dead-letters")
app.add_typer(audit.commands, name="audit")
app.add_typer(clock.clock, name="clock")
app.add_typer(tools.tools, name="tools")
app.add_typer(people.teams, name="teams")
app.add_typer(people.people, name="people")
app.add_typer(schedules.calendars, name="calendars")
app.add_typer(schedules.schedules, name="schedules")
app.add_typer(tools.keys, name="keys")
app.add_typer(route.route, name="route")
app.add_typer(notifications.webhooks, name="webhooks")
app.add_typer(notifications.notify, name="notify")
app.add_typer(notifications.deliveries, name="deliveries")


def main() -> None:
    """Run a command. Exit 0: done; 1: not done, the reason on stderr; 2: wrong usage."""
    try:
        with in_words():
            app()
    except SecondlookError as error:
        sys.stderr.write(f"{error.detail}\n")
        for problem in error.problems:
            if problem.problem in error.detail and problem.hint in error.detail:
                continue  # It has been said.
            sys.stderr.write(f"  {problem.pointer}: {problem.problem}. {problem.hint}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
