"""Take the pictures of the page: `maskkv serve --port 8000`, then `python docs/images/screenshots.py`.

Needs selenium, Pillow, and Chromium with its driver.
"""

import shutil
from io import BytesIO
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

URL = "http://127.0.0.1:8000/"
SHOTS = (("page-light", 1200, "light", 2), ("page-dark", 400, "dark", 5))


def take(name: str, width: int, theme: str, step: int) -> None:
    """Ask about the page's first example, go back to a step of its film, and save the whole page."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))

    def size(height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    size(1000)
    driver.get(URL)
    wait = WebDriverWait(driver, 60)
    wait.until(lambda _: driver.find_element(By.ID, "document").get_attribute("value"))
    driver.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
    driver.find_element(By.ID, "go").click()
    wait.until(lambda _: driver.find_elements(By.CSS_SELECTOR, "#lens section"))
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
    driver.execute_script(script, driver.find_element(By.ID, "step"), str(step))
    size(driver.execute_script("return document.documentElement.scrollHeight"))
    picture = Image.open(BytesIO(driver.get_screenshot_as_png())).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    picture.save(Path(__file__).with_name(f"{name}.png"), optimize=True)
    driver.quit()


for shot in SHOTS:
    take(*shot)
