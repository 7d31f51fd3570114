"""What happens to people, teams, schedules, calendars and the routing policy."""

from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from services.escalation import clocks, rerouting, service
from services.escalation.policy.revisions import put
from services.escalation.routing import policies
from services.people import absences, schedule_queries, schedules, skills
from services.people import service as people_service
from services.people.calendars import read as read_calendar
from services.people.rotations import read as read_schedule
from services.people.rules import Role
from tests.escalation_machine.checks import OFF_DUTY
from tests.escalation_machine.ground import AT_ONCE, TEAMS, Broken, Ground
from tests.escalation_machine.policies import SCHEDULES, calendar, policy, schedule
from tests.factories import OTHER_TEAM, TEAM
from tests.factories.people import OPERATOR

# Whole cases last: they are due with their parts.
_SHOWN = text("""
SELECT id, due_at, claim_due_at, resolve_due_at, counted_calendar, counted_revision FROM "case"
WHERE state NOT IN ('resolved', 'closed') ORDER BY state <> 'merged', id
""")


class People(Ground):
    """An installation whose people come and go, and whose rules change."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._away: list[str] = []

    def add_person(self, role: Role, team: str) -> None:
        """Somebody comes."""
        email = f"p{len(self.people)}@example.org"
        teams = [team] if team in TEAMS[:2] else []
        if len(self.people) < 12:
            given = {"name": email, "role": role, "teams": teams}
            self._manage(people_service.add_person, email, **given)
            self.people.append(email)

    def add_team(self) -> None:
        """The third team is founded, where it is not there."""
        self._manage(people_service.add_team, TEAMS[2], name=None)

    def change(self, who: str, **change: Any) -> None:
        """Somebody changes role or teams, leaves or comes again."""
        self._manage(people_service.change_person, who, **change, duties=self._duties)

    def empty(self, team: str) -> None:
        """Everybody leaves a team who may."""
        query = text("SELECT person FROM membership WHERE team = :team ORDER BY person")
        for who in self._connection.execute(query, {"team": team}).scalars().all():
            self.change(who, teams=[other for other in TEAMS[:2] if other != team][:1])

    def remove_team(self, team: str) -> None:
        """A team is there no more, where it can be missed."""
        self._manage(people_service.remove_team, team, duties=self._duties)

    def manage(self, who: str, manager: str | None) -> None:
        """Somebody gets another manager."""
        self._manage(people_service.change_manager, who, manager=manager)

    def teach(self, who: str, wanted: tuple[str, ...]) -> None:
        """Somebody can do something else."""
        self._manage(skills.change_skills, who, skills=wanted)

    def away(self, who: str, span: timedelta, stand_in: str | None, ahead: timedelta) -> None:
        """Somebody is away from a time on."""
        begin = self.moment + ahead
        given = {"begin": begin, "end": begin + span, "stand_in": stand_in}
        if self._manage(absences.go_away, who, **given, duties=self._duties) is not None:
            self._away.append(who)

    def back(self, who: int) -> None:
        """Somebody who went away is back."""
        if self._away:
            gone = self._away.pop(who % len(self._away))
            self._manage(absences.come_back, gone, duties=self._duties)

    def schedule(self, slug: str, people: tuple[str, ...], every: int, ahead: int) -> None:
        """A schedule is said anew; where it begins later, it has a hole until then."""
        start = f"{self.moment + timedelta(hours=ahead):%Y-%m-%dT%H:%M}"
        document = read_schedule(schedule(people, every, start))
        given = {"team": TEAM if slug == SCHEDULES[0] else OTHER_TEAM, "duties": self._duties}
        put = self.done["put_schedule"]
        self._manage(schedules.put_schedule, slug, document, **given)
        if self.done["put_schedule"] > put:
            self.require_duty(slug)

    def override(self, slug: str, who: str, span: timedelta) -> None:
        """Somebody has a schedule's duty for a span."""
        given = {"begin": self.moment, "end": self.moment + span, "duties": self._duties}
        if self._manage(schedules.override, slug, who, **given) is not None:
            self.require_duty(slug)

    def require_duty(self, slug: str) -> None:
        """What a schedule owns is owned through whoever has its duty.

        Raises:
            Broken: it is not.
        """
        with self._transaction() as session:
            person = schedule_queries.on_duty(session, [slug], self.moment).get(slug)
            given = {"slug": slug, "person": person}
            if found := session.execute(OFF_DUTY, given).all():
                raise Broken(f"{person} has the duty of {slug}, and does not own {found}")

    def reapply(self, *, also_reassigned: bool) -> None:
        """All open cases are routed anew by the policy in force."""

        def do(session: Session) -> None:
            given = {"also_reassigned": also_reassigned, "now": self.moment}
            known = policies(session, self._policy(session))
            rerouting.reroute(session, known, self.cases, actor=OPERATOR, **given)

        self.attempt(do, "reapply")

    def route(self, first: int, second: int, rung: int, last: int) -> None:
        """Another policy is put into force, where it can be."""
        content = policy(first, second, rung, last)
        self.attempt(lambda s: put(s, content, actor=OPERATOR, now=self.moment), "route")

    def calendar(self, slug: str, hours: int, team: str | None) -> None:
        """A calendar is said anew, or a team goes by it; then deadlines are counted anew."""
        if team is None:
            self._manage(people_service.put_calendar, slug, read_calendar(calendar(hours)))
        else:
            self._manage(people_service.change_team, team, calendar=slug if hours else None)

    def recount(self) -> None:
        """What calendars have changed is counted anew; after it all deadlines are what their clocks
        and calendars say."""
        for _ in range(10):
            with self._transaction() as session:
                if not service.recount(session, limit=AT_ONCE):
                    break
        shown = self._connection.execute(_SHOWN).all()
        with self._transaction() as session:
            clocks.count_anew(session, [row.id for row in shown])
        if shown != self._connection.execute(_SHOWN).all():
            raise Broken("a deadline is another than its clocks and calendars say")
        self.done["recount"] += 1
