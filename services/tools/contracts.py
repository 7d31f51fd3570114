"""What the contracts do not take, as errors that name the fields."""

from secondlook import events

from services.kit.errors import InvalidInput, Problem


def refused(error: events.InvalidEvent) -> InvalidInput:
    """A refusal of the contracts as an error of ours."""
    problems = tuple(Problem(p.pointer, p.problem, p.mend) for p in error.problems)
    return InvalidInput(str(error.problems[0]), problems=problems)
