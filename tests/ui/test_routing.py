"""The pages of routing, without a browser: read, tried, proposed, put into force."""

import html
import re
from collections.abc import Iterator
from typing import Any

import pytest

from services.escalation.policy import revisions
from services.kit.clock import DatabaseClock
from tests.factories import (
    ADMIN,
    LEAD,
    OTHER_TEAM,
    OWNER,
    POLICY,
    TEAM,
    TOOL,
    Delivery,
    actor_of,
    output,
)
from tests.factories.site import Site, open_site
from tests.ui.pages import client_of, post

OK, SEE_OTHER, FORBIDDEN, MISSING, CONFLICT, INVALID = 200, 303, 403, 404, 409, 422
MORE = POLICY.replace(
    "rules:\n",
    f"""rules:
  - id: refunds
    mode: monitor
    when: {{predicted.category: refund, confidence: {{lt: 0.5}}}}
    owner: {{team: {OTHER_TEAM}}}
    priority: P2
""",
)
TO_OTHERS = POLICY.replace("{team: support, priority: P3,", f"{{team: {OTHER_TEAM}, priority: P2,")


@pytest.fixture(scope="module")
def site(postgres_url: str) -> Iterator[Site]:
    """Four cases have been opened by the tests' policy."""
    with open_site(postgres_url) as opened:
        put(opened, POLICY)
        take(opened, *(output(f"o-{n}", confidence=0.1) for n in range(3)))
        take(opened, output("o-tax", value="tax", confidence=0.1))
        yield opened


@pytest.fixture
def first(site: Site) -> int:
    """The tests' policy is in force; the number of its revision."""
    return put(site, POLICY)


def take(site: Site, *given: Any) -> None:
    """The consumers take these events, and go by the policy in force."""
    log = Delivery(site.database)
    log.escalation._router = site.resources.router
    log.take(*given)


def put(site: Site, content: str, who: str = LEAD) -> int:
    with site.database.transaction() as session:
        now = DatabaseClock().now(session)
        return revisions.put(session, content, actor=actor_of(session, who), now=now)


def in_force(site: Site) -> Any:
    return site.rows("SELECT * FROM routing_policy ORDER BY revision DESC LIMIT 1")[0]


def words(page: str) -> str:
    """What a page says, without its markup."""
    main = page.partition("<main")[2].partition("</main>")[0]
    plain = re.sub(r"<svg.*?</svg>|<[^>]+>", " ", main, flags=re.DOTALL)
    return re.sub(r"\s+([.,;:])", r"\1", re.sub(r"\s+", " ", html.unescape(plain)))


# --- what is in force -----------------------------------------------------------------------


def test_policy_in_force_is_read_as_sentences_with_what_each_rule_took(
    site: Site, first: int
) -> None:
    page = words(client_of(site, LEAD).get("/routing").text)
    assert f"Revision {first}, put into force by lea@example.org by command, just now." in page
    assert (
        "taxes line 5; took 1 case in 30 days A case that says ta* goes to Lea, priority P1: to be"
        " claimed within 30 minutes, resolved within 2 hours. It climbs 'standard'."
        " Audits pass it by." in page
    )
    assert "catch-all line 3; took 3 cases in 30 days Every other case goes to support" in page
    assert "standard From the opening on: the owner that the rule names. After 1 hour: Lea." in page
    assert "After 3 hours: Ada, told again every 1 hour." in page


def test_rule_that_is_only_tried_says_what_it_would_have_taken(postgres_url: str) -> None:
    with open_site(postgres_url) as site:
        put(site, MORE)
        take(site, *(output(f"r-{n}", value="refund", confidence=0.1) for n in range(2)))
        _says_what_it_would_have_taken(site)


def _says_what_it_would_have_taken(site: Site) -> None:
    page = words(client_of(site, LEAD).get("/routing").text)
    assert "refunds Only tried line 5; would have taken 2 cases since it was put, just now" in page
    history = words(client_of(site, LEAD).get("/routing/history").text)
    assert "refunds: would have taken 2 cases" in history


def test_without_a_policy_the_page_says_what_holds(site: Site) -> None:
    site.rows("DELETE FROM routing_policy RETURNING 1")
    lead = client_of(site, LEAD)
    assert "No routing policy yet" in lead.get("/routing").text
    assert "Nobody has put a routing policy" in lead.get("/routing/history").text
    assert 'name="upon" value="0"' in lead.get("/routing/propose").text
    content = TO_OTHERS
    assert post(lead, "/routing/put", content=content, upon="0").status_code == SEE_OTHER
    assert in_force(site).source == "page"


def test_history_says_who_put_what_and_what_that_changed(site: Site, first: int) -> None:
    second = put(site, TO_OTHERS, ADMIN)
    lead = client_of(site, LEAD)
    listed = words(lead.get("/routing/history").text)
    assert f"Revision {second} In force" in listed
    assert "ada@example.org by command" in listed
    page = lead.get(f"/routing/history/{second}")
    assert f'Beside <a href="/routing/history/{first}">revision {first}</a>' in page.text
    signs = re.findall(r'<li class="(added|taken)">.*?<(?:ins|del)>(.*?)</', page.text, re.DOTALL)
    assert [sign for sign, _ in signs] == ["taken", "added"]
    assert "team: support, priority: P3" in signs[0][1]
    assert f"team: {OTHER_TEAM}, priority: P2" in signs[1][1]
    oldest = site.one("SELECT min(revision) FROM routing_policy")
    page_of_first = words(lead.get(f"/routing/history/{oldest}").text)
    assert "The first one" in page_of_first
    assert "Another one is in force by now" in page_of_first
    assert lead.get(f"/routing/history/{second + 1}").status_code == MISSING
    for named in ("0", "x", "9" * 30):
        assert lead.get(f"/routing/history/{named}").status_code == MISSING


def test_owners_do_not_route(site: Site, first: int) -> None:
    owner = client_of(site, OWNER)
    for path in ("/routing", "/routing/history", "/routing/try", "/routing/propose"):
        assert owner.get(path).status_code == FORBIDDEN
    for path in ("/routing/propose", "/routing/put"):
        assert post(owner, path, content=TO_OTHERS, upon=str(first)).status_code == FORBIDDEN
    assert in_force(site).revision == first


# --- trials ---------------------------------------------------------------------------------


def tried(site: Site, **given: str) -> Any:
    fields = {"tool": TOOL, "trigger": "low_confidence", **given}
    return client_of(site, LEAD).get("/routing/try", params=fields)


@pytest.mark.usefixtures("first")
def test_trial_says_each_rule_and_what_the_case_would_get(site: Site) -> None:
    page = words(tried(site, value="billing", confidence="0.4").text)
    assert "It goes to support Rule catch-all Queue support Team that sees it support" in page
    assert "Priority P3 To be claimed by" in page
    assert 'taxes: predicted.category is "billing", not "ta*" catch-all Takes it' in page
    assert re.search(
        r"Its ladder support, from the opening on Lea, \d+ \w{3} \d{4}, \d\d:\d\d", page
    )
    assert "told again every 1 hour" in page
    assert "It goes to Lea Rule taxes" in words(tried(site, value="tax").text)
    assert site.one('SELECT count(*) FROM "case"') == 4, "nothing of it is kept"


def test_trial_asks_for_everything_that_rules_can_ask(site: Site) -> None:
    put(
        site,
        POLICY.replace(
            '{predicted.category: "ta*"}',
            "{attributes.plan: gold, cohort: pilot, failure: timeout, language: en,"
            " version.model: m-1, version.prompt: p-2, trigger: tool_failure}",
        ),
    )
    given = {
        "trigger": "tool_failure",
        "attributes": "plan: gold\r\n\r\nsize: 9: 8",
        "cohort": "pilot",
        "failure": "timeout",
        "language": "en",
        "model": "m-1",
        "prompt": "p-2",
    }
    assert "It goes to Lea Rule taxes" in words(tried(site, **given).text)
    for field in given:
        otherwise = words(
            tried(site, **given | {field: "dispute" if field == "trigger" else ""}).text
        )
        assert "It goes to support Rule catch-all" in otherwise, field


def test_trial_says_what_is_only_tried_and_who_is_passed_over(site: Site) -> None:
    put(site, MORE)
    page = words(tried(site, value="refund", confidence="0.1").text)
    assert "refunds Would match, only tried" in page


@pytest.mark.parametrize(
    ("given", "field", "says"),
    [
        ({"tool": "nothing"}, "tool", "there is no tool"),
        ({"trigger": "boredom"}, "trigger", "opens no case"),
        ({"confidence": "much"}, "confidence", "is no number"),
        ({"confidence": "1.5"}, "confidence", "less than or equal to 1"),
        ({"confidence": "nan"}, "confidence", ""),
        ({"attributes": "gold"}, "attributes", "line 1 is no attribute"),
        ({"tool": "alarm", "value": "perhaps"}, "value", "is no flag"),
        ({"failure": "boredom"}, "failure", ""),
        ({"cohort": "x" * 300}, "cohort", ""),
        ({"model": "x" * 300}, "model", ""),
    ],
)
def test_trial_that_cannot_be_is_answered_at_its_field(
    given: dict[str, str], field: str, says: str, site: Site
) -> None:
    answer = tried(site, **given)
    assert answer.status_code == INVALID
    assert f'id="f-{field}-error"' in answer.text
    assert says in answer.text


@pytest.mark.parametrize(
    ("typed", "rule"), [("yes", "taxes"), ("no", "catch-all"), ("", "catch-all")]
)
def test_trial_of_a_flag(typed: str, rule: str, site: Site) -> None:
    put(site, POLICY.replace('predicted.category: "ta*"', "predicted.flag: true"))
    assert f"Rule {rule}" in words(tried(site, tool="alarm", value=typed).text)


# --- proposals ------------------------------------------------------------------------------


def test_proposal_is_tried_on_the_past_before_it_is_put(site: Site, first: int) -> None:
    lead = client_of(site, LEAD)
    form = lead.get("/routing/propose").text
    assert f">\n{POLICY}</textarea>".replace('"', "&#34;") in form
    answer = post(
        lead, "/routing/propose", content=TO_OTHERS.replace("\n", "\r\n"), upon=str(first)
    )
    assert answer.status_code == OK
    page = words(answer.text)
    assert (
        "Of the 4 cases of the last 30 days, 3 would have gone to another team, 0 would have been"
        " due earlier, and 0 later." in page
    )
    assert in_force(site).revision == first, "nothing is in force yet"
    tables = re.findall(r'<th scope="row">([^<]+)</th>\s*((?:<td.*?</td>\s*)+)', answer.text)
    cells = {name: re.findall(r">([^<]*)</td>", row) for name, row in tables}
    assert cells[TEAM] == ["4", "1", "-3"]
    assert cells[OTHER_TEAM] == ["0", "3", "+3"]
    assert cells[f"user:{LEAD}"] == ["1", "1", "0"]
    assert cells["As now"] == ["4"]
    for size in ("wide", "narrow"):
        drawn = answer.text.partition(f'<svg class="{size}"')[2].partition("</svg>")[0]
        numbers = re.findall(r'<text (?:class="strong" )?x="[\d.]+" y="\d+">([^<]+)<', drawn)
        assert sorted(numbers) == sorted([OTHER_TEAM, "0", "3", TEAM, "4", "1"])
    content = re.search(r'<input type="hidden" name="content" value="([^"]*)"', answer.text)
    assert content is not None
    sent = content[1].replace("&#34;", '"')
    assert sent == TO_OTHERS
    done = post(lead, "/routing/put", content=sent, upon=str(first))
    assert (done.status_code, done.headers["location"]) == (SEE_OTHER, "/routing")
    row = in_force(site)
    assert (row.content, row.source, row.put_by) == (TO_OTHERS, "page", LEAD)


def test_replay_of_a_page_is_bounded_and_says_so(
    site: Site, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.routing.propose.MOST", 2)
    page = words(
        post(client_of(site, LEAD), "/routing/propose", content=POLICY, upon=str(first)).text
    )
    assert "Of the newest 2 cases of the last 30 days, 0 would have gone" in page
    assert "This page looks at 2 at most; secondlook route replay looks at all." in page
    assert "Nothing: the two are the same, word for word." in page


@pytest.mark.parametrize(
    ("content", "says", "line"),
    [
        (POLICY.replace("P1", "P9"), "priority", 8),
        (POLICY.replace("lea@example.org}\n    p", "pat@example.org}\n    p"), "names user:pat", 5),
        (POLICY.replace("rules:", "rules: ["), "it is no YAML", 5),
        (
            POLICY + "tests: [{case: {trigger: audit}, expect: {team: other}}]",
            "test 1: team is",
            14,
        ),
        ("- a", "it is no mapping", None),
        ("", "it is no mapping", None),
    ],
)
@pytest.mark.parametrize("path", ["/routing/propose", "/routing/put"])
def test_policy_that_is_wrong_is_answered_at_the_place(
    path: str, content: str, says: str, line: int | None, site: Site, first: int
) -> None:
    answer = post(client_of(site, LEAD), path, content=content, upon=str(first))
    assert answer.status_code == INVALID
    page = words(answer.text)
    assert says in page
    wrong = re.search(r'<li class="wrong"><span>(\d+)</span><span>([^<]*)', answer.text)
    assert (int(wrong[1]) if wrong else None) == line
    if wrong is not None and line is not None:
        assert wrong[2].replace("&#34;", '"') == content.split("\n")[line - 1]
    assert content.partition("\n")[0].replace('"', "&#34;") in answer.text, (
        "what was typed is there"
    )
    assert in_force(site).revision == first


def test_put_fails_where_somebody_else_put_another_one_meanwhile(site: Site, first: int) -> None:
    lead = client_of(site, LEAD)
    second = put(site, MORE, ADMIN)
    answer = post(lead, "/routing/put", content=TO_OTHERS, upon=str(first))
    assert answer.status_code == CONFLICT
    page = words(answer.text)
    assert f"Somebody put revision {second} of the routing policy into force meanwhile." in page
    theirs = answer.text.partition('id="theirs"')[2].partition("</section>")[0]
    assert "<ins>  - id: refunds</ins>" in theirs
    assert in_force(site).revision == second
    assert f'name="upon" value="{second}"' in answer.text
    again = post(lead, "/routing/put", content=TO_OTHERS, upon=str(second))
    assert again.status_code == SEE_OTHER
    assert in_force(site).content == TO_OTHERS


def test_an_old_revision_can_be_begun_with(site: Site, first: int) -> None:
    second = put(site, TO_OTHERS)
    lead = client_of(site, LEAD)
    form = lead.get(f"/routing/propose?revision={first}").text
    assert f">\n{POLICY}</textarea>".replace('"', "&#34;") in form
    assert f'name="upon" value="{second}"' in form
    assert lead.get(f"/routing/propose?revision={second + 1}").status_code == MISSING
