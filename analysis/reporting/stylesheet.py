"""The page's style sheet: inlined, no fonts fetched, readable on paper."""

from __future__ import annotations

STYLE = """
:root { --ink:#1c1c1c; --soft:#5f6368; --line:#dcdcdc; --first:#0b4f8a; --second:#a85b00;
  --paper:#ffffff; --wash:#f6f7f9; }
* { box-sizing:border-box; }
body { margin:0; background:var(--paper); color:var(--ink);
  font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
  "DejaVu Sans",Arial,sans-serif; }
main { max-width:1080px; margin:0 auto; padding:2.5rem 1.5rem 4rem; }
header.top p.kicker { color:var(--soft); margin:0; font-size:.9rem; }
h1 { font-size:1.85rem; line-height:1.25; margin:.4rem 0 .8rem; font-weight:650; letter-spacing:-.01em; }
h2 { font-size:1.2rem; margin:2.8rem 0 .8rem; padding-top:1rem; border-top:1px solid var(--line); }
h3 { font-size:1rem; margin:1.6rem 0 .4rem; }
p { margin:.5rem 0; max-width:46rem; }
p.scope { font-size:1.05rem; }
p.evidence, .note, figcaption { color:var(--soft); font-size:.9rem; }
.scroll { overflow-x:auto; }
table { border-collapse:collapse; font-size:.88rem; margin:.6rem 0; font-variant-numeric:tabular-nums; }
th { text-align:left; font-weight:600; border-bottom:1.5px solid var(--ink);
  padding:.3rem .9rem .3rem 0; vertical-align:bottom; }
td { border-bottom:1px solid var(--line); padding:.3rem .9rem .3rem 0; vertical-align:top; }
td.n, th.n { text-align:right; white-space:nowrap; }
table.two { width:100%; font-size:.95rem; margin:1.2rem 0; table-layout:fixed; }
table.two th { border:0; padding:.4rem .9rem; }
table.two th:first-child { width:8.5rem; }
table.two td { border:1px solid var(--line); padding:.75rem .9rem; }
table.two tbody td:first-child { border:0; font-weight:600; padding-left:.9rem; }
table.two td b { display:block; margin-bottom:.25rem; }
table.two td span { display:block; font-size:.88rem; color:var(--soft); }
td.yes { background:#eef4fa; } td.no { background:var(--wash); }
figure { margin:1.4rem 0 2rem; } figure img { width:100%; height:auto; display:block; }
figcaption { max-width:46rem; margin-top:.4rem; }
.files { white-space:nowrap; } a { color:var(--first); }
details { margin:.8rem 0; } summary { cursor:pointer; font-weight:600; }
pre { background:var(--wash); border:1px solid var(--line); padding:.8rem 1rem; overflow-x:auto;
  font-size:.82rem; line-height:1.45; }
code { font-size:.88em; }
ul { padding-left:1.2rem; max-width:46rem; } li { margin:.3rem 0; }
@media print { details > * { display:block; } main { max-width:none; } }
"""
