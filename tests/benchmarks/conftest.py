"""The browser of the viz tests, for what is measured in one."""

from tests.viz.conftest import browser, page, served  # noqa: F401
