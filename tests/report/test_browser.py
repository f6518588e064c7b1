"""The page in a real browser: quiet console, no request, nothing overlaps at any width."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.browser import browser, find_browser

pytestmark = pytest.mark.skipif(
    find_browser() is None, reason="no Chromium is installed: apt-get install chromium"
)

# Boxes of whatever holds text or pictures and no other such; a box that scrolls counts for what is
# in it. Two overlap if they share more than a pixel each way.
_OVERLAPS = """
(() => {
  const leaves = [...document.querySelectorAll(
    'h1, h2, h3, p:not(.modelled p), figcaption, nav li, .scroll, pre, figure img, .cells > li, '
    + 'summary, footer')]
    .filter(e => e.checkVisibility() && !e.parentElement.closest('.scroll, .cells, pre'))
    .map(e => [e.tagName + ' ' + (e.alt || e.textContent).trim().slice(0, 40), e]);
  const found = [];
  for (let i = 0; i < leaves.length; i++) for (let j = i + 1; j < leaves.length; j++) {
    const [nameA, a] = leaves[i], [nameB, b] = leaves[j];
    if (a.contains(b) || b.contains(a)) continue;
    const r = a.getBoundingClientRect(), s = b.getBoundingClientRect();
    if (Math.min(r.right, s.right) - Math.max(r.left, s.left) > 1 &&
        Math.min(r.bottom, s.bottom) - Math.max(r.top, s.top) > 1)
      found.push(nameA + ' / ' + nameB);
  }
  return found;
})()
"""
_OUTSIDE = """
[...document.querySelectorAll('body *')]
  .filter(e => e.checkVisibility() && !e.closest('.scroll > *, pre > *'))
  .filter(e => { const r = e.getBoundingClientRect();
    return r.right > document.documentElement.clientWidth + 0.5 || r.left < -0.5; })
  .map(e => e.tagName + ' ' + e.textContent.trim().slice(0, 40))
"""
# Words inside a cell's drawing must fit into their boxes.
_TIGHT = """
[...document.querySelectorAll('svg text')].filter(t => {
  const r = t.getBoundingClientRect(), s = t.previousElementSibling.getBoundingClientRect();
  return r.left < s.left || r.right > s.right || r.top < s.top - 1 || r.bottom > s.bottom + 1;
}).map(t => t.textContent)
"""
_SMALL = """
[...document.querySelectorAll('p, td, th, figcaption, dd, li, code, summary')]
  .filter(e => e.checkVisibility() && parseFloat(getComputedStyle(e).fontSize) < 12)
  .map(e => e.textContent.slice(0, 40))
"""


# Tables of which a part is out of sight.
_CUT = """
[...document.querySelectorAll('.scroll')]
  .filter(e => e.checkVisibility() && e.scrollWidth > e.clientWidth)
  .map(e => e.getAttribute('aria-label').slice(0, 60))
"""


def test_page_in_a_browser(page_path: Path) -> None:
    with browser() as page:
        for width in (1280, 400, 320):
            page.open(page_path, width)
            scroll, client = page.run(
                "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
            )
            assert scroll <= client, f"the page scrolls sideways at {width} pixels"
            assert page.run(_OVERLAPS) == [], width
            assert page.run(_OUTSIDE) == [], width
            assert page.run(_TIGHT) == [], width
            assert page.run(_SMALL) == [], width
            # Every picture has been decoded, and none is wider than it was drawn for.
            pictures = page.run(
                "[...document.images].map(i => [i.complete, i.naturalWidth, i.clientWidth])"
            )
            assert len(pictures) >= 8
            for complete, natural, shown in pictures:
                assert complete
                assert 200 < shown <= natural + 1
            narrow = [natural < 640 for _, natural, _ in pictures]
            assert all(narrow) if width < 640 else not any(narrow)
            # What is closed opens.
            page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
            assert page.run(_OVERLAPS) == [], width
            assert page.run(_OUTSIDE) == [], width
            if width == 1280:
                assert page.run(_CUT) == []
        assert page.complaints() == []
        asked = {url for url in page.requests() if not url.startswith("data:")}
        assert asked == {page_path.resolve().as_uri()}


def test_the_measure_finds_faults(tmp_path: Path) -> None:
    """A page with every fault that is looked for, so that silence means something."""
    path = tmp_path / "bad.html"
    path.write_text(
        "<!DOCTYPE html><title>x</title><p>one</p><p style='margin-top:-40px'>two</p>"
        "<p style='width:2000px;font-size:8px'>three</p>"
        "<script>console.error('four')</script><img src='missing.png' alt=''>"
        "<div class='scroll' aria-label='five' style='overflow:auto;width:50px'>"
        "<div style='width:90px'>x</div></div>"
    )
    with browser() as page:
        page.open(path, 400)
        assert page.run("document.documentElement.scrollWidth") > 400
        assert page.run(_OVERLAPS) == ["P one / P two"]
        assert page.run(_OUTSIDE) == ["P three"]
        assert page.run(_SMALL) == ["three"]
        assert page.run(_CUT) == ["five"]
        assert any("four" in complaint for complaint in page.complaints())
        assert any("missing.png" in url for url in page.requests())
