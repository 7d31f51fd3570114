"""Results as a table: what was measured, what to hold it against, and the ratio of the two."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `against` is a limit or a peer measured in the same run."""

    what: str
    value: float
    unit: str
    against: float | None = None
    against_what: str = ""

    @property
    def ratio(self) -> str:
        """How the value compares, or nothing where there is nothing to compare with."""
        return f"{self.value / self.against:.2f}" if self.against else ""


def write(path: Path, rows: Iterable[Row], about: str) -> None:
    """Write the table."""
    lines = [
        "# Results",
        "",
        f"{about}. One run; made by `make bench`. Ratios are of figures of this same run.",
        "",
        "| what | value | unit | against | ratio |",
        "|---|---:|---|---|---:|",
    ]
    for row in rows:
        against = f"{_number(row.against)} ({row.against_what})" if row.against else ""
        lines.append(
            f"| {row.what} | {_number(row.value)} | {row.unit} | {against} | {row.ratio} |"
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
