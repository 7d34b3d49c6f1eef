"""`python -m crm_analysis` is `crm-analysis`."""

from crm_analysis.cli import app

app(prog_name="crm-analysis")
