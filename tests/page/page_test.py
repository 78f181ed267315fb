"""The page in a real browser: what a person does, seen through what a screen reader would be told."""
import json
import os
import sys
import pathlib
import shutil
import urllib.request

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from octet_server import Server  # noqa: E402

WEATHER = [{"type": "function", "function": {"name": "get_weather", "description": "Get the current weather for a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]


@pytest.fixture(scope="module")
def server():
    with Server() as s:
        yield s


@pytest.fixture
def page(server):
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "/usr/bin/chromium"
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    page = Page(driver, server)
    page.load()
    yield page
    shots = os.environ.get("OCTET_SCREENSHOTS")
    if shots:
        driver.save_screenshot(f"{shots}/{os.environ['PYTEST_CURRENT_TEST'].split('::')[1].split(' ')[0]}.png")
    log = [x["message"] for x in driver.get_log("browser") if x["level"] == "SEVERE" and "expected" not in x["message"]]
    driver.quit()
    assert page.expected_errors or not log, log


class Page:
    def __init__(self, driver, server):
        self.driver, self.server, self.expected_errors = driver, server, False

    def load(self):
        self.driver.get(self.server.url + "/")
        self.until(lambda: self.one("#send").is_enabled() or self.one("#status").text)

    def one(self, css):
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def all(self, css):
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def until(self, condition, seconds=60):
        WebDriverWait(self.driver, seconds, 0.05).until(lambda _: condition())

    def settle(self):
        """Waits until no answer is under way."""
        self.until(lambda: not self.one("#stop").is_displayed())

    def ask(self, text):
        self.one("#prompt").send_keys(text, Keys.ENTER)
        self.until(lambda: self.all("li.assistant"))

    def settings(self, **values):
        self.one("#open-settings").click()
        for name, value in values.items():
            field = self.one(f"#s-{name}")
            field.clear()
            field.send_keys(value)
        self.one("#settings-done").click()


def test_answers_and_shows_figures(page):
    page.settings(temperature="0", seed="1")
    page.ask("What is the capital of France?")
    page.settle()
    answer = page.all("li.assistant")[-1]
    assert "Paris" in answer.find_element(By.CSS_SELECTOR, ".markdown").text
    assert "tokens" in answer.find_element(By.CSS_SELECTOR, ".tools-row").text
    assert answer.get_attribute("aria-busy") == "false"
    assert "/" in page.one("#context").text
    assert page.one("#announcer").get_attribute("textContent").strip()
    assert page.one("#title").text == "What is the capital of France?"


def test_thinking_is_folded(page):
    page.settings(temperature="0", seed="1")
    page.ask("What is 7 + 12?")
    page.settle()
    thinking = page.one("li.assistant details.thinking")
    assert thinking.get_attribute("open") is None
    thinking.find_element(By.TAG_NAME, "summary").click()
    assert thinking.find_element(By.CSS_SELECTOR, ".text").text
    page.one("#think").click()
    page.ask("What is 7 + 12?")
    page.until(lambda: len(page.all("li.assistant")) == 2)
    page.settle()
    assert not page.all("li.assistant")[-1].find_element(By.CSS_SELECTOR, "details.thinking").is_displayed()


def test_stop_keeps_what_came(page):
    # tiny would be done before a person could find the key.
    page.driver.execute_script("""
      const fetch = window.fetch;
      window.fetch = (path, o) => fetch(path, o?.body ? {...o, body: JSON.stringify({...JSON.parse(o.body), min_tokens: 8000})} : o);""")
    page.ask("Write a very long story about the sea.")
    page.until(lambda: page.one("#stop").is_displayed() and page.one("li.assistant").text)
    page.one("body").send_keys(Keys.ESCAPE)
    page.settle()
    page.until(lambda: "stopped" in page.one("li.assistant .tools-row").text)
    page.until(lambda: page.server.metrics()["vllm:num_requests_running"] == 0)
    assert page.one("#prompt").is_enabled()


def test_edit_and_retry(page):
    page.settings(temperature="0")
    page.ask("Hello")
    page.settle()
    item = page.one("li.user")
    item.find_element(By.XPATH, ".//button[text()='Edit']").click()
    area = item.find_element(By.TAG_NAME, "textarea")
    area.clear()
    area.send_keys("What is the capital of France?", Keys.ENTER)
    page.settle()
    assert len(page.all("li.user")) == 1
    first = page.one("li.assistant .markdown").text
    assert "Paris" in first
    page.one("li.assistant").find_element(By.XPATH, ".//button[text()='Retry']").click()
    page.settle()
    assert page.one("li.assistant .markdown").text == first
    assert len(page.all("li.assistant")) == 1


def test_calls_are_shown_and_answered(page):
    page.settings(temperature="0", tools=json.dumps(WEATHER))
    page.ask("What is the weather in Paris?")
    page.settle()
    call = page.one("li.assistant .call")
    assert call.find_element(By.TAG_NAME, "h3").text == "Calls get_weather"
    assert "Paris" in json.loads(call.find_element(By.TAG_NAME, "pre").text)["city"]
    page.one("li.assistant .call textarea").send_keys('{"weather": "sunny", "temperature": 21}')
    page.one("li.assistant .call .send").click()
    page.until(lambda: len(page.all("li.assistant")) == 2)
    page.settle()
    assert page.all("li.assistant .markdown")[-1].text


def test_conversations_outlive_the_page(page):
    page.settings(temperature="0")
    page.ask("Hello")
    page.settle()
    page.one("#new-chat").click()
    assert page.one("#empty").is_displayed()
    page.ask("What is the capital of France?")
    page.settle()
    page.load()
    titles = [e.text for e in page.all("#conversations .open")]
    assert titles == ["What is the capital of France?", "Hello"]
    page.all("#conversations .open")[1].click()
    assert page.one("li.user .body").text == "Hello"
    page.driver.execute_script("document.querySelectorAll('#conversations .remove')[1].click()")
    page.until(lambda: len(page.all("#conversations .open")) == 1)


def test_text_of_the_model_is_never_html(page):
    hostile = ('<img src=x onerror="document.title=1"><script>document.title=2</script> [x](javascript:alert(1)) '
               '![p](https://example.org/a.png) <b>bold</b> $\\href{javascript:alert(1)}{x}$ `<i>`')
    page.driver.execute_async_script(
        "const done = arguments[1]; import('/assets/markdown.js').then((m) => {"
        "const d = document.createElement('div'); d.id = 'probe'; document.body.append(d);"
        "m.renderMarkdown(d, arguments[0]); done(); });", hostile)
    probe = page.one("#probe")
    assert not probe.find_elements(By.CSS_SELECTOR, "img, script, b, i, iframe, object")
    assert all(a.get_attribute("href").startswith("https:") for a in probe.find_elements(By.TAG_NAME, "a"))
    assert "<b>bold</b>" in probe.text


def test_markdown_code_and_formulas(page):
    text = "# T\n\n$e^{i\\pi}$ costs $5 or $6\n\n$$x^2$$\n\n```c\nint a = 1 < 2 && 3;\n```\n\n| a | b |\n|--|:-:|\n| 1 | `2` |\n\n1. one\n2. two\n   - **three**\n"
    page.driver.execute_async_script(
        "const done = arguments[1]; import('/assets/markdown.js').then((m) => {"
        "const d = document.createElement('div'); d.id = 'probe'; document.body.append(d);"
        "m.renderMarkdown(d, arguments[0]); done(); });", text)
    probe = page.one("#probe")
    assert len(probe.find_elements(By.CSS_SELECTOR, ".katex")) == 2
    assert "costs $5 or $6" in probe.text
    code = probe.find_element(By.CSS_SELECTOR, "pre code")
    assert code.get_attribute("textContent") == "int a = 1 < 2 && 3;"
    assert len(probe.find_elements(By.CSS_SELECTOR, "td")) == 2
    assert probe.find_element(By.CSS_SELECTOR, "ol ul strong").text == "three"


def test_phone_width_and_keyboard(page):
    page.driver.set_window_size(500, 800)
    wide = page.driver.execute_script("return document.documentElement.scrollWidth > window.innerWidth")
    assert not wide
    page.until(lambda: not page.one("#sidebar").is_displayed())
    page.one("#open-sidebar").click()
    page.until(lambda: page.one("#new-chat").is_displayed())
    page.one("body").send_keys(Keys.ESCAPE)
    page.until(lambda: not page.one("#sidebar").is_displayed())


def test_controls_have_names(page):
    nameless = page.driver.execute_script("""
      return [...document.querySelectorAll('button, input, textarea')].filter((e) =>
        !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length || e.hidden)).map((e) => e.outerHTML);""")
    assert not nameless


def test_theme_is_kept(page):
    before = page.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    page.one("#toggle-theme").click()
    after = page.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert before != after
    page.load()
    assert page.driver.execute_script("return getComputedStyle(document.body).backgroundColor") == after


def test_asks_for_a_key(page):
    page.expected_errors = True
    with Server("--api-key", "secret") as server:
        other = Page(page.driver, server)
        other.load()
        assert "key" in other.one("#status").text
        other.settings(key="secret", temperature="0")
        other.until(lambda: other.one("#send").is_enabled())
        other.ask("Hello")
        other.settle()
        assert other.one("li.assistant .markdown").text


def test_files_are_under_a_strict_policy(server):
    with urllib.request.urlopen(server.url + "/") as r:
        policy = r.headers["Content-Security-Policy"]
        tag = r.headers["ETag"]
    assert "unsafe" not in policy and "default-src 'none'" in policy
    status, _ = server.status("GET", "/", headers={"If-None-Match": tag})
    assert status == 304


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-q", "-x", *sys.argv[1:]]))
