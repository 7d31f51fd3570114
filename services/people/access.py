"""How people prove who they are: links, passwords, sessions and personal tokens. None commits."""

import secrets
from datetime import datetime, timedelta

from secondlook.text import actor_id
from sqlalchemy import Delete, delete, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from services.kit.audit import note
from services.kit.database import affected
from services.kit.errors import NotFound, invalid
from services.kit.secrets import (
    hash_password,
    new_token,
    password_matches,
    token_hash,
)
from services.people import attempts, models, push_devices, queries
from services.people.errors import SignInRefused
from services.people.rules import Actor, Verb

_PASSWORD_LENGTH = 12


_BY_LINK, _BY_PASSWORD = "link", "password"


_TOKEN_LENGTH = timedelta(days=90)


def create_token(session: Session, email: str, *, actor: Actor, now: datetime) -> str:
    """Make a personal API token that lasts 90 days; it cannot be read again.

    Raises:
        NotAllowed: it is somebody else's, and the actor does not manage people.
        NotFound: nobody active has that address.
    """
    _require_own(actor, email)
    who = _active(session, email)
    token = new_token("slp")
    session.add(
        models.PersonalToken(
            person=who.email,
            hash=token_hash(token),
            created_at=now,
            expires_at=now + _TOKEN_LENGTH,
        )
    )
    session.flush()
    note(session, now, actor.id, "create", "token", who.email)
    return token


def create_link(
    session: Session, email: str, *, actor: Actor, now: datetime, length: timedelta
) -> str:
    """Make a sign-in link's token, good once and for `length`.

    Raises:
        NotAllowed: the actor does not manage people.
        NotFound: nobody active has that address.
    """
    actor.require(Verb.MANAGE_PEOPLE)
    who = _active(session, email)
    token = new_token("sll")
    session.add(
        models.SignInLink(
            hash=token_hash(token), person=who.email, created_at=now, expires_at=now + length
        )
    )
    session.flush()
    note(session, now, actor.id, "create", "link", who.email)
    return token


def use_link(
    session: Session, token: str, *, now: datetime, length: timedelta
) -> tuple[str, Actor]:
    """Spend a sign-in link on a browser session; answers its secret and who it is.

    Raises:
        SignInRefused: the link is unknown, spent or too old.
    """
    email = session.execute(
        update(models.SignInLink)
        .where(
            models.SignInLink.hash == token_hash(token),
            models.SignInLink.used_at.is_(None),
            models.SignInLink.expires_at > now,
        )
        .values(used_at=now)
        .returning(models.SignInLink.person)
    ).scalar_one_or_none()
    who = queries.actor(session, email) if email is not None else None
    if who is None:
        raise SignInRefused("This link has been used or is too old. Ask an admin for a new one.")
    return _begin(session, who, now=now, length=length, how=_BY_LINK), who


def sign_in(
    session: Session, email: str, password: str, *, now: datetime, length: timedelta
) -> tuple[str, Actor]:
    """Sign in with a password; answers the browser session's secret and who it is.

    Raises:
        SignInRefused: address or password is wrong, or the account is not active.
    """
    email = actor_id(email)
    row = session.get(models.Person, email)
    matches = password_matches(row.password_hash if row is not None else None, password)
    who = queries.actor(session, email) if matches else None
    if who is None:
        raise SignInRefused("The address or the password is not right.")
    return _begin(session, who, now=now, length=length, how=_BY_PASSWORD), who


def _begin(session: Session, who: Actor, *, now: datetime, length: timedelta, how: str) -> str:
    secret = new_token("sls")
    session.add(
        models.SignIn(
            hash=token_hash(secret),
            person=who.email,
            csrf_token=secrets.token_urlsafe(32),
            how=how,
            created_at=now,
            expires_at=now + length,
        )
    )
    session.flush()
    note(session, now, who.email, "sign in", "person", who.email, how=how)
    return secret


def sign_out(session: Session, secret: str, *, now: datetime) -> None:
    """End a browser session."""
    session.execute(
        update(models.SignIn)
        .where(models.SignIn.hash == token_hash(secret), models.SignIn.ended_at.is_(None))
        .values(ended_at=now)
    )


def end_every_sign_in(session: Session, email: str, *, now: datetime) -> None:
    """End all of a person's sessions, tokens, links and feeds, and know none of their browsers:
    nothing more is pushed to them."""
    for table, column in (
        (models.SignIn, models.SignIn.ended_at),
        (models.PersonalToken, models.PersonalToken.revoked_at),
        (models.SignInLink, models.SignInLink.used_at),
        (models.FeedToken, models.FeedToken.revoked_at),
    ):
        session.execute(
            update(table).where(table.person == email, column.is_(None)).values({column: now})
        )
    attempts.forget_devices(session, email)
    push_devices.forget(session, email)


def require_password(session: Session, who: Actor, password: str) -> None:
    """Whoever found a browser signed in must not be able to set the password of its owner.

    Raises:
        InvalidInput: it is not the person's present password.
    """
    row = session.get(models.Person, who.email)
    if row is None or not password_matches(row.password_hash, password):
        hint = "Write the one you have now, or ask an admin for a sign-in link."
        raise invalid("current", "it is not your password", hint)


def set_password(
    session: Session, email: str, password: str, *, actor: Actor, now: datetime
) -> None:
    """Set a person's password; every other sign-in of theirs ends.

    Raises:
        NotAllowed: it is somebody else's, and the actor does not manage people.
        InvalidInput: the password is too short.
        NotFound: nobody active has that address.
    """
    _require_own(actor, email)
    if len(password) < _PASSWORD_LENGTH:
        raise invalid("password", "it is too short", f"Use {_PASSWORD_LENGTH} characters or more.")
    who = _active(session, email)
    session.execute(
        update(models.Person)
        .where(models.Person.email == who.email)
        .values(password_hash=hash_password(password))
    )
    end_every_sign_in(session, who.email, now=now)
    note(session, now, actor.id, "set password", "person", who.email)


def _require_own(actor: Actor, email: str) -> None:
    """Everybody may do as they like with what is theirs."""
    if actor_id(email) != actor.email:
        actor.require(Verb.MANAGE_PEOPLE)


def _active(session: Session, email: str) -> Actor:
    who = queries.actor(session, email)
    if who is None:
        raise NotFound(f"Nobody active has the address '{email}'.")
    return who


def forget(session: Session, *, before: datetime, limit: int) -> int:
    """Remove sign-ins, links and tokens that ended before `before`, up to `limit` of each."""
    return sum(
        affected(session.execute(_forgetting(key, ended, before, limit)))
        for key, ended in (
            (models.SignIn.hash, models.SignIn.expires_at),
            (models.SignInLink.hash, models.SignInLink.expires_at),
            (models.PersonalToken.hash, models.PersonalToken.expires_at),
            (models.KnownDevice.hash, models.KnownDevice.expires_at),
        )
    )


def _forgetting(
    key: InstrumentedAttribute[bytes],
    ended: InstrumentedAttribute[datetime],
    before: datetime,
    limit: int,
) -> Delete:
    old = select(key).where(ended < before).limit(limit)
    return delete(key.class_).where(key.in_(old))
