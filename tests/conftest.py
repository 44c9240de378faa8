"""Settings of hypothesis; the browser of pytest-playwright for in_browser.py and site_in_browser.py."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from tools import browser

# A busy machine must not fail a test by its clock.
settings.register_profile("course", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("course")


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args, browser_type):
    """Launch the Chromium that :func:`tools.browser.find_browser` finds: playwright's own, or the system's."""
    try:
        program = browser.find_browser(browser_type.executable_path)
    except browser.BrowserError as error:
        pytest.exit(str(error), returncode=1)
    return {**browser_type_launch_args, "executable_path": program, "args": browser.FLAGS}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args):
    """A window tall enough for a figure with its controls."""
    return {**browser_context_args, "viewport": browser.SIZE}
