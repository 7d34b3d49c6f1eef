"""What is known of one customer, for whoever looks after this one next."""

from crm_analysis.customer.company import Company, company, key_customers_of, known
from crm_analysis.customer.one import (
    barred,
    cases,
    contacts,
    future,
    interest,
    next_action,
    payments,
    products,
    purchases,
    quotes,
    record,
    rhythm,
    stages,
    standing,
    years,
)

__all__ = [
    "Company",
    "barred",
    "cases",
    "company",
    "contacts",
    "future",
    "interest",
    "key_customers_of",
    "known",
    "next_action",
    "payments",
    "products",
    "purchases",
    "quotes",
    "record",
    "rhythm",
    "stages",
    "standing",
    "years",
]
