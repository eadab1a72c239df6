"""A browser, and the page in it as somebody uses it."""

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from maskkv.mini import sample
from tests.server.live import PATIENCE_S

DRIVER = shutil.which("chromedriver")
MADE = sample("single-key", 120, 3)


@contextmanager
def browsing() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    """The page at an address, in a browser that remembers nothing."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser = browser
        # A page that is left saves what it would remember.
        browser.get("about:blank")
        browser.get_log("browser")
        browser.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": url, "storageTypes": "all"})
        browser.get(f"{url}/")

    def __getitem__(self, name: str) -> WebElement:
        return self.browser.find_element(By.ID, name)

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def run(self, script: str, *given: Any) -> Any:
        return self.browser.execute_script(script, *given)

    def wait(self, condition: Callable[[], Any]) -> Any:
        return WebDriverWait(self.browser, PATIENCE_S, poll_frequency=0.05).until(lambda _: condition())

    def text(self, name: str) -> str:
        return self[name].text

    def value(self, name: str) -> str:
        return self[name].get_attribute("value")

    def set(self, name: str, value: str) -> None:
        script = (
            "arguments[0].value = arguments[1];"
            "for (const kind of ['input', 'change']) arguments[0].dispatchEvent(new Event(kind, {bubbles: true}))"
        )
        self.run(script, self[name], value)

    def width(self, pixels: int) -> None:
        metrics = {"width": pixels, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def ready(self) -> None:
        self.wait(lambda: self.text("model") and self.value("document"))

    def fill(self, document: str = MADE.document, question: str = MADE.question, **fields: Any) -> None:
        for name, value in {"document": document, "question": question, "budget": 8, "length": 8, **fields}.items():
            self.set(name, str(value))

    def ask(self, document: str = MADE.document, question: str = MADE.question, **fields: Any) -> None:
        """Ask, and wait until all of it is there, or was refused."""
        self.fill(document, question, **fields)
        self["go"].click()
        self.done()

    def done(self) -> None:
        self.wait(lambda: self["go"].is_enabled())

    def states(self) -> list[str]:
        return [cell.get_attribute("class").split()[1] for cell in self.all("#canvas .cell")]

    def sent(self) -> list[dict[str, Any]]:
        """Return the bodies that were posted since `listen`."""
        return self.run("return window.sent")

    def listen(self) -> None:
        self.run(
            "window.sent = []; const real = window.fetch; window.fetch = (path, options) => {"
            "  if (options?.body) window.sent.push(JSON.parse(options.body)); return real(path, options); }"
        )


class Line:
    """Stand between a browser and a server, as a line that can be cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for end in (self._listener, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self._port))
                self._ends += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    @staticmethod
    def _carry(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
