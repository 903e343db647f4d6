"""A validation report as one page of HTML that needs nothing else.

Law: layout of a report; every text is escaped, and nothing is loaded from anywhere.
"""

from __future__ import annotations

from html import escape
from typing import Final

from .report import Category, Finding, Outcome, Report

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #1b1b1b; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .25rem .6rem .25rem 0; }
tr + tr td { border-top: 1px solid #ddd; } ul { margin: .4rem 0 1rem; padding-left: 1.2rem; }
details { margin: .4rem 0; } summary { cursor: pointer; }
.Success { color: #0b6b2e; } .Warning { color: #8a5300; } .Failed { color: #b00020; font-weight: 600; }
.Not { color: #666; } .pass { color: #0b6b2e; } .fail { color: #b00020; }
@media (prefers-color-scheme: dark) {
  body { background: #16181b; color: #e6e6e6; } tr + tr td { border-color: #333; }
  .Success, .pass { color: #6fd08c; } .Warning { color: #f0b45a; }
  .Failed, .fail { color: #ff8a8a; } .Not { color: #999; }
}
"""


def render(report: Report) -> str:
    """The page: a verdict, a table of all tests, then each test with what it did and saw."""
    verdict = "passed" if report.passed else "failed"
    words = "The cluster has passed validation." if report.passed else "The cluster has failed validation."
    counts = ", ".join(f"{report.count(outcome)} {escape(outcome.value.lower())}" for outcome in Outcome)
    title = f"Failover Cluster Validation Report: {escape(report.cluster)}"
    rows = "\n".join(_row(number, finding) for number, finding in enumerate(report.findings))
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{_STYLE}</style></head>
<body>
<h1>{title}</h1>
<p class="{verdict[:4]}"><strong>{words}</strong></p>
<p>Profile {escape(report.profile)}, {escape(report.when)} GMT. Tests: {counts}.</p>
<table><tr><th>Category</th><th>Test</th><th>Result</th></tr>
{rows}
</table>
{_parts(report)}
</body>
</html>
"""


def _class(outcome: Outcome) -> str:
    return outcome.value.partition(" ")[0]


def _row(number: int, finding: Finding) -> str:
    name, outcome = escape(finding.name), finding.outcome
    return (
        f'<tr><td>{escape(finding.category.value)}</td><td><a href="#t{number}">{name}</a></td>'
        f'<td class="{_class(outcome)}">{outcome.value}</td></tr>'
    )


def _parts(report: Report) -> str:
    parts = []
    for category in Category:
        mine = [(n, finding) for n, finding in enumerate(report.findings) if finding.category is category]
        if mine:
            parts.append(f"<h2>{escape(category.value)}</h2>")
            parts += [_test(number, finding) for number, finding in mine]
    return "\n".join(parts)


def _test(number: int, finding: Finding) -> str:
    lines = "\n".join(f'<li class="{_class(line.outcome)}">{escape(line.text)}</li>' for line in finding.lines)
    opened = " open" if finding.outcome in (Outcome.WARNING, Outcome.FAILED) else ""
    head = f'{escape(finding.name)}: <span class="{_class(finding.outcome)}">{finding.outcome.value}</span>'
    return f'<details id="t{number}"{opened}><summary>{head}</summary><ul>\n{lines}\n</ul></details>'
