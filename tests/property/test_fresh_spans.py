"""How long a kept tag is given from memory: exactly as long as a request would be told to serve it."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.freshness import Step, Terms, before_asking, fresh_span
from proxy.model.rule import OnUpstream404
from tests.support.metadata import tag

times = st.one_of(st.just(0.0), st.floats(0, 2e9))
intervals = st.one_of(st.floats(0, 1e6), st.sampled_from([0.0, 1.0, 300.0]))


@given(
    checked_at=times,
    failed_at=times,
    missing_since=times,
    terms=st.builds(Terms, intervals, intervals, st.sampled_from(OnUpstream404), st.booleans()),
    now=times,
    after=intervals,
)
def test_a_tag_is_in_its_span_when_it_is_served_without_a_question(
    checked_at: float, failed_at: float, missing_since: float, terms: Terms, now: float, after: float
) -> None:
    record = tag(checked_at=checked_at, failed_at=failed_at, missing_since=missing_since)
    span = fresh_span(record, terms)

    for moment in (now, checked_at, checked_at + after, checked_at + terms.ttl):
        served = before_asking(record, terms, moment) is Step.SERVE
        assert span is None or span.covers(moment) == served
    assert (span is None) == (missing_since > 0)
