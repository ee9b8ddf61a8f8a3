"""The check's report as a page."""

from html.parser import HTMLParser

from trainer.data.check import Finding, Report
from trainer.data.report import html_of

COUNTS = {"images": {"train": 4, "val": 1}, "boxes": {"train": {"<b>": 7, "dog": 0}, "val": {"<b>": 2, "dog": 0}}}
BAD = Finding(severity="error", kind="absent_class", count=1, what="classes without a training box", examples=("dog",))


class Balance(HTMLParser):
    """Counts tags that were opened and not closed."""

    void = frozenset({"meta", "br", "!doctype"})

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_page_is_well_formed_and_names_every_finding():
    """Whatever was found stands on the page, and every tag is closed."""
    page = html_of(Report(findings=(BAD,), ok=False, **COUNTS), title="data.yaml")
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert "Not fit to train on" in page
    assert "classes without a training box" in page


def test_names_from_the_data_are_no_markup():
    """A class name may hold any character; on the page it is text."""
    page = html_of(Report(findings=(), **COUNTS), title="<script>x</script>")
    assert "<script>" not in page
    assert "&lt;b&gt;" in page


def test_a_data_set_without_a_box_still_has_a_page():
    """No count to scale the bars by is no reason to fail."""
    empty = Report(findings=(), images={"train": 0}, boxes={"train": {"a": 0}})
    assert "Fit to train on" in html_of(empty, title="t")
