"""A hostile dataset: a part of the sample company in yen, with names in all scripts, and attacks, as names."""

import itertools
from pathlib import Path

import pandas as pd

from crm_analysis.examples.sample import simulate

TITLE = "東京 شركة <b>shop</b> 👩‍👩‍👧 & co."
NOTE = "Not <i>real</i>: שום דבר, не правда, कुछ नहीं; =1+1 {{ 7*7 }} ${x} </style><script>alert(1)</script>"
# Names of the most valuable customers, dearest first.
NAMES = [
    "株式会社山田商店",
    "مؤسسة النور للتجارة",
    "<script>alert(1)</script>",
    "北京华联超市",
    "חברת השמש בע״מ",
    "👩‍👩‍👧 Café 🏳️‍🌈",
    '=HYPERLINK("http://example.com","x")',
    "सूर्या ट्रेडर्स",
    "บริษัท แสงอรุณ จำกัด",
    "Cafe\N{COMBINING ACUTE ACCENT} Ha\N{COMBINING RING ABOVE}ndverk",
    "</style><img src=x onerror=alert(1)>",
    "$x_1$ \\alpha",
    "A name that goes on, and on, and on, until nobody wants to read to its end",
    "한빛상사",
    '"quoted", o\'neil; a\tb',
    "Ελληνική Εταιρεία",
]
PART = 8  # of so many customers one is kept
IDS = [
    "<!-- files of best_customers -->",
    "x" * 5000,
    "-1+1",
    "../../etc",
    "عميل١",
    "<script>alert(1)</script>",
    '"quoted"',
    "=1+1",
    "NULL",
    "{{ 7*7 }}",
    "客户一",
    "😀",
    "a,b;c\td",
    "@SUM(A1)",
]
PLACES = ["北區", "الشرق", "<img src=x onerror=alert(1)>", "דרום", "पश्चिम"]
WAYS = ["微信", "توصية", "ดูงาน", "הפניה", "📞 Anruf", "<script>alert(2)</script>", "展示会", "店舗"]
PEOPLE = ["田中さん", "أحمد", "דוד לוי", "प्रिया", "สมชาย", "王芳", "Zoë 🏳️‍🌈", "<b>Bold</b>", "=1+1", "김민준", "$y_2$"]
GOODS = ["電動ドリル", "مطرقة", "פטיש", "हथौड़ा", "ค้อน", "锤子 4 × 40", "🔨", "Hammer <i>x</i>", "=2+3", "망치", "Σφυρί"]
KINDS = ["工具", "أدوات", "כלים", "उपकरण", "<u>Kleidung</u>", "🐝"]
POOLS = {  # by column, in whatever table
    "region": PLACES,
    "channel": WAYS,
    "acquired_via": WAYS,
    "preferred_contact": WAYS,
    "account_manager_id": PEOPLE,
    "salesperson_id": PEOPLE,
    "agent_id": PEOPLE,
    "contact_person": PEOPLE,
    "product_id": GOODS,
    "category": KINDS,
    "industry": KINDS,
    "preference": [NOTE],
}
SETTINGS = f"""
currency = "JPY"
locale = "de"
parameters.acquisition.referral = "{WAYS[1]}"
parameters.service.near_days = 60
[tables]"""
MONEY = ("amount", "list_amount", "acquisition_cost", "list_price", "unit_cost", "unit_price", "cost")


def write(folder: Path) -> Path:
    """Write the dataset into a folder, and return its description."""
    folder.mkdir()
    tables = simulate().tables
    spent = tables["transactions"].groupby("customer_id")["amount"].sum().sort_values(ascending=False)
    best = [customer for customer in spent.index if int(customer[1:]) % PART == 0]
    renamed = dict(zip(best, IDS, strict=False))
    named = dict(zip(best, _endless(NAMES), strict=False))
    words = {column: {} for column in POOLS}
    lines = [f"title = {_toml(TITLE)}", f"note = {_toml(NOTE)}", SETTINGS]
    for name, table in tables.items():
        if "customer_id" in table:
            table = table[table["customer_id"].str[1:].astype(int) % PART == 0]
        if name == "customers":
            table = table.assign(name=table["customer_id"].map(named).fillna(table["name"]))
        if name == "products":
            table = table.assign(name=[*itertools.islice(_endless(GOODS), len(table))])
        if "customer_id" in table:
            table = table.assign(customer_id=table["customer_id"].replace(renamed))
        for column in table.columns.intersection(POOLS):
            table = table.assign(**{column: _in_words(table[column], words[column], POOLS[column])})
        for column in table.columns.intersection(MONEY):
            table = table.assign(**{column: (table[column] * 100).round().astype("Int64")})
        table.to_csv(folder / f"{name}.csv", index=False)
        lines.append(f'{name}.path = "{name}.csv"')
    toml = folder / "it's 100% <world> ☠.toml"
    toml.write_text("\n".join(lines), "utf-8")
    return toml


def _endless(pool: list[str]):
    """The words of a pool, then again with a number."""
    return itertools.chain(pool, (f"{word} {n}" for n in itertools.count(2) for word in pool))


def _in_words(column: pd.Series, words: dict[str, str], pool: list[str]) -> pd.Series:
    """A column with a word of the pool for each of its values, the same in all tables."""
    for value in sorted({*column.dropna()} - {"", *words}):
        words[value] = next(itertools.islice(_endless(pool), len(words), None))
    return column.map(words).fillna("")


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
