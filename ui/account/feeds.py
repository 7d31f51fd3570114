"""The address by which one's own calendar reads schedules."""

from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.people import feeds, schedule_queries
from services.people.rules import Verb
from ui.account.show import show_account
from ui.kit.context import PageContext


def add_feeds(routes: APIRouter, pages: PageContext) -> None:
    """Add making and revoking it."""

    @routes.post("/account/feed")
    def make(request: Request) -> Response:
        """Shown this once: the secret is kept as a hash alone."""
        actor = pages.actor(request, Verb.READ_SCHEDULES)
        with pages.transaction() as (session, now):
            token = feeds.make_feed_token(session, actor=actor, now=now)
            slugs = schedule_queries.visible_roster(session, actor, now, now).schedules
        key = urlencode({"key": token})
        made = [f"{pages.address()}/schedules/{slug}.ics?{key}" for slug in slugs]
        return show_account(pages, request, feeds=made)

    @routes.post("/account/feed/revoke")
    def revoke(request: Request) -> Response:
        actor = pages.actor(request, Verb.READ_SCHEDULES)
        with pages.transaction() as (session, now):
            feeds.revoke_feed_token(session, actor=actor, now=now)
        return pages.redirect(request, "/account#feed")
