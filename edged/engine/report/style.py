# SPDX-License-Identifier: Apache-2.0
"""How the page looks: by day, by night, on a narrow screen and on paper."""

from __future__ import annotations

from edged.engine.report.palette import declarations

_RULES = """
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 var(--font); }
h1 { font-size: 1.2rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { margin: .5rem 0; overflow-wrap: anywhere; }
.verdict { font-size: 1.6rem; line-height: 1.3; font-weight: 650; margin: .75rem 0; }
.faint, figcaption, caption { color: var(--faint); }
.note { border-left: 3px solid var(--warn); padding: .1rem 0 .1rem .75rem; }
figure { margin: 1.25rem 0; break-inside: avoid; }
figcaption { font-size: .875rem; margin-top: .35rem; overflow-wrap: anywhere; }
figcaption b { color: var(--ink); margin-right: .6em; }
figure svg { display: block; width: 100%; height: auto; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .75rem; }
.pair span { font-size: .875rem; color: var(--faint); }
.pair img { display: block; width: 100%; height: auto; border: 1px solid var(--line); }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .875rem; min-width: 60%; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .35rem; }
th, td { padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { text-align: left; font-weight: 600; border-bottom-color: var(--faint); }
.figure { text-align: right; white-space: nowrap; }
td.text { overflow-wrap: anywhere; min-width: 5rem; max-width: 34rem; }
td b { font-weight: 700; }
.pass { color: var(--pass); font-weight: 650; white-space: nowrap; }
.warn { color: var(--warn); font-weight: 650; white-space: nowrap; }
.open { color: var(--faint); font-weight: 650; white-space: nowrap; }
details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--faint); }
@media (max-width: 40rem) { .verdict { font-size: 1.3rem; } .pair { grid-template-columns: 1fr; } }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  .wide { overflow: visible; }
  tr, .pair { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""
_FONT = "--font: system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif;"


def sheet() -> str:
    """The whole style sheet; dark only on a screen, so that paper stays white."""
    night = f":root {{ color-scheme: dark; {declarations(dark=True)} }}"
    return (
        f":root {{ color-scheme: light; {_FONT} {declarations(dark=False)} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ {night} }}{_RULES}"
    )
