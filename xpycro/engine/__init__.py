"""Engines: chunked evaluation, linear algebra, batched fitting, dispatch on results. Knows no file and no picture."""
