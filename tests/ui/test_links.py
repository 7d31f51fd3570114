"""Addresses in comments are links; everything else is text."""

import pytest

from ui.kit.links import linked


def link(address: str) -> str:
    return f'<a href="{address}" rel="noopener nofollow">{address}</a>'


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("see https://example.org/a?b=1.", f"see {link('https://example.org/a?b=1')}."),
        ("(http://example.org/x)", f"({link('http://example.org/x')})"),
        ("https://example.org/a_(b)", link("https://example.org/a_(b)")),
        ("https://a.org https://b.org", f"{link('https://a.org')} {link('https://b.org')}"),
        ("javascript:alert(1)", "javascript:alert(1)"),
        ("data:text/html,x ftp://a.org //a.org www.a.org", None),
        ("https://", None),
        ("https://user:secret@a.org/", None),
        ("https://a.org:99999999/", None),
        ("<b>https://a.org</b>", f"&lt;b&gt;{link('https://a.org')}&lt;/b&gt;"),
        (
            'https://a.org/"onmouseover="x',
            f"{link('https://a.org/')}&#34;onmouseover=&#34;x",
        ),
        ("https://a.org/?a=1&b=2", link("https://a.org/?a=1&amp;b=2")),
        ("", ""),
    ],
)
def test_address_is_a_link(written: str, shown: str | None) -> None:
    assert str(linked(written)) == (written if shown is None else shown)
