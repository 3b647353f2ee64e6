"""Formulas are drawn without a script, and nothing that a student writes becomes more than one."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

import pytest
from autograder.grading import formulas
from autograder.grading.feedback import prose_html, task_html
from autograder.grading.formulas import ATTRIBUTES, ELEMENTS, Formulas, mathml, with_formulas
from autograder.grading.sanitize import ATTRIBUTES as HTML_ATTRIBUTES
from autograder.grading.sanitize import TAGS, clean_markdown
from autograder.results import TaskResult, TestResult
from hypothesis import example, given, settings
from hypothesis import strategies as st
from latex2mathml.converter import convert
from made_up_class import MadeUpClass
from nbconvert.filters import markdown2html

HOSTILE = [
    r"\text{<script>alert(1)</script>}",
    r"\text{&lt;script&gt;alert(1)&lt;/script&gt;}",
    r"\href{javascript:alert(1)}{x}",
    r"\style{background:url(http://evil.example)}{x}",
    r"\class{a' onload='x}{y}",
    r'\class{a" onload="alert(1)}{y}',
    r'\color{red" onload="alert(1)}{y}',
    r"\unicode{60}img src=x onerror=alert(1)\unicode{62}",
    r"\mathrm{<img src=x onerror=alert(1)>}",
    r"\operatorname{</mtext></math><script>alert(1)</script>}",
    r"\begin{array}{l' onload='x}1\end{array}",
    r"\hspace{1em' onload='x}",
    r"</math><iframe src=//evil.example>",
    r"\require{action}\toggle{x}{y}\endtoggle",
    "<table><mglyph><style><img src onerror=alert(1)>",
]


class Tags(HTMLParser):
    """Every tag of a text with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def assert_listed(html: str) -> None:
    """Only elements and attributes that the sanitiser or the formulas' own list know."""
    for tag, attributes in Tags(html).found:
        assert tag in TAGS | ELEMENTS, tag
        known = {"rel", "title", "lang", *(ATTRIBUTES if tag in ELEMENTS else ())}
        assert set(attributes) <= known | HTML_ATTRIBUTES.get(tag, set()), attributes
        assert not (attributes.get("href") or "").startswith("javascript:")


def students(text: str) -> str:
    """A student's text as the feedback page shows it."""
    return Formulas()(markdown2html(clean_markdown(text)))


@pytest.mark.parametrize(
    ("latex", "sign"),
    [
        (r"\frac{1}{|T_s|} \sum_{t \in T_s} x^{(l)}_{s,t}", "<mfrac>"),
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", "<mtable"),
        (r"\begin{cases} 1 & x > 0 \\ 0 & x \le 0 \end{cases}", "<mtd"),
        (r"\bigl\lVert c\,v \bigr\rVert_2", "‖"),
        (r"\operatorname*{arg\,max}_{\theta} \mathbb{E}[f]", "𝔼"),
        (r"\sqrt[3]{x} \le \binom{n}{k}", "<mroot>"),
    ],
)
def test_what_courses_write_is_drawn(latex, sign):
    drawn = mathml(latex, block=True)
    assert drawn is not None
    assert drawn.startswith('<math display="block">')
    assert sign in drawn
    assert "\\" not in drawn


def test_formulas_are_found_as_a_reader_finds_them():
    for text in ("$x_1$", "$$x_1$$", r"\begin{equation}x_1\end{equation}", "so ($x_1$), $y$."):
        html = with_formulas(markdown2html(text))
        assert "<msub>" in html
        assert "$" not in html
    for text in ("it costs $5 and $6", "$5-$6", "`$x$`", "```\n$x$\n```", "$ x"):
        assert "<math" not in with_formulas(markdown2html(text))


def test_what_cannot_be_drawn_stays_the_latex_that_it_was():
    for latex in (r"\undefined{x}", r"\frac{1", "a & b", "{" * 40, r"\sqrt" * 300, "x" * 2000):
        assert mathml(latex) is None
    assert with_formulas(r"<p>$\undefined{x} &lt; 1$</p>") == r"<p>$\undefined{x} &lt; 1$</p>"


def test_markup_code_and_entities_come_out_as_they_went_in():
    html = (
        '<!-- a --><p class="a$b$">1 &lt; 2 &amp; $x$</p><pre>$y$ &lt;</pre>\n<br/><a href="#$z$">'
        "<code>$w$</code> é</a><script>if (a < b && '$x$') {}</script>"
    )
    x = '<math display="inline"><mrow><mi>x</mi></mrow></math>'
    assert with_formulas(html) == html.replace("$x$</p>", f"{x}</p>")


@pytest.mark.parametrize("latex", HOSTILE)
@pytest.mark.parametrize("wrap", ["${}$", "$${}$$", r"\begin{{equation}}{}\end{{equation}}", "{}"])
def test_a_hostile_formula_is_text_or_a_formula(latex, wrap):
    text = wrap.format(latex)
    for html in (students(text), students(f"<p title='{text}'>x</p> <a href=\"{text}\">y</a>")):
        assert_listed(html)
    drawn = mathml(latex)
    if drawn is not None:
        assert_listed(drawn)
        assert "<script" not in drawn


def test_the_converters_own_text_would_run_a_script():
    assert "<script>" in convert(HOSTILE[0])
    assert "javascript:" in convert(HOSTILE[2])


@settings(deadline=None, max_examples=200)
@example(r"\text{<b>}")
@given(st.text(st.sampled_from(r"""abx01\{}_^&<>"'=/$ ;#%ltgtexcolorhrefframbox"""), max_size=80))
def test_any_formula_gives_listed_elements_alone(latex):
    assert_listed(students(f"see ${latex}$ here"))
    drawn = mathml(latex)
    assert drawn is None or re.fullmatch(r"<math [^<>]*>.*</math>", drawn, re.DOTALL)
    assert_listed(drawn or "")


def test_a_page_draws_up_to_a_bound():
    page = Formulas()
    distinct = "".join(f"<p>${'x+' * 400}{n}$</p>" for n in range(400))
    started = time.process_time()
    html = page(distinct)
    assert time.process_time() - started < 10
    drawn = html.count("<math")
    assert 0 < drawn <= formulas.MAX_LATEX_OF_PAGE / 800
    assert html.count("$x+") == 400 - drawn


def test_hints_are_drawn_and_their_code_is_not():
    hint = "Divide by $n$, not by `$n$`."
    assert prose_html(hint).count("<math") == 1
    test = TestResult("test_a", 1, False, hint)
    assert "<math" in task_html(TaskResult("double", 2.0, 0.0, (test,)))
    assert "<code>$n$</code>" in prose_html(hint)


def test_the_feedback_page_holds_no_latex_where_it_can_be_drawn(tmp_path):
    made = MadeUpClass(tmp_path)
    made.add("ada", "right", "right", written="I saw $v^{(l)}$ grow.")
    made.grade()
    page = (made.folder.feedback / "ada" / "01_toy" / "01_toy.html").read_text()
    assert "<msup>" in page
    assert "$v^" not in page
