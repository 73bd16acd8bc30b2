"""Reading instrument files and keeping results; `xpycro.open`, `translate` and their kin live in the modules here."""
