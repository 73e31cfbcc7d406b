"""How a page looks: light and dark as the reader's system is, wide, narrow and on paper. No file but the page itself."""

from __future__ import annotations

from types import MappingProxyType

LIGHT = MappingProxyType(
    {
        "page": "#ffffff",
        "raised": "#f4f6f8",
        "line": "#79828c",
        "text": "#1a1f24",
        "quiet": "#4c555e",
        "good": "#0b5a34",
        "warn": "#7a4300",
        "bad": "#a30d24",
        "link": "#0a4fa3",
    }
)
DARK = MappingProxyType(
    {
        "page": "#14171a",
        "raised": "#1e2226",
        "line": "#8a939c",
        "text": "#e8eaed",
        "quiet": "#b3bac2",
        "good": "#7fd8a4",
        "warn": "#f2c063",
        "bad": "#ff9d98",
        "link": "#8fc1ff",
    }
)
"""Colours by what they are for. Each but `page`, `raised` and `line` is text on both of the first two."""


def _colours(palette: MappingProxyType[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in palette.items())


STYLE = f"""
:root{{color-scheme:light dark;{_colours(LIGHT)}}}
@media (prefers-color-scheme:dark){{:root{{{_colours(DARK)}}}}}
@media print{{:root{{color-scheme:light;{_colours(LIGHT)}}}}}
*{{box-sizing:border-box}}
html{{-webkit-text-size-adjust:100%}}
body{{margin:0;background:var(--page);color:var(--text);font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}}
header,main,nav{{max-width:70rem;margin:0 auto;padding:0 1.25rem}}
header{{padding-top:1.5rem}}
h1{{font-size:1.35rem;line-height:1.3;margin:0 0 .5rem}}
h2{{font-size:1.15rem;margin:0 0 .75rem;padding-top:1rem;border-top:1px solid var(--line)}}
h3,caption{{font-size:1rem;font-weight:600;text-align:left;margin:1rem 0 .4rem;padding:0 0 .4rem}}
section{{margin:1.5rem 0 2rem}}
p{{margin:.4rem 0}}
.status{{padding:.5rem .75rem;border-left:.3rem solid var(--line);background:var(--raised);margin:.5rem 0 0}}
.status.good{{border-color:var(--good)}} .status.bad{{border-color:var(--bad)}} .status.warn{{border-color:var(--warn)}}
nav ul{{list-style:none;display:flex;flex-wrap:wrap;gap:.15rem 1.1rem;margin:1rem 0 0;padding:0}}
nav a{{display:inline-block;padding:.3rem 0}}
a{{color:var(--link)}}
a:focus-visible,summary:focus-visible,input:focus-visible,.scroll:focus-visible{{outline:3px solid var(--link);outline-offset:2px}}
.skip{{position:absolute;left:-99rem}}
.skip:focus{{position:static;display:inline-block;margin:.5rem 1.25rem}}
code{{font:0.9em/1.45 ui-monospace,"DejaVu Sans Mono",Consolas,monospace;unicode-bidi:isolate;direction:ltr;
white-space:pre-wrap}}
.good{{color:var(--good)}} .bad{{color:var(--bad)}} .warn{{color:var(--warn)}} .quiet{{color:var(--quiet)}}
span.good,span.bad,span.warn{{font-weight:600}}
.note.warn,.note.bad{{border-left:.25rem solid;padding-left:.6rem}}
dl{{display:grid;grid-template-columns:minmax(9rem,16rem) minmax(0,1fr);gap:.3rem 1rem;margin:.5rem 0}}
dt{{color:var(--quiet)}} dd{{margin:0}}
dd code{{margin-right:.7em}}
.scroll{{overflow-x:auto;margin:.75rem 0}}
table{{border-collapse:collapse;width:100%}}
th,td{{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line)}}
th{{color:var(--quiet);font-weight:600;font-size:.9rem}}
th,td{{overflow-wrap:break-word}} td code{{overflow-wrap:anywhere}} td:has(code){{min-width:12rem}}
ul.tree,ul.tree ul{{list-style:none;margin:0;padding:0}}
ul.tree ul{{padding-left:1.1rem;border-left:1px solid var(--line);margin-left:.3rem}}
ul.tree li{{padding:.12rem 0}}
ul.tree li>.leaf{{padding-left:1.15rem}}
summary{{cursor:pointer}}
.leaf span,summary span,summary code,.leaf code{{margin-right:.55em}}

.unused>.leaf,.unused>details>summary{{border-left:.25rem solid var(--warn);background:var(--raised);padding-left:.6rem}}
.filter{{display:inline-flex;gap:.5rem;align-items:center;padding:.35rem 0;cursor:pointer}}
.filter input{{width:1.15rem;height:1.15rem;margin:0;accent-color:var(--link)}}
section:has(.filter input:checked) li.used:not(:has(li.unused,li.looked)){{display:none}}
ol.line{{list-style:none;margin:0;padding:0}}
ol.line>li{{display:grid;grid-template-columns:5rem minmax(6rem,14rem) minmax(0,1fr);gap:.2rem 1rem;padding:.5rem 0;border-bottom:1px solid var(--line)}}
ol.line svg{{width:100%;height:1.5rem;overflow:visible}}
ol.line time{{font-variant-numeric:tabular-nums;color:var(--quiet)}}
ol.line p{{margin:.1rem 0}}
.line span,.line code{{margin-right:.5em}}
svg line{{stroke:var(--line);stroke-width:1}}
svg circle{{fill:currentColor;stroke:var(--page);stroke-width:1.5}}
footer{{max-width:70rem;margin:0 auto;padding:0 1.25rem 2rem;color:var(--quiet)}}
@media (max-width:40rem){{
header,main,nav,footer{{padding-left:1rem;padding-right:1rem}}
dl{{grid-template-columns:minmax(0,1fr);gap:0}} dd{{margin-bottom:.5rem}}
ol.line>li{{grid-template-columns:4.5rem minmax(0,1fr)}} ol.line>li>div{{grid-column:1/-1}}
.scroll table,.scroll tbody,.scroll tr,.scroll td,.scroll caption{{display:block}}
.scroll thead{{position:absolute;left:-99rem}}
.scroll tr{{padding:.4rem 0;border-bottom:1px solid var(--line)}}
.scroll td{{border:0;padding:.1rem 0;display:grid;grid-template-columns:7.5rem minmax(0,1fr);gap:.6rem;overflow-wrap:anywhere}}
.scroll td::before{{content:attr(data-head);color:var(--quiet);font-size:.9rem}}
}}
@media print{{
body{{font-size:10.5pt}} nav,.skip,.filter{{display:none}}
h2{{break-after:avoid}} li,tr{{break-inside:avoid}}
details::details-content{{content-visibility:visible;block-size:auto}}
}}
"""
