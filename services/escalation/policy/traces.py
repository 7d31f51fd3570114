"""What is told of the rules that were asked about a case. Pure."""

from dataclasses import dataclass

from services.escalation.rules import Priority, Wanted


@dataclass(frozen=True, slots=True)
class RuleTrace:
    """One rule that was asked, and the first of its clauses that failed, if one did."""

    rule: str
    matched: bool
    failed: str | None = None
    monitored: bool = False
    """Whether the rule is merely tried, so that the next one is asked all the same."""

    def __str__(self) -> str:
        """The rule and what came of it, in words."""
        if self.failed is not None:
            return f"{self.rule}: {self.failed}"
        return f"{self.rule}: {'would match, and is only tried' if self.monitored else 'matches'}"


@dataclass(frozen=True, slots=True)
class WouldTake:
    """What a rule that is merely tried would have given a case."""

    rule: str
    queue: str
    owner: Wanted
    priority: Priority
