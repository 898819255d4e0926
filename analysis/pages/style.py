"""The report's style sheet: light and dark as the reader has it, one column on a telephone."""

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --raised: #f5f6f8; --ink: #1b1f24; --soft: #59626d;
  --line: #d9dde2; --accent: #0072b2; --good: #00704f; --bad: #b3400a }
@media (prefers-color-scheme:dark) {
  :root { --ground: #14171b; --raised: #1e2329; --ink: #e8eaed; --soft: #a2abb6; --line: #363d46;
    --accent: #56b4e9; --good: #3fc79a; --bad: #ff8a4c }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1080px; padding: 24px 20px 60px; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3em }
h2 { font-size: 1.2rem; margin: 2.4em 0 .3em }
h3 { font-size: 1rem; margin: 1.6em 0 .3em }
p { margin: .3em 0 .9em; max-width: 72ch }
small, .soft { color: var(--soft) }
small { font-size: .82rem; white-space: nowrap }
.verdict { border-left: 5px solid var(--good); background: var(--raised); padding: 10px 16px; margin: 16px 0 }
.verdict.bad { border-color: var(--bad) }
.good { color: var(--good) }
.bad-text { color: var(--bad) }
.cards { display: grid; grid-template-columns: repeat(auto-fit,minmax(150px,1fr)); gap: 10px }
.card { background: var(--raised); border-radius: 8px; padding: 10px 14px }
.card b { display: block; font-size: 1.5rem; line-height: 1.25 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: 6px 12px 6px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
th { color: var(--soft); font-weight: 600; font-size: .86rem }
td.n, th.n { text-align: right; padding: 6px 18px 6px 0 }
td.n:last-child, th.n:last-child { padding-right: 0 }
td small { display: block }
.swatch { display: inline-block; width: .75em; height: .75em; border-radius: 2px; margin-right: .5em }
td.dots { width: 42%; min-width: 110px; vertical-align: middle }
.track { position: relative; height: 14px }
.track i { position: absolute; display: block }
.track .rail { left: 0; right: 0; top: 6.5px; height: 1px; background: var(--line) }
.track .range { top: 5px; height: 4px; border-radius: 2px; background: var(--accent); opacity: .45 }
.track .dot { top: 2px; width: 10px; height: 10px; margin-left: -5px; border-radius: 5px;
  background: var(--accent) }
.matrix td { text-align: center; border: 2px solid var(--ground); padding: 8px 4px; width: 16% }
.matrix td small { color: inherit; opacity: .85 }
.matrix th { border: 0; font-weight: 600 }
.matrix th.row { text-align: right; vertical-align: middle; padding-right: 10px }
.matrix thead th { text-align: center }
.pair { display: grid; grid-template-columns: repeat(auto-fit,minmax(320px,1fr)); gap: 30px }
.diagram { max-width: 400px; width: 100%; height: auto; display: block }
.diagram text { fill: var(--soft); font: 11px system-ui,sans-serif }
.gallery { display: grid; grid-template-columns: repeat(auto-fill,minmax(150px,1fr)); gap: 14px }
figure { margin: 0; background: var(--raised); border-radius: 8px; padding: 10px; font-size: .88rem;
  line-height: 1.35 }
figure img { width: 100%; max-width: 130px; display: block; margin: 0 auto 6px; image-rendering: pixelated;
  background: #000 }
figure small { display: block; overflow-wrap: anywhere; white-space: normal; margin-top: 2px }
details { border-bottom: 1px solid var(--line); padding: 8px 0 }
summary { cursor: pointer; font-weight: 600 }
@media (max-width:560px) {
  body { padding: 16px 14px 40px; font-size: 15px }
  th, td, td.n, th.n { padding-right: 6px }
  .pair { grid-template-columns: 1fr }
  .card b { font-size: 1.25rem }
  .cards { grid-template-columns: 1fr 1fr }
  td { font-size: .9rem }
  td small { white-space: normal; font-size: .78rem }
  .matrix td { padding: 6px 2px; font-size: .82rem }
  .matrix th, .matrix th.row { font-size: .72rem; padding: 4px 4px 4px 0; hyphens: auto }
  .gallery { grid-template-columns: 1fr 1fr }
  td.dots { width: 24%; min-width: 64px }
}
"""
