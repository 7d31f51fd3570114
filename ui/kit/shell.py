"""What surrounds the content of every page: who is signed in, and where they can go."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class NavItem:
    """One place in the top bar. `key` is its shortcut (`g q`), `count` what waits there."""

    label: str
    href: str
    icon: str
    key: str = ""
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """Who is signed in, as the top bar says it."""

    name: str
    email: str
    role: str


@dataclass(frozen=True, slots=True)
class Shell:
    """What surrounds the content of a page, for one request."""

    csrf_token: str = ""
    person: Person | None = None
    nav: tuple[NavItem, ...] = ()
    home: str = "/"
    sign_out: str = "/sign-out"
    menu: tuple[NavItem, ...] = field(default=())
