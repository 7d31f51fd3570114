"""The address by which a calendar reads schedules: calendars cannot sign in."""

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from services.kit.audit import note
from services.kit.database import affected
from services.kit.errors import NotFound
from services.kit.secrets import new_token, token_hash
from services.people import models, queries
from services.people.rules import Actor, Verb
from services.people.service import hold_person


def make_feed_token(session: Session, *, actor: Actor, now: datetime) -> str:
    """Make the secret of the actor's own feeds; the one of before opens nothing any more.

    Raises:
        NotAllowed: the actor may not read schedules.
    """
    actor.require(Verb.READ_SCHEDULES)
    hold_person(session, actor.email)
    _revoke(session, actor, now)
    token = new_token("slf")
    session.add(models.FeedToken(hash=token_hash(token), person=actor.email, created_at=now))
    session.flush()
    note(session, now, actor.id, "create", "feed", actor.email)
    return token


def revoke_feed_token(session: Session, *, actor: Actor, now: datetime) -> None:
    """Let the secret of the actor's feeds open nothing any more."""
    hold_person(session, actor.email)
    if _revoke(session, actor, now):
        note(session, now, actor.id, "revoke", "feed", actor.email)


def _revoke(session: Session, actor: Actor, now: datetime) -> int:
    token = models.FeedToken
    live = update(token).where(token.person == actor.email, token.revoked_at.is_(None))
    return affected(session.execute(live.values(revoked_at=now)))


def has_feed_token(session: Session, email: str) -> bool:
    """Whether somebody's feeds can be read at present."""
    token = models.FeedToken
    query = select(token.hash).where(token.person == email, token.revoked_at.is_(None))
    return session.execute(query).first() is not None


def actor_of_feed(session: Session, secret: str) -> Actor:
    """Whose feeds a secret opens.

    Raises:
        NotFound: nobody's: it never did, it was revoked, or they may not read schedules.
    """
    token = models.FeedToken
    query = select(token.person).where(token.hash == token_hash(secret), token.revoked_at.is_(None))
    email = session.execute(query).scalar_one_or_none()
    actor = queries.actor(session, email) if email is not None else None
    if actor is None or not actor.may(Verb.READ_SCHEDULES):
        raise NotFound("This calendar address opens nothing. Make a new one on your own page.")
    return actor
