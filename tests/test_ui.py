"""`checkpoint ui` through a real process: who is answered, what pages show, what can be done in a browser."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import click
import pytest
from browsing import chromium, clean_page
from projects import write
from serving import ROOT, Served, serving

from checkpoint.cli import main
from checkpoint.inventory import calls
from checkpoint.store import store_at

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NASTY = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">&amp;{{ 7 * 7 }}"
TRAIN = """
from dataclasses import dataclass
from checkpoint import memo, run

@dataclass
class Score:
    loss: float
    note: str

@memo
def load(fold: int) -> list[int]:
    return [fold, fold + 1]

@memo
def fit(data: list[int], alpha: float = 0.1, note: str = "plain") -> Score:
    return Score(round(sum(data) * alpha, 3), note)

@memo
def best(scores: list[Score]) -> float:
    return min(score.loss for score in scores)

@memo
def square(x: int) -> int:
    return x * x

def study():
    return best([fit(load(fold), alpha) for fold in (1, 2) for alpha in (0.1, 0.2)])
"""
MADE = """
import sys, train
from checkpoint import run
run([train.study(), train.fit(train.load(1), 0.3, sys.argv[1])], executor="serial")
"""
MANY = """
import sys
import train
from checkpoint import run
run([train.square(i) for i in range(int(sys.argv[1]))], executor="serial")
"""
#: Waits for files before it goes on, and fails once.
SLOW = """
import sys, time
from pathlib import Path
from checkpoint import memo, run

@memo
def wait(number: int, folder: str) -> int:
    while not Path(folder, f"go-{number}").exists():
        time.sleep(0.005)
    if number == 2:
        raise ValueError("singular")
    return number

if __name__ == "__main__":
    folder, executor = sys.argv[1:]
    try:
        run([wait(i, folder) for i in range(4)], executor=executor, max_workers=2, on_error="continue")
    except* ValueError:
        pass
"""


Start = Callable[[Path, str], subprocess.Popen[bytes]]


def program(folder: Path, store: Path, *command: str) -> subprocess.Popen[bytes]:
    """Start a program in a project."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "CP_CACHE_DIR": str(store)}
    return subprocess.Popen([sys.executable, *command], cwd=folder, env=environment)


def finish(started: subprocess.Popen[bytes]) -> None:
    """Wait for a program that ends well."""
    assert 0 == started.wait(timeout=120)


class Elements(list[tuple[str, dict[str, str | None]]]):
    """The elements of a page: name and attributes of each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        parser = HTMLParser()
        parser.handle_starttag = lambda tag, attrs: self.append((tag, dict(attrs)))  # type: ignore[method-assign]
        parser.feed(text)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with modules, and in `.cache` ten results of them."""
    folder = tmp_path_factory.mktemp("project")
    write(folder, {"train.py": TRAIN, "slow.py": SLOW})
    finish(program(folder, folder / ".cache", "-c", MADE, NASTY))
    return folder


@pytest.fixture
def many(project: Path, tmp_path: Path, count: int) -> Path:
    """A store with so many results of one task."""
    finish(program(project, tmp_path / ".many", "-c", MANY, str(count)))
    return tmp_path / ".many"


@pytest.fixture(scope="module")
def served(project: Path) -> Iterator[Served]:
    """A server of the ten results, which shows only."""
    with serving(project / ".cache", folder=project) as served:
        yield served


@pytest.fixture(scope="module")
def watched(project: Path) -> Iterator[Served]:
    """A server of a store in which there are runs."""
    with serving(project / ".watched") as served:
        yield served


@pytest.fixture
def clearing(project: Path, store: Path) -> Iterator[Served]:
    """A server that may clear, over a store of its own."""
    finish(program(project, store, "-c", MADE, "plain"))
    with serving(store, "--allow-clear", folder=project) as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page that fails the test if anything goes wrong in it, or it asks for anything from outside."""
    with clean_page(browser, lambda url: url.startswith("http://127.0.0.1:")) as page:
        yield page


def opened(page: Page, served: Served, path: str = "/") -> Page:
    """Open the address that was printed, then a path."""
    page.goto(served.url)
    page.wait_for_url(f"{served.base}/")
    if path != "/":
        page.goto(served.base + path)
    page.wait_for_selector("html[data-ready=yes]")
    return page


def until(is_so: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Ask again and again until something is so; return it."""
    end = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < end, "it never was"
    return found


# --- who is answered -------------------------------------------------------------------------------------


def test_one_line_with_the_address_is_printed(served: Served) -> None:
    """It is on the loopback interface, on a free port, and ends in a token that can't be guessed."""
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32,}", served.url)


def test_the_token_becomes_a_cookie_and_leaves_the_address(served: Served) -> None:
    """The first visit sets a cookie that scripts and other sites don't get, and leads to an address without token."""
    answer = served.ask(f"/?token={served.token}", Cookie=None)
    assert 200 == answer.status
    assert f"{served.cookie}; HttpOnly; Path=/; SameSite=strict" == answer.headers["set-cookie"]
    assert 'content="0; url=/"' in answer.text
    assert "same-origin" == answer.headers["referrer-policy"]
    assert served.token not in served.ask("/").text


@pytest.mark.parametrize("path", ["/", "/task?name=train.fit", "/runs", "/runs/events", "/plan", "/assets/ui.css"])
def test_nobody_is_answered_without_the_token(served: Served, path: str) -> None:
    """Without a cookie, and with one that is wrong, nothing is told, not even a style."""
    name = served.cookie.partition("=")[0]
    for cookie in (None, f"{name}=", f"{name}={served.token[:-1]}", f"{name}=é"):
        answer = served.ask(path, Cookie=cookie)
        assert (403, True) == (answer.status, answer.text.startswith("refused: "))
    assert 403 == served.ask("/?token=wrong").status
    assert 403 == served.ask(f"/task?name=train.fit&token={served.token}", Cookie=None).status


def test_another_name_for_this_computer_is_refused(served: Served) -> None:
    """A Host that is not ours, as a rebound name has it, gets nothing, token or not."""
    port = served.host.rpartition(":")[2]
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", "127.0.0.1:1", f"127.0.0.1.evil:{port}", ""):
        assert 421 == served.ask("/", Host=host).status
    assert 200 == served.ask("/", Host=f"localhost:{port}").status
    assert served.ask("/", Host=None).status in (400, 421)


def test_what_another_page_asks_for_is_refused(served: Served) -> None:
    """A browser says from where a request comes."""
    assert 403 == served.ask("/", Sec_Fetch_Site="cross-site").status
    assert 403 == served.ask("/", Sec_Fetch_Site="same-site").status
    assert 200 == served.ask("/", Sec_Fetch_Site="same-origin").status


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
@pytest.mark.parametrize("path", ["/", "/clear", "/task?name=train.fit", "/plan", "/runs"])
def test_there_is_no_way_to_change_anything_by_default(served: Served, method: str, path: str) -> None:
    """Only GET and HEAD are answered, and there is no page to clear with."""
    assert served.ask(path, method, body="task=train.fit").status in (404, 405)
    assert 404 == served.ask("/clear?task=train.fit").status
    assert "/clear" not in served.ask("/task?name=train.fit").text


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../app.py",
        "/assets/%2e%2e/app.py",
        "/assets/..%2fapp.py",
        "/assets/%2fetc%2fpasswd",
        "/assets/",
        "/assets/base.html",
        "/runs/..%2f..%2f..%2fetc%2fpasswd/report",
        "/runs/%2e%2e/report",
        "/runs/nowhere",
        "/../../etc/passwd",
        "/task?name=..%2f..",
        "/task",
        "/call?task=train.fit&key=nothing",
        "/call?task=..%2f&key=..%2f",
    ],
)
def test_no_path_leads_out(served: Served, path: str) -> None:
    """What isn't there by its name is not found, whatever the name looks like."""
    answer = served.ask(path)
    assert 404 == answer.status
    assert "root:" not in answer.text
    assert "import" not in answer.text


@pytest.mark.parametrize("path", ["/", "/task?name=train.fit", "/runs", "/plan", "/nowhere", "/assets/ui.js"])
def test_pages_may_load_and_run_nothing_but_ours(served: Served, path: str) -> None:
    """A strict policy goes with every answer, and no page has script or style inside of it."""
    answer = served.ask(path)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy
    assert "no-store" == answer.headers["cache-control"]
    if "html" in answer.headers["content-type"]:
        found = Elements(answer.text)
        assert [] == [name for name, _ in found if name in ("style", "iframe", "object", "embed", "base")]
        assert [] == [at for _, given in found for at in given if at == "style" or at.startswith("on")]
        assert {True} == {"src" in given for name, given in found if name == "script"}
        places = [given[at] or "" for _, given in found for at in ("src", "href", "action") if at in given]
        assert [] == [place for place in places if not re.match(r"#|/(?!/)", place)]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "::", "example.com", ""])
def test_a_host_that_others_reach_is_refused(host: str) -> None:
    """Nothing is served beyond this computer; the error says why, and what to do instead."""
    done = subprocess.run(
        [sys.executable, "-m", "checkpoint", "ui", "--no-browser", "--host", host],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (2, "") == (done.returncode, done.stdout)
    assert f"cannot serve on {host!r}: whoever reaches the page can read the store" in done.stderr


def test_a_port_that_is_taken_is_one_line(served: Served) -> None:
    """It is told, with exit code 1."""
    port = served.host.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-m", "checkpoint", "ui", "--no-browser", "--port", port],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (1, "") == (done.returncode, done.stdout)
    assert f"Error: cannot serve on 127.0.0.1:{port}: Address already in use\n" == done.stderr


def test_without_its_packages_the_command_says_what_to_install() -> None:
    """The extra is named."""
    code = "import sys; sys.modules['uvicorn'] = None; from checkpoint.cli import main; main(['ui'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert 1 == done.returncode
    assert "checkpoint-tool[ui]" in done.stderr
    assert 1 == len(done.stderr.splitlines())


def test_ctrl_c_ends_it_at_once_with_open_streams(project: Path) -> None:
    """Streams of events are closed, the exit code is 0, and nothing is printed."""
    with serving(project / ".cache") as served:
        streams = [http.client.HTTPConnection(served.host, timeout=60) for _ in range(3)]
        for stream in streams:
            stream.request("GET", "/runs/events", headers={"Cookie": served.cookie})
        answers = [stream.getresponse() for stream in streams]
        assert [b"retry: 2000\n"] * 3 == [answer.readline() for answer in answers]
        began = time.monotonic()
        served.process.send_signal(signal.SIGINT)
        for answer in answers:
            answer.read()
        served.process.wait(timeout=60)
        assert time.monotonic() - began < 10
        for stream in streams:
            stream.close()


def test_examples_of_the_help_work(project: Path, tmp_path: Path, unused_port: int) -> None:
    """Each is typed in; the address is printed, is what a browser is opened with, and is answered."""
    browser = tmp_path / "browser"
    browser.write_text(
        f'#!/bin/sh\necho "$1" > {tmp_path}/opened.part && mv {tmp_path}/opened.part {tmp_path}/opened\n'
    )
    browser.chmod(0o700)
    command: click.Command | None = main.get_command(click.Context(main), "ui")
    assert command is not None
    examples = [line.strip() for line in (command.help or "").splitlines() if line.strip().startswith("checkpoint ui")]
    assert 3 == len(examples)
    for example in examples:
        words = example.replace("8080", str(unused_port)).split()[1:]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "BROWSER": str(browser)}
        process = subprocess.Popen(
            [sys.executable, "-m", "checkpoint", *words],
            stdout=subprocess.PIPE,
            text=True,
            cwd=project,
            env=environment,
        )
        with process:
            assert process.stdout is not None
            served = Served(process.stdout.readline().strip(), process)
            assert 200 == served.ask("/").status
            if "--no-browser" in words:
                assert served.host.endswith(f":{unused_port}")
            else:
                until((tmp_path / "opened").exists)
                assert served.url == (tmp_path / "opened").read_text().strip()
                (tmp_path / "opened").unlink()
            process.send_signal(signal.SIGINT)
            assert 0 == process.wait(timeout=60)


# --- values ----------------------------------------------------------------------------------------------

TRAP = """
import os, sys
import checkpoint

class Trap:
    def __reduce__(self):
        return os.mkdir, (sys.argv[1],)

@checkpoint.memo(name="trap")
def trap():
    return Trap()

checkpoint.run_report(trap())
if os.path.isdir(sys.argv[1]):  # where it was loaded in here
    os.rmdir(sys.argv[1])
"""


def shown_call(served: Served, store: Path, task: str) -> str:
    """Return the page of the first call of a task."""
    call = next(calls(store_at(store), task))
    return served.ask(f"/call?{urlencode({'task': task, 'key': call.key})}").text


def test_a_store_that_refuses_pickles_has_none_loaded(project: Path, store: Path, tmp_path: Path) -> None:
    """A pickle that would do something when it is loaded does nothing, and the page says why there is no value."""
    finish(program(project, store, "-c", TRAP, str(tmp_path / "made")))
    task = store_at(store).tasks()[0]
    with serving(store, CP_ALLOW_PICKLE="0") as served:
        assert "a pickle, which this store doesn&#39;t allow" in shown_call(served, store, task)
    assert not (tmp_path / "made").exists()


def test_a_signed_store_has_nothing_loaded_that_is_not_signed(project: Path, store: Path, tmp_path: Path) -> None:
    """With a key, entries that somebody else put there are not shown."""
    finish(program(project, store, "-c", TRAP, str(tmp_path / "made")))
    task = store_at(store).tasks()[0]
    with serving(store, CP_CACHE_KEY="a key of at least some length") as served:
        assert "Trap" not in served.ask(f"/task?name={quote(task)}").text
        call = next(calls(store_at(store), task))
        answer = served.ask(f"/call?{urlencode({'task': task, 'key': call.key})}")
    assert not (tmp_path / "made").exists()
    assert "mkdir" not in answer.text


def test_a_value_is_shown_without_importing_its_module(served: Served, project: Path) -> None:
    """Objects of the project's own classes are shown by their fields."""
    text = shown_call(served, project / ".cache", "train.fit")
    assert re.search(r"train\.Score\(loss=[\d.]+, note=&#39;", text)


# --- pages -----------------------------------------------------------------------------------------------


def test_tasks_and_calls_are_shown(page: Page, served: Served) -> None:
    """From the tasks a click leads to the calls of one, with arguments as columns, and on to one call."""
    opened(page, served)
    assert ["train.best", "train.fit", "train.load"] == page.locator(".tasks tbody th").all_inner_texts()
    page.click("text=train.fit")
    heads = [text.strip() for text in page.locator(".calls thead th").all_inner_texts()]
    assert ["alpha", "data", "note", "seconds", "size", "code", "stored ▾", ""] == heads
    assert "5 calls" == page.inner_text("#found")
    page.fill("#filter", "alpha=0.2 data~fold=2")
    page.keyboard.press("Enter")
    page.wait_for_url("**filter=alpha*")
    assert "1 call" == page.inner_text("#found")
    page.click("a.open")
    assert "train.Score(loss=1.0, note='plain')" == page.inner_text("#value")
    assert "0.2" in page.inner_text("dl >> nth=0")
    page.click(".lineage a")
    assert "train.load(fold=2)" == page.inner_text("h1")
    assert "[2, 3]" == page.inner_text("#value")
    page.click("summary")
    assert "return [fold, fold + 1]" in page.inner_text("details pre")


def test_a_filter_that_is_none_is_told(served: Served) -> None:
    """The page says what is wrong with it, as the command line does."""
    for text, problem in (
        ("fold=2", "there is no &#39;fold&#39;; there are alpha, data, note"),
        ("alpha", "&#39;alpha&#39; is no filter"),
        ("'", "No closing quotation"),
        ("size>x", "is no size"),
    ):
        answer = served.ask(f"/task?{urlencode({'name': 'train.fit', 'filter': text})}")
        assert 400 == answer.status
        assert problem in answer.text


def test_what_users_name_is_never_markup(page: Page, served: Served) -> None:
    """Arguments and values that look like HTML, script or template are shown as they are."""
    opened(page, served, f"/task?{urlencode({'name': 'train.fit', 'filter': 'alpha=0.3'})}")
    assert NASTY in page.inner_text(".calls tbody")
    page.click("a.open")
    assert "onerror" in page.inner_text("#value")
    assert "owned" != page.title()
    assert 0 == page.locator("img").count()
    asked = served.ask(f"/plan?{urlencode({'target': NASTY})}").text
    assert "owned" in asked
    assert [] == re.findall(r"<script>|<img", asked)


@pytest.mark.parametrize("count", [2_000, pytest.param(20_000, marks=pytest.mark.stress)])
def test_thousands_of_results_are_quick(page: Page, many: Path, count: int) -> None:
    """A page of them has a hundred rows; it sorts, filters and pages, each within seconds."""
    with serving(many) as served:
        opened(page, served, "/task?name=train.square")
        assert f"{count:,} calls" == page.inner_text("#found")
        assert 100 == page.locator(".calls tbody tr").count()
        assert f"page 1 of {count // 100}" == page.inner_text("#page")
        began = time.monotonic()
        page.click("text=Next")
        assert f"page 2 of {count // 100}" == page.inner_text("#page")
        page.click(".calls thead th:first-child a")
        assert f"{count - 1}" == page.inner_text(".calls tbody tr:first-child td:first-child")
        page.click(".calls thead th:first-child a")
        assert "0" == page.inner_text(".calls tbody tr:first-child td:first-child")
        page.fill("#filter", f"x>={count - 10}")
        page.keyboard.press("Enter")
        page.wait_for_url("**filter=x*")
        assert "10 calls" == page.inner_text("#found")
        page.click("a.open >> nth=3")
        assert str((count - 7) ** 2) == page.inner_text("#value")
        assert time.monotonic() - began < 30
        page.goto("about:blank")  # before the server goes


def test_the_page_can_be_used_with_keys_alone(page: Page, served: Served) -> None:
    """Tab reaches first a way to the content, then the pages, then the tasks, whose headers sort."""
    opened(page, served)
    reached = []
    for _ in range(6):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent"))
    assert ["Skip to the content", "checkpoint", "Tasks", "Runs", "Plan", "task"] == reached
    page.keyboard.press("Enter")
    assert "train.load" == page.inner_text(".tasks tbody tr:first-child th")
    assert "descending" == page.get_attribute(".tasks thead th:first-child", "aria-sort")


@pytest.mark.parametrize("path", ["/", "/task?name=train.fit", "/plan", "/runs"])
def test_a_narrow_window_shows_all_of_it(browser: Browser, served: Served, path: str) -> None:
    """Only tables scroll sideways, and within themselves."""
    with clean_page(browser, lambda url: url.startswith(served.base), viewport={"width": 380, "height": 700}) as page:
        opened(page, served, path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 380


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_theme(browser: Browser, served: Served, scheme: Any) -> None:
    """Paper is light or dark as the reader has it, and text stands out."""
    with clean_page(browser, lambda url: url.startswith(served.base), color_scheme=scheme) as page:
        opened(page, served)
        colours = page.evaluate(
            "(({backgroundColor, color}) => [backgroundColor, color])(getComputedStyle(document.body))"
        )
    paper, ink = (sum(map(int, re.findall(r"\d+", colour)[:3])) / 765 for colour in colours)
    assert (scheme == "light") == (paper > ink)
    assert abs(paper - ink) > 0.7


# --- plan and why ----------------------------------------------------------------------------------------


def test_plan_and_why_are_told(page: Page, served: Served) -> None:
    """What a target would compute, and why, in numbers and by instance; nothing is run."""
    opened(page, served, "/plan")
    page.fill("#target", "train:[best([fit(load(9))]), load(1)]")
    page.keyboard.press("Enter")
    page.wait_for_selector("#answer")
    assert "1 to compute" in " ".join(page.inner_text("#answer").split())
    assert "load(fold=9) no entry" == page.inner_text("p.line")
    page.fill("#target", "train:best([fit(load(9))])")
    page.click("button[value=why]")
    page.wait_for_url("**ask=why*")
    assert "upstream to be computed" in page.inner_text("#answer")
    assert "fit(data=load(...), alpha=0.1" in page.inner_text("#answer pre")


def test_a_target_that_can_not_be_used_is_told(served: Served) -> None:
    """The line of the command line is shown, and the user's part of a traceback; an option is none."""
    for target, problem in (
        ("nowhere:f(1)", "there is no module &#39;nowhere&#39;"),
        ("train:1/0", "ZeroDivisionError"),
        ("--help", "name instances as module:expression"),
    ):
        answer = served.ask(f"/plan?{urlencode({'target': target})}")
        assert 400 == answer.status
        assert problem in answer.text


def test_the_answer_is_that_of_the_code_as_it_is_now(served: Served, project: Path) -> None:
    """A module that was edited since it was last asked about is imported anew."""
    asked = f"/plan?{urlencode({'target': 'edited:f(1)'})}"
    for name in ("one", "two"):
        write(project, {"edited.py": f"from checkpoint import memo\n@memo(name='edited.{name}')\ndef f(x): return x\n"})
        os.utime(project / "edited.py", (1, len(name) + ord(name[0])))
        assert 200 == served.ask(asked).status
        assert "f(x=1)" in served.ask(asked).text
    assert "edited" not in served.ask("/").text


# --- runs ------------------------------------------------------------------------------------------------


@pytest.fixture
def start(project: Path) -> Iterator[Start]:
    """Start the program that waits, in a folder and an executor; it goes with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(folder: Path, executor: str) -> subprocess.Popen[bytes]:
        started.append(program(project, project / ".watched", "slow.py", str(folder), executor))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()


def go(folder: Path, *numbers: int) -> None:
    """Let the program go on."""
    for number in numbers:
        (folder / f"go-{number}").touch()


@pytest.mark.parametrize("executor", ["processes", "serial"])
def test_a_run_is_seen_while_it_goes_on(
    page: Page, watched: Served, start: Start, tmp_path: Path, executor: str
) -> None:
    """Its card appears in the open page; its timeline, counts and failures follow, and at the end there is a report."""
    opened(page, watched, "/runs")
    running = start(tmp_path, executor)
    page.wait_for_selector("a.card", timeout=60_000)
    page.click("a.card")
    page.wait_for_selector("#timeline rect.going", timeout=60_000)
    assert "going on" == page.inner_text("#state")
    assert "4" == page.inner_text("#total")
    assert "wait(" in page.inner_text("#running")
    go(tmp_path, 0, 1)
    page.wait_for_selector("#settled:text-is('2')", timeout=60_000)
    assert 2 == page.locator("#timeline rect.t0:not(.going)").count()
    go(tmp_path, 2)
    page.wait_for_selector("#failures details", timeout=60_000)
    page.click("#failures summary")
    assert "ValueError: singular" in page.inner_text("#failures pre")
    go(tmp_path, 3)
    finish(running)
    page.wait_for_selector("#over a", timeout=60_000)
    assert ("over", "4") == (page.inner_text("#state"), page.inner_text("#settled"))
    page.click("#over a")
    page.wait_for_selector("html[data-ready=yes]")
    assert "Run of" in page.inner_text("h1")
    assert "no entry" in page.inner_text("#table tbody")
    page.goto(f"{watched.base}/runs")
    assert 0 == page.locator("a.card").count()
    assert page.locator(".past tbody tr").count() >= 1


def test_several_runs_are_seen_and_a_killed_one_has_ended(
    page: Page, watched: Served, start: Start, tmp_path: Path
) -> None:
    """Of two runs that go on one is killed: it is told so in its page and in the list; the other goes on."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    running = [start(folder, "serial") for folder in folders]
    opened(page, watched, "/runs")
    page.wait_for_selector("a.card >> nth=1", timeout=60_000)
    cards = {card.inner_text(): card.get_attribute("href") for card in page.locator("a.card").all()}
    place = next(place for text, place in cards.items() if f"process {running[0].pid}" in text)
    running[0].kill()
    running[0].wait()
    page.wait_for_selector("tr.killed", timeout=60_000)
    assert 1 == page.locator("a.card").count()
    page.goto(f"{watched.base}{place}")
    page.wait_for_selector("#over:not([hidden])")
    assert "killed" == page.inner_text("#state")
    assert "process is gone" in page.inner_text("#over")
    assert not page.is_visible("#now")
    go(folders[1], 0, 1, 2, 3)
    finish(running[1])


# --- clearing --------------------------------------------------------------------------------------------


def stored(store: Path) -> dict[str, int]:
    """Return how many calls of each task have results."""
    found = store_at(store)
    return {task: len(list(calls(found, task))) for task in found.tasks()}


def test_a_clear_is_asked_for_told_and_done(clearing: Served, page: Page, store: Path) -> None:
    """By a filter: first what would go is told, with what is below if that is wanted; then it goes."""
    assert {"train.best": 1, "train.fit": 5, "train.load": 2} == stored(store)
    opened(page, clearing, f"/task?{urlencode({'name': 'train.fit', 'filter': 'alpha=0.1'})}")
    page.click("text=Clear these…")
    assert "2 of train.fit: 2 results" in page.inner_text("#told")
    page.check("#downstream")
    page.click("text=Look again")
    assert "computed from these, 1 of train.best: 1 result" in page.inner_text("#told")
    assert {"train.best": 1, "train.fit": 5, "train.load": 2} == stored(store)
    page.click("#discard")
    page.wait_for_selector("text=Discarded 3 results")
    assert {"train.best": 0, "train.fit": 3, "train.load": 2} == stored(store)


def test_one_call_and_a_whole_task_are_cleared(clearing: Served, page: Page, store: Path) -> None:
    """From the page of a call that call alone; from that of a task all of it; a click on the other link keeps them."""
    opened(page, clearing, f"/task?{urlencode({'name': 'train.load', 'filter': 'fold=2'})}")
    page.click("a.open")
    page.click("text=Clear…")
    page.click("text=Keep them")
    assert 2 == stored(store)["train.load"]
    page.click("a.open >> nth=0")
    page.click("text=Clear…")
    page.click("#discard")
    page.wait_for_selector("text=Discarded 1 result")
    assert 1 == stored(store)["train.load"]
    opened(page, clearing, "/task?name=train.fit")
    page.click("text=Clear all…")
    page.click("#discard")
    page.wait_for_selector("text=Discarded 5 results")
    assert 0 == stored(store)["train.fit"]


def test_a_clear_needs_our_origin_our_token_and_what_was_told(clearing: Served, store: Path) -> None:
    """Whatever of these is missing or wrong, nothing goes; with all of them it does."""
    text = clearing.ask("/clear?task=train.load").text
    found = {name: re.findall(rf'name="{name}" value="([^"]*)"', text)[-1] for name in ("mark", "token")}
    right = urlencode({"task": "train.load", **found})
    assert 403 == clearing.ask("/clear", "POST", right, Origin=None).status
    for origin in ("null", "http://evil.example", clearing.base.replace("http:", "https:"), f"{clearing.base}.evil"):
        assert 403 == clearing.ask("/clear", "POST", right, Origin=origin).status
    assert 403 == clearing.ask("/clear", "POST", right, Cookie=None).status
    assert 403 == clearing.ask("/clear", "POST", right, Sec_Fetch_Site="cross-site").status
    for token in ("", "wrong", clearing.token):
        assert 403 == clearing.ask("/clear", "POST", urlencode({"task": "train.load", **found, "token": token})).status
    assert 409 == clearing.ask("/clear", "POST", urlencode({"task": "train.load", **found, "mark": ""})).status
    assert 405 == clearing.ask("/clear", "DELETE", right).status
    assert 2 == stored(store)["train.load"]
    assert 200 == clearing.ask("/clear", "POST", right).status
    assert 0 == stored(store)["train.load"]


def test_what_has_changed_since_it_was_told_is_told_again(clearing: Served, store: Path, project: Path) -> None:
    """A result that came meanwhile doesn't go unasked."""
    text = clearing.ask("/clear?task=train.load").text
    form = {name: re.findall(rf'name="{name}" value="([^"]*)"', text)[-1] for name in ("mark", "token")}
    finish(program(project, store, "-c", "import train; train.load(7).run()"))
    answer = clearing.ask("/clear", "POST", urlencode({"task": "train.load", **form}))
    assert 409 == answer.status
    assert "something has changed meanwhile" in answer.text
    assert "Discard 3 results" in answer.text
    assert 3 == stored(store)["train.load"]
