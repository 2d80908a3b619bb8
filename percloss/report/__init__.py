"""One HTML file that can be listened to and read by eye, ear and keyboard: what ``percloss report`` and demos write.

``page`` is the file itself, of sections that anybody may fill; ``study`` fills them with what came of pairs of files.
"""

from percloss.report.page import Column, Overview, Section, Version, Yardstick, columns, render, write

__all__ = ["Column", "Overview", "Section", "Version", "Yardstick", "columns", "render", "write"]
