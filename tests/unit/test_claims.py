"""A report without an order number finds its order by the client id beside it."""

from quantai.core.reports import REPORT
from quantai.core.rows import Action, Kind, Rows, zeros
from quantai.execution.claims import claim
from quantai.venues.venue import CLIENT_ID, VENUE_ID, Answer
from tests.unit.oms_setting import Market


def _ack(order: int = 0) -> Rows:
    rows = zeros(1, REPORT)
    rows["kind"], rows["order"] = Kind.ACK, order
    return rows


def test_the_id_of_an_order_or_of_a_request_names_the_order() -> None:
    market = Market()
    order = market.new(desk=1)
    own = market.step.requests[0].client_id
    change = market.ask(Action.REPLACE, order, qty_lots=500).requests[0].client_id
    for client_id in (own, change):
        answer = Answer(reports=_ack(), texts=((VENUE_ID, "77"), (CLIENT_ID, client_id)))
        claimed = claim(market.oms, answer)
        assert claimed.reports["order"].tolist() == [order]
        assert claimed.texts == answer.texts
        assert answer.reports["order"].tolist() == [0]  # what the venue said stays as it was


def test_what_is_not_ours_stays_unclaimed() -> None:
    market = Market()
    market.new()
    for texts in ((), ((CLIENT_ID, "web_1234"),), ((CLIENT_ID, "stranger-1-0"),), ((CLIENT_ID, "alpha-zz-9"),)):
        answer = Answer(reports=_ack(), texts=texts)
        assert claim(market.oms, answer) is answer


def test_an_answer_that_says_its_order_is_left_alone() -> None:
    market = Market()
    order = market.new()
    answer = Answer(reports=_ack(order), texts=((CLIENT_ID, "alpha-zz-9"),))
    assert claim(market.oms, answer) is answer
