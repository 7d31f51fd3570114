"""HTML attributes, addresses and marked text that are safe to write into a page."""

import re
from collections.abc import Mapping, Sequence

from markupsafe import Markup

_ATTRIBUTE = re.compile(r"[a-z][a-z0-9:._-]*")
_URL_ATTRIBUTES = {"href", "src", "action", "formaction", "hx-get", "hx-post", "hx-push-url"}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def safe_url(url: object) -> str | None:
    """`url` where a browser may be sent there; nothing for any scheme but http(s), mailto."""
    text = re.sub(r"[\x00-\x20\x7f]+", "", str(url or ""))
    if not text or text.startswith(("//", "\\", "/\\")):
        return None
    if _SCHEME.match(text) and not text.lower().startswith(("http://", "https://", "mailto:")):
        return None
    return text


def local_url(url: object) -> str | None:
    """`url` where it stays on this site: a path. For redirects and `next=`."""
    text = safe_url(url)
    return text if text is not None and text.startswith("/") else None


def attributes(mapping: Mapping[str, object]) -> Markup:
    """HTML attributes from a macro's spare keywords, `hx_get` for `hx-get`.

    None and False leave an attribute out, True writes it bare. `style` and `on…` do not
    exist here: the content security policy would refuse them.
    """
    parts = []
    for key, value in mapping.items():
        name = key.strip("_").replace("_", "-")
        if not _ATTRIBUTE.fullmatch(name) or name == "style" or name.startswith(("on", "hx-on")):
            raise ValueError(f"'{key}' is no attribute that a page may carry")
        if value is None or value is False:
            continue
        shown = (safe_url(value) or "#") if name in _URL_ATTRIBUTES else value
        parts.append(Markup(" {}").format(name) if shown is True else _pair(name, shown))
    return Markup("").join(parts)


def _pair(name: str, value: object) -> Markup:
    return Markup(' {}="{}"').format(name, value)


def marked(text: object, phrases: Sequence[str] = ()) -> Markup:
    """`text` with `phrases` marked, both escaped first."""
    plain = str(text)
    wanted = sorted({phrase for phrase in phrases if phrase}, key=len, reverse=True)
    if not wanted:
        return Markup("{}").format(plain)
    pieces = re.split("(" + "|".join(map(re.escape, wanted)) + ")", plain, flags=re.IGNORECASE)
    return Markup("").join(
        Markup("<mark>{}</mark>").format(piece) if index % 2 else Markup("{}").format(piece)
        for index, piece in enumerate(pieces)
    )
