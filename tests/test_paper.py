"""A report on paper and in a pack: everything is there once, and links lead on inside it."""

import json
import os
import re
import shutil
import zipfile

import pytest

from crm_analysis import paper

pypdf = pytest.importorskip("pypdf")

STYLE = "<style>body { font-family: sans-serif; }</style>"
INDEX = f"""<html><head>{STYLE}</head><body><a href="#main">skip</a><header>Invented.</header><main id="main">
<h1>Index</h1><a href="one.html">first</a> <a href="one.html#end">end</a> <a href="manifest.json">json</a>
<a href="../2024-01-01/index.html">earlier</a> <a href="https://example.com">out</a></main></body></html>"""
ONE = f"""<html><head>{STYLE}</head><body><nav>nowhere</nav><main id="main"><h1>Größe 中文</h1>
<details><summary>More</summary><p>folded away</p></details><img src="https://example.com/x.png" alt="x">
<svg width="50" height="50"><defs><clipPath id="c"><rect width="9" height="9"/></clipPath></defs>
<rect width="50" height="50" clip-path="url(#c)"/></svg><p id="end"><a href="index.html">back</a>
<a href="#end">here</a></p><script>document.body.innerHTML = "gone"</script></main></body></html>"""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "shop" / "2024-03-01"
    (folder / "lists").mkdir(parents=True)
    for name, text in {"index.html": INDEX, "one.html": ONE, "two.html": ONE, "manifest.json": "{}"}.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "lists" / "a.csv").write_text("a")
    return folder


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Debian's chromium")
class TestPdf:
    @pytest.fixture
    def pdf(self, folder):
        title = 'Shop "1" \\ <&>: customers as of 2024-03-01'
        assert paper.printed(folder, ["one", "two"], title, lambda *done: None) == {"pdf": "report.pdf"}
        assert sorted(path.name for path in folder.glob("*.pdf")) == ["report.pdf"]
        return pypdf.PdfReader(folder / "report.pdf"), title

    def test_pages_follow_each_other_with_number_and_title(self, pdf):
        reader, title = pdf
        texts = [page.extract_text() for page in reader.pages]
        assert [re.search(r"\d / \d", text)[0] for text in texts] == ["1 / 3", "2 / 3", "3 / 3"]
        assert all(title in text for text in texts)
        assert "Invented." in texts[0]
        assert all("folded away" in text and "nowhere" not in text for text in texts[1:])
        assert reader.metadata.title == title
        assert [entry.title for entry in reader.outline] == ["Index", "Größe 中文", "Größe 中文"]
        assert [round(side) for side in reader.pages[0].mediabox[2:]] == [595, 842]

    def test_links_lead_to_pages_inside_and_nowhere_else(self, pdf, folder):
        links = [note.get_object() for page in pdf[0].pages for note in page.get("/Annots") or []]
        places = [str(link.get("/Dest", link.get("/A", {}).get("/D"))).lstrip("/") for link in links]
        assert places == ["one", "one-end", "index", "one-end", "index", "two-end"]
        content = (folder / "report.pdf").read_bytes()
        assert b"file:" not in content
        assert b"example.com" not in content
        assert str(folder.parents[1]).encode() not in content


class TestSheet:
    def test_links_and_ids_in_tags_change_those_in_texts_stay(self):
        text = '<p>Type: a href="x.html" id="y" style="fill: url(#z)", it\'s > that.</p>'
        tags = """<a title="Ann's > id=" href="two.html#end" id="top">on</a><a href='x'>x</a><use xlink:href="#c"/>"""
        tags += '<g clip-path="url(#c)" aria-labelledby="a b"/><a href="../x.html">x</a>'
        assert paper._sheet("one", text + tags, ["one", "two"]) == (
            text
            + """<a title="Ann's > id=" href="#two-end" id="one-top">on</a><a href='x'>x</a>"""
            + '<use xlink:href="#one-c"/><g clip-path="url(#one-c)" aria-labelledby="one-a one-b"/><a>x</a>'
        )


class TestWithoutBrowser:
    def test_none_is_there(self, folder, monkeypatch):
        monkeypatch.setenv("PATH", "/nowhere")
        told = paper.printed(folder, ["one"], "Shop", lambda *done: None)
        assert told == {
            "not_printed": "There is no report.pdf: it takes Chromium (on Debian: apt-get install chromium)."
        }

    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            ("#!/bin/sh\nexit 7", "status 7"),
            ("#!/bin/sh\nexec sleep 60", "longer than 1 seconds"),
            ("#!/bin/sh", "wrote none"),
            ("\0", "Exec format error"),
        ],
    )
    def test_it_fails(self, folder, tmp_path, monkeypatch, script, reason):
        browser = tmp_path / "chromium"
        browser.write_text(f"{script}\n")
        browser.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr(paper, "LONGEST", 1)
        told = paper.printed(folder, ["one"], "Shop", lambda *done: None)
        assert reason in told["not_printed"]
        assert not (folder / "report.pdf").exists()

    def test_it_cannot_be_written(self, folder, tmp_path, monkeypatch):
        def full(_, target):
            target.write_text("begun")
            raise OSError(28, "No space left on device")

        (tmp_path / "chromium").symlink_to(shutil.which("true"))
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr(shutil, "copyfile", full)
        told = paper.printed(folder, ["one"], "Shop", lambda *done: None)
        assert "No space left on device" in told["not_printed"]
        assert not (folder / "report.pdf").exists()


class TestPack:
    def test_it_holds_the_folder_in_order_and_replaces_an_older_one(self, folder):
        (folder.parent / "2024-03-01.zip").write_text("old")
        (folder.parent / "confidential").mkdir()
        (folder.parent / "confidential" / "secret").write_text("x")
        made = paper.pack(folder)
        assert made == folder.parent / "2024-03-01.zip"
        with zipfile.ZipFile(made) as packed:
            assert packed.namelist() == [
                f"shop-2024-03-01/{name}"
                for name in ("index.html", "lists/a.csv", "manifest.json", "one.html", "two.html")
            ]
            assert json.loads(packed.read("shop-2024-03-01/manifest.json")) == {}
        assert sorted(path.name for path in folder.parent.glob("*zip*")) == ["2024-03-01.zip"]
        assert not [*folder.parent.glob(".*zip*")]
