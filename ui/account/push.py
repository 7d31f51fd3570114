"""The browsers that show what one is told: allowing one, removing one, and their worker."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.kit.errors import InvalidInput, NotFound
from services.notifications import service as notifications
from services.people.push_devices import Subscription
from ui.account.show import show_account
from ui.kit.context import PageContext
from ui.kit.forms import Form, PostedForm, field_errors
from ui.kit.static_files import static_files

_PAGE = "/account?saved=push#push"
_WORKER = "push-worker.js"


def add_push(routes: APIRouter, pages: PageContext) -> None:
    """Add them."""

    @routes.get("/push.js")
    def worker() -> Response:
        """At the root, since a worker answers for what lies beside it and below."""
        asset = static_files().asset(_WORKER)
        if asset is None:
            raise LookupError(f"there is no static file '{_WORKER}'")
        headers = {"Cache-Control": "no-cache", "ETag": f'"{asset.version}"'}
        return Response(asset.body, media_type=asset.media_type, headers=headers)

    @routes.post("/account/push")
    def allow(request: Request, form: PostedForm) -> Response:
        actor = pages.signed_in(request).actor
        asked, user_agent = _subscription(form), request.headers.get("user-agent", "")
        try:
            with pages.transaction() as (session, now):
                notifications.allow_push(
                    session,
                    asked,
                    user_agent=user_agent,
                    allowed=pages.outbound_allow,
                    actor=actor,
                    now=now,
                )
        except InvalidInput as error:
            errors = field_errors(error, otherwise="push")
            return show_account(pages, request, status=error.status, errors=errors)
        return pages.redirect(request, _PAGE)

    @routes.post("/account/push/remove")
    def remove(request: Request, form: PostedForm) -> Response:
        actor, number = pages.signed_in(request).actor, form.number("number", 0)
        if not 0 < number < 2**63:
            raise NotFound("There is no such device of yours.")
        with pages.transaction() as (session, now):
            notifications.remove_push(session, number, actor=actor, now=now)
        return pages.redirect(request, "/account#push")


def _subscription(form: Form) -> Subscription:
    return Subscription(*(form.line(name) for name in Subscription._fields))
