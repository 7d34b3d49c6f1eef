"""A report to print and to send: all its pages as one PDF, and all its files as one ZIP."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from crm_analysis import archive
from crm_analysis.errors import InputError

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LONGEST = 300  # seconds that printing may take
OPTIONS = ["--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-pdf-header-footer"]
OPTIONS += ["--generate-pdf-document-outline", "--export-tagged-pdf", "--disable-background-networking"]
OPTIONS += [
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]
TAG = re.compile(r"""<[a-zA-Z](?:[^<>"']|"[^"]*"|'[^']*')*>""")  # in texts, too, stands what looks like an attribute
ATTRIBUTE = re.compile(r'''\s([^\s=>"'/]+)="([^"]*)"''')
NOTHING_FROM_OUTSIDE = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:"
STYLE = """
@page {{ size: A4; margin: 16mm 15mm 18mm; font: 8pt sans-serif; color: #555;
  @bottom-left {{ content: "{title}" }} @bottom-right {{ content: counter(page) " / " counter(pages) }} }}
.sheet:not(:last-child) {{ break-after: page; }} summary {{ list-style: none; }}
"""


def printed(folder: Path, pages: list[str], title: str, progress: Callable[[str, str, float], None]) -> dict[str, str]:
    """Print a report's index and its pages, in this order, to `report.pdf` in its folder.

    Returns
    -------
    dict[str, str]
        `pdf`, the file's name; or `not_printed`, what hindered it and what to do.
    """
    started = time.monotonic()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        return {"not_printed": "There is no report.pdf: it takes Chromium (on Debian: apt-get install chromium)."}
    name = Path(browser).name
    try:
        _print(browser, folder, _sheets(folder, ["index", *pages], title))
    except subprocess.TimeoutExpired:
        why = f"{name} took longer than {LONGEST} seconds; update it, and try again"
    except subprocess.CalledProcessError as error:
        why = f"{name} ended with status {error.returncode}; update it, and try again"
    except FileNotFoundError:
        why = f"{name} wrote none; update it, and try again"
    except OSError as error:  # no program, or no space
        why = f"it could not be made with {name} ({error.strerror})"
    else:
        progress("report.pdf", "done", time.monotonic() - started)
        return {"pdf": "report.pdf"}
    (folder / "report.pdf").unlink(missing_ok=True)
    return {"not_printed": f"There is no report.pdf: {why}."}


def _print(browser: str, folder: Path, document: str) -> None:
    """Print a document to `report.pdf` in a folder."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        sheets, made = Path(scratch) / "report.html", Path(scratch) / "report.pdf"
        sheets.write_text(document, encoding="utf-8")
        command = [browser, *OPTIONS, f"--user-data-dir={scratch}/profile", f"--print-to-pdf={made}", sheets.as_uri()]
        if os.geteuid() == 0:  # for whom Chromium's sandbox does not work
            command.insert(1, "--no-sandbox")
        nowhere = subprocess.DEVNULL
        subprocess.run(command, timeout=LONGEST, check=True, stdin=nowhere, stdout=nowhere, stderr=nowhere)
        shutil.copyfile(made, folder / "report.pdf")


def _sheets(folder: Path, names: list[str], title: str) -> str:
    """Return one document of all pages, whose links lead to each other and nowhere else."""
    pages = {name: (folder / f"{name}.html").read_text("utf-8") for name in names}
    bodies = {name: re.search(r"<main.*</main>", page, re.S) for name, page in pages.items()}
    # What holds of every page stands at the head of the index.
    bodies["index"] = re.search(r"<(?:header|main).*</main>", pages["index"], re.S)
    styles = dict.fromkeys(style for page in pages.values() for style in re.findall(r"<style>.*?</style>", page, re.S))
    written = "".join(f"\\{ord(letter):x} " if letter in '"\\<\n' else letter for letter in title)
    sheets = "".join(
        f'<div class="sheet" id="{name}">{_sheet(name, body[0], names)}</div>' for name, body in bodies.items() if body
    )
    policy = f'<meta http-equiv="Content-Security-Policy" content="{NOTHING_FROM_OUTSIDE}">'
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"{policy}<title>{html.escape(title)}</title>"
        f"{''.join(styles)}<style>{STYLE.format(title=written)}</style></head><body>{sheets}</body></html>"
    )


def _sheet(name: str, body: str, names: list[str]) -> str:
    """Return a page's text as paper has it: all unfolded, ids of its own, no script, no link to a file."""

    def attribute(found: re.Match[str]) -> str:
        key, value = found[1], found[2].replace("url(#", f"url(#{name}-")
        if key in ("id", "aria-labelledby", "aria-describedby"):
            value = " ".join(f"{name}-{own}" for own in value.split())
        elif key == "href":
            page, _, part = html.unescape(value).partition("#")
            page = page.removesuffix(".html") if page else name
            if page not in names:
                return ""
            value = f"#{page}{f'-{html.escape(part)}' if part else ''}"
        elif key == "xlink:href" and value.startswith("#"):
            value = f"#{name}-{value[1:]}"
        return f' {key}="{value}"'

    body = re.sub(r"<script.*?</script>", "", body, flags=re.S)
    body = re.sub(r"<details\b", "<details open", body)
    return TAG.sub(lambda tag: ATTRIBUTE.sub(attribute, tag[0]), body)


def pack(report: Path) -> Path:
    """Pack a published report, and nothing that lies beside it, into a ZIP with one folder; return its path."""
    target = archive.pack_of(report)
    unfinished = target.with_name(f".{target.name}")
    try:
        with archive.alone(report.parent):
            with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as packed:
                for file in sorted(path for path in report.rglob("*") if path.is_file()):
                    packed.write(file, f"{report.parent.name}-{report.name}/{file.relative_to(report)}")
            os.replace(unfinished, target)
    except OSError as error:
        raise InputError(f"the report is published, but cannot be packed into {target} ({error.strerror})") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return target
