"""`calendars`: when people work."""

from pathlib import Path
from typing import Annotated

import typer

from services.commands.people import Slug
from services.commands.shared import AsJson, answer, group, operator, read_text, transaction
from services.people import service as people_service
from services.people.calendars import read as read_calendar

calendars = group("Calendars: when people work.")


@calendars.command("add")
def add_calendar(
    slug: Slug,
    file: Annotated[Path, typer.Option(help="The calendar, as YAML.", exists=True, dir_okay=False)],
    as_json: AsJson = False,
) -> None:
    """Add a calendar, or say anew what it is; open cases are counted anew within a minute."""
    document = read_calendar(read_text(file))
    with transaction() as (_, session, now):
        people_service.put_calendar(session, slug, document, actor=operator(), now=now)
    answer({"calendar": slug}, as_json=as_json, lines=[f"calendar {slug} is in force"])
