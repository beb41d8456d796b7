# Copyright (c) 2026 the Quaylock developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The look of a host's page: one style sheet, whose hash is all that the page's policy lets through."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark;
  --paper: #f6f7f9; --card: #ffffff; --ink: #17212b; --soft: #55636f; --line: #d8dee4;
  --good: #17703f; --bad: #b3261e; --warn: #8a5a00; --blue: #2458b3; --soon: #9fb0c0;
  --goodwash: #e5f4ea; --badwash: #fdebe9; --warnwash: #fdf3dc; --bluewash: #e6eefb; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #10161c; --card: #19222b; --ink: #e8edf2; --soft: #9dacb9; --line: #2e3a46;
  --good: #57c98a; --bad: #ff8a80; --warn: #f0b54a; --blue: #82aaff; --soon: #526475;
  --goodwash: #15301f; --badwash: #3a1a18; --warnwash: #352a10; --bluewash: #182942; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.45 system-ui, sans-serif; }
main { max-width: 64rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.35rem; margin: 0; } h2 { font-size: 1.2rem; margin: 0; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { margin: .3rem 0; } a { color: var(--blue); overflow-wrap: anywhere; }
.soft { color: var(--soft); font-size: .9rem; } code, pre { font: .85rem/1.45 ui-monospace, monospace; }
pre { margin: .3rem 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.verdict { display: flex; gap: .9rem; align-items: flex-start; border-radius: .7rem; padding: .9rem 1.1rem;
  margin: 0 0 1rem; border: 2px solid; }
.verdict .sign { font-size: 1.7rem; line-height: 1.1; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); } .busy { color: var(--blue); }
.verdict.good { background: var(--goodwash); } .verdict.bad { background: var(--badwash); }
.verdict.warn { background: var(--warnwash); } .verdict.busy { background: var(--bluewash); }
.verdict p, .verdict h1 { color: var(--ink); }
section { background: var(--card); border: 1px solid var(--line); border-radius: .7rem; padding: 1rem 1.1rem;
  margin: 0 0 1rem; }
.head { display: flex; flex-wrap: wrap; gap: .3rem .8rem; align-items: baseline; justify-content: space-between; }
.badge { font-weight: 600; white-space: nowrap; }
.alert { border-left: .35rem solid var(--bad); background: var(--badwash); border-radius: .3rem; padding: .6rem .8rem;
  margin: .8rem 0 0; }
.alert.warn { border-color: var(--warn); background: var(--warnwash); color: var(--ink); }
table { border-collapse: collapse; width: 100%; margin-top: .3rem; }
th { text-align: left; font-weight: 500; font-size: .85rem; color: var(--soft); }
th, td { padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; } td.name { font-weight: 600; white-space: nowrap; }
td.image, td.wrap { overflow-wrap: anywhere; } .nowrap { white-space: nowrap; }
.links { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin-top: .3rem; }
details { border-top: 1px solid var(--line); padding: .5rem 0; } details:first-of-type { border-top: 0; }
summary { cursor: pointer; } summary .soft { margin-left: .4rem; }
svg { display: block; width: 100%; height: auto; margin: .4rem 0; font: 13px system-ui, sans-serif; }
svg text { fill: var(--ink); } svg .small { font-size: 11px; fill: var(--soft); }
.narrow { display: none; font-size: 12px; }
.grid { stroke: var(--line); } .made { fill: var(--soon); } .starting { fill: var(--soon); }
.checked { fill: var(--bluewash); stroke: var(--blue); stroke-width: 1.5; } .good rect, rect.good { fill: var(--good); }
.row { stroke: var(--blue); stroke-width: 2; } .switched { fill: var(--card); stroke: var(--good); stroke-width: 2.5; }
.wait { fill: none; stroke: var(--soft); stroke-dasharray: 3 3; opacity: .8; } .start { fill: var(--soft); }
.tick { stroke: var(--good); stroke-width: 2.5; fill: none; }
.cross { stroke: var(--bad); stroke-width: 3; fill: none; } svg .failed-word { fill: var(--bad); font-weight: 600; }
.turned { stroke: var(--bad); stroke-dasharray: 6 3; stroke-width: 1.5; }
.commit { stroke: var(--good); stroke-width: 1.5; }
svg .turned-word { fill: var(--bad); } svg .commit-word { fill: var(--good); }
.key { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; font-size: .8rem; color: var(--soft); }
.key svg { display: inline-block; width: 26px; height: 14px; margin: 0 .3rem 0 0; vertical-align: middle; }
footer { color: var(--soft); font-size: .85rem; padding: 0 0 1rem; }
@media (max-width: 40rem) {
  main { padding: .6rem; } section { padding: .8rem; } .wide { display: none; } .narrow { display: block; }
  thead { display: none; } td { display: inline; border: 0; padding: 0 .5rem 0 0; }
  tr { display: block; padding: .45rem 0; border-bottom: 1px solid var(--line); } tr:last-child { border: 0; }
  td.image, td.wrap { display: block; font-size: .85rem; }
  td.name { display: block; white-space: normal; overflow-wrap: anywhere; }
}
@media print { body { background: none; } section { break-inside: avoid; } }
""".strip()
