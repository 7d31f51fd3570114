"""The one environment of all templates: where they are found, and what each of them may use."""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined
from starlette.requests import Request

from ui.kit import formatting, markup
from ui.kit.links import linked
from ui.kit.shell import Shell
from ui.kit.values import format_field

SHARED = Path(__file__).parent / "templates"
_AREAS = Path(__file__).parent.parent
THEMES = ("light", "dark")


@dataclass(frozen=True, slots=True)
class Rendering:
    """The request being answered, for globals that macros read."""

    request: Request
    shell: Shell
    now: datetime


rendering: ContextVar[Rendering] = ContextVar("rendering")
"""What macros and filters read while a page is rendered."""


_ALWAYS_ALIKE = frozenset({"icon"})
"""Macros that answer by their arguments alone, of which there are few: drawn once for each."""


class Macros:
    """`ui.button(…)` in every template, block and macro, without an import to forget.

    Jinja runs no import of a page when only a block of it is rendered, so an imported
    namespace would be missing just there.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._home: dict[str, str] = {}

    def collect(self) -> None:
        """Learn which file holds which macro.

        Raises:
            ValueError: when two files define the same name.
        """
        for name in sorted(self._environment.list_templates(filter_func=_is_macro_file)):
            module = self._environment.get_template(name).module
            for macro in vars(module):
                if macro.startswith("_"):
                    continue
                if macro in self._home:
                    raise ValueError(f"macro '{macro}' is in {self._home[macro]} and {name}")
                self._home[macro] = name
                if not self._environment.auto_reload:  # then it stays what it is
                    drawn = getattr(module, macro)
                    vars(self)[macro] = cache(drawn) if macro in _ALWAYS_ALIKE else drawn

    def __getattr__(self, macro: str) -> Any:
        home = self.__dict__.get("_home", {}).get(macro)
        if home is None:
            raise AttributeError(macro)
        return getattr(self._environment.get_template(home).module, macro)

    @property
    def names(self) -> tuple[str, ...]:
        """Every macro there is."""
        return tuple(sorted(self._home))


def _is_macro_file(name: str) -> bool:
    return name.startswith("macros/")


def _now() -> datetime:
    return rendering.get().now


def _due(due_at: datetime, soon_minutes: float = 15) -> tuple[str, str]:
    return formatting.format_due(due_at, _now(), soon_minutes=soon_minutes)


def _theme() -> str:
    chosen = rendering.get().request.cookies.get("theme", "")
    return chosen if chosen in THEMES else ""


# Pages of one thing, and the place in the top bar that they belong to.
_BELONGS = (("/c/", "/queue/"), ("/output", "/outputs"))


def _is_current(href: str) -> bool:
    path = rendering.get().request.url.path
    for start, place in _BELONGS:
        if path.startswith(start) and not path.startswith(place):
            path = place
    return path == href or (href != "/" and path.startswith(href.rstrip("/") + "/"))


def _loader(folders: Sequence[Path]) -> ChoiceLoader:
    """Shared templates by their bare names, those of an area as `area/name.html`."""
    areas = {
        folder.parent.name: FileSystemLoader(folder)
        for folder in sorted(_AREAS.glob("*/templates"))
        if folder != SHARED
    }
    return ChoiceLoader([FileSystemLoader([SHARED, *folders]), PrefixLoader(areas)])


@cache
def make_environment(
    static_url: Callable[[str], str], *, folders: tuple[Path, ...] = (), reload: bool = False
) -> Environment:
    """Always escaping, strict about what is undefined, with the macros as `ui`.

    Templates of all areas are found by themselves; `folders` hold others. The same environment
    for the same arguments: its macros take a third of a second to compile.
    """
    environment = Environment(
        loader=_loader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=reload,
    )
    environment.filters.update(
        number=formatting.format_number,
        percent=formatting.format_percent,
        duration=formatting.format_duration,
        relative=lambda moment: formatting.format_relative(moment, _now()),
        absolute=formatting.format_absolute,
        iso=formatting.format_iso,
        safe_url=markup.safe_url,
        attributes=markup.attributes,
        marked=markup.marked,
        linked=linked,
        field=format_field,
    )
    macros = Macros(environment)
    environment.globals.update(
        ui=macros,
        static=static_url,
        ticks=formatting.ticks,
        due_of=_due,
        page_shell=lambda: rendering.get().shell,
        now=_now,
        theme=_theme,
        is_current=_is_current,
    )
    macros.collect()
    return environment
