"""Reports, summaries and exports, made from run folders alone. Importing this loads no torch and no template engine."""

from tutelage.report.export import export
from tutelage.report.leaderboard import Row, leaderboard
from tutelage.report.lineage import Link, chain
from tutelage.report.page import write_report
from tutelage.report.read import RunFolder, read_run
from tutelage.report.summary import summarise

__all__ = ["Link", "Row", "RunFolder", "chain", "export", "leaderboard", "read_run", "summarise", "write_report"]
