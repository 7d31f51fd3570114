"""What the contracts do not take, as errors that name the fields."""

from secondlook import events

from services.kit.errors import InvalidInput, Problem


def as_problems(error: events.InvalidEvent) -> tuple[Problem, ...]:
    """What the contracts found wrong, as problems of ours."""
    return tuple(Problem(p.pointer, p.problem, p.hint) for p in error.problems)


def refused(error: events.InvalidEvent) -> InvalidInput:
    """A refusal of the contracts as an error of ours."""
    return InvalidInput(str(error.problems[0]), problems=as_problems(error))
