"""The page of a report: HTML around sections and figures.

One file without any request to a network: plotly.js is inline, and a content security policy forbids everything else.
The policy names one nonce, so that a script smuggled in through a name would not run even if escaping failed.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from hpo.harmless import harmless
from hpo.narrow import NARROW, narrow


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure with what it shows."""

    key: str
    title: str
    caption: str
    figure: go.Figure
    wide: bool = False  #: no narrow page can show it, which a sentence there says

    def json(self) -> Markup:
        """The figure and its layout on a narrow page, for a `<script type="application/json">`.

        Nothing in it can end the tag, `<` is escaped.
        """
        text = f'{{"figure": {self.figure.to_json()}, "narrow": {json.dumps(narrow(self.figure))}}}'
        for character in "<>&\u2028\u2029":
            text = text.replace(character, f"\\u{ord(character):04x}")
        return Markup(text)


def render(sections: Mapping[str, Any], plots: Sequence[Plot], template: str | None = None) -> str:
    """The whole page; `sections` are the variables of the template, `TEMPLATE` by default."""
    blocks: Any = {"trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(autoescape=True, finalize=_harmless, undefined=StrictUndefined, **blocks)
    # The library's text contains no `</script`; checked, because the page would silently end there.
    library = get_plotlyjs()
    if "</script" in library:
        raise RuntimeError("plotly.js holds '</script' and cannot be put inline; use another version of plotly")
    return environment.from_string(template or TEMPLATE).render(
        **sections,
        plots={plot.key: plot for plot in plots},
        plotly=Markup(library),
        nonce=secrets.token_urlsafe(16),
        style=Markup(STYLE),
        script=Markup(SCRIPT.replace("NARROW", str(NARROW))),
    )


def _harmless(value: Any) -> Any:
    """A text that cannot turn the reading direction of what stands beside it; `autoescape` does the rest."""
    return harmless(value) if isinstance(value, str) and not isinstance(value, Markup) else value


STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #5c5c5c; --rule: #d4d4d4; --page: #fff; --good: #00664b;
  --bad: #a34700; --tint: rgba(128,128,128,.09); }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --soft: #a8a8a8; --rule: #484848; --page: #161616;
  --good: #4cc9a4; --bad: #f0914a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 62rem; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 3rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1.02rem; margin: 1.8rem 0 .3rem; }
p { margin: .4rem 0 .8rem; max-width: 48rem; }
.kicker, .caption, .soft { color: var(--soft); font-size: .9rem; }
.kicker { margin: 0 0 .3rem; }
.lead { font-size: 1.15rem; }
.banner { border: 3px solid var(--bad); padding: .7rem 1rem; font-weight: 700; font-size: 1.15rem; max-width: none; }
.notice { border-left: 4px solid var(--bad); padding: .1rem 0 .1rem .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; margin: .5rem 0 1rem; }
th, td { text-align: left; padding: .32rem 1.1rem .32rem 0; border-bottom: 1px solid var(--rule); vertical-align: top;
  overflow-wrap: break-word; max-width: 34rem; }
th { font-weight: 600; } thead th { border-bottom: 2px solid var(--soft); overflow-wrap: normal; }
td.n, th.n { text-align: right; white-space: nowrap; }
tr.first td { font-weight: 600; background: var(--tint); }
td:first-child, th:first-child { padding-left: .4rem; }
.better { color: var(--good); font-weight: 600; } .worse { color: var(--bad); font-weight: 600; }
td:first-child { min-width: 7rem; } .symptoms td { min-width: 11rem; }
.facts th { font-weight: 400; color: var(--soft); white-space: nowrap; }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, monospace; font-size: .86em; }
pre { overflow-wrap: anywhere; background: var(--tint); padding: .8rem 1rem; overflow-x: auto; white-space: pre-wrap; }
.plot { width: 100%; }
.narrow { display: none; }
@media (max-width: 640px) { .wide { display: none; } .narrow { display: block; } body { padding: 1.5rem .8rem 3rem; } }
.plot text { fill: var(--ink) !important; } .plot .hoverlayer text { fill: #1b1b1b !important; }
@media print { :root { --ink: #000; --soft: #444; --rule: #bbb; --page: #fff; --good: #00553f; --bad: #8a3b00; }
  body { padding: 0; max-width: none; font-size: 10.5pt; } .modebar, summary { display: none !important; }
  section.figure, tr, .banner { break-inside: avoid; } h2, h3 { break-after: avoid; } }
"""

SCRIPT = """
const quiet = {responsive: true, displaylogo: false, 
  modeBarButtons: [['toImage', 'zoom2d', 'pan2d', 'resetScale2d']]};
const plots = [...document.querySelectorAll('.plot')];
const isNarrow = plot => plot.clientWidth < NARROW;
const draw = (plot, narrow) => {
  const read = JSON.parse(document.getElementById(plot.id + '-data').textContent);
  const layout = narrow ? read.narrow : read.figure.layout;
  plot.dataset.narrow = narrow;
  plot.style.minHeight = layout.height + 'px';
  return Plotly.newPlot(plot, read.figure.data, layout, {...quiet, displayModeBar: narrow ? false : 'hover'});
};
// One that is not shown has no width; a window that is made wider or narrower is drawn anew.
const redraw = () => plots.filter(plot => plot.clientWidth && plot.dataset.narrow !== String(isNarrow(plot)))
  .forEach(plot => draw(plot, isNarrow(plot)));
redraw();
window.addEventListener('resize', redraw);
// A sheet of A4 between its margins is 680 pixels wide; the screen's width would be cut off.
const widths = width => plots.filter(plot => plot.dataset.narrow)
  .forEach(plot => Plotly.relayout(plot, {width: width, autosize: !width}));
window.addEventListener('beforeprint', () => widths(680));
window.addEventListener('afterprint', () => widths(null));
"""

#: The head of every page; `kind` names the command.
HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'nonce-{{ nonce }}'; style-src \
'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{{ title }} \u2013 {{ kind }}</title>
<style>{{ style }}</style>
</head>
"""

TEMPLATE = (
    """
{%- macro plot(key) %}
{% if key in plots %}
<section class="figure">
<h3>{{ plots[key].title }}</h3>
<p class="caption">{{ plots[key].caption }}</p>
{% if plots[key].wide %}
<p class="notice narrow">This figure needs a page of more than 640 pixels: turn the phone, or open it on a wider \
screen.</p>
{% endif %}
<div class="plot{{ ' wide' if plots[key].wide }}" id="{{ key }}" \
style="min-height: {{ plots[key].figure.layout.height }}px"></div>
<script type="application/json" id="{{ key }}-data">{{ plots[key].json() }}</script>
</section>
{% endif %}
{% endmacro %}
{% macro table(heads, rows, numeric=(), first=false) %}
<div class="scroll"><table>
<thead><tr>{% for head in heads %}<th scope="col"{% if loop.index0 in numeric %} class="n"{% endif %}>{{ head }}</th>
{%- endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr{% if first and loop.first %} class="first"{% endif %}>{% for cell in row -%}
<td class="{% if loop.index0 in numeric %}n{% endif %}{% if cell in ('better', 'worse') %} {{ cell }}{% endif %}">
{{- cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
{% endmacro %}
{% macro facts(rows) %}
<div class="scroll"><table class="facts"><tbody>
{% for key, value in rows %}
<tr><th scope="row">{{ key }}</th><td>{{ value }}</td></tr>
{% endfor %}
</tbody></table></div>
{% endmacro %}
{% set kind = "hpo report" %}
"""
    + HEAD
    + """
<body>
<p class="kicker">hpo report, written {{ written_at }}</p>
<h1>{{ title }}</h1>
<p>{{ state }}</p>
{% if quick %}
<p class="banner">{{ quick }}.</p>
{% endif %}
{% if synthetic %}
<p class="banner">SYNTHETIC DATA. Every number on this page comes from generated data and says nothing about real \
recordings.</p>
{% endif %}
{{ facts(head) }}
<noscript><p class="notice">The figures need JavaScript; every table is readable without.</p></noscript>

<h2>What helped, and by how much</h2>
{% for sentence in answer.sentences %}
<p class="{{ 'lead' if loop.first }}">{{ sentence }}</p>
{% endfor %}
{% for sentence in answer.cautions %}
<p class="notice">{{ sentence }}</p>
{% endfor %}
{% if answer.params %}
<h3>{{ answer.params_title }}</h3>
{{ table(answer.params_heads, answer.params, answer.params_numeric) }}
{% endif %}
{% if answer.scores %}
<h3>{{ answer.scores_title }}</h3>
{{ table(answer.scores_heads, answer.scores, answer.scores_numeric, true) }}
{% endif %}

<h2>Over all folds</h2>
{% for sentence in promotion.sentences %}
<p>{{ sentence }}</p>
{% endfor %}
{% for sentence in promotion.cautions %}
<p class="notice">{{ sentence }}</p>
{% endfor %}
{% if promotion.scores %}
{{ table(promotion.scores_heads, promotion.scores, promotion.scores_numeric, true) }}
{% endif %}
{{ plot("folds") }}
{% if promotion.folds %}
{{ table(promotion.folds_heads, promotion.folds, promotion.folds_numeric) }}
{% endif %}

<h2>Targets</h2>
{% if targets %}
{{ table(targets_heads, targets) }}
{% else %}
<p>The study names no targets.</p>
{% endif %}

{% if training.sentences %}
<h2>What is wrong with the baseline, and does it show in the best?</h2>
{% for sentence in training.sentences %}
<p>{{ sentence }}</p>
{% endfor %}
{% if training.symptoms %}
<div class="symptoms">{{ table(training.symptoms_heads, training.symptoms) }}</div>
{% endif %}
{% if training.references %}
<h3>What has learned nothing</h3>
<p class="caption">{{ training.references_caption }}</p>
{{ table(training.references_heads, training.references, range(1, training.references_heads | length)) }}
{% endif %}
{% for key in plots if key in training.keys %}
{{ plot(key) }}
{% endfor %}
{% if training.report %}
<h3>{{ training.report_title }}</h3>
{{ table(training.report_heads, training.report, range(1, training.report_heads | length)) }}
{% endif %}
{% endif %}

{% if unseen.sentences or unseen.cautions %}
<h2>Rows that the model has not seen</h2>
{% for sentence in unseen.sentences %}
<p>{{ sentence }}</p>
{% endfor %}
{% for sentence in unseen.cautions %}
<p class="notice">{{ sentence }}</p>
{% endfor %}
{% for key in plots if key in unseen.keys %}
{{ plot(key) }}
{% endfor %}
{% endif %}

<h2>Course of the search</h2>
{{ plot("history") }}
{{ plot("curves") }}
{% if not plots %}
<p>There is nothing to draw yet: no trial has finished an epoch.</p>
{% endif %}

{% if "scatters" in plots %}
<h2>Parameters</h2>
{{ plot("scatters") }}
{{ plot("parallel") }}
<p class="soft">There is no importance ranking here: the usual one is computed from complete trials only, and pruning \
removes exactly the trials that would show which parameter decides.</p>
{% endif %}

<h2>How trials ended</h2>
{% if ends %}
{{ table(["end", "trials", "what it means", "on record"], ends, [1]) }}
{% else %}
<p>No trial has been started.</p>
{% endif %}

<h2>Training time</h2>
{{ facts(compute) }}
{% if workers %}
{{ table(["worker", "trials", "promotion trainings", "training time"], workers, [1, 2, 3]) }}
{% endif %}

<h2>Environment</h2>
{{ facts(environment) }}
<details><summary>The study file, word for word</summary><pre>{{ text }}</pre></details>
<script nonce="{{ nonce }}">{{ plotly }}</script>
<script nonce="{{ nonce }}">{{ script }}</script>
</body>
</html>
"""
)
