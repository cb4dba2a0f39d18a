"""Results as one HTML page that needs nothing from elsewhere."""

from html import escape

from vnet_rx.bench.charts import charts
from vnet_rx.bench.results import Results
from vnet_rx.bench.svg import svg
from vnet_rx.bench.tables import Table, deferring, peers, strategies, threads

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1f; --paper: #ffffff; --rule: #d8d8de;
        --line-0: #b45309; --line-1: #1d4ed8; --line-2: #57606a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6ea; --paper: #17181c; --rule: #3a3b42;
          --line-0: #fbab5c; --line-1: #7aa8ff; --line-2: #a0a7b0; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 1340px; margin: 2rem auto; padding: 0 1rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(340px, 1fr)); gap: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: 0.25rem 0.6rem; border-bottom: 1px solid var(--rule); text-align: right;
         white-space: nowrap; }
.name { text-align: left; }
dl { display: grid; grid-template-columns: max-content auto; gap: 0.15rem 1rem; }
dd { margin: 0; }
figure { margin: 0; }
svg { width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--ink); }
svg .title { font-size: 14px; font-weight: 600; }
svg .legend { font-size: 12px; }
svg .end { text-anchor: end; }
svg .middle { text-anchor: middle; }
svg .grid { stroke: var(--rule); }
svg polyline { fill: none; stroke-width: 2; }
svg g path { stroke-width: 2; }
.line-0 { stroke: var(--line-0); } .line-1 { stroke: var(--line-1); }
.line-2 { stroke: var(--line-2); }
.line-0 .mark { fill: var(--line-0); } .line-1 .mark { fill: var(--line-1); }
.line-2 .mark { fill: var(--line-2); }
.line-0 text, .line-1 text, .line-2 text { stroke: none; }
.line-1 polyline { stroke-dasharray: 7 3; } .line-2 polyline { stroke-dasharray: 2 3; }
"""

NOTE = (
    "Times are medians with their 95 % intervals; the figures' scale is logarithmic. A change is "
    "given where the two intervals are disjoint and that of the ratio (bootstrap of the samples) "
    "leaves 1 out."
)


def page(results: Results) -> str:
    """The page: charts, tables, and what everything was measured on."""
    drawn = [f"<figure>{svg(chart)}</figure>" for chart in charts(results)]
    sections = [
        ("Old strategy against new", deferring(results)),
        ("Everything that both strategies do", strategies(results)),
        ("Two threads", threads(results)),
        ("Other drivers", peers(results)),
    ]
    shown = [
        f"<h2>{escape(title)}</h2>\n{_table(table)}" for title, table in sections if table.rows
    ]
    described = {**results.machine, **results.configuration}
    terms = [f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in described.items()]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>vnet-rx: old strategy against new</title><style>{STYLE}</style></head><body>",
            "<h1>vnet-rx: old strategy against new</h1>",
            f"<p>{escape(NOTE)}</p>",
            f'<div class="charts">{"".join(drawn)}</div>',
            *shown,
            "<h2>Measured on</h2>",
            f"<dl>{''.join(terms)}</dl>",
            "</body></html>\n",
        ]
    )


def _table(table: Table) -> str:
    def row(cells: list[str] | tuple[str, ...], tag: str) -> str:
        shown = [
            f"<{tag}{' class=name' if at < table.left else ''}>{escape(cell)}</{tag}>"
            for at, cell in enumerate(cells)
        ]
        return f"<tr>{''.join(shown)}</tr>"

    rows = [row(list(table.columns), "th"), *(row(list(cells), "td") for cells in table.rows)]
    return '<div class="wide"><table>\n' + "\n".join(rows) + "\n</table></div>"
