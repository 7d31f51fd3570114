"""Forms that the pages of notifications take, for the tests that make them nasty."""

from tests.notifications.browsers import FakeBrowser

FORMS: dict[str, dict[str, str]] = {
    "/inbox/read": {"id": "1"},
    "/account/notifications": {
        "mail.opened": "on",
        "digest_minutes": "15",
        "quiet_from": "22:00",
        "quiet_until": "07:00",
        "timezone": "Europe/Berlin",
        "pushed": "on",
    },
    "/account/push": FakeBrowser("https://push.example.org/1").subscription._asdict(),
    "/account/push/remove": {"number": "1"},
}
