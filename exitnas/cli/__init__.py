"""The command line: one file per command; parse, one library call, render. Heavy imports live inside the commands."""
