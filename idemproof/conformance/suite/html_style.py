"""The style sheet of the page: light and dark, for desktops and phones."""

from . import trace_diagram

STYLE = f"""
:root {{
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1f2328; --quiet: #57606a; --edge: #d0d7de; --soft: #f6f8fa;
  --good: #116329; --good-paper: #dafbe1; --bad: #a40e26; --bad-paper: #ffebe9;
  --open: #7d4e00; --open-paper: #fff8c5;
}}
@media (prefers-color-scheme: dark) {{
  :root {{
    --paper: #0d1117; --ink: #e6edf3; --quiet: #9da7b3; --edge: #30363d; --soft: #161b22;
    --good: #56d364; --good-paper: #0f3319; --bad: #ff7b72; --bad-paper: #4b1113;
    --open: #e3b341; --open-paper: #3b2e00;
  }}
}}
* {{ box-sizing: border-box; }}
body {{
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif;
}}
main {{ max-width: 888px; margin: 0 auto; padding: 24px; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.5rem; line-height: 1.25; margin: 0 0 16px; }}
h2 {{ font-size: 1.2rem; margin: 40px 0 12px; }}
h3 {{ font-size: 1rem; margin: 0 0 16px; }}
section {{ border: 1px solid var(--edge); border-radius: 8px; padding: 16px; margin: 0 0 20px; }}
.verdict {{ padding: 12px 16px; border-radius: 8px; font-weight: 600; }}
.kept {{ color: var(--good); background: var(--good-paper); }}
.broken {{ color: var(--bad); background: var(--bad-paper); }}
.not-judged {{ color: var(--open); background: var(--open-paper); }}
.not-offered {{ color: var(--quiet); background: var(--soft); }}
.badge {{ padding: 1px 8px; border-radius: 10px; font-size: 0.85rem; font-weight: 600; white-space: nowrap; }}
.small, summary, details {{ color: var(--quiet); font-size: 0.85rem; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 4px 16px; margin: 16px 0; }}
dt {{ color: var(--quiet); }}
.clauses dt {{ color: var(--ink); font-weight: 600; }}
dd {{ margin: 0; }}
code {{ font: 0.9em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; vertical-align: top; padding: 6px 12px 6px 0; }}
th, td {{ border-bottom: 1px solid var(--edge); }}
th {{ overflow-wrap: normal; }}
.matrix th, .id {{ white-space: nowrap; }}
.tiers td:nth-child(4) {{ min-width: 8em; }}
.n {{ text-align: right; font-variant-numeric: tabular-nums; }}
svg {{ display: block; height: auto; }}
.desktop svg {{ max-width: 100%; }}
.phone {{ display: none; }}
@media (max-width: 720px) {{
  main {{ padding: 16px 12px; }}
  section {{ padding: 12px 10px; }}
  .desktop {{ display: none; }}
  .phone {{ display: block; }}
  dl {{ grid-template-columns: 1fr; gap: 0; }}
  dd {{ margin-bottom: 8px; }}
  .tiers :is(th, td):nth-child(n + 5) {{ display: none; }}
}}
@media print {{ section {{ break-inside: avoid; }} }}
{trace_diagram.STYLE}
.phone svg text {{ font-size: 11.5px; }}
"""
