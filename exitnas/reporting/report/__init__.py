"""The report: one HTML file that shows runs, for reading and for sending around; `page.write_report` makes it."""
