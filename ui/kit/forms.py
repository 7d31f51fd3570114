"""Reading forms: what went wrong, by the field that it is about."""

from services.kit.errors import InvalidInput, Problem, SecondlookError


def field_errors(error: SecondlookError, *, otherwise: str = "slug") -> dict[str, str]:
    """An error's problems by the field that each is about; `otherwise` where it names none."""
    found = {
        p.pointer.removeprefix("/").split("/")[0]: f"{p.problem}. {p.mend}" for p in error.problems
    }
    return found or {otherwise: error.detail.removeprefix(f"{otherwise}: ")}


def invalid_field(field: str, problem: str, hint: str) -> InvalidInput:
    """The error for one field of a form."""
    return InvalidInput(problem, problems=(Problem(f"/{field}", problem, hint),))
