"""In a report with pseudonyms no file and no message tells who a customer is; the lists apart name them all."""

import csv
import html
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import duckdb
import nbformat
import openpyxl
import pytest
from test_report import OPEN, earlier_report, house, names, run, tree, write_notebooks  # noqa: F401

from crm_analysis import archive, loyalty, open_dataset, privacy, report
from crm_analysis.call_list import crew
from crm_analysis.errors import InputError

PAGES = "pareto,scorecard,loyalty,call_list"
BINARY = re.compile(r"[A-Za-z0-9+/=\\]{200,}")  # pictures as text


def texts(folder: Path) -> dict[str, str]:
    """All that can be read in a folder's files; sheets unpacked, PDF as text."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.suffix in (".xlsx", ".zip"):
            with zipfile.ZipFile(path) as packed:
                inside = [packed.read(name) for name in packed.namelist() if not name.endswith((".pdf", ".xlsx"))]
            text = b" ".join(inside).decode("utf-8", "replace")
        elif path.suffix == ".pdf":
            text = pdf_text(path)
        else:
            text = path.read_text("utf-8")
        found[str(path.relative_to(folder))] = html.unescape(BINARY.sub(" ", text))
    return found


def pdf_text(path: Path) -> str:
    pypdf = pytest.importorskip("pypdf")
    return "\n".join(page.extract_text() for page in pypdf.PdfReader(path).pages)


def named(text: str, people: list[str]) -> list[str]:
    """Those of the ids and names that stand in a text as words of their own."""
    words = set(re.findall(r"\w+", text))
    there = [who for who in people if set(re.findall(r"\w+", who)) <= words]
    return [who for who in there if re.search(rf"(?<!\w){re.escape(who)}(?!\w)", text)]


@pytest.fixture(scope="module")
def people(sample):
    with (sample.parent / "sample" / "customers.csv").open(encoding="utf-8") as file:
        return [*csv.DictReader(file)]


@pytest.fixture(scope="module")
def made(sample, tmp_path_factory):
    """The sample company's report under pseudonyms, as a scheduler makes it: its folder, and what the run said."""
    folder = tmp_path_factory.mktemp("sample")
    shutil.copytree(sample.parent / "sample", folder / "sample")
    shutil.copy(sample, folder)
    command = [sys.executable, "-m", "crm_analysis", "report", str(folder / "sample.toml")]
    command += ["--out", str(folder / "reports"), "--only", PAGES, "--pseudonymise", "--zip"]
    command += ["--pdf"] if shutil.which("chromium") else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip()).parent, done.stdout + done.stderr


class TestSampleCompany:
    def test_no_file_and_no_message_tells_who_a_customer_is(self, made, people):
        folder, said = made
        known = [person[column] for person in people for column in ("customer_id", "name", "contact_person")]
        known = [who for who in known if who]
        assert len(known) > 6000
        read = texts(folder) | texts_of_pack(folder) | {"messages": said}
        assert {f"{page}.html" for page in PAGES.split(",")} < read.keys()
        assert {name: named(text, known) for name, text in read.items() if named(text, known)} == {}

    def test_pages_show_pseudonyms_and_say_so(self, made):
        folder, _ = made
        for page in (*PAGES.split(","), "index"):
            text = (folder / f"{page}.html").read_text("utf-8")
            assert privacy.NOTE in text, page
            assert "download" not in text.replace("scripts.download", ""), page
        assert re.search(r"Customer [B-Z]{4}-[B-Z]{4}-[B-Z]{4}", (folder / "pareto.html").read_text("utf-8"))
        assert f"../confidential/{folder.name}/pareto_best_customers.xlsx" in (folder / "pareto.html").read_text(
            "utf-8"
        )

    def test_the_lists_apart_have_the_names(self, made, people):
        folder, _ = made
        apart = folder.parent / "confidential" / folder.name
        assert apart.stat().st_mode & 0o777 == apart.parent.stat().st_mode & 0o777 == 0o700
        assert {file.stat().st_mode & 0o777 for file in apart.iterdir()} == {0o600}
        name_of = {person["customer_id"]: person["name"] for person in people}
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        lists = [(page["name"], found) for page in manifest["pages"] for found in page["lists"]]
        assert len(lists) > 8
        for page, found in lists:
            assert found["files"] == []
            file = folder / found["confidential"]
            assert file.parent.resolve() == apart
            with file.with_suffix(".csv").open(encoding="utf-8-sig") as text:
                rows = [*csv.DictReader(text)]
            assert len(rows) == found["total"]
            assert {row["customer_id"] for row in rows} <= name_of.keys()
            assert all(row["name"] == name_of[row["customer_id"]] for row in rows if "name" in row)
            assert not any(privacy.PSEUDONYM.search(cell) for row in rows for cell in row.values())
            assert openpyxl.load_workbook(file).active.max_row == found["total"] + 1, page
        assert [file.name for file in apart.glob("call_list_to_call_s*.xlsx")]  # by agent

    def test_the_pack_holds_the_report_and_nothing_confidential(self, made):
        folder, said = made
        assert f"Packed for sending: {folder}.zip" in said
        with zipfile.ZipFile(f"{folder}.zip") as packed:
            inside = packed.namelist()
            assert packed.testzip() is None
        assert inside == sorted(inside)
        assert {*inside} == {f"sample-{folder.name}/{name}" for name in tree(folder)}


def texts_of_pack(folder: Path) -> dict[str, str]:
    with zipfile.ZipFile(f"{folder}.zip") as packed:
        inside = [name for name in packed.namelist() if not name.endswith(".pdf")]
        return {f"zip: {name}": BINARY.sub(" ", packed.read(name).decode("utf-8", "replace")) for name in inside}


MAILS = """mail,date,amount
ann@example.com,2024-01-01,10
bob@example.com,2024-02-01,20
ann@example.com,2024-03-01,5
cyd@example.com,2024-03-01,20
eve@example.com,2024-02-31,much
2024-01-01,fay@example.com,7
"gus@example.com,2024-03-01,7
"""
WHO = [f"{name}@example.com" for name in ("ann", "bob", "cyd", "eve", "fay", "gus")]
LISTING = """
from crm_analysis import open_dataset, page
data = open_dataset(dataset, as_of=as_of)
customers = data.customers().select("customer_id", "value").order_by("value", "customer_id")
best = page.called(customers.to_pandas(), data.names())
page.finding(f"The best is {best['name'].iloc[-1]}.")
page.figure("good.value", float(best["value"].sum()), unit="rows", headline=True)
page.list("all", customers, action="Call.", title="All", names=data.names())
"""


@pytest.fixture
def shop(house):  # noqa: F811
    """A small dataset whose ids are e-mail addresses, some of them in rows that cannot be used."""
    toml = house(good=LISTING)
    (toml.parent / "sales.csv").write_text(MAILS)
    toml.write_text(toml.read_text() + 'columns.customer_id = "mail"\n')
    house.folder, house.toml = house.out / "shop", toml
    return house


class TestMails:
    def test_nothing_published_or_said_holds_one_and_the_figures_are_the_same(self, shop):
        done = run(shop.toml, shop.out, "--pseudonymise")
        assert done.exit_code == 0, done.stderr
        assert "3 of 7 rows of transactions could not be used" in done.stderr
        folder = shop.folder / "2024-03-01"
        for name, text in {**texts(folder), "messages": done.stdout + done.stderr}.items():
            assert "@" not in text.replace("@page", "").replace("@media", "").replace("@font", ""), name
        assert (folder / "lists" / "quarantine.csv").read_text("utf-8-sig").splitlines()[1:] == [
            "transactions,sales.csv,6,date is not usable",
            "transactions,sales.csv,7,date is not usable",
            "transactions,sales.csv,8,a quotation mark is opened and never closed",
        ]
        apart = shop.folder / "confidential" / "2024-03-01"
        assert "much" in (apart / "quarantine.csv").read_text("utf-8-sig")
        hidden, rows = archive.told(folder), list_of(apart / "good_all.csv")

        # The figures are the same without pseudonyms, but these do not come beside them.
        refused = run(shop.toml, shop.out, "--as-of", "2024-02-01")
        assert refused.exit_code == 2
        assert f"{folder} shows pseudonyms: give reports with pseudonyms an --out of their own" in refused.stderr
        assert names(shop.folder) == ["2024-03-01", "confidential", "latest"]
        other = shop.out / "other"
        assert run(shop.toml, other, "--zip").exit_code == 0
        shown = archive.told(other / "shop" / folder.name)
        for key in ("figures", "tables", "warnings"):
            assert hidden[key] == shown[key]
        assert sorted(rows) == sorted(list_of(other / "shop" / folder.name / "lists" / "good_all.csv"))
        assert [value for _, value in rows] == ["15.0", "20.0", "20.0"]  # equals are in the order of their pseudonyms
        key = shop.toml.with_suffix(".key").read_text()
        assert (hidden["pseudonyms"], shown["pseudonyms"]) == (privacy.mark(key), "")
        (other / "shop" / folder.name).rename(other / "shop" / "2024-03-01-part")
        assert "2024-03-01-part shows names" in run(shop.toml, other, "--pseudonymise").stderr
        assert names(other / "shop") == ["2024-03-01-part", "2024-03-01.zip", "latest"]

        # Nor is anything left of an older report of the same date.
        (shop.folder / "2024-03-01.zip").touch()
        (apart / "older.csv").touch()
        apart.parent.chmod(0o755)
        assert run(shop.toml, shop.out, "--pseudonymise").exit_code == 0
        assert names(shop.folder) == ["2024-03-01", "confidential", "latest"]
        assert apart.parent.stat().st_mode & 0o777 == 0o700
        assert "older.csv" not in names(apart)

    def test_a_failed_run_tells_nothing_either(self, shop):
        write = shop.toml.parent / "notebooks" / "20_bad.ipynb"
        shutil.copy(shop.toml.parent / "notebooks" / "10_good.ipynb", write)
        notebook = nbformat.read(write, as_version=4)
        notebook.cells[-1].source = "raise KeyError(best['customer_id'].iloc[0])"
        nbformat.write(notebook, write)
        failed = run(shop.toml, shop.out, "--pseudonymise")
        assert failed.exit_code == 1
        assert re.search(r"notebook bad: KeyError: '[B-Z]{4}-", failed.stderr)
        for name, text in {**texts(shop.folder / "2024-03-01.failed"), "messages": failed.stderr}.items():
            assert not named(text, WHO), name
        assert [*(shop.folder / "confidential").iterdir()] == []

    @pytest.mark.parametrize("rows", ["ann@example.com,never,1\n", "ann@example.com,2024-01-01,1\n" + MAILS[-60:] * 3])
    def test_nor_does_one_that_is_refused(self, shop, rows):
        (shop.toml.parent / "sales.csv").write_text("mail,date,amount\n" + rows)
        refused = run(shop.toml, shop.out, "--pseudonymise")
        assert refused.exit_code == 2
        assert ": tables.transactions: " in refused.stderr
        assert "@" not in refused.stderr

    def test_columns_that_are_not_there_are_not_named(self, shop):
        (shop.toml.parent / "sales.csv").write_text(MAILS.partition("\n")[2])  # a file without a header
        refused = run(shop.toml, shop.out, "--pseudonymise")
        assert refused.exit_code == 2
        assert "without --pseudonymise the report says why" in refused.stderr
        assert "@" not in refused.stderr


def list_of(file: Path) -> list[list[str]]:
    with file.open(encoding="utf-8-sig") as text:
        return [*csv.reader(text)][1:]


class TestSuccession:
    def test_reports_of_another_key_are_not_compared(self, shop):
        tell = LISTING + "from pathlib import Path\npage.finding(f'After {Path(previous).name!r}.')"
        shutil.rmtree(shop.toml.parent / "notebooks")
        write_notebooks(shop.toml.parent / "notebooks", {"good": tell})

        def after(date: str, *more: str) -> str:
            done = run(shop.toml, shop.out, "--as-of", date, *more)
            assert done.exit_code == 0, done.stderr
            return archive.told(shop.folder / date)["pages"][0]["findings"][-1]["sentence"]

        assert after("2024-02-01", "--pseudonymise") == "After ''."
        key = shop.toml.with_suffix(".key").rename(shop.toml.with_suffix(".first"))
        assert after("2024-02-02", "--pseudonymise") == "After ''."
        key.rename(shop.toml.with_suffix(".key"))
        assert after("2024-02-03", "--pseudonymise") == "After '2024-02-01'."
        index = (shop.folder / "2024-02-03" / "index.html").read_text("utf-8")
        assert re.findall(r"\.\./(.*?)/index.html", index) == ["2024-02-01"]
        shop.toml.with_suffix(".key").unlink()
        assert after("2024-02-04", "--pseudonymise") == "After ''."

    def test_an_executed_notebook_run_again_shows_pseudonyms(self, shop, monkeypatch):
        assert run(shop.toml, shop.out, "--pseudonymise").exit_code == 0
        executed = shop.folder / "2024-03-01" / "notebooks" / "good.ipynb"
        (given,) = (
            cell.source
            for cell in nbformat.read(executed, as_version=4).cells
            if "injected-parameters" in cell.metadata.get("tags", [])
        )
        monkeypatch.delenv(privacy.VARIABLE, raising=False)
        read = "from crm_analysis import open_dataset\nprint(*open_dataset(dataset).customers().to_pandas().iloc[0])"
        told = subprocess.run(
            [sys.executable, "-c", f"{given}\n{read}"], capture_output=True, text=True, check=True
        ).stdout
        assert privacy.PSEUDONYM.match(told)
        assert "@" not in told

    def test_a_notebook_that_reads_the_real_data_is_not_published(self, shop):
        body = "import os\nos.environ.clear()\n" + LISTING
        shutil.rmtree(shop.toml.parent / "notebooks")
        write_notebooks(shop.toml.parent / "notebooks", {"good": body})
        failed = run(shop.toml, shop.out, "--pseudonymise")
        assert failed.exit_code == 1
        assert not (shop.folder / "2024-03-01").exists()


class TestSwap:
    def test_if_publishing_fails_the_old_lists_come_back_too(self, tmp_path, monkeypatch):
        for part in ("2024-03-01", "stage", "confidential/2024-03-01", "confidential/.2024-03-01-new"):
            (tmp_path / part).mkdir(parents=True)
            (tmp_path / part / "file").write_text(part)
        target, apart = tmp_path / "2024-03-01", tmp_path / "confidential"
        old = tree(target), tree(apart / "2024-03-01")
        with pytest.raises(FileNotFoundError):
            archive.swap(tmp_path / "lost", target, apart / ".2024-03-01-new")
        assert (tree(target), tree(apart / "2024-03-01")) == old
        assert names(tmp_path) == ["2024-03-01", "confidential", "stage"]
        assert names(apart) == ["2024-03-01"]
        archive.swap(tmp_path / "stage", target)
        assert (target / "file").read_text() == "stage"
        assert names(apart) == []


class TestPseudonyms:
    """What stands in the tables in place of what is personal."""

    PEOPLE = (
        "customer_id,name,mail,town,boss,do_not_call\n"
        "1,Ann,a@x,Ulm,,no\n2,Bob,b@x,Ulm,1,\n3,,c@x,Ulm,2,yes\n4,unknown,,Ulm,,\n5,Ann,unknown,Ulm,,\n"
        + "".join(f"{i},X,none given,Bonn,,\n" for i in range(70, 74))
        + "".join(f"{i},None,in person,Ulm,,\n" for i in range(80, 85))
    )

    @pytest.fixture
    def opened(self, write_dataset, tmp_path, monkeypatch):
        toml = write_dataset(
            "customer_id,date,amount,order_id\n1,2024-01-01,10,o1\n2,2024-01-02,20,o2\n6,2024-01-03,1,1\n"
        )
        (tmp_path / "people.csv").write_text(self.PEOPLE)
        toml.write_text(toml.read_text() + '\n[tables.customers]\npath = "people.csv"\n')
        real = open_dataset(toml)
        monkeypatch.setenv(privacy.VARIABLE, "yes")
        return real, open_dataset(toml), toml

    def test_ids_are_the_same_in_every_table(self, opened):
        real, hidden, _ = opened
        assert hidden.table("transactions").columns == real.table("transactions").columns
        bought = hidden.table("transactions").to_pandas()
        people = hidden.table("customers").to_pandas()
        assert bought["customer_id"].str.fullmatch(privacy.PSEUDONYM).all()
        assert bought["order_id"].str.fullmatch(privacy.PSEUDONYM).all()
        assert len({*bought["customer_id"]} & {*people["customer_id"]}) == 2
        assert bought["amount"].tolist() == real.table("transactions").to_pandas()["amount"].tolist()

    def test_attributes_that_tell_one_person_get_pseudonyms(self, opened):
        real, hidden, _ = opened
        people = self.people(real, hidden)
        assert people["name"]["1"] == f"Customer {people['customer_id']['1']}"
        named = people.drop("3")
        assert people["name"].isna().sum() == 1
        assert named["name"].tolist() == [f"Customer {code}" for code in named["customer_id"]]  # "unknown" and "X", too
        assert people["mail"][["1", "2", "3"]].str.fullmatch(privacy.PSEUDONYM).all()
        assert people["mail"]["5"] == "unknown"
        # What many share stays, and hides nobody else's value nor shows it.
        assert {*people["mail"][["80", "84"]], *people["town"][["1", "84"]]} == {"in person", "Ulm"}
        assert people.loc[["70", "73"], ["mail", "town"]].stack().str.fullmatch(privacy.PSEUDONYM).all()
        assert people["boss"][["2", "3"]].tolist() == people["customer_id"][["1", "2"]].tolist()
        assert people["do_not_call"].dropna().to_dict() == {"1": "no", "3": "yes"}

    @staticmethod
    def people(real, hidden):
        """The customers under pseudonyms, by their real ids: the rows of both tables are in the same order."""
        ids = real.table("customers").to_pandas()["customer_id"]
        return hidden.table("customers").to_pandas().set_index(ids.rename("real"))

    def test_words_that_analyses_look_for_stay(self):
        assert {*loyalty.BLANK, *loyalty.YES, *crew.CALLABLE} <= {*privacy.WORDS}

    def test_lists_get_them_back(self, opened):
        real, hidden, toml = opened
        people = self.people(real, hidden)
        who, name, mail = people["customer_id"], people["name"]["1"], people["mail"]["1"]
        both = f"{who['2']}, Customer {who['2']}"
        rows = [[who["1"], name, mail, 1.5, None], [who["3"], None, both, 2, "XXXX"]]
        (found,) = privacy.restored([{"name": "x", "rows": rows}], real.connection.con, privacy.key_of(toml))
        assert found == {"name": "x", "rows": [["1", "Ann", "a@x", 1.5, None], ["3", None, "2, Bob", 2, "XXXX"]]}

    def test_the_key_makes_them(self, opened):
        _, hidden, toml = opened
        key = toml.with_suffix(".key")
        assert key.stat().st_mode & 0o777 == 0o600
        first = hidden.table("customers").to_pandas()
        again = open_dataset(toml)
        assert again.fingerprint == hidden.fingerprint
        assert again.table("customers").to_pandas().equals(first)
        key.unlink()
        other = open_dataset(toml)
        assert other.pseudonyms != hidden.pseudonyms
        assert not {*other.table("customers").to_pandas()["customer_id"]} & {*first["customer_id"]}

    @pytest.mark.parametrize(("content", "mode", "reason"), [("x", 0o600, "no key"), ("0" * 64, 0o644, "chmod 600")])
    def test_a_key_that_is_none_is_refused(self, opened, content, mode, reason):
        toml = opened[2]
        toml.with_suffix(".key").write_text(content)
        toml.with_suffix(".key").chmod(mode)
        with pytest.raises(InputError, match=reason):
            open_dataset(toml)

    def test_two_customers_are_never_merged(self, opened, monkeypatch):
        toml = opened[2]
        toml.with_suffix(".key").unlink()
        monkeypatch.setattr(privacy, "LETTERS", "B" * 20)
        with pytest.raises(InputError, match="two ids have the same pseudonym"):
            open_dataset(toml)

    def test_the_cache_holds_nothing_else(self, opened):
        toml = opened[2]
        (file,) = (toml.parent / ".cache").glob("*.*.duckdb")
        key = toml.with_suffix(".key").read_text().encode()
        assert key not in file.read_bytes()
        with duckdb.connect(file, read_only=True) as engine:
            assert engine.execute(
                "SELECT count(*) FROM duckdb_functions() WHERE function_name = 'pseudonym'"
            ).fetchone() == (0,)

    def test_without_the_variable_the_data_are_as_they_are(self, opened, monkeypatch):
        real, _, toml = opened
        monkeypatch.delenv(privacy.VARIABLE)
        assert open_dataset(toml).fingerprint == real.fingerprint
        assert report.open_dataset(toml).pseudonyms == ""
