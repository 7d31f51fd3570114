"""What is answered where nobody is signed in (any more): nothing that was typed is lost."""

from fastapi import Request
from starlette.responses import Response

from services.kit.errors import NotSignedIn
from ui.kit.context import PageContext
from ui.kit.csrf import StalePage
from ui.kit.draft import Draft, came_from, draft_of
from ui.kit.templating import by_htmx
from ui.sign_in.session import address_for, give_session, remember_visitor


def signed_out(pages: PageContext, request: Request, error: NotSignedIn) -> Response:
    """The way to sign in and back.

    A page that is opened leads there. What htmx asks for leaves the page as it is, whose
    script keeps what was typed. A form that was sent comes back inside the sign-in page.
    """
    if by_htmx(request):
        return pages.templates.signed_out(request, address_for(came_from(request.headers)))
    if request.method == "GET":
        return pages.redirect(request, address_for(_asked(request)))
    return sign_in_page(
        pages,
        request,
        next_=came_from(request.headers),
        draft=draft_of(request),
        refused=error.detail,
        status=error.status,
    )


def stale_page(pages: PageContext, request: Request, error: StalePage) -> Response:
    """A form of an earlier sign-in: it comes back, to be sent under the present one."""
    if by_htmx(request):
        return pages.templates.stale(request, error.detail, came_from(request.headers) or "/")
    draft = draft_of(request)
    if draft is None:
        return pages.templates.error(request, error.status, error.detail)
    return resend_page(pages, request, draft, status=error.status)


def sign_in_page(
    pages: PageContext,
    request: Request,
    *,
    next_: str,
    email: str = "",
    refused: str = "",
    draft: Draft | None = None,
    status: int = 200,
) -> Response:
    """The form to sign in, with what was typed on another page, where there is such."""
    response = pages.templates.render(
        request,
        "sign_in/sign_in.html",
        status=status,
        next=next_,
        email=email[:254],
        refused=refused,
        draft=draft,
        links=False,
    )
    remember_visitor(pages, request, response)
    return response


def resend_page(
    pages: PageContext, request: Request, draft: Draft, *, status: int = 200, secret: str = ""
) -> Response:
    """What was typed, to be looked at and sent again; `secret` of a session just begun."""
    response = pages.templates.render(
        request, "sign_in/resend.html", status=status, draft=draft, began=bool(secret)
    )
    if secret:
        give_session(pages, response, secret)
    return response


def _asked(request: Request) -> str:
    query = request.url.query
    return f"{request.url.path}?{query}" if query else request.url.path
