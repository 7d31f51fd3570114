"""Headers of records as JSON, for tables: readable, and safe for any bytes."""

from collections.abc import Iterable, Sequence
from urllib.parse import quote, quote_from_bytes, unquote, unquote_to_bytes

from services.kit.eventlog.port import Headers

# Printable ASCII stays as it is, but for the sign that marks everything else.
_PLAIN = "".join(chr(code) for code in range(32, 127) if chr(code) != "%")


def headers_to_json(headers: Headers) -> list[list[str]] | None:
    """Names and values with every odd byte written `%XX`; None when there are no headers."""
    if not headers:
        return None
    return [
        [quote(name, safe=_PLAIN, errors="surrogatepass"), quote_from_bytes(value, safe=_PLAIN)]
        for name, value in headers
    ]


def headers_from_json(stored: Iterable[Sequence[str]] | None) -> Headers:
    """What `headers_to_json` was given."""
    return tuple(
        (unquote(name, errors="surrogatepass"), unquote_to_bytes(value))
        for name, value in stored or ()
    )
