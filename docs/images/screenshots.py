"""Take the pictures of the page: `maskkv serve --port 8000`, then `python docs/images/screenshots.py`.

Needs selenium, Pillow, and Chromium with its driver.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

URL = "http://127.0.0.1:8000/"
HERE = Path(__file__).parent
SHOTS = (("page-light", 1200, "light", 2), ("page-dark", 400, "dark", 5))
COLOURS = 64
STEP_MS, LAST_MS = 500, 2500
# Places of the budget slider, from most to least.
BUDGETS = range(100, -1, -10)


@contextmanager
def asked(width: int, theme: str) -> Iterator[webdriver.Chrome]:
    """Ask about the page's first example, and wait until everything is there."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        resize(driver, width, 1000)
        driver.get(URL)
        wait = WebDriverWait(driver, 120)
        wait.until(lambda _: driver.find_element(By.ID, "document").get_attribute("value"))
        driver.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
        driver.find_element(By.ID, "go").click()
        wait.until(lambda _: driver.find_element(By.ID, "go").is_enabled())
        resize(driver, width, driver.execute_script("return document.documentElement.scrollHeight"))
        yield driver
    finally:
        driver.quit()


def resize(driver: webdriver.Chrome, width: int, height: int) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def slide(driver: webdriver.Chrome, selector: str, place: int) -> None:
    """Put a slider at a place, in percent of its way."""
    script = (
        "const slider = document.querySelector(arguments[0]);"
        "slider.value = Math.round(+slider.min + arguments[1] / 100 * (slider.max - slider.min));"
        "slider.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    driver.execute_script(script, selector, place)


def picture(driver: webdriver.Chrome) -> Image.Image:
    return Image.open(BytesIO(driver.get_screenshot_as_png())).convert("RGB")


def take(name: str, width: int, theme: str, step: int) -> None:
    """Save the whole page with a step of its film."""
    with asked(width, theme) as driver:
        slide(driver, "#step", round(100 * step / 7))
        shot = picture(driver).quantize(COLOURS, dither=Image.Dither.NONE)
    shot.save(HERE / f"{name}.png", optimize=True)


def film() -> None:
    """Save the film of the answer, then what is kept under smaller and smaller budgets, as an animated picture."""
    with asked(880, "light") as driver:
        edge = "return document.querySelector(arguments[0]).getBoundingClientRect()[arguments[1]]"
        top = driver.execute_script(edge, "#answering", "top")
        bottom = driver.execute_script(edge, "#lens .document", "bottom")
        shots = []

        def shoot() -> None:
            shots.append(picture(driver).crop((0, int(top), 880, int(bottom) + 12)))

        for step in range(8):
            slide(driver, "#step", round(100 * step / 7))
            shoot()
        for place in BUDGETS:
            slide(driver, "#lens input[type=range]", place)
            shoot()
    # One palette for all frames, from the one that shows most.
    palette = shots[7].quantize(COLOURS, dither=Image.Dither.NONE)
    frames = [shot.quantize(palette=palette, dither=Image.Dither.NONE) for shot in shots]
    times = [STEP_MS] * len(frames)
    times[7] = times[-1] = LAST_MS
    frames[0].save(HERE / "film.gif", save_all=True, append_images=frames[1:], duration=times, loop=0, optimize=True)


for each in SHOTS:
    take(*each)
film()
