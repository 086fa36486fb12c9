"""Look at every page of a built site: links, titles, pictures, and nothing too wide or cut off.

Links between pages, and to places in them, are checked from the files, and that pictures say in
words what they show. The rest is looked at in a headless Chromium, if there is one: every page in a
frame of each width.

Usage: python docs/check_site.py SITE [--widths 1280 390] [--browser chromium]
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOOKER = """<!doctype html><title>check</title><body style="margin:0"><script>
// Whether an element, or one around it up to the article, scrolls sideways.
const scrolls = (view, element) => {
  for (let e = element; e && e.tagName !== "ARTICLE"; e = e.parentElement)
    if (["auto", "scroll"].includes(view.getComputedStyle(e).overflowX)) return true;
  return false;
};
// What sticks out of the text and does not scroll, and text of which the end is hidden.
const cut = (view, page) => {
  const article = page.querySelector("article"), faults = [];
  if (!article) return faults;
  const end = article.getBoundingClientRect().right + 1;
  for (const e of article.querySelectorAll("table, pre, img, math, figure, svg"))
    if (e.getBoundingClientRect().right > end && !scrolls(view, e))
      faults.push("wider than the text: " + e.tagName + "." + e.className);
  for (const e of article.querySelectorAll("h1, h2, h3, h4, p, dt"))
    if (e.scrollWidth > e.clientWidth + 1 && e.clientWidth && !scrolls(view, e)
        && view.getComputedStyle(e).display !== "inline")
      faults.push("wider than its box: " + e.textContent.trim().slice(0, 60));
  for (const e of page.querySelectorAll("article *, .prev-next-area *"))
    if (e.clientWidth > 1 && e.scrollWidth > e.clientWidth + 1
        && ["hidden", "clip"].includes(view.getComputedStyle(e).overflowX))
      faults.push("cut off: " + e.textContent.trim().slice(0, 60));
  return faults;
};
const show = (page, width) => new Promise(done => {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width:${width}px;height:900px;border:0`;
  frame.onload = () => setTimeout(() => {
    const page_ = frame.contentDocument, root = page_.documentElement;
    const faults = [];
    if (root.scrollWidth > width) {
      const wide = [...page_.querySelectorAll("article *")]
        .filter(e => e.getBoundingClientRect().right > width + 1)
        .slice(0, 3).map(e => e.tagName + "." + e.className);
      faults.push(`${root.scrollWidth} px wide in ${width}: ${wide.join(" ")}`);
    }
    for (const image of page_.images)
      if (!image.naturalWidth) faults.push("picture not loaded: " + image.src);
    faults.push(...cut(frame.contentWindow, page_));
    if (!page_.title.trim() || !page_.querySelector("h1")) faults.push("no title");
    frame.remove();
    done(faults.map(fault => `${page} at ${width} px: ${fault}`));
  }, 50);
  frame.src = page;
  document.body.append(frame);
});
(async () => {
  const { pages, widths } = await (await fetch("/.check/pages")).json();
  const faults = [];
  for (const width of widths) for (const page of pages) faults.push(...await show(page, width));
  await fetch("/.check/faults", { method: "POST", body: JSON.stringify(faults) });
})();
</script>"""


class Anchors(HTMLParser):
    """What a page points at, and the places in it that can be pointed at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.silent: list[str] = []
        self.thumbnail = False
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the identity and the targets of an element, and a picture without words."""
        named = dict(attrs)
        if tag == "div" and "sphx-glr-thumbcontainer" in (named.get("class") or ""):
            self.thumbnail = True  # its title stands beneath
        elif tag == "img":
            words = named.get("alt") or ""
            if not self.thumbnail and not re.search("[A-Za-z]{3}", words):
                self.silent.append(named.get("src") or "")
            self.thumbnail = False
        for name, value in attrs:
            if name == "id" and value:
                self.places.add(value)
            if name in {"href", "src"} and value:
                self.links.add(value)


def faults_of_files(site: Path, pages: list[str]) -> list[str]:
    """Return links within the site that lead nowhere, and pictures without words."""
    read = {page: Anchors((site / page).read_text(encoding="utf-8")) for page in pages}
    found = []
    for page, anchors in read.items():
        found += [f"{page}: no words for the picture {picture}" for picture in anchors.silent]
        for link in sorted(anchors.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            path = (site / page).parent / unquote(parts.path) if parts.path else site / page
            target = path.resolve().relative_to(site).as_posix()
            place = unquote(parts.fragment)
            if not path.exists() or (place and target in read and place not in read[target].places):
                found.append(f"{page}: {link} leads nowhere")
    return found


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serve the site, the page that looks at it, and take what that has found."""

    task: dict[str, list[str] | list[int]]
    faults: tuple[str, ...] = ()
    started, done = threading.Event(), threading.Event()

    def answer(self, kind: str, body: str) -> None:
        """Send a text."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body.encode())

    def do_GET(self) -> None:
        """Serve a file, or what the looker needs."""
        if self.path == "/.check/":
            Handler.started.set()
            self.answer("text/html", LOOKER)
        elif self.path == "/.check/pages":
            self.answer("application/json", json.dumps(self.task))
        else:
            super().do_GET()

    def do_POST(self) -> None:
        """Take the faults."""
        Handler.faults = tuple(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.answer("text/plain", "")
        Handler.done.set()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def seen_in_browser(site: Path, pages: list[str], widths: list[int], browser: str) -> list[str]:
    """Return what is wrong with the pages as a browser shows them."""
    Handler.task = {"pages": [f"/{page}" for page in pages], "widths": widths}
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(site))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        size = f"--window-size={max(widths) + 20},900"
        # A port for its tools keeps the browser open after the page has loaded.
        address = f"http://127.0.0.1:{server.server_address[1]}/.check/"
        command = [browser, *options, size, "--remote-debugging-port=0", address]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            if not Handler.started.wait(timeout=60):
                print("The browser does not start: only links and words of pictures were checked.")
            elif not Handler.done.wait(timeout=10 + 5 * len(pages) * len(widths)):
                return ["the browser did not finish"]
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            server.shutdown()
    return list(Handler.faults)


def main() -> int:
    """Print all faults."""
    parser = argparse.ArgumentParser(description="Look at every page of a built site.")
    parser.add_argument("site", type=Path)
    parser.add_argument("--widths", type=int, nargs="+", default=[1280, 390])
    parser.add_argument("--browser", default=shutil.which("chromium"))
    options = parser.parse_args()
    site = options.site.resolve()
    pages = sorted(
        path.relative_to(site).as_posix()
        for path in site.rglob("*.html")
        if "_static" not in path.parts
    )
    faults = faults_of_files(site, pages)
    if options.browser:
        faults += seen_in_browser(site, pages, options.widths, options.browser)
    else:
        print("No browser: only links and words of pictures were checked.")
    print("\n".join(faults) or f"{len(pages)} pages are in order.")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
