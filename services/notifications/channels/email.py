"""Mail: what to do, with a link, as text and as simple HTML."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from urllib.parse import unquote, urlsplit

import aiosmtplib
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from services.notifications.channels.message import Message
from services.notifications.channels.outcome import Outcome, Result, outcome

SECONDS = 10.0
_PORTS = {"smtp": 25, "smtps": 465}
_templates = Environment(
    loader=PackageLoader("services.notifications"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class MailServer:
    """A mail server and how to sign in at it."""

    host: str
    port: int
    tls: bool
    user: str | None
    password: str | None

    @classmethod
    def of(cls, url: str) -> "MailServer":
        """The one that `smtp://user:pass@host:port` or `smtps://…` names."""
        parts = urlsplit(url)
        return cls(
            host=parts.hostname or "localhost",
            port=parts.port or _PORTS[parts.scheme],
            tls=parts.scheme == "smtps",
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
        )


def compose(
    message: Message, *, to: str, sender: str, message_id: str, address: str
) -> EmailMessage:
    """A mail; links begin with `address`. Repeats of it have the same `message_id`."""
    mail = EmailMessage()
    domain = parseaddr(sender)[1].rpartition("@")[2] or "secondlook"
    mail["From"], mail["To"], mail["Subject"] = sender, to, message.subject
    mail["Date"], mail["Message-ID"] = formatdate(), f"<{message_id}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    said = {"message": message, "address": address}
    mail.set_content(_templates.get_template("mail.txt").render(said))
    mail.add_alternative(_templates.get_template("mail.html").render(said), subtype="html")
    return mail


class EmailChannel:
    """Hands mails to the mail server. It is the operator's own: no network is forbidden to it."""

    def __init__(self, server: MailServer, sender: str, address: Callable[[], str]) -> None:
        """`address` answers where people reach the pages."""
        self._server, self._sender, self._address = server, sender, address

    async def send(self, to: str, message_id: str, payload: str) -> Outcome:
        """Hand over a mail."""
        mail = compose(
            Message.model_validate_json(payload),
            to=to,
            sender=self._sender,
            message_id=message_id,
            address=self._address(),
        )
        try:
            _, said = await self._hand_over(mail)
        except (aiosmtplib.SMTPException, ssl.SSLError, OSError) as error:
            return _of_error(error)
        return outcome(Result.SENT, said)

    async def _hand_over(self, mail: EmailMessage) -> tuple[object, str]:
        server = self._server
        return await aiosmtplib.send(
            mail,
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            use_tls=server.tls,
            # Asking the system for this machine's name may take seconds.
            local_hostname="secondlook.invalid",
            timeout=SECONDS,
        )


def _of_error(error: Exception) -> Outcome:
    """What an error says of whether the mail is on its way."""
    words = f"{type(error).__name__}: {error}"
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        codes = [one.code for one in error.recipients]
        words = "; ".join(f"{one.code} {one.message}" for one in error.recipients)
        return outcome(Result.NEVER if all(c >= 500 for c in codes) else Result.AGAIN, words)
    if isinstance(error, aiosmtplib.SMTPConnectError | aiosmtplib.SMTPResponseException):
        # Refusals by the server as a whole (a wrong password, say) are the operator's to mend.
        return outcome(Result.AGAIN, words)
    return outcome(Result.UNKNOWN, words)
